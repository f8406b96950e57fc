import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as pare from '../../lib';
import { AudioError, loadAudio } from '../../lib/audio';
import { FileError } from '../../lib/files';
import { CheckpointError, GenerationError, ProcessorError, saveModel } from '../../lib/qwen2-audio';
import type { RecordingOutcome, RecordingRequest } from '../../lib/qwen2-audio/recordings';
import {
  SpeechTranslator,
  TargetLanguageWarning,
  TranslatorError,
} from '../../lib/qwen2-audio/translator';
import { errorClasses, WorkerTranslator } from '../../lib/qwen2-audio/worker-translator';
import { PareError } from '../../lib';
import { tinySeconds, writeTinyCheckpoint, writeTone } from '../tiny-checkpoint';

let folder: string;
let model: string;
let here: SpeechTranslator;
let there: WorkerTranslator;
let files: string[];
const request = { to: 'German', maxNewTokens: 5 };

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'pare-worker-translator-'));
  model = join(folder, 'model');
  writeTinyCheckpoint(model);
  here = await SpeechTranslator.load(model);
  there = await WorkerTranslator.load(model);
  files = [0.5, 1.7, 0.9].map((seconds, i) => {
    const file = join(folder, `${i}.wav`);
    writeTone(file, seconds, 180 + 110 * i);
    return file;
  });
});
afterAll(async () => {
  here.dispose();
  await there.dispose();
  rmSync(folder, { recursive: true });
});

/** Without wall times. */
function timeless<T extends { seconds: number }>({ seconds, ...rest }: T): Omit<T, 'seconds'> {
  expect(seconds).toBeGreaterThan(0);
  return rest;
}

async function all<T, R>(iterator: AsyncGenerator<T, R>): Promise<{ values: T[]; result: R }> {
  const values: T[] = [];
  for (;;) {
    const { done, value } = await iterator.next();
    if (done) return { values, result: value };
    values.push(value);
  }
}

async function failure(promise: Promise<unknown>): Promise<Error> {
  return promise.then(
    () => Promise.reject(new Error('it did not fail')),
    (error: unknown) => error as Error,
  );
}

test('gives what a translator here gives, of every kind of input', async () => {
  const samples = await loadAudio(files[0]!);
  // A view of a part of a larger array.
  const part = new Float32Array(samples.length + 7);
  part.set(samples, 3);
  const view = part.subarray(3, 3 + samples.length);
  const expected = timeless(await here.translate(files[0]!, request));
  for (const input of [files[0]!, samples, view, { samples, sampleRate: 16000 }]) {
    expect(timeless(await there.translate(input, request))).toEqual(expected);
  }
  const batch = (await here.translateBatch(files, request)).map(timeless);
  expect((await there.translateBatch(files, request)).map(timeless)).toEqual(batch);
  const beams = { ...request, numBeams: 2, numReturnSequences: 2 };
  expect(timeless(await there.translate(files[1]!, beams))).toEqual(
    timeless(await here.translate(files[1]!, beams)),
  );
});

test('streams text as it is made', async () => {
  const [a, b] = [
    await all(here.stream(files[1]!, request)),
    await all(there.stream(files[1]!, request)),
  ];
  expect(b.values).toEqual(a.values);
  expect(b.values.length).toBeGreaterThan(1);
  expect(timeless(b.result)).toEqual(timeless(a.result));
});

test('hears a stream of samples piece by piece, and closes it when it is left', async () => {
  const samples = await loadAudio(files[1]!);
  let closed = 0;
  let given = 0;
  async function* stream(): AsyncGenerator<Float32Array> {
    try {
      for (let at = 0; at < samples.length; at += 4000) {
        given++;
        yield samples.subarray(at, at + 4000);
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
    } finally {
      closed++;
    }
  }
  const source = { stream: stream(), sampleRate: 16000 };
  const expected = timeless(await here.translate(samples, request));
  expect(timeless(await there.translate(source, request))).toEqual(expected);
  expect([given, closed]).toEqual([Math.ceil(samples.length / 4000), 1]);
  const segments = await all(
    there.translateSegments({ stream: stream(), sampleRate: 16000 }, request),
  );
  expect(segments.values.length).toBeGreaterThan(0);
  const left = there.translateSegments({ stream: stream(), sampleRate: 16000 }, request);
  await left.next();
  await left.return();
  expect(closed).toBe(3);
});

test('callbacks hear here, in their order, and what they throw ends the call', async () => {
  const run = async (
    translator: Pick<SpeechTranslator, 'translateRecordings'>,
  ): Promise<unknown[]> => {
    const heard: unknown[] = [];
    const options: RecordingRequest = {
      ...request,
      batchSize: 1,
      onProgress: (done, total) => heard.push([done, total]),
      onSegment: (segment, index) => heard.push([segment.text, index]),
    };
    for await (const outcome of translator.translateRecordings(files, options)) {
      heard.push(timeless(outcome.translation!));
    }
    return heard;
  };
  const heard = await run(there);
  expect(heard).toEqual(await run(here));
  expect(heard).toHaveLength(4 + 3 + 3);
  const mine = new Error('mine');
  const onProgress = (): void => {
    throw mine;
  };
  expect(await failure(all(there.translateEach(files, { ...request, onProgress })))).toBe(mine);
});

test('one that cannot be read does not keep the others', async () => {
  const missing = join(folder, 'missing.wav');
  const outcomes: RecordingOutcome[] = [];
  for await (const outcome of there.translateRecordings([missing, files[0]!], request)) {
    outcomes.push(outcome);
  }
  expect(outcomes[0]!.error).toBeInstanceOf(FileError);
  expect(outcomes[1]!.translation?.text).toBe((await here.translate(files[0]!, request)).text);
});

test('errors have the class, name and words that they have here', async () => {
  const long = new Float32Array(Math.ceil((tinySeconds + 1) * 16000));
  const wrong: [(translator: typeof here | typeof there) => Promise<unknown>, object][] = [
    [(t) => t.translate(join(folder, 'missing.wav'), request), FileError],
    [(t) => t.translate(Buffer.from('no audio at all'), request), AudioError],
    [(t) => t.translateBatch([long], request), AudioError],
    [(t) => t.translate(files[0]!, {}), ProcessorError],
    [(t) => t.translate(files[0]!, { to: 'German', temperature: 0.5 }), GenerationError],
    [async (t) => t.setAdapter('nobody'), Error],
  ];
  for (const [run, type] of wrong) {
    const [a, b] = [await failure(run(here)), await failure(run(there))];
    expect(b).toBeInstanceOf(type);
    expect(b.constructor).toBe(a.constructor);
    expect({ name: b.name, message: b.message }).toEqual({ name: a.name, message: a.message });
  }
  const missing = await failure(WorkerTranslator.load(join(folder, 'nothing')));
  expect(missing).toBeInstanceOf(CheckpointError);
});

test('every error of the rooms that a translator uses keeps its class', () => {
  const rooms = [pare.torch, pare.nf4, pare.lora, pare.audio, pare.text, pare.hub, pare.qwen2Audio];
  const names = rooms
    .flatMap((room) => Object.values(room as object) as unknown[])
    .filter(
      (item): item is typeof PareError =>
        typeof item === 'function' && item.prototype instanceof PareError,
    )
    // Of what a program does itself, not a translator.
    .filter(({ name }) => !['BpeTrainingError', 'ScopeError', 'StateDictError'].includes(name));
  expect(names.length).toBeGreaterThan(15);
  const kept = errorClasses.map(({ name }) => name);
  expect(names.map(({ name }) => name).filter((name) => !kept.includes(name))).toEqual([]);
});

test('an error of the stream that was given comes back as it is', async () => {
  const mine = new RangeError('the microphone is gone');
  const iterator: AsyncIterator<Float32Array> = { next: () => Promise.reject(mine) };
  const source = { stream: { [Symbol.asyncIterator]: () => iterator }, sampleRate: 16000 };
  expect(await failure(there.translate(source, request))).toBe(mine);
});

test('an aborted call fails at once with the reason, and the thread goes on with the next', async () => {
  const reason = new Error('not needed');
  expect(
    await failure(there.translate(files[0]!, { ...request, signal: AbortSignal.abort(reason) })),
  ).toBe(reason);
  const controller = new AbortController();
  const never = { stream: new ReadableStream<Float32Array>(), sampleRate: 16000 };
  const source = { ...never, stream: never.stream as unknown as AsyncIterable<Float32Array> };
  const waiting = there.translate(source, { ...request, signal: controller.signal });
  const pieces = there.stream(files[1]!, { ...request, signal: controller.signal });
  await pieces.next();
  controller.abort(reason);
  expect(await failure(waiting)).toBe(reason);
  expect(await failure(pieces.next())).toBe(reason);
  expect((await there.translate(files[0]!, request)).text).toBe(
    (await here.translate(files[0]!, request)).text,
  );
});

test('the event loop turns while the thread computes', async () => {
  const long = { to: 'German', maxNewTokens: 40, minNewTokens: 40 };
  const turnsOf = async (run: () => Promise<unknown>): Promise<number> => {
    let turns = 0;
    let over = false;
    const turn = (): void => {
      turns++;
      if (!over) setImmediate(turn);
    };
    setImmediate(turn);
    await run();
    over = true;
    return turns;
  };
  const samples = await loadAudio(files[1]!);
  const [a, b] = [
    await turnsOf(() => here.translateBatch([samples], long)),
    await turnsOf(() => there.translateBatch([samples], long)),
  ];
  // Here: once or twice a token.
  expect(b).toBeGreaterThan(3 * a);
});

test('warns here of a language that the checkpoint was not trained for', async () => {
  const trained = join(folder, 'trained');
  saveModel(trained, here.model, here.processor, { targetLanguages: ['de'] });
  const warnings: TargetLanguageWarning[] = [];
  const translator = await WorkerTranslator.load(trained, { onWarning: (w) => warnings.push(w) });
  await translator.translate(files[0]!, { ...request, to: 'French' });
  await translator.translate(files[0]!, { ...request, to: 'French' });
  expect(warnings).toHaveLength(1);
  expect(warnings[0]).toBeInstanceOf(TargetLanguageWarning);
  expect(warnings[0]).toMatchObject({ language: 'French', known: ['German'] });
  await translator.dispose();
});

test('once it is disposed, what waits fails at once, and what comes later says so', async () => {
  const translator = await WorkerTranslator.load(model);
  const waiting = failure(translator.translate(files[1]!, { ...request, maxNewTokens: 2000 }));
  const ended = translator.dispose();
  expect(await waiting).toBeInstanceOf(TranslatorError);
  await ended;
  const late = await failure(translator.translate(files[0]!, request));
  expect(late).toBeInstanceOf(TranslatorError);
  expect(late.message).toMatch(/disposed; load the checkpoint again/);
  await translator.dispose();
});
