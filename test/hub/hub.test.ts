import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync } from 'node:fs';
import { realpathSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fetchSnapshot, HubError, HubNotFoundError, isHubName } from '../../lib/hub';
import { CheckpointError, resolveCheckpoint } from '../../lib/qwen2-audio';
import { SpeechTranslator } from '../../lib/qwen2-audio/translator';
import { memory } from '../../lib/torch';
import { writeTinyCheckpoint, writeTone } from '../tiny-checkpoint';
import { HubServer } from './hub-server';

jest.setTimeout(120_000);

const commits = { main: 'a'.repeat(40), older: 'b'.repeat(40) };
const name = 'somebody/tiny-audio';
let dir: string;
let source: string;
let hub: HubServer;
let env: NodeJS.ProcessEnv;
let cache: string;

beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'pare-hub-'));
  source = join(dir, 'source');
  writeTinyCheckpoint(source);
  writeFileSync(join(source, 'README.md'), '# not needed');
  writeFileSync(join(source, 'pytorch_model.bin'), 'not needed');
  mkdirSync(join(source, 'runs'));
  writeFileSync(join(source, 'runs', 'config.json'), 'not needed');
});
beforeEach(async () => {
  hub = await HubServer.start();
  hub.repos.set(name, { type: 'model', dir: source, revisions: commits });
  env = { HF_ENDPOINT: `${hub.url}/`, HF_HOME: mkdtempSync(join(dir, 'home-')) };
  cache = join(env.HF_HOME!, 'hub', 'models--somebody--tiny-audio');
});
afterEach(async () => hub.stop());
afterAll(() => rmSync(dir, { recursive: true }));

/** Files below a folder that are no link and not complete. */
function leftovers(): string[] {
  return readdirSync(env.HF_HOME!, { recursive: true })
    .map(String)
    .filter((path) => /tmp-|incomplete/.test(path));
}

const needed = [
  ...['chat_template.jinja', 'config.json', 'generation_config.json', 'merges.txt'],
  ...['model.safetensors', 'preprocessor_config.json', 'tokenizer.json'],
  ...['tokenizer_config.json', 'vocab.json'],
];

describe('a checkpoint by its name', () => {
  test('comes with what is needed, into the cache as all tools have it', async () => {
    const heard: [number, number][] = [];
    const onProgress = (done: number, total: number): void => void heard.push([done, total]);
    const folder = await resolveCheckpoint(name, { env, onProgress });
    expect(folder).toBe(join(cache, 'snapshots', commits.main));
    expect(readdirSync(folder).sort()).toEqual(needed);
    expect(hub.sent.sort()).toEqual(needed);
    for (const file of needed) {
      expect(readFileSync(join(folder, file))).toEqual(readFileSync(join(source, file)));
    }
    expect(readFileSync(join(cache, 'refs', 'main'), 'utf8')).toBe(commits.main);
    expect(readdirSync(join(cache, 'blobs'))).toHaveLength(needed.length);
    const [done, total] = heard.at(-1)!;
    expect(done).toBe(total);
    expect(total).toBeGreaterThan(readFileSync(join(source, 'model.safetensors')).length);
    expect(leftovers()).toEqual([]);
  });

  test('a download that was killed leaves nothing for good, and one that goes on stays', async () => {
    const folder = await resolveCheckpoint(name, { env });
    const blob = realpathSync(join(folder, 'model.safetensors'));
    rmSync(blob);
    const [left, going] = [`${blob}.tmp-1-0`, `${blob}.tmp-1-1`];
    for (const path of [left, going]) writeFileSync(path, 'a part');
    const yesterday = Date.now() / 1000 - 86_400;
    utimesSync(left, yesterday, yesterday);
    await resolveCheckpoint(name, { env });
    expect(existsSync(blob)).toBe(true);
    expect(leftovers()).toEqual([going.slice(env.HF_HOME!.length + 1)]);
  });

  test('is fetched once, and read without the hub where that is out of reach', async () => {
    const folder = await resolveCheckpoint(name, { env });
    hub.requests.length = 0;
    expect(await resolveCheckpoint(name, { env })).toBe(folder);
    expect(hub.sent).toEqual([]);
    expect(hub.requests).toHaveLength(2);
    hub.requests.length = 0;
    for (const HF_HUB_OFFLINE of ['1', 'true', 'ON']) {
      expect(await resolveCheckpoint(name, { env: { ...env, HF_HUB_OFFLINE } })).toBe(folder);
    }
    expect(hub.requests).toEqual([]);
    hub.status = 503;
    expect(await resolveCheckpoint(name, { env })).toBe(folder);
    const HF_ENDPOINT = 'http://127.0.0.1:9';
    expect(await resolveCheckpoint(name, { env: { ...env, HF_ENDPOINT } })).toBe(folder);
  });

  test('at a branch or a commit', async () => {
    const older = await resolveCheckpoint(name, { env, revision: 'older' });
    expect(older).toBe(join(cache, 'snapshots', commits.older));
    const commit = await resolveCheckpoint(name, { env, revision: commits.older });
    expect(commit).toBe(older);
    const offline = { ...env, HF_HUB_OFFLINE: '1' };
    expect(await resolveCheckpoint(name, { env: offline, revision: commits.older })).toBe(older);
    const refused = resolveCheckpoint(name, { env: offline });
    await expect(refused).rejects.toThrow('(main) is not in the cache');
  });

  test('another cache by HF_HUB_CACHE', async () => {
    const own = join(dir, 'own-cache');
    const folder = await resolveCheckpoint(name, { env: { ...env, HF_HUB_CACHE: own } });
    expect(folder.startsWith(own)).toBe(true);
  });

  test('shards and an adapter; a single file where there are both', async () => {
    const sharded = join(dir, 'sharded');
    cpSync(source, sharded, { recursive: true });
    mkdirSync(join(sharded, 'adapter'));
    const weights = ['model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors'];
    for (const file of [
      ...['adapter/adapter_config.json', 'adapter/adapter_model.safetensors', 'adapter/notes.txt'],
      ...['model.safetensors.index.json', 'consolidated.safetensors', ...weights],
    ]) {
      writeFileSync(join(sharded, file), file);
    }
    hub.repos.set(name, { type: 'model', dir: sharded, revisions: commits });
    await resolveCheckpoint(name, { env });
    const adapter = ['adapter/adapter_config.json', 'adapter/adapter_model.safetensors'];
    expect(hub.sent.sort()).toEqual([...adapter, ...needed].sort());
    expect(hub.sent.indexOf(adapter[1]!)).toBeLessThan(hub.sent.indexOf('model.safetensors'));
    rmSync(join(sharded, 'model.safetensors'));
    const folder = await resolveCheckpoint(name, { env });
    for (const file of weights) expect(existsSync(join(folder, file))).toBe(true);
    expect(existsSync(join(folder, 'consolidated.safetensors'))).toBe(false);
  });

  test('translates, and leaves no tensor behind', async () => {
    const { handles } = memory();
    const file = join(dir, 'tone.wav');
    writeTone(file, 0.8, 200);
    const request = { to: 'German', maxNewTokens: 4 };
    using local = await SpeechTranslator.load(source);
    const { tokenIds } = await local.translate(file, request);
    local.dispose();
    using translator = await SpeechTranslator.load(name, { env });
    expect((await translator.translate(file, request)).tokenIds).toEqual(tokenIds);
    translator.dispose();
    expect(memory().handles).toBe(handles);
  });
});

describe('what does not come', () => {
  test('a name that nobody has', async () => {
    const missing = resolveCheckpoint('somebody/else', { env });
    await expect(missing).rejects.toThrow(HubNotFoundError);
    await expect(missing).rejects.toThrow(
      /^there is no folder somebody\/else here, and .*HF_TOKEN/,
    );
    const revision = resolveCheckpoint(name, { env, revision: 'future' });
    await expect(revision).rejects.toThrow('with the revision future');
    for (const status of [401, 403]) {
      hub.status = status;
      await expect(resolveCheckpoint(name, { env })).rejects.toThrow(`status ${status}`);
    }
  });

  test('a hub that is not there', async () => {
    const HF_ENDPOINT = 'http://127.0.0.1:9';
    const refused = resolveCheckpoint(name, { env: { ...env, HF_ENDPOINT } });
    await expect(refused).rejects.toThrow(HubNotFoundError);
    await expect(refused).rejects.toThrow(/cannot be reached \(.+\), and .* is not in the cache/);
  });

  test('neither folder nor name', async () => {
    for (const text of ['nowhere', '/no/where', './no/where', 'a/b/c', 'a b/c', '../x', 'a/..']) {
      expect(isHubName(text)).toBe(false);
      const refused = resolveCheckpoint(text, { env });
      await expect(refused).rejects.toThrow(CheckpointError);
      await expect(refused).rejects.toThrow('neither a folder nor a name on the hub');
    }
    expect(isHubName('Qwen/Qwen2-Audio-7B-Instruct')).toBe(true);
    const revision = resolveCheckpoint(source, { env, revision: 'main' });
    await expect(revision).rejects.toThrow('leave the revision out');
    expect(hub.requests).toEqual([]);
  });

  test('a file that is damaged, or cut off, and then comes whole', async () => {
    hub.onFile = (path, content) =>
      path === 'tokenizer.json' ? Buffer.from(content).fill(32, 10, 11) : content;
    const damaged = resolveCheckpoint(name, { env });
    await expect(damaged).rejects.toThrow(HubError);
    await expect(damaged).rejects.toThrow(/^tokenizer.json of .* came damaged/);
    expect(leftovers()).toEqual([]);
    hub.onFile = (path, content) => (path === 'model.safetensors' ? undefined : content);
    const cut = resolveCheckpoint(name, { env });
    await expect(cut).rejects.toThrow(/^model.safetensors of .* did not come whole/);
    expect(leftovers()).toEqual([]);
    // What is half there is not what a branch is at.
    expect(existsSync(join(cache, 'refs', 'main'))).toBe(false);
    const offline = resolveCheckpoint(name, { env: { ...env, HF_HUB_OFFLINE: '1' } });
    await expect(offline).rejects.toThrow(HubNotFoundError);
    hub.onFile = (_, content) => content;
    hub.requests.length = 0;
    expect(readdirSync(await resolveCheckpoint(name, { env })).sort()).toEqual(needed);
    expect(hub.sent).toEqual(['model.safetensors']);
  });

  test('an aborted download', async () => {
    const early = { env, signal: AbortSignal.abort(new Error('never')) };
    await expect(resolveCheckpoint(name, early)).rejects.toThrow('never');
    expect(hub.requests).toEqual([]);
    const controller = new AbortController();
    hub.onFile = (path, content) => {
      if (path === 'model.safetensors') controller.abort(new Error('enough'));
      return content;
    };
    const late = { env, signal: controller.signal };
    await expect(SpeechTranslator.load(name, late)).rejects.toThrow('enough');
    expect(leftovers()).toEqual([]);
    expect(existsSync(join(cache, 'snapshots', commits.main, 'model.safetensors'))).toBe(false);
  });

  test('a repository that names places outside of itself', async () => {
    for (const path of ['../../evil', 'a/../../evil', '/etc/evil', 'a\\..\\evil']) {
      hub.extraPaths = [path];
      const choose = (paths: readonly string[]): string[] => [...paths];
      const refused = fetchSnapshot(name, { env, choose });
      await expect(refused).rejects.toThrow('no place in it');
    }
  });
});

test('a data set, whole', async () => {
  const corpus = join(dir, 'corpus');
  mkdirSync(join(corpus, 'data'), { recursive: true });
  writeFileSync(join(corpus, 'data', 'train.jsonl'), '{}\n');
  hub.repos.set('somebody/corpus', { type: 'dataset', dir: corpus, revisions: commits });
  const options = {
    env,
    type: 'dataset' as const,
    choose: (paths: readonly string[]) => [...paths],
  };
  const folder = await fetchSnapshot('somebody/corpus', options);
  expect(readFileSync(join(folder, 'data', 'train.jsonl'), 'utf8')).toBe('{}\n');
  expect(folder).toContain(join('hub', 'datasets--somebody--corpus', 'snapshots'));
});
