import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { execFile } from 'node:child_process';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { promisify } from 'node:util';
import { WavDecoder } from '../../lib/audio/wav';
import {
  checkDisjoint,
  CorpusError,
  openCorpus,
  type Corpus,
  type Utterance,
} from '../../lib/data';
import { allPhrases, heldOutVoices, makeDemoCorpus, trainingVoices } from '../../lib/data/demo';
import { planCorpus } from '../../lib/data/demo/plan';
import { UnfinishedCorpus } from '../../lib/data/demo/unfinished';
import { digests } from '../pipeline/folders';

// More than one batch, so that two processes share the work.
const small = { train: 44, dev: 8, test: 8, testVoices: 8, seed: 3 };
const names = ['train', 'dev', 'test', 'test-voices'];
let parent: string;
let dir: string;
let corpus: Corpus;
let splits: Record<string, Utterance[]>;

function samplesOf(path: string): Float32Array {
  return new WavDecoder(path).push(readFileSync(path))!.samples[0]!;
}

const sum = (numbers: readonly number[]): number => numbers.reduce((a, b) => a + b, 0);
const level = (samples: Float32Array): number =>
  Math.sqrt(samples.reduce((sum, sample) => sum + sample * sample, 0) / samples.length);

beforeAll(async () => {
  parent = mkdtempSync(join(tmpdir(), 'pare-demo-'));
  dir = join(parent, 'corpus');
  await makeDemoCorpus(dir, small);
  corpus = await openCorpus(dir);
  splits = {};
  for (const name of names) splits[name] = await corpus.read(name);
}, 120_000);
afterAll(() => rmSync(parent, { recursive: true, force: true }));

describe('makeDemoCorpus', () => {
  it('makes a corpus that opens, with the counts asked for', () => {
    expect(names.map((split) => splits[split]!.length)).toEqual([44, 8, 8, 8]);
    expect(readdirSync(parent)).toEqual(['corpus']);
  });

  it('writes references that are the phrases’ own', () => {
    const byText = new Map(allPhrases().map((phrase) => [phrase.text, phrase]));
    for (const utterance of Object.values(splits).flat()) {
      const phrase = byText.get(utterance.text)!;
      expect(utterance.translations).toEqual(phrase.translations);
      expect(utterance.group).toBe(phrase.group);
    }
  });

  it('writes clips of speech: 16 kHz, short, neither silent nor clipped, with quiet ends', () => {
    for (const utterance of Object.values(splits).flat()) {
      const samples = samplesOf(corpus.audioName(utterance));
      expect(samples.length / 16000).toBeCloseTo(utterance.seconds, 3);
      expect(utterance.seconds).toBeGreaterThan(0.4);
      expect(utterance.seconds).toBeLessThanOrEqual(2.5);
      expect(level(samples)).toBeGreaterThan(0.01);
      expect(samples.reduce((peak, s) => Math.max(peak, Math.abs(s)), 0)).toBeLessThan(0.96);
      if (utterance.id.startsWith('train')) continue;
      expect(level(samples.subarray(0, 640))).toBeLessThan(0.1 * level(samples));
      expect(level(samples.subarray(-640))).toBeLessThan(0.1 * level(samples));
    }
  });

  it('writes the same bytes again, with other processes', async () => {
    const again = join(parent, 'again');
    await makeDemoCorpus(again, { ...small, processes: 1 });
    for (const split of names) {
      expect(readFileSync(join(again, `${split}.jsonl`))).toEqual(
        readFileSync(join(dir, `${split}.jsonl`)),
      );
      for (const { audio } of splits[split]!) {
        expect(readFileSync(join(again, audio)).equals(readFileSync(join(dir, audio)))).toBe(true);
      }
    }
    rmSync(again, { recursive: true });
  }, 120_000);

  it('does nothing when the corpus is there, and tells progress of it', async () => {
    const made = statSync(join(dir, 'corpus.json')).mtimeMs;
    const progress: [number, number][] = [];
    await makeDemoCorpus(dir, {
      ...small,
      onProgress: (done, total) => progress.push([done, total]),
    });
    expect(statSync(join(dir, 'corpus.json')).mtimeMs).toBe(made);
    expect(progress).toEqual([[68, 68]]);
  });

  it('makes a corpus of other settings anew, and clears what a killed run left', async () => {
    const other = join(parent, 'other');
    // No process has this number: Linux ends at 4194304.
    const abandoned = join(parent, 'other.making-0123456789abcdef-99999999-0-0');
    mkdirSync(abandoned);
    // Of a process that goes on.
    const others = join(parent, `other.making-0123456789abcdef-${process.ppid}-0-0`);
    mkdirSync(others);
    const counts = { train: 2, dev: 1, test: 3, testVoices: 1 };
    await makeDemoCorpus(other, { ...counts, seed: 1 });
    expect([abandoned, others].map((path) => existsSync(path))).toEqual([false, true]);
    rmSync(others, { recursive: true });
    const first = readFileSync(join(other, 'test.jsonl'), 'utf8');
    const progress: number[] = [];
    await makeDemoCorpus(other, { ...counts, seed: 2, onProgress: (done) => progress.push(done) });
    expect(readFileSync(join(other, 'test.jsonl'), 'utf8')).not.toBe(first);
    expect(progress.at(-1)).toBe(7);
    expect(readdirSync(parent).sort()).toEqual(['corpus', 'other']);
  }, 120_000);

  describe('interrupted', () => {
    // Three batches.
    const counts = { ...small, train: 105 };
    let whole: string;
    beforeAll(async () => {
      whole = join(parent, 'whole');
      await makeDemoCorpus(whole, counts);
    }, 600_000);
    afterAll(() => rmSync(whole, { recursive: true }));

    /** Makes the corpus and returns how many utterances were there before any was spoken. */
    async function resumed(place: string): Promise<number> {
      const done: number[] = [];
      const spoken = jest.spyOn(UnfinishedCorpus.prototype, 'add');
      const onProgress = (count: number): void => void done.push(count);
      await makeDemoCorpus(place, { ...counts, processes: 1, onProgress });
      const before = 129 - sum(spoken.mock.calls.map(([, clips]) => clips.length));
      spoken.mockRestore();
      expect(done.at(-1)).toBe(129);
      expect(readdirSync(parent).filter((name) => name.includes('making'))).toEqual([]);
      expect(digests(place)).toEqual(digests(whole));
      rmSync(place, { recursive: true });
      return before;
    }

    const unfinished = (place: string): string[] =>
      readdirSync(parent).filter((name) => name.startsWith(`${basename(place)}.making-`));

    it('by a signal of its own, keeps what was spoken and goes on from there', async () => {
      const place = join(parent, 'stopped');
      const stop = new AbortController();
      const stopped = makeDemoCorpus(place, {
        ...counts,
        processes: 1,
        signal: stop.signal,
        onProgress: () => stop.abort(),
      });
      await expect(stopped).rejects.toMatchObject({ name: 'AbortError' });
      expect(existsSync(place)).toBe(false);
      expect(unfinished(place)).toHaveLength(1);
      expect(await resumed(place)).toBe(64);
    }, 600_000);

    it.each(['SIGKILL', 'SIGTERM'])(
      'by %s, too, twice',
      async (signal) => {
        const place = join(parent, `ended-by-${signal}`);
        const options = JSON.stringify({ ...counts, processes: 1 });
        for (const batches of [1, 1]) {
          const child = [join(__dirname, 'demo-corpus-child.js'), place, options, signal, batches];
          const ended = promisify(execFile)(process.execPath, child.map(String));
          await expect(ended).rejects.toMatchObject({ signal });
          expect(unfinished(place)).toHaveLength(1);
        }
        expect(await resumed(place)).toBe(128);
      },
      600_000,
    );

    it('speaks a batch again of which a clip was damaged', async () => {
      const place = join(parent, 'damaged');
      const options = JSON.stringify({ ...counts, processes: 1 });
      const child = [join(__dirname, 'demo-corpus-child.js'), place, options, 'SIGKILL', '2'];
      await expect(promisify(execFile)(process.execPath, child)).rejects.toMatchObject({
        signal: 'SIGKILL',
      });
      const clip = join(parent, unfinished(place)[0]!, 'audio/train/train-00007.wav');
      const bytes = readFileSync(clip);
      bytes[500]! ^= 1;
      writeFileSync(clip, bytes);
      expect(await resumed(place)).toBe(64);
    }, 600_000);
  });

  it('refuses a folder that holds something else and leaves it alone', async () => {
    const taken = join(parent, 'taken');
    mkdirSync(taken);
    writeFileSync(join(taken, 'thesis.tex'), 'text');
    await expect(makeDemoCorpus(taken, small)).rejects.toThrow(CorpusError);
    await expect(makeDemoCorpus(taken, small)).rejects.toThrow(/taken: it holds something else/);
    expect(readdirSync(taken)).toEqual(['thesis.tex']);
    rmSync(taken, { recursive: true });
  });
});

describe('the plan of the full corpus', () => {
  const plan = planCorpus(1, { train: 4000, dev: 160, test: 200, testVoices: 200 });
  const part = (split: string): typeof plan => plan.filter((planned) => planned.split === split);

  it('has splits that do not overlap', () => {
    const utterances = (split: string): Parameters<typeof checkDisjoint>[0][string] =>
      part(split).map(({ id, phrase, voice }) => ({
        ...phrase,
        id,
        audio: id,
        seconds: 1,
        speaker: voice.id,
      }));
    expect(() =>
      checkDisjoint(Object.fromEntries(names.map((split) => [split, utterances(split)])), [
        'test',
        'test-voices',
      ]),
    ).not.toThrow();
  });

  it('teaches every word that is tested, often', () => {
    const count = new Map<string, number>();
    for (const { phrase } of part('train')) {
      for (const word of phrase.text.split(' ')) count.set(word, (count.get(word) ?? 0) + 1);
    }
    for (const { phrase } of plan) {
      for (const word of phrase.text.split(' ')) expect(count.get(word)).toBeGreaterThanOrEqual(20);
    }
  });

  it('keeps the test voices out of all else and has at least 24 to train on', () => {
    const held = new Set(heldOutVoices.map((voice) => voice.id));
    expect(new Set(part('test-voices').map(({ voice }) => voice.id))).toEqual(held);
    const rest = plan.filter(({ split }) => split !== 'test-voices').map(({ voice }) => voice.id);
    expect(rest.filter((id) => held.has(id))).toEqual([]);
    const training = new Set(part('train').map(({ voice }) => voice.id));
    expect(training.size).toBe(trainingVoices.flatMap(({ voices }) => voices).length);
    expect(training.size).toBeGreaterThanOrEqual(24);
  });

  it('says no test phrase twice, and varies the clips of training only', () => {
    for (const split of ['dev', 'test', 'test-voices']) {
      const texts = part(split).map(({ phrase }) => phrase.text);
      expect(new Set(texts).size).toBe(texts.length);
      for (const { clip } of part(split)) {
        expect(Object.keys(clip).sort()).toEqual(['after', 'before', 'level']);
      }
    }
    const varied = part('train').filter(({ clip }) => Object.keys(clip).length > 3).length;
    expect(varied / 4000).toBeGreaterThan(0.4);
    expect(varied / 4000).toBeLessThan(0.6);
  });
});
