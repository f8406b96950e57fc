/** The trace of the layer search: what was scored is not scored again. */
import { appendFileSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  CompressionError,
  searchLayers,
  type Criterion,
  type ImportanceOptions,
  type ImportanceResult,
} from '../../lib/compress';
import { PromptSet } from '../../lib/compress/translate';
import type { Utterance } from '../../lib/data';
import type { Qwen2Audio } from '../../lib/qwen2-audio';
import { memory } from '../../lib/torch';
import { JsonLines } from '../../lib/json-lines';
import { tinyTask, withOwnAnswers, type TinyTask } from './tiny-task';

jest.setTimeout(600_000);

let task: TinyTask;
let model: Qwen2Audio;
let dev: Utterance[];
let whole: ImportanceResult;
let wholeTrace: string;
let traces = 0;

beforeAll(async () => {
  task = await tinyTask();
  model = task.newModel(5);
  dev = await withOwnAnswers(model, task.features, task.splits.dev, 6);
  wholeTrace = newTrace();
  whole = await search(wholeTrace);
});
afterAll(() => {
  model.dispose();
  task.dispose();
});

const newTrace = (): string => join(task.dir, `trace-${traces++}.jsonl`);
const lines = (path: string): string[] => readFileSync(path, 'utf8').trimEnd().split('\n');

/** One language, so that each candidate is one pass of translation. */
function search(
  trace: string,
  options: Partial<ImportanceOptions> = {},
): Promise<ImportanceResult> {
  const criterion: Criterion = 'chrf';
  const rest = { remove: 2, criterion, maxNewTokens: 6, batchSize: 3, fingerprint: 'a' };
  return searchLayers(model, task.features, dev, ['de'], { ...rest, trace, ...options });
}

/** The result of `body` and how many candidates were translated meanwhile. */
async function counted<T>(body: () => Promise<T>): Promise<{ result: T; scored: number }> {
  const spy = jest.spyOn(PromptSet.prototype, 'translate');
  try {
    return { result: await body(), scored: spy.mock.calls.length };
  } finally {
    spy.mockRestore();
  }
}

test('a line is a candidate: iteration, layer, score', () => {
  const entries = lines(wholeTrace).map((line) => JSON.parse(line) as Record<string, unknown>);
  expect(entries.map(({ iteration, layer }) => [iteration, layer])).toEqual([
    [0, -1],
    ...whole.iterations.flatMap(({ candidates }, i) => candidates.map((c) => [i + 1, c.layer])),
  ]);
  expect(entries).toHaveLength(6);
});

test.each([1, 3, 5])('aborted after %i candidates, goes on with the next', async (k) => {
  const trace = newTrace();
  const before = memory();
  const controller = new AbortController();
  const onProgress = (done: number): void => {
    if (done === k) controller.abort();
  };
  const aborted = search(trace, { signal: controller.signal, onProgress });
  await expect(aborted).rejects.toMatchObject({ name: 'AbortError' });
  expect(memory()).toEqual(before);
  expect(lines(trace)).toEqual(lines(wholeTrace).slice(0, k));
  const { result, scored } = await counted(() => search(trace));
  expect(scored).toBe(6 - k);
  expect(result).toEqual(whole);
  expect(lines(trace)).toEqual(lines(wholeTrace));
});

test.each<Criterion>(['chrf', 'loss'])(
  'an aborted signal stops a search by %s',
  async (criterion) => {
    const trace = newTrace();
    const signal = AbortSignal.abort();
    await expect(search(trace, { signal, criterion })).rejects.toMatchObject({
      name: 'AbortError',
    });
    expect(() => readFileSync(trace)).toThrow('ENOENT');
  },
);

test('an exception in the middle, and a second one, change nothing', async () => {
  const trace = newTrace();
  for (const stop of [2, 4]) {
    const onProgress = (done: number): void => {
      if (done === stop) throw new Error('pulled the plug');
    };
    await expect(search(trace, { onProgress })).rejects.toThrow('pulled the plug');
    expect(lines(trace)).toHaveLength(stop);
  }
  const { result, scored } = await counted(() => search(trace));
  expect(scored).toBe(2);
  expect(result).toEqual(whole);
});

test('a damaged line is named, and its candidate alone is scored again', async () => {
  const trace = newTrace();
  const damaged = lines(wholeTrace);
  damaged[2] = damaged[2]!.replace(/"score":/, '"score":1');
  writeFileSync(trace, `${damaged.join('\n')}\n`);
  const warnings: string[] = [];
  const onWarning = (message: string): void => void warnings.push(message);
  const { result, scored } = await counted(() => search(trace, { onWarning }));
  expect(warnings).toEqual([`${trace}: line 3 is damaged; its candidate is scored again`]);
  expect(scored).toBe(1);
  expect(result).toEqual(whole);
  expect(lines(trace).sort()).toEqual(lines(wholeTrace).sort());
});

test('a search that is done scores nothing', async () => {
  const { result, scored } = await counted(() => search(wholeTrace));
  expect(scored).toBe(0);
  expect(result).toEqual(whole);
});

test('a longer search uses the trace of a shorter one', async () => {
  const trace = newTrace();
  await search(trace, { remove: 1 });
  const { result, scored } = await counted(() => search(trace));
  expect(scored).toBe(2);
  expect(result).toEqual(whole);
});

test('scores come from the trace, to the last digit', async () => {
  const trace = newTrace();
  type Line = { score: number; layer: number };
  const other = new JsonLines<Line>(trace, true);
  for (const line of new JsonLines<Line>(wholeTrace, true).read()) {
    other.append(line.layer === 3 ? { ...line, score: 1000 / 3 } : line);
  }
  const result = await search(trace);
  expect(result.removed[0]).toBe(3);
  expect(result.iterations[0]!.candidates.find(({ layer }) => layer === 3)!.score).toBe(1000 / 3);
});

test('a line that was cut off is scored again', async () => {
  const trace = newTrace();
  const kept = lines(wholeTrace).slice(0, 4).join('\n');
  writeFileSync(trace, kept);
  truncateSync(trace, kept.length - 9);
  const { result, scored } = await counted(() => search(trace));
  expect(scored).toBe(3);
  expect(result).toEqual(whole);
});

test('the trace of another search is refused', async () => {
  const trace = newTrace();
  appendFileSync(trace, readFileSync(wholeTrace));
  const refused = search(trace, { fingerprint: 'b' });
  await expect(refused).rejects.toThrow(CompressionError);
  await expect(refused).rejects.toThrow(
    `${trace} is the trace of another search; remove it to start anew`,
  );
  expect(lines(trace)).toEqual(lines(wholeTrace));
});
