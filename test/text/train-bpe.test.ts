import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  BpeTrainingError,
  qwen2AudioSpecialTokens,
  saveBpe,
  Tokenizer,
  trainByteLevelBpe,
} from '../../lib/text';

const folder = join(__dirname, '../oracle/vectors/processor');
const vectors = JSON.parse(readFileSync(join(folder, 'vectors.json'), 'utf8')) as {
  corpus: string[];
  merges: [string, string][];
  texts: { text: string; skipped: string; decoded: string; ids: number[] }[];
};

describe('trainByteLevelBpe', () => {
  const trained = trainByteLevelBpe(vectors.corpus, { vocabSize: 512 });

  test('finds the merges of BpeTrainer, in their order', () => {
    expect(trained.merges).toEqual(vectors.merges);
  });

  test('depends on the texts alone, and on nothing that repeats', () => {
    const again = trainByteLevelBpe(new Set(vectors.corpus), { vocabSize: 512 });
    expect(again).toEqual(trained);
  });

  test('stops at the size wanted', () => {
    const small = trainByteLevelBpe(vectors.corpus, { vocabSize: 300 });
    expect(small.tokens.length + small.specialTokens.length).toBe(300);
    expect(small.merges).toEqual(trained.merges.slice(0, 300 - 256 - 6));
  });

  test('refuses a size that does not hold the bytes', () => {
    expect(() => trainByteLevelBpe([], { vocabSize: 261 })).toThrow(BpeTrainingError);
    expect(trainByteLevelBpe([], { vocabSize: 262 }).merges).toEqual([]);
  });

  test('merges repeated letters from the left', () => {
    const { merges } = trainByteLevelBpe(['aaaa aaaa'], { vocabSize: 270 });
    expect(merges.slice(0, 2)).toEqual([
      ['a', 'a'],
      ['aa', 'aa'],
    ]);
  });
});

describe('saveBpe', () => {
  let dir: string;
  beforeAll(() => {
    dir = mkdtempSync(join(tmpdir(), 'pare-bpe-'));
    saveBpe(dir, trainByteLevelBpe(vectors.corpus, { vocabSize: 512 }));
  });
  afterAll(() => rmSync(dir, { recursive: true }));

  test('writes a tokenizer that tells any text apart and back', () => {
    const tokenizer = Tokenizer.fromPretrained(dir);
    for (const { text } of vectors.texts) {
      const ids = tokenizer.encode(text);
      expect(tokenizer.decode(ids, { skipSpecialTokens: false })).toBe(text.normalize('NFC'));
    }
  });

  test('puts the special tokens last, in their order', () => {
    const tokenizer = Tokenizer.fromPretrained(dir);
    const first = tokenizer.vocabSize - qwen2AudioSpecialTokens.length;
    expect(qwen2AudioSpecialTokens.map((token) => tokenizer.tokenToId(token))).toEqual(
      qwen2AudioSpecialTokens.map((_, i) => first + i),
    );
    expect(tokenizer.eosTokenId).toBe(tokenizer.tokenToId('<|im_end|>'));
    expect(tokenizer.padTokenId).toBe(tokenizer.tokenToId('<|endoftext|>'));
  });

  test('gives ordinary tokens the ids of the reference, trained on the same texts', () => {
    const tokenizer = Tokenizer.fromPretrained(dir);
    for (const { text, ids } of vectors.texts) {
      if (!text.includes('<|')) expect(tokenizer.encode(text)).toEqual(ids);
    }
  });
});
