/** Commands and recipes that take a checkpoint by its name on the hub, from a hub on the loopback. */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseHubName } from '../../lib/hub';
import { planRecipe, runRecipe } from '../../lib/pipeline';
import { account } from '../../lib/qwen2-audio/accounting';
import { jsonLines, oneLine, pareWith, type Invocation } from '../cli/invoke';
import { writeRandomAdapter } from '../lora/random-adapter';
import { tinyCorpus } from '../pipeline/tiny-corpus';
import { tinyRecipe, writeRecipe } from '../pipeline/tiny-recipe';
import { writeTinyCheckpoint } from '../tiny-checkpoint';
import { HubServer } from './hub-server';

jest.setTimeout(300_000);

const commits = { main: 'a'.repeat(40), older: 'b'.repeat(40) };
const name = 'somebody/tiny-audio';
const adapted = 'somebody/adapted';
let dir: string;
let source: string;
let hub: HubServer;
let env: NodeJS.ProcessEnv;
let output: string;

beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'pare-hub-'));
  source = join(dir, 'source');
  writeTinyCheckpoint(source, { decoderLayers: 5 });
  writeTinyCheckpoint(join(dir, 'adapted'), { decoderLayers: 5 });
  const adapter = join(dir, 'adapted', 'adapter');
  writeRandomAdapter(adapter, source, { r: 2, loraAlpha: 4 }, 1);
  tinyCorpus(join(dir, 'corpus'));
});
beforeEach(async () => {
  hub = await HubServer.start();
  hub.repos.set(name, { type: 'model', dir: source, revisions: commits });
  hub.repos.set(adapted, { type: 'model', dir: join(dir, 'adapted'), revisions: commits });
  env = { HF_ENDPOINT: hub.url, HF_HOME: mkdtempSync(join(dir, 'home-')), HF_HUB_OFFLINE: '' };
  output = join(mkdtempSync(join(dir, 'output-')), 'model');
});
afterEach(async () => hub.stop());
afterAll(() => rmSync(dir, { recursive: true }));

const pare = (...args: string[]): Promise<Invocation> => pareWith(env, ...args);

test('names with and without a revision', () => {
  expect(parseHubName('Qwen/Qwen2-Audio-7B')).toEqual({ name: 'Qwen/Qwen2-Audio-7B' });
  expect(parseHubName('a/b@v1.0')).toEqual({ name: 'a/b', revision: 'v1.0' });
  expect(parseHubName('a/b@refs/pr/1')).toEqual({ name: 'a/b', revision: 'refs/pr/1' });
  for (const text of ['a', 'a/b@', '@x', 'a@b/c', '/a/b', 'a/b@../c', 'a/b/c@x', 'a/b@x y']) {
    expect([text, parseHubName(text)]).toEqual([text, undefined]);
  }
});

test('pare inspect, once fetched without the hub', async () => {
  const { decoderLayers, parameters } = account(source);
  for (const args of [[name], [`${name}@older`], [name, '--revision', 'older']]) {
    const { exitCode, stdout, stderr } = await pare('inspect', ...args, '--json');
    expect([exitCode, stderr]).toEqual([0, '']);
    expect(jsonLines(stdout)[0]).toMatchObject({ decoderLayers, parameters });
  }
  hub.requests.length = 0;
  env.HF_HUB_OFFLINE = '1';
  expect((await pare('inspect', `${name}@older`)).exitCode).toBe(0);
  const missing = await pare('inspect', adapted);
  expect([missing.exitCode, missing.stderr]).toEqual([1, expect.stringMatching(oneLine)]);
  expect(missing.stderr).toContain('is not in the cache');
  expect(hub.requests).toEqual([]);
});

test('pare prune, quantize and merge write what they write of a folder', async () => {
  const same = (a: string, b: string): void => {
    expect(readdirSync(a)).toEqual(readdirSync(b));
    for (const file of readdirSync(a).filter((path) => !path.startsWith('merge'))) {
      expect([file, readFileSync(join(a, file)).equals(readFileSync(join(b, file)))]).toEqual([file, true]); // prettier-ignore
    }
  };
  const from = join(dir, 'adapted');
  const commands: [string, (given: string, target: string) => string[]][] = [
    [source, (given, target) => ['prune', given, '--layers', '2', '--output', target]],
    [source, (given, target) => ['quantize', given, target, '--block-size', '32']],
    [from, (given, target) => ['merge', given, '--output', target]],
  ];
  for (const [i, [folder, command]] of commands.entries()) {
    const [byName, byFolder] = [`${output}-${i}-name`, `${output}-${i}-folder`];
    const given = folder === source ? `${name}@older` : adapted;
    expect(await pare(...command(given, byName))).toMatchObject({ exitCode: 0, stderr: '' });
    expect(await pare(...command(folder, byFolder))).toMatchObject({ exitCode: 0 });
    same(byName, byFolder);
  }
});

test('pare finetune, importance, distill and evaluate do with it what they do with a folder', async () => {
  const corpus = join(dir, 'corpus');
  const short = ['--corpus', corpus, '--to', 'de', '--limit', '4', '--max-new-tokens', '2'];
  const commands: ((given: string, target: string) => string[])[] = [
    (given, target) => ['importance', given, ...short, '--remove', '1', '--output', target],
    (given, target) => ['distill', given, ...short, '--output', target],
    (given) => ['evaluate', '--model', given, ...short, '--json'],
  ];
  const told = ({ stdout }: Invocation): string =>
    stdout.replace(/"(model|tokensPerSecond)":[^,}]*/g, '').replace(/prune \S+/, '');
  for (const [i, command] of commands.entries()) {
    const [byName, byFolder] = [`${output}-${i}-name`, `${output}-${i}-folder`];
    const made = await pare(...command(`${name}@older`, byName));
    expect(made).toMatchObject({ exitCode: 0, stderr: '' });
    const same = await pare(...command(source, byFolder));
    expect(told(made)).toBe(told(same));
    if (existsSync(byFolder)) expect(readFileSync(byName)).toEqual(readFileSync(byFolder));
  }
  const training = ['--corpus', corpus, '--to', 'de', '--limit', '4', '--steps', '1'];
  const adapter = [...training, '--lora-r', '2', '--output', output];
  expect(await pare('finetune', name, '--revision', 'older', ...adapter)).toMatchObject({
    ...{ exitCode: 0, stderr: '' },
  });
  const config = readFileSync(join(output, 'adapter_config.json'), 'utf8');
  expect(JSON.parse(config)).toMatchObject({ base_model_name_or_path: name });
  hub.requests.length = 0;
  const missing = await pare(
    'finetune',
    'somebody/else',
    ...training,
    '--output',
    `${output}-none`,
  );
  expect([missing.exitCode, missing.stderr]).toEqual([1, expect.stringMatching(oneLine)]);
  expect(missing.stderr).toContain('there is no folder somebody/else here, and ');
  expect(readdirSync(join(output, '..')).filter((path) => path.includes('none'))).toEqual([]);
});

test('an output that exists is refused before anything is fetched', async () => {
  for (const args of [
    ['prune', name, '--layers', '2', '--output', dir],
    ['quantize', name, dir],
    ['merge', adapted, '--output', dir],
  ]) {
    const { exitCode, stderr } = await pare(...args);
    expect([exitCode, stderr]).toEqual([1, `pare: ${dir} exists already; choose another folder\n`]);
  }
  expect(hub.requests).toEqual([]);
});

test('what does not come is one line, and nothing is written', async () => {
  const revision = await pare('quantize', `${name}@future`, output);
  expect([revision.exitCode, revision.stderr]).toEqual([1, expect.stringMatching(oneLine)]);
  expect(revision.stderr).toContain('with the revision future');
  const twice = await pare('inspect', `${name}@main`, '--revision', 'older');
  expect(twice.stderr).toMatch(/names its revision, and older is asked for; give one of them/);
  hub.onFile = (path, content) => (path === 'model.safetensors' ? undefined : content);
  const cut = await pare('prune', name, '--layers', '2', '--output', output);
  expect([cut.exitCode, cut.stderr]).toEqual([1, expect.stringMatching(/did not come whole/)]);
  expect(existsSync(output)).toBe(false);
});

describe('a recipe whose teacher is on the hub', () => {
  const recipeOf = (checkpoint: string): string => {
    const recipe: Record<string, unknown> = tinyRecipe(join(dir, 'corpus'), output);
    for (const key of ['importance', 'heal', 'quantize', 'distill']) delete recipe[key];
    return writeRecipe(dir, { ...recipe, teacher: { checkpoint } });
  };

  test('--plan says what would be fetched, and fetches the shape alone', async () => {
    const file = recipeOf(`${name}@older`);
    const { fetch, stages } = await planRecipe(file, { env });
    const { parameters } = account(source);
    expect(stages[0]).toMatchObject({ name: 'evaluation-teacher', parameters });
    expect(hub.sent.sort()).toEqual(['config.json', 'generation_config.json']);
    expect(fetch).toMatchObject({ name, revision: 'older', files: 9 });
    expect(fetch!.bytes).toBeGreaterThan(readFileSync(join(source, 'model.safetensors')).length);
    // What is there in part is not taken for the checkpoint.
    expect(readdirSync(env.HF_HOME!, { recursive: true }).join()).not.toContain('refs');
    const { exitCode, stdout } = await pare('run', file, '--plan', '--no-time');
    expect([exitCode, stdout]).toEqual([
      0,
      expect.stringMatching(/^to fetch: somebody\/tiny-audio \(older\), 7 files, 0\.\d\d GB$/m),
    ]);
    expect(existsSync(output)).toBe(false);
    // With all of it in the cache there is nothing to fetch.
    expect((await pare('inspect', `${name}@older`)).exitCode).toBe(0);
    expect((await planRecipe(file, { env })).fetch).toBeUndefined();
  });

  test('is followed, and taken from before where the checkpoint is the same', async () => {
    const file = recipeOf(name);
    const made: string[] = [];
    const onStage = (stage: string, { reused }: { reused: boolean }): void =>
      void (reused || made.push(stage));
    const labels = new Set<string>();
    const onProgress = ({ label }: { label: string }): void => void labels.add(label);
    const first = await runRecipe(file, { env, onStage, onProgress });
    expect(first.student).toContain(join('snapshots', commits.main));
    expect(made).toEqual(['evaluation-teacher']);
    expect(labels).toContain('fetching the teacher (MB)');
    hub.repos.get(name)!.revisions = { main: commits.older };
    await runRecipe(file, { env: { ...env, HF_HUB_OFFLINE: '1' }, onStage });
    // Another commit with the same weights is the same teacher; other weights are not.
    await runRecipe(file, { env, onStage });
    expect(made).toEqual(['evaluation-teacher']);
    hub.repos.set(name, { type: 'model', dir: join(dir, 'adapted'), revisions: { main: 'c'.repeat(40) } }); // prettier-ignore
    await runRecipe(file, { env, onStage });
    expect(made).toEqual(['evaluation-teacher', 'evaluation-teacher']);
  });

  test('a name that nobody has is named with recipe and key', async () => {
    const file = recipeOf('somebody/else');
    for (const fail of [() => runRecipe(file, { env }), () => planRecipe(file, { env })]) {
      await expect(fail()).rejects.toThrow(
        `${file}: teacher.checkpoint: there is no folder somebody/else here, and `,
      );
    }
  });
});
