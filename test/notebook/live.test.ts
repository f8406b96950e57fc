import { live, type LiveOptions } from '../../lib/notebook';
import type { Artifact } from '../../lib/pipeline';
import type { TrainingLogEntry } from '../../lib/train/loop';

const artifact = (given: Partial<Artifact>): Artifact =>
  ({ dir: '/run', hash: 'h', seconds: 75, reused: false, ...given }) as Artifact;

const entry = (step: number): TrainingLogEntry => ({
  ...{ step, steps: 20, loss: 3 / step, learningRate: 1e-3, gradNorm: 1, seconds: 0.1 },
});

/** What was drawn, and what the work gave. */
async function draw<T>(
  work: (options: LiveOptions) => Promise<T>,
): Promise<{ drawn: string[]; result: T | undefined; error: unknown }> {
  const drawn: string[] = [];
  const display = { html: (content: string) => void drawn.push(content) };
  try {
    return { drawn, result: await live(display, work), error: undefined };
  } catch (error) {
    return { drawn, result: undefined, error };
  }
}

const textOf = (html: string): string =>
  html
    .replace(/<style>[\s\S]*<\/style>/, '')
    .replace(/<[^>]*>/g, ' ')
    .replace(/\s+/g, ' ')
    .trim();

test('shows stages and losses at the end, and gives what the work gives', async () => {
  const { drawn, result } = await draw(async ({ onProgress, onStage, onMetrics }) => {
    onStage('teacher', artifact({ given: true }));
    onStage('importance', artifact({ reused: true }));
    onProgress({ label: 'healing', done: 3, total: 20, note: 'loss < 1' });
    for (let step = 1; step <= 20; step++) onMetrics('healing', entry(step));
    onStage('healed', artifact({}));
    return 42;
  });
  expect(result).toBe(42);
  const last = drawn.at(-1)!;
  expect(textOf(last)).toMatch(
    /^teacher: the checkpoint that is given importance: taken from before healed: 1 min 15 s done after [\d.]+ s healing loss 3\.00 to 0\.150/,
  );
  expect(last).toContain('<svg');
  expect(last).not.toContain('<progress');
});

test('draws the first state at once, and then no more often than a notebook can follow', async () => {
  const { drawn } = await draw(async ({ onProgress }) => {
    for (let done = 0; done < 5000; done++) {
      onProgress({ label: 'translating <x>', done, total: 5000 });
    }
  });
  expect(drawn[0]).toContain('<progress value="0" max="5000"></progress>');
  expect(textOf(drawn[0]!)).toBe('translating &lt;x&gt; 0/5000');
  expect(drawn.length).toBeLessThan(1000);
});

test('an interruption of the kernel aborts the work, and nobody listens afterwards', async () => {
  const before = process.listenerCount('SIGINT');
  const { drawn, error } = await draw(async ({ signal }) => {
    process.emit('SIGINT');
    signal.throwIfAborted();
  });
  expect((error as Error).name).toBe('AbortError');
  expect(textOf(drawn.at(-1)!)).toMatch(/^interrupted after/);
  expect(process.listenerCount('SIGINT')).toBe(before);
});

test('what fails says so in the cell and throws', async () => {
  const { drawn, error } = await draw(() => Promise.reject(new Error('no corpus')));
  expect((error as Error).message).toBe('no corpus');
  expect(textOf(drawn.at(-1)!)).toMatch(/^failed after/);
});
