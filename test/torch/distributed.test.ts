/** Process groups over c10d: collectives with 2 and 4 processes, and all that can go wrong. */
import { cudaIsAvailable, distributed, tensor } from '../../lib/torch';
import { freePort, start, startAll, together, variables } from '../distributed/processes';

jest.setTimeout(600_000);
const { DistributedError, placeFromEnvironment } = distributed;

describe.each([2, 4])('%i processes', (size) => {
  test('reduce, broadcast and gather', async () => {
    const endings = await together<Record<string, unknown>>('collectives', size);
    const ranks = Array.from({ length: size }, (_, i) => i);
    const sum = (of: (rank: number) => number): number => ranks.map(of).reduce((a, b) => a + b);
    const expected = [sum((r) => r + 1), sum((r) => 10 * r)];
    for (const [rank, { value, message }] of endings.entries()) {
      expect(message).toBeUndefined();
      for (const dtype of ['float32', 'float64', 'float16', 'bfloat16', 'int64', 'uint8']) {
        expect(value![dtype]).toEqual(expected);
      }
      const product = (of: (r: number) => number): number => ranks.map(of).reduce((a, b) => a * b);
      expect(value).toMatchObject({
        rank,
        size,
        product: [product((r) => r + 1), product((r) => 10 - r)],
        min: [1, 10 - (size - 1)],
        max: [size, 10],
        broadcast: [size - 1, size - 1],
        gathered: ranks.map((r) => [r, 10 - r]),
        objects: ranks.map((r) => ({ rank: r, text: 'ä'.repeat(r) })),
        many: Array.from({ length: 8 }, (_, i) => sum((r) => i * (r + 1))),
      });
    }
  });
});

test('gradients are summed, in buckets that leave during backward', async () => {
  const endings = await together<{ gradients: number[][]; overlapped: number }[]>('reducer', 2);
  for (const { value, message } of endings) {
    expect(message).toBeUndefined();
    // Ranks 0 and 1 bring 1 and 2 in the first pass, 10 and 20 in the second, 100 and 200 in the third.
    const once = [3, 3];
    const thrice = [333, 333];
    expect(value!.map(({ gradients }) => gradients)).toEqual([
      [once, once, once],
      [once, once, once],
      [once, once, thrice],
      [once, once, thrice],
      [once, [2, 2], thrice],
      [once, null, thrice],
    ]);
    // The first step shows how often each parameter is used.
    expect(value!.slice(0, 4).map(({ overlapped }) => overlapped)).toEqual([0, 3, 3, 3]);
  }
});

test('a group of one needs nobody else', async () => {
  const port = await freePort();
  const group = await distributed.initProcessGroup({ rank: 0, worldSize: 1, masterPort: port });
  const t = tensor([1, 2]);
  await distributed.allReduce(t);
  expect(t.toArray()).toEqual([1, 2]);
  expect(await group.allGatherObject('x')).toEqual(['x']);
  await expect(distributed.initProcessGroup({ rank: 0, worldSize: 1 })).rejects.toThrow(
    'a process group is open already; call destroyProcessGroup first',
  );
  distributed.destroyProcessGroup();
  await expect(group.allReduce(t)).rejects.toThrow('the process group was closed');
  expect(() => distributed.barrier()).toThrow('there is no process group');
});

test('NCCL is refused where there is no GPU, or no NCCL', async () => {
  if (cudaIsAvailable()) return void console.warn('there is a GPU, so NCCL is not refused');
  const hasNccl = distributed.availableBackends().includes('nccl');
  const message = hasNccl
    ? 'there is no CUDA device, which nccl needs; use gloo'
    : 'this build has no NCCL; use gloo';
  expect(distributed.defaultBackend()).toBe('gloo');
  for (const backend of ['nccl', 'cpu:gloo,cuda:nccl'] as const) {
    const masterPort = await freePort();
    await expect(
      distributed.initProcessGroup({ backend, rank: 0, worldSize: 1, masterPort }),
    ).rejects.toThrow(`connecting the ranks: ${message}`);
  }
});

describe('what goes wrong is told in one line, in bounded time', () => {
  const connect = (rank: number, size: number, port: number, timeoutSeconds: number) =>
    start<number>('connect', { timeoutSeconds, rounds: 3 }, variables(rank, size, String(port)))
      .ending;

  test('a wrong address', async () => {
    const port = await freePort();
    const end = await connect(1, 2, port, 2);
    expect(end).toMatchObject({
      error: 'DistributedError',
      message: `the store of rank 0 at 127.0.0.1:${port}: cannot be reached; check MASTER_ADDR and MASTER_PORT, and that rank 0 runs`,
    });
  });

  test('a name that is none', async () => {
    await expect(
      distributed.initProcessGroup({
        ...{ rank: 0, worldSize: 2, masterAddr: 'no-such-machine.invalid', timeoutSeconds: 2 },
      }),
    ).rejects.toThrow("cannot find the address of 'no-such-machine.invalid'");
  });

  test('a port that is taken', async () => {
    const port = await freePort();
    const store = await distributed.TcpStore.open({
      ...{ host: '127.0.0.1', port, isServer: true, timeoutSeconds: 5 },
    });
    await expect(
      distributed.initProcessGroup({ rank: 0, worldSize: 1, masterPort: port }),
    ).rejects.toThrow(`cannot listen on 127.0.0.1:${port}: Address already in use`);
    store.close();
  });

  test('a rank that does not come', async () => {
    const port = await freePort();
    const ends = await Promise.all([connect(0, 4, port, 3), connect(2, 4, port, 3)]);
    const message = 'ranks 1, 3 of 4 did not come within 3 s';
    expect(ends).toMatchObject([{ message }, { message }]);
  });

  test('a rank given twice', async () => {
    const port = await freePort();
    const ends = await Promise.all([0, 1, 1].map((rank) => connect(rank, 3, port, 60)));
    const message = 'two processes have rank 1; give each its own RANK';
    expect(ends).toMatchObject([{ message }, { message }, { message }]);
  });

  test('world sizes that differ', async () => {
    const port = await freePort();
    const ends = await Promise.all([connect(0, 2, port, 60), connect(1, 3, port, 60)]);
    for (const { message } of ends) {
      expect(message).toMatch(/was told a world size of \d, another process one of \d; give all/);
    }
  });

  test('a rank that dies', async () => {
    const argument = { timeoutSeconds: 60, rounds: 100_000 };
    const ranks = await startAll<number>('connect', 4, argument);
    await Promise.all(ranks.map(({ says }) => says('connected')));
    ranks[3]!.child.kill('SIGKILL');
    const ends = await Promise.all(ranks.map(({ ending }) => ending));
    expect(ends[3]!.signal).toBe('SIGKILL');
    for (const end of ends.slice(0, 3)) {
      expect(end).toMatchObject({ error: 'DistributedError' });
      expect(end.message).toMatch(
        /^all-reduce of rank \d of 4: another rank is gone \(its connection was closed\)$/,
      );
    }
  });

  test('a rank that hangs', async () => {
    const ranks = await startAll<number>('connect', 2, { timeoutSeconds: 2, rounds: 100_000 });
    await Promise.all(ranks.map(({ says }) => says('connected')));
    ranks[1]!.child.kill('SIGSTOP');
    const { message } = await ranks[0]!.ending;
    ranks[1]!.child.kill('SIGKILL');
    expect(message).toMatch(
      /^all-reduce of rank 0 of 2: another rank did not answer in time; it is gone, hangs, or/,
    );
  });
});

describe('the variables of torchrun', () => {
  const env = { RANK: '1', WORLD_SIZE: '4', LOCAL_RANK: '1', MASTER_ADDR: 'a', MASTER_PORT: '7' };

  test('say where a process stands', () => {
    const place = { rank: 1, worldSize: 4, localRank: 1, masterAddr: 'a', masterPort: 7 };
    const agentStore = (said?: string): unknown =>
      placeFromEnvironment({ ...env, TORCHELASTIC_USE_AGENT_STORE: said });
    expect(agentStore()).toEqual({ ...place, agentStore: false });
    expect(agentStore('False')).toEqual({ ...place, agentStore: false });
    expect(agentStore('True')).toEqual({ ...place, agentStore: true });
    expect(placeFromEnvironment({})).toBeUndefined();
    expect(placeFromEnvironment({ RANK: '0', WORLD_SIZE: '1' })).toEqual({
      ...{ rank: 0, worldSize: 1, localRank: 0, masterAddr: '127.0.0.1', masterPort: 29500 },
      agentStore: false,
    });
  });

  test.each([
    [{ RANK: '1' }, 'WORLD_SIZE is not set; RANK and WORLD_SIZE belong together'],
    [{ WORLD_SIZE: '2' }, 'RANK is not set; RANK and WORLD_SIZE belong together'],
    [{ ...env, RANK: '4' }, "RANK is '4'; it must be a whole number from 0 to 3"],
    [{ ...env, WORLD_SIZE: 'two' }, "WORLD_SIZE is 'two'; it must be a whole number"],
    [{ ...env, MASTER_PORT: '' }, "MASTER_PORT is ''; it must be a whole number from 1 to 65535"],
  ])('%j is refused', (given, message) => {
    expect(() => placeFromEnvironment(given)).toThrow(DistributedError);
    expect(() => placeFromEnvironment(given)).toThrow(message);
  });
});
