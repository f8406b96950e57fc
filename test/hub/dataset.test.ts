/** Datasets of the hub as corpora, against a hub on the loopback. */
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { encodeWav } from '../../lib/audio';
import { checkCorpus, CorpusError, openCorpus } from '../../lib/data';
import { HubError, HubNotFoundError } from '../../lib/hub';
import { HubServer } from './hub-server';

const commits = { main: 'a'.repeat(40), older: 'b'.repeat(40) };
const name = 'somebody/speech';
let dir: string;
let source: string;
let hub: HubServer;
let env: NodeJS.ProcessEnv;
let cache: string;

beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'pare-datasets-'));
  source = join(dir, 'source');
  cpSync(join(__dirname, '../oracle/vectors/corpora/datasets'), source, { recursive: true });
  writeFileSync(join(source, 'README.md'), '# A dataset\n');
  writeFileSync(join(source, 'script.py'), 'not needed');
});
beforeEach(async () => {
  hub = await HubServer.start();
  hub.repos.set(name, { type: 'dataset', dir: source, revisions: commits });
  env = { HF_ENDPOINT: hub.url, HF_HOME: mkdtempSync(join(dir, 'home-')) };
  cache = join(env.HF_HOME!, 'hub', 'datasets--somebody--speech');
});
afterEach(async () => hub.stop());
afterAll(() => rmSync(dir, { recursive: true }));

const shard = (split: string, of: string): string => `data/${split}-${of}.parquet`;
const trainShards = [shard('train', '00000-of-00002'), shard('train', '00001-of-00002')];

test('comes by its name, with what is needed, into the cache as all tools have it', async () => {
  const heard: [number, number][] = [];
  const corpus = await openCorpus(name, {
    env,
    onProgress: (done, total) => void heard.push([done, total]),
  });
  expect(corpus.dir).toBe(join(cache, 'snapshots', commits.main));
  expect(corpus.description).toMatchObject({
    ...{ name: 'speech', version: commits.main },
    splits: { train: {}, validation: {} },
  });
  expect(hub.sent.sort()).toEqual([
    'README.md',
    ...trainShards,
    shard('validation', '00000-of-00001'),
  ]);
  expect(readFileSync(join(cache, 'refs', 'main'), 'utf8')).toBe(commits.main);
  expect(heard.at(-1)![0]).toBe(heard.at(-1)![1]);
  const utterances = await corpus.read('train');
  expect(utterances).toHaveLength(14);
  expect((await corpus.audio(utterances[9]!)).length).toBeGreaterThan(100);
  // Python's other tools and a person may name the folder itself.
  expect(await (await openCorpus(cache)).read('train')).toEqual(utterances);
});

test('only the splits that are asked for are fetched, once; then it is read without the hub', async () => {
  const train = await (await openCorpus(name, { env, splits: ['train'] })).read('train');
  expect(hub.sent.sort()).toEqual(['README.md', ...trainShards]);
  hub.requests.length = 0;
  await openCorpus(name, { env, splits: ['train'] });
  expect(hub.sent).toEqual([]);
  for (const offline of [{ HF_HUB_OFFLINE: '1' }, { HF_ENDPOINT: 'http://127.0.0.1:9' }]) {
    const corpus = await openCorpus(name, { env: { ...env, ...offline }, splits: ['train'] });
    expect(await corpus.read('train')).toEqual(train);
    await expect(corpus.read('validation')).rejects.toThrow(/no split 'validation'; it has train/);
  }
});

test('a revision, a configuration, and a check', async () => {
  const corpus = await openCorpus(`${name}@older`, { env });
  expect(corpus.dir).toBe(join(cache, 'snapshots', commits.older));
  await expect(openCorpus(`${name}:en_fr`, { env })).rejects.toThrow(
    /somebody\/speech has no configuration 'en_fr'; it has data/,
  );
  const { splits } = await checkCorpus({ hub: name }, { env, splits: ['validation'] });
  expect(splits).toEqual([expect.objectContaining({ split: 'validation', utterances: 3 })]);
});

test('sounds beside a manifest come, too, and none from outside', async () => {
  const files = join(dir, 'folder');
  mkdirSync(join(files, 'clips'), { recursive: true });
  const samples = Float32Array.from({ length: 1600 }, (_, t) => Math.sin(t / 10));
  writeFileSync(join(files, 'clips', 'a.wav'), encodeWav(samples, 16000));
  const header = 'path\tsentence\ttranslation\tclient_id\n';
  writeFileSync(join(files, 'en_de.train.tsv'), `${header}a.wav\tone\teins\tx\n`);
  writeFileSync(join(files, 'en_de.test.tsv'), `${header}/etc/passwd\tone\teins\tx\n`);
  hub.repos.set('somebody/folder', { type: 'dataset', dir: files, revisions: commits });
  const corpus = await openCorpus('somebody/folder', { env });
  expect((await corpus.read('train'))[0]).toMatchObject({ seconds: 0.1, speaker: 'x' });
  await expect(corpus.read('test')).rejects.toThrow(/lies outside the corpus/);
});

test('what cannot be had is said in one line, and nothing half written stays', async () => {
  const fails = async (work: Promise<unknown>, kind: unknown, says: RegExp): Promise<void> => {
    const error: unknown = await work.then(
      () => undefined,
      (error: unknown) => error,
    );
    expect(error).toBeInstanceOf(kind);
    expect((error as Error).message).toMatch(says);
    expect((error as Error).message).not.toContain('\n');
  };
  const options = { env: { ...env, HF_HUB_OFFLINE: '1' } };
  await fails(
    openCorpus(name, options),
    HubNotFoundError,
    /^there is no folder somebody\/speech here, and .* is not in the cache .*HF_HUB_OFFLINE/,
  );
  await fails(openCorpus('somebody/none', { env }), HubNotFoundError, /no dataset somebody\/none/);
  await fails(openCorpus({ hub: 'nobody' }, { env }), CorpusError, /'nobody' is no dataset's name/);
  await fails(
    openCorpus(name, { env, splits: ['train', 'tset'] }),
    CorpusError,
    /has no split 'tset'; it has train, validation/,
  );
  hub.onFile = (path, content) => (path.endsWith('.parquet') ? undefined : content);
  await fails(openCorpus(name, { env }), HubError, /did not come whole/);
  // What came is not taken for the dataset where the hub is out of reach.
  await fails(openCorpus(name, options), HubNotFoundError, /is not in the cache/);
  hub.onFile = (path, content) =>
    (path.endsWith('.parquet') ? content.map((b) => b ^ 1) : content) as Buffer;
  await fails(openCorpus(name, { env }), HubError, /came damaged/);
  expect(existsSync(join(cache, 'snapshots', commits.main, 'data'))).toBe(true);
  expect(readdirSync(join(cache, 'blobs')).filter((file) => file.includes('tmp'))).toEqual([]);
});
