import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { checkDisjoint, CorpusError, openCorpus, type Utterance } from '../../lib/data';

let dir: string;

const utterance = (id: string, more: Partial<Utterance> = {}): Utterance => ({
  id,
  audio: `audio/${id}.wav`,
  seconds: 1.5,
  speaker: 'someone',
  text: `number ${id}`,
  translations: { de: `Nummer ${id}`, zh: `第${id}` },
  group: `talk-${id}`,
  ...more,
});

/** Writes a corpus of one split; what `corpus.json` says can be made to differ. */
function write(lines: unknown[], description: Record<string, unknown> = {}): void {
  mkdirSync(join(dir, 'audio'), { recursive: true });
  for (const line of lines) {
    const { audio } = line as Utterance;
    if (typeof audio === 'string') writeFileSync(join(dir, audio), 'sound');
  }
  writeFileSync(
    join(dir, 'corpus.json'),
    JSON.stringify({
      name: 'small',
      version: '1',
      sampleRate: 16000,
      languages: { source: 'en', targets: ['de', 'zh'] },
      splits: { train: { utterances: lines.length, seconds: 3, speakers: 1 } },
      ...description,
    }),
  );
  const text = lines.map((line) => (typeof line === 'string' ? line : JSON.stringify(line)));
  writeFileSync(join(dir, 'train.jsonl'), `${text.join('\n')}\n`);
}

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'pare-corpus-'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const read = async (split: string): Promise<Utterance[]> => (await openCorpus(dir)).read(split);

describe('openCorpus', () => {
  it('reads what was written, in order', async () => {
    const lines = [utterance('b'), utterance('a')];
    write(lines);
    const corpus = await openCorpus(dir);
    expect(corpus.description.languages.targets).toEqual(['de', 'zh']);
    expect(await corpus.read('train')).toEqual(lines);
    expect(await corpus.audio(lines[0]!)).toBe(join(dir, 'audio', 'b.wav'));
  });

  it.each<[string, unknown[], RegExp]>([
    [
      'a line that is not JSON',
      [utterance('a'), '{"id": "b",'],
      /train\.jsonl line 2 is not valid/,
    ],
    ['an empty text', [utterance('a', { text: ' ' })], /line 1: text: must not be empty/],
    [
      'an empty reference',
      [utterance('a'), utterance('b', { translations: { de: '', zh: '二' } })],
      /line 2: translations\.de: must not be empty/,
    ],
    [
      'a missing reference',
      [utterance('a', { translations: { de: 'eins' } })],
      /line 1: no reference in 'zh'/,
    ],
    ['a missing field', [{ ...utterance('a'), speaker: undefined }], /line 1: speaker: /],
    ['no time', [utterance('a', { seconds: 0 })], /line 1: seconds: /],
    ['an id twice', [utterance('a'), utterance('a')], /line 2: id 'a' was used on line 1/],
  ])('refuses %s, naming the line', async (_, lines, message) => {
    write(lines);
    await expect(read('train')).rejects.toThrow(CorpusError);
    await expect(read('train')).rejects.toThrow(message);
  });

  it('refuses a missing sound file, naming it', async () => {
    write([utterance('a'), utterance('b')]);
    rmSync(join(dir, 'audio', 'b.wav'));
    await expect(read('train')).rejects.toThrow(/line 2: .*b\.wav does not exist/);
  });

  it.each(['../b.wav', '..', '/b.wav'])(
    'refuses the audio path %s outside its folder',
    async (audio) => {
      write([utterance('a')]);
      writeFileSync(join(dir, 'train.jsonl'), JSON.stringify(utterance('a', { audio })));
      await expect(read('train')).rejects.toThrow(/lies outside the corpus/);
    },
  );

  it('refuses a folder without corpus.json, and a corpus.json that describes nothing', async () => {
    await expect(openCorpus(dir)).rejects.toThrow(/has no corpus\.json, no manifest/);
    writeFileSync(join(dir, 'corpus.json'), '[1, 2');
    await expect(openCorpus(dir)).rejects.toThrow(/corpus\.json is not valid JSON/);
    writeFileSync(join(dir, 'corpus.json'), '{"name": "x"}');
    await expect(openCorpus(dir)).rejects.toThrow(CorpusError);
  });

  it('refuses an unknown split, a lost file and a cut one', async () => {
    write([utterance('a')]);
    await expect(read('dev')).rejects.toThrow(/no split 'dev'; it has train/);
    write([utterance('a')], { splits: { train: { utterances: 2, seconds: 3, speakers: 1 } } });
    await expect(read('train')).rejects.toThrow(/has 1 utterances, corpus.json says 2/);
    rmSync(join(dir, 'train.jsonl'));
    await expect(read('train')).rejects.toThrow(/train\.jsonl does not exist/);
  });
});

describe('checkDisjoint', () => {
  it('accepts splits that share nothing', () => {
    expect(() =>
      checkDisjoint({ train: [utterance('a')], dev: [utterance('b')], test: [utterance('c')] }),
    ).not.toThrow();
  });

  it.each<[string, Partial<Utterance>, RegExp]>([
    ['group', { group: 'talk-a' }, /'train' and 'test' overlap: a and b have the same group/],
    ['sound file', { audio: 'audio/a.wav' }, /'train' and 'test' overlap: .* the same sound file/],
    ['sentence by one speaker', { text: 'number a' }, /the same sentence and speaker, 'number a'/],
  ])('refuses the same %s, naming the pair and an example', (_, more, message) => {
    const splits = { train: [utterance('a')], dev: [], test: [utterance('b', more)] };
    expect(() => checkDisjoint(splits)).toThrow(CorpusError);
    expect(() => checkDisjoint(splits)).toThrow(message);
  });

  it('accepts the same sentence by another speaker if the groups differ', () => {
    const splits = {
      train: [utterance('a')],
      test: [utterance('b', { text: 'number a', speaker: 'another' })],
    };
    expect(() => checkDisjoint(splits)).not.toThrow();
  });

  it('lets two splits share a group if both are only reported', () => {
    const other = utterance('b', { group: 'talk-a' });
    const splits = { 'test-small': [utterance('a')], test: [other] };
    expect(() => checkDisjoint(splits, ['test-small', 'test'])).not.toThrow();
    expect(() => checkDisjoint(splits, ['test'])).toThrow(/'test-small' and 'test'/);
    expect(() => checkDisjoint(splits)).toThrow(CorpusError);
  });
});
