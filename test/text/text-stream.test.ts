import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { saveBpe, TextStream, Tokenizer, trainByteLevelBpe } from '../../lib/text';

const folder = join(__dirname, '../oracle/vectors/processor');
const { texts } = JSON.parse(readFileSync(join(folder, 'vectors.json'), 'utf8')) as {
  texts: { text: string; ids: number[] }[];
};

/** What is given away after each id, and at the end. */
function pieces(tokenizer: Tokenizer, ids: readonly number[]): string[] {
  const stream = new TextStream(tokenizer);
  return [...ids.map((id) => stream.push(id)), stream.end()];
}

const whole = (tokenizer: Tokenizer, ids: readonly number[]): string =>
  tokenizer.decode(ids, { skipSpecialTokens: true }).trim();

describe('TextStream', () => {
  let dir: string;
  let bytes: Tokenizer;
  const trained = Tokenizer.fromPretrained(join(folder, 'tokenizer'));

  beforeAll(() => {
    dir = mkdtempSync(join(tmpdir(), 'pare-stream-'));
    // Nearly no merges: a Chinese character takes three tokens, an emoji four.
    saveBpe(dir, trainByteLevelBpe(['a b'], { vocabSize: 263 }));
    bytes = Tokenizer.fromPretrained(dir);
  });
  afterAll(() => rmSync(dir, { recursive: true }));

  test.each(texts)('$text, of the pieces as of the whole', ({ ids }) => {
    expect(pieces(trained, ids).join('')).toBe(whole(trained, ids));
  });

  test('a character comes whole, with the last of its bytes', () => {
    const text = '星期一 8 点 😀!';
    const ids = bytes.encode(text);
    expect(ids.length).toBe(Buffer.byteLength(text));
    const given = pieces(bytes, ids).filter((piece) => piece !== '');
    expect(given).toEqual(['星', '期', '一', ' 8', ' 点', ' 😀', '!']);
    const [first] = pieces(bytes, ids.slice(0, 3)).slice(0, 2);
    expect(first).toBe('');
  });

  test('white space waits for what follows it, and is left out around the text', () => {
    const ids = bytes.encode(' \n so  it \n');
    expect(pieces(bytes, ids).filter((piece) => piece !== '')).toEqual(['s', 'o', '  i', 't']);
  });

  test('bytes that are no character come when it is clear that they are none', () => {
    const [start] = bytes.encode('星');
    const ids = [start!, ...bytes.encode('a'), start!];
    expect(pieces(bytes, ids)).toEqual(['', '\uFFFDa', '', '\uFFFD']);
    expect(pieces(bytes, [])).toEqual(['']);
  });

  test('whatever ids come, pieces are the whole and never taken back', () => {
    const id = fc.integer({ min: 0, max: bytes.vocabSize - 1 });
    const property = fc.property(fc.array(id, { maxLength: 40 }), (ids) => {
      const given = pieces(bytes, ids);
      expect(given.join('')).toBe(whole(bytes, ids));
    });
    fc.assert(property, { seed: 1, numRuns: 500 });
  });
});
