/** Importance candidates and evaluation handed out to ranks, with ranks that die. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { shareWork } from '../../lib/ranks';
import { startAll, together } from '../distributed/processes';
import type { Done } from '../distributed/programs/work';
import { main as search, type Searched } from '../distributed/programs/search';

jest.setTimeout(900_000);

let dir: string;
let whole: Searched;
let traces = 0;
const argument = (): { trace: string } => ({ trace: join(dir, `trace-${traces++}.jsonl`) });
beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), 'pare-ranks-'));
  whole = await search(argument());
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

test.each([2, 4])('%i ranks find what one finds', async (size) => {
  const endings = await together<Searched>('search', size, argument());
  for (const { value, message } of endings) {
    expect(message).toBeUndefined();
    expect({ ...value, traced: [] }).toEqual({ ...whole, traced: [] });
  }
  expect(endings[0]!.value!.traced).toEqual(whole.traced);
});

describe('items in the hands of a rank', () => {
  const argument = { count: 12, stops: 1 };

  test('that dies go to the others', async () => {
    const ranks = await startAll<Done>('work', 3, argument);
    await ranks[1]!.says('has one');
    ranks[1]!.child.kill('SIGKILL');
    const [first, , last] = await Promise.all(ranks.map(({ ending }) => ending));
    expect(first!.message).toBeUndefined();
    expect(first!.value!.map(({ item }) => item)).toEqual([...Array(12).keys()]);
    expect(first!.value!.map(({ rank }) => rank)).not.toContain(1);
    expect(last!.value).toEqual(first!.value);
  });

  test('that is only slow stay there', async () => {
    const ends = await Promise.all(
      (await startAll<Done>('work', 2, argument)).map(({ ending }) => ending),
    );
    for (const { value } of ends) {
      expect(value!.filter(({ rank }) => rank === 1)).toHaveLength(1);
      expect(value).toEqual(ends[0]!.value);
    }
  });

  test('that was stopped for long are taken from it; it hears so', async () => {
    const ranks = await startAll<Done>('work', 2, argument);
    await ranks[1]!.says('has one');
    ranks[1]!.child.kill('SIGSTOP');
    const first = await ranks[0]!.ending;
    ranks[1]!.child.kill('SIGCONT');
    const second = await ranks[1]!.ending;
    expect(first.value!.map(({ rank }) => rank)).not.toContain(1);
    // Given up, or, if the leader has ended meanwhile, alone.
    expect(second).toMatchObject({ error: 'DistributedError' });
    expect(second.message).toMatch(/was given up|another rank is gone/);
  });
});

test('a rank that dies in a search is missed by nobody', async () => {
  const stop = { rank: 1, done: 2 };
  const ranks = await startAll<Searched>('search', 3, { ...argument(), stop });
  await ranks[1]!.says('waiting');
  ranks[1]!.child.kill('SIGKILL');
  const ends = await Promise.all(ranks.map(({ ending }) => ending));
  expect(ends[1]).toMatchObject({ signal: 'SIGKILL' });
  for (const rank of [0, 2]) {
    expect(ends[rank]!.message).toBeUndefined();
    expect({ ...ends[rank]!.value, traced: [] }).toEqual({ ...whole, traced: [] });
  }
  expect(ends[0]!.value!.traced).toEqual(whole.traced);
});

test('the leader dies: the others say so, and the search goes on from its trace', async () => {
  const own = argument();
  const ranks = await startAll<Searched>('search', 2, { ...own, stop: { rank: 0, done: 3 } });
  await ranks[0]!.says('waiting');
  ranks[0]!.child.kill('SIGKILL');
  const { message } = await ranks[1]!.ending;
  await ranks[0]!.ending;
  expect(message).toMatch(/^the store of rank 0 at 127\.0\.0\.1:\d+: another rank is gone/);
  const again = await search(own);
  expect(again.search).toEqual(whole.search);
  expect(again.traced).toEqual(whole.traced);
});

describe('by itself', () => {
  test('known results are not computed, all are heard in order', async () => {
    const computed: number[] = [];
    const heard: [number, string][] = [];
    const results = await shareWork(
      undefined,
      3,
      (item) => {
        computed.push(item);
        return Promise.resolve(`new ${item}`);
      },
      {
        known: new Map([[1, 'old 1']]),
        onResult: (item, result) => void heard.push([item, result]),
      },
    );
    expect(results).toEqual(['new 0', 'old 1', 'new 2']);
    expect(computed).toEqual([0, 2]);
    expect(heard).toEqual([...results.entries()]);
  });
});
