import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { AudioError, encodeWav, loadAudio } from '../../lib/audio';
import { concatenate } from '../../lib/audio/resample';
import { openCorpus } from '../../lib/data';
import { makeDemoCorpus } from '../../lib/data/demo';
import { FileError } from '../../lib/files';
import { AudioTooShortError, ProcessorError } from '../../lib/qwen2-audio';
import type { RecordingOutcome, TranslatedSegment } from '../../lib/qwen2-audio/recordings';
import { SpeechTranslator } from '../../lib/qwen2-audio/translator';
import { memory } from '../../lib/torch';
import { tinySeconds, writeTinyCheckpoint, writeTone } from '../tiny-checkpoint';

jest.setTimeout(600_000);

const rate = 16000;
const request = { to: 'German', maxNewTokens: 5 };
let folder: string;
let translator: SpeechTranslator;
let clips: Float32Array[];
let long: Float32Array;

const silence = (seconds: number): Float32Array => new Float32Array(Math.round(seconds * rate));

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'pare-recordings-'));
  writeTinyCheckpoint(join(folder, 'model'));
  translator = await SpeechTranslator.load(join(folder, 'model'));
  clips = await Promise.all(
    [1.3, 1.7, 0.9, 1.5, 1.1].map((seconds, i) => {
      const file = join(folder, `${i}.wav`);
      writeTone(file, seconds, 180 + 110 * i);
      return loadAudio(file);
    }),
  );
  long = concatenate(clips.flatMap((clip) => [silence(0.8), clip]));
});
afterAll(() => {
  translator.dispose();
  rmSync(folder, { recursive: true });
});

async function collect<T>(all: AsyncIterable<T>): Promise<T[]> {
  const items: T[] = [];
  for await (const item of all) items.push(item);
  return items;
}

describe('a recording that is longer than the window', () => {
  test('is cut at its pauses, and its pieces are translated as they would be alone', async () => {
    const { text, tokenIds, segments, duration, silent } = await translator.translate(
      long,
      request,
    );
    expect(duration).toBe(long.length / rate);
    expect(silent).toBe(false);
    const spoken = segments.filter((segment) => !segment.silent);
    expect(spoken).toHaveLength(clips.length);
    const pieces = spoken.map(({ start, end }) => long.slice(start * rate, end * rate));
    const alone = await translator.translateBatch(pieces, request);
    expect(spoken.map((segment) => segment.text)).toEqual(alone.map((piece) => piece.text));
    expect(tokenIds).toEqual(alone.flatMap((piece) => piece.tokenIds));
    for (const { text: part } of alone) expect(text).toContain(part);
    // Nothing is left out.
    let at = 0;
    for (const { start, end } of segments) {
      expect(start).toBeLessThanOrEqual(at);
      at = end;
    }
    expect(at).toBe(duration);
  });

  test('gives the same from a file, its bytes, and a stream of samples, in whatever batches', async () => {
    const wav = encodeWav(long, rate);
    const path = join(folder, 'long.wav');
    writeFileSync(path, wav);
    const exact = await loadAudio(wav);
    const expected = await translator.translate(exact, request);
    const chunks = (async function* () {
      for (let at = 0; at < exact.length; at += 1234) yield exact.slice(at, at + 1234);
    })();
    for (const [source, batchSize] of [
      [path, 1],
      [wav, 3],
      [{ stream: chunks, sampleRate: rate }, 2],
    ] as const) {
      const { seconds: _, ...same } = await translator.translate(source, { ...request, batchSize });
      const { seconds: __, ...wanted } = expected;
      expect(same).toEqual(wanted);
    }
  });

  test('of a stream, each segment comes as soon as it is certain', async () => {
    let pushed = 0;
    const chunks = (async function* () {
      for (const part of [long, silence(2), long, silence(2), long]) {
        for (let at = 0; at < part.length; at += 4000) {
          yield part.slice(at, at + 4000);
          pushed += 0.25;
        }
      }
    })();
    const source = { stream: chunks, sampleRate: rate };
    const seen: { segment: TranslatedSegment; after: number }[] = [];
    for await (const segment of translator.translateSegments(source, request)) {
      seen.push({ segment, after: pushed - segment.end });
    }
    expect(seen.filter(({ segment }) => !segment.silent)).toHaveLength(3 * clips.length);
    // Five seconds are heard ahead; the last of what is known waits for its neighbour.
    for (const { after } of seen.slice(0, -1)) expect(after).toBeLessThan(10);
  });

  test('where there is no pause, pieces overlap', async () => {
    const tone = Float32Array.from({ length: 5 * rate }, (_, i) => 0.3 * Math.sin(i / 9));
    const { segments } = await translator.translate(tone, request);
    expect(segments.length).toBeGreaterThan(2);
    for (const [i, { start, end }] of segments.entries()) {
      expect(end - start).toBeLessThanOrEqual(tinySeconds);
      if (i > 0) expect(start).toBeLessThan(segments[i - 1]!.end);
    }
  });
});

describe('a recording that the window holds', () => {
  test('is translated whole, unless segments are asked for', async () => {
    const [whole] = await translator.translateBatch([clips[1]!], request);
    const translation = await translator.translate(clips[1]!, request);
    expect(translation).toMatchObject({ text: whole!.text, tokenIds: whole!.tokenIds });
    const { text, tokenIds } = whole!;
    const duration = clips[1]!.length / rate;
    expect(translation.segments).toEqual([
      { start: 0, end: duration, text, tokenIds, silent: false },
    ]);
    const late = concatenate([silence(0.9), clips[2]!]);
    const cut = await translator.translate(late, { ...request, segments: true });
    expect(cut.segments.map(({ silent }) => silent)).toEqual([true, false]);
    expect(cut.segments[1]!.start).toBeCloseTo(0.8, 1);
  });

  test('says how to cut: no longer than the model takes', async () => {
    const some = { ...request, segments: { maxSeconds: 1.2 } };
    const { segments } = await translator.translate(clips[1]!, some);
    expect(segments.every(({ start, end }) => end - start <= 1.2)).toBe(true);
    const more = { ...request, segments: { maxSeconds: 3 } };
    await expect(translator.translate(clips[1]!, more)).rejects.toThrow(AudioError);
    await expect(translator.translate(clips[1]!, more)).rejects.toThrow('the model takes 2 s');
  });
});

describe('where nobody speaks', () => {
  test.each([0.5, 1.9, 30])('%d s of silence have no text, and say so', async (seconds) => {
    const translateEach = jest.spyOn(translator, 'translateEach');
    const translation = await translator.translate(silence(seconds), request);
    expect(translation).toEqual({
      ...{ text: '', tokenIds: [], seconds: 0, duration: seconds, silent: true },
      segments: [{ start: 0, end: seconds, text: '', tokenIds: [], silent: true }],
    });
    expect(translateEach.mock.calls.every(([audios]) => audios.length === 0)).toBe(true);
    translateEach.mockRestore();
  });

  test('too little for the model is an error, silent or not', async () => {
    for (const samples of [Float32Array.of(0.5), silence(0.01)]) {
      await expect(translator.translate(samples, request)).rejects.toThrow(AudioTooShortError);
      const segments = { ...request, segments: true };
      await expect(translator.translate(samples, segments)).rejects.toThrow(AudioTooShortError);
    }
  });
});

describe('many recordings', () => {
  test('have their outcomes in order, and a bad one does not stop the others', async () => {
    const broken = join(folder, 'broken.wav');
    // Its end is missing, which is known only there.
    writeFileSync(broken, encodeWav(long, rate).subarray(0, 100_000));
    const sources = [clips[0]!, '/nowhere.mp3', long, broken, silence(3), folder, clips[4]!];
    const heard: [number, number][] = [];
    const segments: [number, number][] = [];
    const options = {
      ...request,
      batchSize: 4,
      onProgress: (done: number, total: number) => void heard.push([done, total]),
      onSegment: ({ start }: TranslatedSegment, index: number) =>
        void segments.push([index, start]),
    };
    const outcomes = await collect<RecordingOutcome>(
      translator.translateRecordings(sources, options),
    );
    expect(outcomes.map(({ index }) => index)).toEqual([0, 1, 2, 3, 4, 5, 6]);
    expect(outcomes.map(({ error }) => error !== undefined)).toEqual([
      ...[false, true, false, true, false, true, false],
    ]);
    expect(outcomes[1]!.error).toBeInstanceOf(FileError);
    expect(outcomes[3]!.error).toBeInstanceOf(AudioError);
    expect(String(outcomes[3]!.error)).toContain(`${broken} is cut short`);
    expect(String(outcomes[5]!.error)).toContain('it is a folder');
    expect(outcomes[4]!.translation!.silent).toBe(true);
    const alone = await translator.translate(long, request);
    expect(outcomes[2]!.translation!.segments).toEqual(alone.segments);
    expect(heard).toEqual(Array.from({ length: 8 }, (_, done) => [done, 7]));
    expect(segments.filter(([index]) => index === 2)).toHaveLength(alone.segments.length);
    const sorted = [...segments].sort(([a, s], [b, t]) => a - b || s - t);
    expect(segments).toEqual(sorted);
  });

  test('what is wrong with the request is thrown, and is no fault of a recording', async () => {
    await expect(collect(translator.translateRecordings([long, long], {}))).rejects.toThrow(
      ProcessorError,
    );
  });

  test('are generated as the request says', async () => {
    const beams = { ...request, numBeams: 3 };
    const { segments } = await translator.translate(long, beams);
    const spoken = segments.filter(({ silent }) => !silent);
    const pieces = spoken.map(({ start, end }) => long.slice(start * rate, end * rate));
    const alone = await translator.translateBatch(pieces, beams);
    expect(spoken.map(({ tokenIds }) => tokenIds)).toEqual(alone.map(({ tokenIds }) => tokenIds));
  });

  test('stop where the signal says so, and leave no tensor behind', async () => {
    await translator.translate(long, request);
    const { handles } = memory();
    await translator.translate(long, request);
    const controller = new AbortController();
    const options = {
      ...request,
      batchSize: 2,
      signal: controller.signal,
      onSegment: () => controller.abort(),
    };
    await expect(translator.translate(long, options)).rejects.toMatchObject({
      name: 'AbortError',
    });
    expect(memory().handles).toBe(handles);
    // Silence without end.
    const soon = new AbortController();
    const endless = (async function* () {
      for (let second = 0; ; second++) {
        if (second === 50) soon.abort();
        yield silence(1);
        await Promise.resolve();
      }
    })();
    const source = { stream: endless, sampleRate: rate };
    const aborted = translator.translate(source, { ...request, signal: soon.signal });
    await expect(aborted).rejects.toMatchObject({ name: 'AbortError' });
  });
});

test('the demo: clips in a recording of 95 s and more are translated as well as alone', async () => {
  const corpusDir = join(folder, 'corpus');
  await makeDemoCorpus(corpusDir, { train: 8, dev: 8, test: 48, testVoices: 8, processes: 1 });
  const corpus = await openCorpus(corpusDir);
  const utterances = await corpus.read('test');
  const audios = await Promise.all(
    utterances.map(({ audio }) => loadAudio(readFileSync(join(corpusDir, audio)))),
  );
  const starts: number[] = [];
  let at = 0;
  const recording = concatenate(
    audios.flatMap((audio, i) => {
      // Pauses of 0.6 to 1.4 s.
      const pause = silence(0.6 + (i % 5) / 5);
      starts.push(at / rate);
      at += audio.length + pause.length;
      return [audio, pause];
    }),
  );
  expect(recording.length / rate).toBeGreaterThan(95);
  const teacher = await SpeechTranslator.load(join(__dirname, '../../recipes/demo-teacher'));
  const options = { to: 'German', maxNewTokens: 24, batchSize: 24 };
  const single = await teacher.translateBatch(audios, options);
  const { segments } = await teacher.translate(recording, options);
  teacher.dispose();
  const spoken = segments.filter(({ silent }) => !silent);
  expect(spoken).toHaveLength(audios.length);
  const references = utterances.map(({ translations }) => translations.de!);
  const exact = (texts: readonly string[]): number =>
    texts.filter((text, i) => text === references[i]).length;
  // A clip is 20 ms longer or shorter where the silence around it is another.
  const inSegments = exact(spoken.map(({ text }) => text));
  const alone = exact(single.map(({ text }) => text));
  expect(alone).toBeGreaterThanOrEqual(44);
  expect(inSegments).toBeGreaterThanOrEqual(alone - 1);
  spoken.forEach(({ start, end }, i) => {
    expect(Math.abs(start - starts[i]!)).toBeLessThan(0.15);
    expect(Math.abs(end - starts[i]! - audios[i]!.length / rate)).toBeLessThan(0.15);
  });
});
