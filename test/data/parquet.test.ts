/** Parquet corpora against what Python's datasets reads of the same files (test/oracle/corpora.py). */
import { createHash } from 'node:crypto';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { decodeAudio } from '../../lib/audio';
import { CorpusError, openCorpus, type Corpus, type Utterance } from '../../lib/data';
import { ParquetFile } from '../../lib/data/parquet-file';

const vectors = join(__dirname, '../oracle/vectors/corpora');
interface Row {
  translation: { en: string; de: string };
  client_id: string | null;
  file: string;
  bytes: string;
  rate: number;
  seconds: number;
  samples: string;
}
const { rows: expected } = JSON.parse(readFileSync(join(vectors, 'expected.json'), 'utf8')) as {
  rows: Record<string, Record<string, Row[]>>;
};

const columns = { text: 'translation.en', translations: { de: 'translation.de' } };
let dir: string;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'pare-parquet-'));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

function sha256(...parts: Uint8Array[]): string {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part);
  return hash.digest('hex');
}

/** What the vectors have of an utterance. */
async function described(corpus: Corpus, utterance: Utterance): Promise<Partial<Row>> {
  const source = await corpus.audio(utterance);
  const bytes = typeof source === 'string' ? readFileSync(source) : source;
  const { samples, sampleRate } = await decodeAudio(source);
  return {
    translation: { en: utterance.text, de: utterance.translations.de! },
    client_id: utterance.speaker ?? null,
    seconds: utterance.seconds,
    bytes: sha256(bytes),
    rate: sampleRate,
    samples: sha256(...samples.map(integers)),
  };
}

/** The 16-bit samples that were written. */
function integers(samples: Float32Array): Uint8Array {
  return new Uint8Array(Int16Array.from(samples, (value) => value * 32768).buffer);
}

function told({ translation, client_id, seconds, bytes, rate, samples }: Row): Partial<Row> {
  return { translation, client_id, seconds, bytes, rate, samples };
}

describe('what datasets reads', () => {
  const cases = Object.entries(expected).flatMap(([folder, splits]) =>
    Object.entries(splits).map(([split, rows]) => ({ folder, split, rows })),
  );
  test.each(cases)('$folder, $split', async ({ folder, split, rows }) => {
    const corpus = await openCorpus(join(vectors, folder));
    expect(corpus.description.languages).toEqual({ source: 'en', targets: ['de'] });
    const utterances = await corpus.read(split);
    // In order, then from the end: every block is entered anywhere.
    const found: Partial<Row>[] = [];
    for (const utterance of utterances) found.push(await described(corpus, utterance));
    expect(found).toEqual(rows.map(told));
    const again = await openCorpus(join(vectors, folder));
    await again.read(split);
    for (const [i, utterance] of [...utterances.entries()].reverse()) {
      expect(await described(again, utterance)).toEqual(told(rows[i]!));
    }
    expect(utterances.map(({ id }) => id)).toEqual(rows.map((_, i) => `${split}/${i + 1}`));
  });

  test('pages are blocks where they can be read alone, row groups where a dictionary is', async () => {
    const blocks = async (folder: string): Promise<number> => {
      const corpus = await openCorpus(join(vectors, folder));
      const utterances = await corpus.read('train');
      return new Set(utterances.map((utterance) => corpus.blockOf(utterance))).size;
    };
    expect(await blocks('snappy')).toBe(5);
    expect(await blocks('zstd')).toBe(8);
    expect(await blocks('mixed')).toBeGreaterThan(2);
  });

  test('a block that several ask for at once is unpacked once', async () => {
    const corpus = await openCorpus(join(vectors, 'zstd'));
    const utterances = await corpus.read('train');
    const fresh = await openCorpus(join(vectors, 'zstd'));
    const read = jest.spyOn(ParquetFile.prototype, 'readBlock');
    try {
      for (let round = 0; round < 2; round++) {
        const sounds = await Promise.all(utterances.map((utterance) => fresh.audio(utterance)));
        const one = await corpus.audio(utterances[0]!);
        expect(sounds[0]).toEqual(one);
      }
      const blocks = new Set(utterances.map((utterance) => corpus.blockOf(utterance)));
      expect(read).toHaveBeenCalledTimes(blocks.size);
    } finally {
      read.mockRestore();
    }
  });

  test('paths in place of bytes, in two forms', async () => {
    const corpus = await openCorpus(join(vectors, 'paths'));
    expect(Object.keys(corpus.description.splits)).toEqual(['test', 'train']);
    const rows = expected['codecs/none']!.none!;
    for (const split of ['train', 'test']) {
      const utterances = await corpus.read(split);
      expect(utterances).toHaveLength(4);
      expect(utterances.map(({ audio }) => audio)).toEqual(
        ['0.wav', '1.wav', '2.flac', '3.wav'].map((name) => `clips/clip-${name}`),
      );
      expect(corpus.blockOf(utterances[0]!)).toBeUndefined();
      for (const [i, row] of rows.entries()) {
        const { bytes, samples, translation } = await described(corpus, utterances[i]!);
        expect({ bytes, samples, translation }).toEqual({
          ...{ bytes: row.bytes, samples: row.samples, translation: row.translation },
        });
      }
      const told = utterances.map(({ seconds }) => seconds);
      if (split === 'test') expect(told).toEqual([0.5, 0.5, 0.5, 0.5]);
      else expect(told.slice(0, 3)).toEqual(rows.map(({ seconds }) => seconds));
    }
  });
});

describe('what is wrong is named in one line', () => {
  const copy = (folder: string): string => {
    const to = mkdtempSync(join(dir, 'copy-'));
    cpSync(join(vectors, folder), to, { recursive: true });
    return to;
  };
  const fails = async (work: Promise<unknown>, says: RegExp): Promise<void> => {
    const error = await work.then(
      () => undefined,
      (error: unknown) => error,
    );
    expect(error).toBeInstanceOf(CorpusError);
    expect((error as Error).message).toMatch(says);
    expect((error as Error).message).not.toContain('\n');
  };
  const shard = (folder: string): string => join(folder, 'data', 'train-00000-of-00002.parquet');

  test('columns and splits', async () => {
    const snappy = join(vectors, 'snappy');
    await fails(
      openCorpus({ path: snappy, columns: { ...columns, text: 'translation.em' } }),
      /has no column 'translation\.em' for columns\.text; is it translation\.en\?/,
    );
    await fails(
      openCorpus({ path: snappy, columns: { audio: 'sound' } }),
      /has no column 'sound' for columns\.audio; it has audio, translation, client_id, count/,
    );
    await fails(
      openCorpus({ path: snappy, config: 'en_de' }),
      /has no configuration 'en_de'; it has data/,
    );
    const corpus = await openCorpus(join(vectors, 'datasets'));
    await fails(corpus.read('test'), /has no split 'test'; it has train, validation/);
    await fails(corpus.read('trian'), /it has train, validation; is it train\?/);
  });

  test('a file that is cut, and one that is none', async () => {
    const folder = copy('snappy');
    const bytes = readFileSync(shard(folder));
    writeFileSync(shard(folder), bytes.subarray(0, bytes.length - 100));
    await fails(openCorpus(folder), /train-00000-of-00002\.parquet is damaged or no Parquet file/);
    writeFileSync(shard(folder), 'text');
    await fails(openCorpus(folder), /train-00000-of-00002\.parquet is damaged or no Parquet file/);
    writeFileSync(shard(folder), '');
    await fails(openCorpus(folder), /train-00000-of-00002\.parquet is damaged or no Parquet file/);
  });

  test('damage ends in an error of one line; where nothing protects the bytes, in other samples', async () => {
    const folder = copy('zstd');
    const bytes = readFileSync(shard(folder));
    let failed = 0;
    for (let at = 200; at < bytes.length - 4; at += 997) {
      const broken = Buffer.from(bytes);
      broken.fill(0xa5, at, at + 16);
      writeFileSync(shard(folder), broken);
      try {
        const corpus = await openCorpus(folder);
        for (const utterance of await corpus.read('train')) await described(corpus, utterance);
      } catch (error) {
        failed++;
        expect((error as Error).message).not.toContain('\n');
        expect(['CorpusError', 'AudioError']).toContain((error as Error).name);
      }
    }
    expect(failed).toBeGreaterThan(2);
  });

  test('an unknown compression', async () => {
    const { ParquetFile } = await import('../../lib/data/parquet-file');
    const file = await ParquetFile.open(shard(join(vectors, 'snappy')));
    for (const { columns } of file.metadata.row_groups) columns[0]!.meta_data!.codec = 'LZO';
    const blocks = await file.blocks(['audio', 'bytes']);
    await fails(
      file.readBlock(['audio', 'bytes'], blocks[0]!),
      /is compressed with LZO, which is not read; write it again with zstd or snappy/,
    );
  });

  test('a sound file that is missing, with its row', async () => {
    const folder = copy('paths');
    rmSync(join(folder, 'clips', 'clip-2.flac'));
    const corpus = await openCorpus(folder);
    await fails(corpus.read('train'), /train\.parquet row 3: .*clip-2\.flac does not exist/);
    const problems: string[] = [];
    const left = await corpus.read('train', {
      onProblem: ({ message }) => void problems.push(message),
    });
    expect(left.map(({ id }) => id)).toEqual(['train/1', 'train/2', 'train/4']);
    expect(problems).toHaveLength(1);
  });
});
