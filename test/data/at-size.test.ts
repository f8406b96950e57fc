/** Corpora larger than memory should be: what is held does not grow with their sounds. */
import { execFile } from 'node:child_process';
import { linkSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { parquetWriteBuffer } from 'hyparquet-writer';
import { encodeWav } from '../../lib/audio';
import { seededRandom } from '../../lib/data';

const execute = promisify(execFile);

let dir: string;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'pare-size-'));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

interface Child {
  utterances: number;
  bytes: number;
  order: string;
  peak: number;
  index: number;
}

async function child(corpus: string, what: 'sounds' | 'index'): Promise<Child> {
  const script = join(__dirname, 'epoch-child.js');
  const { stdout } = await execute(process.execPath, ['--expose-gc', script, corpus, what]);
  return JSON.parse(stdout) as Child;
}

const clips = 100;

/** A shard of 32 MB: 10 s of noise a row, 25 rows a row group, in pages of 1 MB. */
function shard(): Uint8Array {
  const random = seededRandom('noise');
  const noise = Float32Array.from({ length: 160_000 }, () => random.next() - 0.5);
  const wav = encodeWav(noise, 16000);
  const rows = Array.from({ length: clips }, (_, row) => {
    const own = wav.slice();
    own[100] = row;
    return own;
  });
  const text = (prefix: string): string[] => rows.map((_, row) => `${prefix} ${row}`);
  return new Uint8Array(
    parquetWriteBuffer({
      columnData: [
        { name: 'audio', data: rows, type: 'BYTE_ARRAY', encoding: 'PLAIN' },
        { name: 'text', data: text('number'), type: 'STRING' },
        { name: 'translation_de', data: text('Nummer'), type: 'STRING' },
      ],
      rowGroupSize: 25,
      pageSize: 2 ** 20,
      codec: 'UNCOMPRESSED',
      statistics: false,
    }),
  );
}

/** A corpus of so many shards, which are one file under many names. */
function corpus(name: string, file: string, shards: number): string {
  const folder = join(dir, name, 'data');
  mkdirSync(folder, { recursive: true });
  for (let i = 0; i < shards; i++) {
    const part = [i, shards].map((value) => String(value).padStart(5, '0')).join('-of-');
    linkSync(file, join(folder, `train-${part}.parquet`));
  }
  return join(dir, name);
}

test('two epochs of 1.3 GB in Parquet take the memory of 0.4 GB', async () => {
  const file = join(dir, 'shard.parquet');
  writeFileSync(file, shard());
  const { size } = statSync(file);
  expect(size).toBeGreaterThan(32_000_000);
  const small = await child(corpus('small', file, 12), 'sounds');
  const large = await child(corpus('large', file, 40), 'sounds');
  expect(small).toMatchObject({ utterances: 12 * clips, bytes: 2 * 12 * clips * 320_044 });
  expect(large).toMatchObject({ utterances: 40 * clips, bytes: 2 * 40 * clips * 320_044 });
  // What is kept unpacked, 256 MB, and the program, which takes some 100 MB.
  expect(large.peak).toBeLessThan(700e6);
  // The collector lets some pages wait; the sounds are 896 MB more.
  expect(large.peak - small.peak).toBeLessThan(250e6);
  // The same seed, the same order.
  expect((await child(join(dir, 'small'), 'sounds')).order).toBe(small.order);
});

test('an index of 100,000 utterances', async () => {
  const folder = join(dir, 'rows');
  mkdirSync(folder);
  writeFileSync(join(folder, 'one.wav'), encodeWav(new Float32Array(1600), 16000));
  const lines = ['file_name\tseconds\ttext\tspeaker\ttranslation_de'];
  for (let i = 0; i < 100_000; i++) {
    const text = `this is the sentence with the number ${i} of a corpus of many`;
    const german = `dies ist der Satz mit der Nummer ${i} eines Korpus von vielen`;
    lines.push(`one.wav\t${1 + (i % 100) / 10}\t${text}\tspeaker ${i % 500}\t${german}`);
  }
  writeFileSync(join(folder, 'train.tsv'), lines.join('\n'));
  const { utterances, index } = await child(folder, 'index');
  expect(utterances).toBe(100_000);
  // 120 bytes of it are the two sentences.
  expect(index / utterances).toBeLessThan(450);
});
