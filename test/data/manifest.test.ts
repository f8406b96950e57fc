/** Folders with manifests: AudioFolder's, CoVoST's, NeMo's, and what is wrong with them. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import fc from 'fast-check';
import { encodeWav } from '../../lib/audio';
import {
  checkCorpus,
  CorpusError,
  openCorpus,
  type CorpusSource,
  type Utterance,
} from '../../lib/data';

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'pare-manifest-'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const put = (path: string, content: string | Uint8Array): void => {
  mkdirSync(dirname(join(dir, path)), { recursive: true });
  writeFileSync(join(dir, path), content);
};
/** A tone of so many tenths of a second. */
const wav = (tenths: number, hz = 300): Uint8Array => {
  const tone = (_: unknown, t: number): number => 0.3 * Math.sin((2 * Math.PI * hz * t) / 16000);
  return encodeWav(Float32Array.from({ length: 1600 * tenths }, tone), 16000);
};
const read = async (split: string, source: Omit<CorpusSource, 'path'> = {}): Promise<Utterance[]> =>
  (await openCorpus({ path: dir, ...source })).read(split);
const says = async (work: Promise<unknown>, message: RegExp): Promise<void> => {
  const error: unknown = await work.then(
    () => undefined,
    (error: unknown) => error,
  );
  expect(error).toBeInstanceOf(CorpusError);
  expect((error as Error).message).toMatch(message);
  expect((error as Error).message).not.toContain('\n');
};

describe('forms', () => {
  test('AudioFolder: a metadata.csv in each split’s folder, with quotes and a byte-order mark', async () => {
    put('train/a.wav', wav(3));
    put('train/deep/b.wav', wav(5, 500));
    put(
      'train/metadata.csv',
      '\uFEFFfile_name,transcription,translation_de,speaker_id\r\n' +
        'a.wav,"one, ""two""",eins,x\r\ndeep/b.wav,"three\nfour",drei,\r\n',
    );
    put('test/c.wav', wav(2));
    put('test/metadata.jsonl', '{"file_name":"c.wav","text":"five","translation":{"de":"fünf"}}\n');
    const corpus = await openCorpus(dir);
    expect(corpus.description.languages).toEqual({ source: 'en', targets: ['de'] });
    expect(Object.keys(corpus.description.splits).sort()).toEqual(['test', 'train']);
    expect(await corpus.read('train')).toEqual([
      {
        ...{ id: 'train/1', audio: 'train/a.wav', seconds: 0.3, speaker: 'x' },
        ...{ text: 'one, "two"', translations: { de: 'eins' } },
      },
      {
        ...{ id: 'train/2', audio: 'train/deep/b.wav', seconds: 0.5 },
        ...{ text: 'three\nfour', translations: { de: 'drei' } },
      },
    ]);
    const [test] = await corpus.read('test');
    expect(test).toMatchObject({ id: 'test/1', audio: 'test/c.wav', text: 'five' });
    expect(await corpus.audio(test!)).toBe(join(dir, 'test/c.wav'));
  });

  test('CoVoST: the languages and the split are in the name, quotes mean nothing', async () => {
    put('clips/one.wav', wav(1));
    put(
      'covost_v2.en_zh-CN.dev.tsv',
      'path\tsentence\ttranslation\tclient_id\none.wav\tHe said "go\t他说“走\tabc\n',
    );
    const corpus = await openCorpus(dir);
    expect(corpus.description.languages).toEqual({ source: 'en', targets: ['zh'] });
    expect(await corpus.read('dev')).toEqual([
      {
        ...{ id: 'dev/1', audio: 'clips/one.wav', seconds: 0.1, speaker: 'abc' },
        ...{ text: 'He said "go', translations: { zh: '他说“走' } },
      },
    ]);
  });

  test('one manifest for all: a column, or the folder of the sound, tells the split', async () => {
    put('train/a.wav', wav(1));
    put('dev/b.wav', wav(1, 500));
    const row = (audio_filepath: string, more = {}): string =>
      `${JSON.stringify({ audio_filepath, duration: 0.1, text: 'x', de: 'y', ...more })}\n`;
    put('manifest.jsonl', row('train/a.wav') + row('dev/b.wav'));
    const columns = { translations: { de: 'de' } };
    expect(await read('dev', { columns })).toHaveLength(1);
    put('manifest.jsonl', row('train/a.wav', { split: 'odd' }) + row('dev/b.wav'));
    expect((await read('odd', { columns })).map(({ audio }) => audio)).toEqual(['train/a.wav']);
  });

  test('folders with names of one’s own are splits of their own, never one', async () => {
    put('learn/a.wav', wav(3));
    put('learn/metadata.csv', 'file_name,text,translation_de\na.wav,one,eins\n');
    put('held-out/b.wav', wav(4));
    put('held-out/metadata.csv', 'file_name,text,translation_de\nb.wav,two,zwei\n');
    const corpus = await openCorpus(dir);
    expect(Object.keys(corpus.description.splits)).toEqual(['held-out', 'learn']);
    expect((await corpus.read('learn')).map(({ text }) => text)).toEqual(['one']);
    expect((await corpus.read('held-out')).map(({ text }) => text)).toEqual(['two']);
  });

  test('a manifest in one folder of another name is all of the corpus', async () => {
    put('data/a.wav', wav(3));
    put('data/metadata.csv', 'file_name,text,translation_de\na.wav,one,eins\n');
    expect(await read('train')).toHaveLength(1);
  });

  test('a README’s configurations choose among files', async () => {
    put('a.wav', wav(1));
    for (const name of ['x', 'y']) put(`${name}/rows.tsv`, `path\ttext\tt\n../a.wav\t${name}\tt\n`);
    put('x/a.wav', wav(1));
    put('x/rows.tsv', 'path\ttext\tt\na.wav\tx\tt\n');
    const config = (name: string): string =>
      `- config_name: ${name}\n  data_files:\n  - split: train\n    path: "${name}/*.tsv"\n`;
    put('README.md', `---\nlicense: mit\nconfigs:\n${config('x')}${config('y')}---\n# Words\n`);
    const columns = { translations: { de: 't' } };
    expect((await read('train', { config: 'x', columns }))[0]!.text).toBe('x');
    await says(read('train', { columns }), /has several configurations, x, y; choose one/);
    await says(read('train', { config: 'yy', columns }), /no configuration 'yy'; it has x, y/);
  });

  test('any texts come back as they were, in the three forms', async () => {
    put('a.wav', wav(1));
    const word = fc
      .string({ unit: 'grapheme', minLength: 1, maxLength: 20 })
      .filter((text) => text.trim() === text && !/[\t\n\r\0\uFEFF\u2028\u2029\u0085]/.test(text));
    const quoted = (text: string): string => `"${text.replace(/"/g, '""')}"`;
    const forms: Record<string, (rows: [string, string][]) => string> = {
      jsonl: (rows) => rows.map(([text, de]) => jsonLine(text, de)).join('\n'),
      tsv: (rows) =>
        ['path\ttext\ttranslation_de', ...rows.map((r) => `a.wav\t${r.join('\t')}`)].join('\n'),
      csv: (rows) =>
        ['path,text,translation_de', ...rows.map((r) => `a.wav,${r.map(quoted).join(',')}`)].join(
          '\n',
        ),
    };
    const jsonLine = (text: string, translation_de: string): string =>
      JSON.stringify({ path: 'a.wav', text, translation_de });
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(word, word), { minLength: 1, maxLength: 5 }),
        fc.constantFrom('jsonl', 'tsv', 'csv'),
        async (rows, form) => {
          put(`train.${form}`, forms[form]!(rows));
          const found = await read('train');
          rmSync(join(dir, `train.${form}`));
          expect(found.map(({ text, translations }) => [text, translations.de])).toEqual(rows);
        },
      ),
      { seed: 3, numRuns: 100 },
    );
  });
});

describe('what is wrong', () => {
  const header = 'path\tsentence\ttranslation_de\tseconds\n';
  beforeEach(() => put('a.wav', wav(3)));

  test.each<[string, string, RegExp]>([
    [
      'a missing column',
      'path\tsentense\ttranslation_de\na.wav\tx\ty\n',
      /no column for text .*; it has path, sentense, translation_de: say which with columns\.text \(--columns text=NAME\), perhaps sentense$/,
    ],
    [
      'no translations',
      'path\tsentence\nx\ty\n',
      /which column holds the translations into which language/,
    ],
    ['an empty text', `${header}a.wav\t \ty\t1\n`, /train\.tsv line 2: sentence is empty/],
    ['an empty translation', `${header}a.wav\tx\t\t1\n`, /line 2: translation_de is empty/],
    [
      'a missing file',
      `${header}a.wav\tx\ty\t1\nb.wav\tx\ty\t1\n`,
      /line 3: .*b\.wav does not exist/,
    ],
    ['no file named', `${header}\tx\ty\t1\n`, /line 2: no sound file is named/],
    ['a path outside', `${header}../a.wav\tx\ty\t1\n`, /line 2: audio '\.\.\/a\.wav' lies outside/],
    [
      'a length that is none',
      `${header}a.wav\tx\ty\tlong\n`,
      /line 2: seconds is 'long', no number/,
    ],
    [
      'too many fields',
      `${header}a.wav\tx\ty\t1\tmore\n`,
      /line 2 has 5 fields, the first line names 4/,
    ],
    ['no row at all', header, /has no row in its manifests \(train\.tsv\)/],
  ])('%s', async (_, content, message) => {
    put('train.tsv', content);
    await says(read('train'), message);
  });

  test('JSON and CSV that are none, a folder that is none, splits that are not there', async () => {
    await says(openCorpus(dir), /has no corpus\.json, no manifest/);
    await says(openCorpus(join(dir, 'a.wav')), /is neither a folder nor a name on the hub/);
    put('train.jsonl', '{"path": "a.wav", \n');
    await says(read('train'), /train\.jsonl line 1 is not valid JSON/);
    put('train.jsonl', '[1]\n');
    await says(read('train'), /line 1 is no object/);
    rmSync(join(dir, 'train.jsonl'));
    put('train.csv', 'path,text,translation_de\na.wav,x\n');
    await says(read('train'), /train\.csv is not valid CSV: .*line 2/);
    rmSync(join(dir, 'train.csv'));
    put('train.tsv', `${header}a.wav\tx\ty\t1\n`);
    put('dev.tsv', header);
    expect(await read('dev')).toEqual([]);
    await says(read('tran'), /has no split 'tran'; it has dev, train; is it train\?/);
  });

  test('names that say no split, with what would', async () => {
    put('learn.tsv', 'path\tsentence\ttranslation_de\na.wav\tone\teins\n');
    put('mine.csv', 'path,sentence,translation_de\na.wav,one,eins\n');
    await says(openCorpus(dir), /: learn\.tsv, mine\.csv name no split .*a column split$/);
  });

  test.each(['train.tsv', 'train.csv', 'train.jsonl'])('%s in another encoding', async (name) => {
    const row = '{"path": "a.wav", "text": "one", "translation_de": "M\u00e4rz"}\n';
    put(name, Buffer.from(row, 'latin1'));
    await says(openCorpus(dir), new RegExp(`${name} is not UTF-8; convert it$`));
    put(name, Buffer.from(`\uFEFF${row}`, 'utf16le'));
    await says(openCorpus(dir), new RegExp(`${name} is not UTF-8; convert it$`));
  });

  test('CSV with semicolons, TSV with too few fields', async () => {
    put('train.csv', 'path;sentence\na.wav;one, two\n');
    await says(openCorpus(dir), /columns length is 1, .*; separate its columns by commas$/);
    rmSync(join(dir, 'train.csv'));
    put('train.tsv', 'path\tsentence\ttranslation_de\na.wav\tone\n');
    await says(openCorpus(dir), /line 2 has 2 fields, .*; add what is missing$/);
  });

  test('an id twice, where a column gives them', async () => {
    put('train.tsv', `path\ttext\ttranslation_de\tkey\na.wav\tx\ty\t1\na.wav\tx\ty\t1\n`);
    await says(read('train', { columns: { id: 'key' } }), /line 3: id '1' was used in .* line 2/);
  });
});

test('a check goes on where rows are wrong, and tells what splits share', async () => {
  put('a.wav', wav(3));
  put('again.wav', readFileSync(join(dir, 'a.wav')));
  put('b.wav', wav(20, 500));
  put('silent.wav', encodeWav(new Float32Array(3200), 16000));
  put('broken.wav', 'no sound');
  const row = (...fields: string[]): string => `${fields.join('\t')}\n`;
  const header = row('path', 'text', 'translation_de', 'speaker', 'seconds');
  put(
    'train.tsv',
    header +
      row('a.wav', 'One.', 'eins', 'x', '0.3') +
      row('b.wav', 'two', '', 'x', '2') +
      row('gone.wav', 'two', 'zwei', 'x', '2') +
      row('b.wav', 'two', 'zwei', 'y', '9') +
      row('silent.wav', 'two', 'zwei', 'z', '0.2') +
      row('broken.wav', 'three', 'drei', 'z', '1') +
      row('a.wav', 'four', 'vier') +
      row('silent.wav', 'five', 'fünf', 'z', '0.2', 'more'),
  );
  put('test.tsv', header + row('again.wav', 'one', 'eins', 'w', '0.3'));
  put('dev.tsv', header);
  const { splits, problems } = await checkCorpus(dir, { maxSeconds: 1 });
  expect(splits.find(({ split }) => split === 'train')).toEqual({
    ...{ split: 'train', utterances: 4, speakers: 3, sampleRates: { 16000: 3 } },
    seconds: { total: 2.5, shortest: 0.2, median: 0.3, longest: 2 },
    duplicates: { sentences: 1, sounds: 0 },
  });
  const told = problems.map(({ severity, split, ids, what }) =>
    [severity, split, ids.join(' '), what].join(' | '),
  );
  for (const pattern of [
    'error \\| train \\|  \\| .*line 3: translation_de is empty',
    'error \\| train \\|  \\| .*gone\\.wav does not exist',
    'error \\| train \\|  \\| .*line 8 has 3 fields',
    'error \\| train \\|  \\| .*line 9 has 6 fields',
    'error \\| train \\| train/4 \\| .*has 2\\.0 s; a model hears 1 s at most',
    'warning \\| train \\| train/4 \\| .*has 2\\.00 s, the manifest says 9',
    'error \\| train \\| train/5 \\| .*is silent',
    'error \\| train \\| train/6 \\| .*broken\\.wav cannot be decoded',
    'error \\| dev \\|  \\| the split has no utterance',
    'error \\| (train and test|test and train) \\| .* \\| the same sound$',
    'warning \\| (train and test|test and train) \\| .* \\| the same sentence$',
  ]) {
    expect(told).toContainEqual(expect.stringMatching(new RegExp(`^${pattern}`)));
  }
});

test('a check names the tables that no split is read from', async () => {
  put('a.wav', wav(3));
  const table = 'path\ttext\ttranslation_de\na.wav\tx\ty\n';
  put('talks.train.tsv', table);
  put('talks.held-out.tsv', table);
  const { splits, problems } = await checkCorpus(dir);
  expect(splits.map(({ split }) => split)).toEqual(['train']);
  const what = expect.stringMatching(/^no split is read from this table: /) as string;
  expect(problems).toEqual([{ severity: 'warning', split: 'talks.held-out.tsv', ids: [], what }]);
});

test('a corpus of one utterance', async () => {
  put('a.wav', wav(3));
  put('train.tsv', 'path\ttext\ttranslation_de\na.wav\tx\ty\n');
  expect(await read('train')).toHaveLength(1);
  const { splits, problems } = await checkCorpus(dir);
  expect(splits[0]!.utterances).toBe(1);
  expect(problems).toEqual([]);
});
