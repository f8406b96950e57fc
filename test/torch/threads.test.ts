import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { memory, ones, scope } from '../../lib/torch';

const addon = process.env.PARE_ADDON ?? join(__dirname, '../../build/pare.node');

interface Report {
  first: number;
  sum: number;
  handles: number;
  error: string;
  foreign: string;
}

/** Loads the addon on a thread of its own, without TypeScript, and works with integer handles. */
const body = `
  const { parentPort, workerData } = require('node:worker_threads');
  const target = { exports: {} };
  process.dlopen(target, workerData.addon);
  const torch = target.exports;
  const first = torch.ones([1000], 0, 'cpu');
  parentPort.postMessage('loaded');
  parentPort.once('message', () => {
    let sum = 0;
    for (let i = 0; i < 2000; i++) {
      const a = torch.mulScalar(first, workerData.factor);
      const b = torch.sum(a, [], false);
      sum += torch.item(b);
      torch.release(Uint32Array.of(a, b));
    }
    torch.add(first, 12345);
    const error = torch.takeError();
    const result = torch.reshape(first, [7]);
    const foreign = result === undefined ? torch.takeError() : '';
    parentPort.postMessage({ first, sum, handles: torch.handles(), error, foreign });
  });
`;

function next<T>(worker: Worker): Promise<T> {
  return new Promise((resolve, reject) => {
    worker.once('message', resolve);
    worker.once('error', reject);
  });
}

test('two workers and this thread work at the same time, each with its own table', async () => {
  const mine = ones([3]);
  const before = memory();
  const workers = [2, 3].map(
    (factor) => new Worker(body, { eval: true, workerData: { addon, factor } }),
  );
  try {
    await Promise.all(workers.map((worker) => next(worker)));
    const reports = workers.map((worker) => next<Report>(worker));
    for (const worker of workers) worker.postMessage('go');
    for (let i = 0; i < 2000; i++) scope(() => expect(mine.mul(2).sum().item()).toBe(6));
    const [a, b] = await Promise.all(reports);
    expect([a!.sum, b!.sum]).toEqual([2000 * 2000, 2000 * 3000]);
    for (const { first, handles, error, foreign } of [a!, b!]) {
      // Both tables begin at 1: none knows the other's tensors, or those of this thread.
      expect([first, handles]).toEqual([1, 1]);
      expect(error).toMatch(/^add: a tensor was used after it was disposed/);
      expect(foreign).toMatch(/^reshape: shape '\[7\]' is invalid/);
    }
    expect(memory()).toEqual(before);
  } finally {
    await Promise.all(workers.map((worker) => worker.terminate()));
  }
  // A thread that ends takes its own tensors along, not ours.
  expect(mine.toArray()).toEqual([1, 1, 1]);
  mine.dispose();
});
