/** Ranks that meet in a store which is not rank 0's and outlives them, as torchrun's agent's does. */
import { distributed } from '../../lib/torch';
import { start, variables, type Started } from '../distributed/processes';
import type { Done } from '../distributed/programs/work';

jest.setTimeout(600_000);

let agentStore: distributed.TcpStore;
beforeAll(async () => {
  agentStore = await distributed.TcpStore.open({
    ...{ host: '127.0.0.1', port: 0, isServer: true, timeoutSeconds: 60 },
  });
});
afterAll(() => agentStore.close());

function startRank<T>(program: string, rank: number, restarts: number, of: unknown): Started<T> {
  const env = {
    ...variables(rank, 2, String(agentStore.port)),
    TORCHELASTIC_USE_AGENT_STORE: 'True',
    TORCHELASTIC_RESTART_COUNT: String(restarts),
  };
  return start<T>(program, of, env);
}

const work = { count: 12, stops: -1 };
const endings = <T>(ranks: Started<T>[]): Promise<unknown[]> =>
  Promise.all(ranks.map(({ ending }) => ending));

test('they meet there, in each start anew, whatever their agents count', async () => {
  const rounds = { timeoutSeconds: 60, rounds: 3 };
  for (const restarts of [
    [0, 0],
    [0, 1],
    [1, 0],
  ]) {
    const ranks = restarts.map((count, rank) => startRank<number>('connect', rank, count, rounds));
    expect(await endings(ranks)).toEqual([{ value: 3 }, { value: 3 }]);
    const sharing = restarts.map((count, rank) => startRank<Done>('work', rank, count, work));
    for (const { value } of (await endings(sharing)) as { value: Done }[]) {
      expect(value.map(({ item }) => item)).toEqual([...Array(12).keys()]);
    }
  }
});

test('rank 0 dies: the others notice, although the store lives', async () => {
  const ranks = [0, 1].map((rank) => startRank<Done>('work', rank, 0, { ...work, stops: 0 }));
  await ranks[0]!.says('has one');
  ranks[0]!.child.kill('SIGKILL');
  expect(await ranks[1]!.ending).toMatchObject({
    error: 'DistributedError',
    message: 'rank 0 gave no sign of life for 2 s and was given up',
  });
});

test('one is started again alone: rank 0 ends, so that its agent starts it again, too', async () => {
  const waiting = { ...work, stops: 1, seconds: 300 };
  const ranks = [0, 1].map((rank) => startRank<Done>('work', rank, 0, waiting));
  await ranks[1]!.says('has one');
  const again = startRank<Done>('work', 1, 1, work);
  expect(await ranks[0]!.ending).toMatchObject({
    error: 'DistributedError',
    message: 'rank 1 was started again; so must all others be',
  });
  ranks[1]!.child.kill('SIGKILL');
  await ranks[1]!.ending;
  const leader = startRank<Done>('work', 0, 1, work);
  for (const end of await endings([leader, again])) expect(end).not.toHaveProperty('message');
});

test('nobody there: the error names the store', async () => {
  const end = await start(
    'connect',
    { timeoutSeconds: 2, rounds: 1 },
    { ...variables(0, 2, '1'), TORCHELASTIC_USE_AGENT_STORE: 'True' },
  ).ending;
  expect(end.message).toBe(
    "the store of torchrun's agent at 127.0.0.1:1: cannot be reached; check MASTER_ADDR and " +
      'MASTER_PORT, and that rank 0 runs',
  );
});

test('a rank 0 that does not come is missed', async () => {
  const end = await startRank('connect', 1, 0, { timeoutSeconds: 2, rounds: 1 }).ending;
  expect(end.message).toBe('rank 0 did not come within 2 s');
});
