/** Two machines, as far as the kernel can pretend: network namespaces, and the link between them cut. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { FinetuneOptions } from '../../lib/compress';
import { start, variables, type Started } from '../distributed/processes';
import { main as train, type Trained } from '../distributed/programs/train';
import type { Done } from '../distributed/programs/work';

jest.setTimeout(600_000);

const address = '10.77.31.1';
const names = [`pare-${process.pid}-a`, `pare-${process.pid}-b`] as const;
const ip = (...args: string[]): void => {
  execFileSync('ip', args, { stdio: ['ignore', 'ignore', 'pipe'] });
};
const link = (state: 'up' | 'down'): void => ip('-n', names[0], 'link', 'set', 'va', state);

/** Makes two namespaces with a cable between them; says why it cannot. */
function connect(): string | undefined {
  try {
    for (const name of names) ip('netns', 'add', name);
    const [a, b] = names;
    ip('link', 'add', 'va', 'netns', a, 'type', 'veth', 'peer', 'name', 'vb', 'netns', b);
    ip('-n', a, 'addr', 'add', `${address}/24`, 'dev', 'va');
    ip('-n', b, 'addr', 'add', '10.77.31.2/24', 'dev', 'vb');
    for (const name of names) ip('-n', name, 'link', 'set', 'lo', 'up');
    ip('-n', b, 'link', 'set', 'vb', 'up');
    link('up');
    return undefined;
  } catch (error) {
    disconnect();
    return (error as Error).message.trim().split('\n').pop();
  }
}

function disconnect(): void {
  for (const name of names) {
    try {
      ip('netns', 'del', name);
    } catch {
      // It was not made.
    }
  }
}

const refused = connect();
if (refused !== undefined) {
  console.warn(`no network namespaces here, so the cut link is not tested: ${refused}`);
}
const across = refused === undefined ? test : test.skip;
const dir = mkdtempSync(join(tmpdir(), 'pare-network-'));
afterAll(() => {
  if (refused === undefined) disconnect();
  rmSync(dir, { recursive: true, force: true });
});

let port = 29600;
function startAcross<T>(program: string, argument: unknown): Started<T>[] {
  port++;
  return names.map((name, rank) => {
    const env = variables(rank, 2, String(port), address);
    return start<T>(program, argument, env, ['ip', 'netns', 'exec', name]);
  });
}

const cut = /another rank did not answer in time|another rank is gone|no answer within \d+ s/;

across(
  'training over a link that is cut ends by an error in bounded time, and goes on',
  async () => {
    const options: FinetuneOptions = {
      ...{ learningRate: 1e-3, batchSize: 4, seed: 3, steps: 8, eps: 1e-4 },
      state: { dir: join(dir, 'checkpoints'), everySteps: 2, fingerprint: 'f' },
    };
    const timeoutSeconds = 5;
    const ranks = startAcross<Trained>('train', { options, timeoutSeconds, pause: 300 });
    await ranks[0]!.says({ step: 3 });
    link('down');
    const ends = await Promise.all(ranks.map(({ ending }) => ending));
    for (const { error, message } of ends) {
      expect(error).toBe('DistributedError');
      expect(message).toMatch(cut);
    }
    link('up');
    const again = startAcross<Trained>('train', { options, timeoutSeconds: 60 });
    const [first, second] = await Promise.all(again.map(({ ending }) => ending));
    expect(first!.message).toBeUndefined();
    expect(second!.value!.weights).toEqual(first!.value!.weights);
    const whole = await train({ options: { ...options, state: undefined } });
    const { losses } = first!.value!;
    expect([4, 6]).toContain(losses.length);
    for (const [i, loss] of losses.entries()) {
      expect(Math.abs(loss - whole.losses[8 - losses.length + i]!)).toBeLessThan(1e-5);
    }
  },
);

across('shared work goes on without the rank behind the cut link', async () => {
  const ranks = startAcross<Done>('work', { count: 12, stops: 1 });
  await ranks[1]!.says('has one');
  link('down');
  const [first, second] = await Promise.all(ranks.map(({ ending }) => ending));
  link('up');
  expect(first!.value!.map(({ item }) => item)).toEqual([...Array(12).keys()]);
  expect(first!.value!.at(-1)!.rank).toBe(0);
  expect(second).toMatchObject({ error: 'DistributedError' });
  expect(second!.message).toMatch(cut);
});
