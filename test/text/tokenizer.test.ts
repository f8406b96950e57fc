import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Tokenizer, TokenizerError } from '../../lib/text';

const folder = join(__dirname, '../oracle/vectors/processor');
const vectors = JSON.parse(readFileSync(join(folder, 'vectors.json'), 'utf8')) as {
  texts: { text: string; ids: number[]; decoded: string; skipped: string }[];
  vocabSize: number;
  eosTokenId: number;
  padTokenId: number;
};

describe('Tokenizer against Qwen2Tokenizer', () => {
  const tokenizer = Tokenizer.fromPretrained(join(folder, 'tokenizer'));

  test.each(vectors.texts)('$text', ({ text, ids, decoded, skipped }) => {
    expect(tokenizer.encode(text)).toEqual(ids);
    expect(tokenizer.decode(ids, { skipSpecialTokens: false })).toBe(decoded);
    expect(tokenizer.decode(ids)).toBe(skipped);
  });

  test('knows its special tokens', () => {
    expect(tokenizer.vocabSize).toBe(vectors.vocabSize);
    expect(tokenizer.eosTokenId).toBe(vectors.eosTokenId);
    expect(tokenizer.padTokenId).toBe(vectors.padTokenId);
    expect(tokenizer.tokenToId('<|im_end|>')).toBe(vectors.eosTokenId);
    expect(tokenizer.tokenToId('<|no such token|>')).toBeUndefined();
  });

  test('refuses an id beyond its vocabulary', () => {
    expect(() => tokenizer.decode([1, vectors.vocabSize])).toThrow(TokenizerError);
  });
});

describe('Tokenizer.fromPretrained', () => {
  let dir: string;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'pare-tokenizer-'));
    cpSync(join(folder, 'tokenizer'), dir, { recursive: true });
  });
  afterEach(() => rmSync(dir, { recursive: true }));

  test('names a missing file', () => {
    rmSync(join(dir, 'tokenizer.json'));
    expect(() => Tokenizer.fromPretrained(dir)).toThrow(TokenizerError);
    expect(() => Tokenizer.fromPretrained(dir)).toThrow(
      join(dir, 'tokenizer.json') + ' is missing',
    );
    expect(() => Tokenizer.fromPretrained(join(dir, 'absent'))).toThrow(TokenizerError);
  });

  test.each([
    ['tokenizer.json', '{"model":'],
    ['tokenizer.json', '[]'],
    ['tokenizer.json', '{}'],
    ['tokenizer.json', '{"model": {"type": "BPE"}}'],
    ['tokenizer_config.json', 'not json'],
    ['tokenizer_config.json', '{"eos_token": "<|absent|>"}'],
  ])('names a damaged %s: %s', (file, content) => {
    writeFileSync(join(dir, file), content);
    expect(() => Tokenizer.fromPretrained(dir)).toThrow(TokenizerError);
    expect(() => Tokenizer.fromPretrained(dir)).toThrow(`${join(dir, file)} is damaged`);
  });

  test('a pattern that goes round in circles is damage, not an end of the program', () => {
    const path = join(dir, 'tokenizer.json');
    const json = JSON.parse(readFileSync(path, 'utf8')) as { pre_tokenizer: unknown };
    const pattern = { Regex: '(?:\\p{L}+)+!' };
    json.pre_tokenizer = { type: 'Split', pattern, behavior: 'Isolated', invert: false };
    writeFileSync(path, JSON.stringify(json));
    const tokenizer = Tokenizer.fromPretrained(dir);
    expect(() => tokenizer.encode('a'.repeat(50))).toThrow(
      `${path} is damaged (it does not come to an end in 6 s); copy it from the checkpoint again`,
    );
  });

  test('works without tokenizer_config.json, and saves what it read', () => {
    rmSync(join(dir, 'tokenizer_config.json'));
    const tokenizer = Tokenizer.fromPretrained(dir);
    expect(tokenizer.eosTokenId).toBeUndefined();
    const copy = join(dir, 'copy');
    tokenizer.save(copy);
    const text = vectors.texts[5]!;
    expect(Tokenizer.fromPretrained(copy).encode(text.text)).toEqual(text.ids);
  });
});
