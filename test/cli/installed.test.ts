import { execFile } from 'node:child_process';
import { mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { writeTinyCheckpoint, writeTone } from '../tiny-checkpoint';
import { installPackage } from './installed-package';
import { jsonLines, oneLine, type Invocation } from './invoke';

jest.setTimeout(120_000);

let folder: string;
const path = (name: string): string => join(folder, 'work', name);

beforeAll(() => {
  folder = installPackage();
  mkdirSync(join(folder, 'work'));
});
afterAll(() => rmSync(folder, { recursive: true }));

/** Runs node in a process of its own. */
async function node(args: string[], env: NodeJS.ProcessEnv = {}): Promise<Invocation> {
  const options = { env: { ...process.env, OMP_NUM_THREADS: '1', ...env } };
  try {
    const { stdout, stderr } = await promisify(execFile)(process.execPath, args, options);
    return { exitCode: 0, stdout, stderr };
  } catch (error) {
    const { code, stdout, stderr } = error as { code: number; stdout: string; stderr: string };
    return { exitCode: code, stdout, stderr };
  }
}
const pare = (args: string[], env?: NodeJS.ProcessEnv): Promise<Invocation> =>
  node([join(folder, 'bin/pare.js'), ...args], env);

const noAddon = { PARE_ADDON: '/nowhere/pare.node' };

describe('the program in a process of its own', () => {
  test('translates', async () => {
    writeTinyCheckpoint(path('model'));
    writeTone(path('tone.wav'), 1, 300);
    const common = ['translate', '--model', path('model'), '--to', 'German'];
    const args = [...common, '--max-new-tokens', '4', '--json', path('tone.wav'), path('none.wav')];
    const { exitCode, stdout, stderr } = await pare(args);
    expect(exitCode).toBe(1);
    expect(stderr).toMatch(oneLine);
    expect(stderr).toContain(path('none.wav'));
    expect(jsonLines(stdout)).toEqual([
      {
        file: path('tone.wav'),
        text: expect.any(String),
        tokenIds: expect.any(Array),
        seconds: expect.any(Number),
      },
    ]);
  });

  test('says what to do where it is not compiled', async () => {
    const [dist, away] = [join(folder, 'dist'), join(folder, 'away')];
    renameSync(dist, away);
    try {
      const { exitCode, stderr } = await pare(['--help']);
      expect(exitCode).toBe(1);
      expect(stderr).toBe(`pare: ${folder} is not compiled yet; run 'npm run build' there\n`);
    } finally {
      renameSync(away, dist);
    }
  });

  test('says that standard output cannot be written', async () => {
    const cli = join(folder, 'bin/pare.js');
    const command = `"${process.execPath}" "${cli}" inspect "${path('model')}" --json >/dev/full`;
    const failed = promisify(execFile)('sh', ['-c', command]);
    await expect(failed).rejects.toMatchObject({
      code: 1,
      stderr:
        'pare: cannot write standard output: the disk is full; free some space and run the same command again\n',
    });
  });

  test('needs no addon for help, score, inspect and prune', async () => {
    expect((await pare(['--help'], noAddon)).exitCode).toBe(0);
    writeFileSync(path('hyp'), 'eins zwei drei vier\n');
    const score = await pare(
      ['score', path('hyp'), path('hyp'), '--metric', 'bleu', '--json'],
      noAddon,
    );
    expect({ ...score, stdout: '' }).toEqual({ exitCode: 0, stdout: '', stderr: '' });
    expect(jsonLines(score.stdout)[0]).toMatchObject({
      metric: 'bleu',
      score: expect.closeTo(100),
    });
    const tiny = join(__dirname, '../oracle/vectors/tiny-model');
    const inspect = await pare(['inspect', tiny, '--json'], noAddon);
    expect({ ...inspect, stdout: '' }).toEqual({ exitCode: 0, stdout: '', stderr: '' });
    expect(jsonLines(inspect.stdout)[0]).toMatchObject({ decoderLayers: 5 });
    const pruned = ['--layers', '2', '--output', path('pruned'), '--json'];
    const prune = await pare(['prune', tiny, ...pruned], noAddon);
    expect({ ...prune, stdout: '' }).toEqual({ exitCode: 0, stdout: '', stderr: '' });
    expect(jsonLines(prune.stdout)[0]).toMatchObject({ decoderLayers: 4 });
  });

  test('says what to run where the addon is missing', async () => {
    const args = ['translate', '--model', 'm', '--to', 'German', 'x.wav'];
    const result = await pare(args, noAddon);
    expect(result).toMatchObject({ exitCode: 1, stdout: '' });
    expect(result.stderr).toMatch(oneLine);
    expect(result.stderr).toContain('/nowhere/pare.node is missing');
    expect((await pare(['--frobnicate'])).exitCode).toBe(2);
  });

  test('the doctor finds what a working machine has', async () => {
    const { exitCode, stdout, stderr } = await pare(['doctor', '--json']);
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
    const findings = jsonLines(stdout);
    for (const finding of findings) {
      expect(finding).toEqual({
        name: expect.any(String),
        status: expect.stringMatching(/^(ok|note|missing)$/),
        detail: expect.stringMatching(/./),
      });
    }
    const names = findings.map(({ name }) => name);
    expect(names).toEqual([
      ...['Node', 'addon', 'libtorch', 'build tools', 'pip'],
      ...['processor', 'CUDA', 'memory', 'disk', 'cache'],
    ]);
    const libtorch = findings.find(({ name }) => name === 'libtorch')!;
    expect(libtorch).toMatchObject({ status: 'ok' });
    expect(libtorch.detail).toMatch(/^2\.\d+\.\d+.*, loaded from \/.*lib$/);
  });

  test('the doctor names what is missing, with its Debian package', async () => {
    const empty = path('empty-bin');
    mkdirSync(empty);
    const env = { ...noAddon, PATH: empty, LIBTORCH: empty, PARE_CUDA: '0' };
    const { exitCode, stdout, stderr } = await pare(['doctor', '--json'], env);
    expect({ exitCode, stderr }).toEqual({ exitCode: 1, stderr: '' });
    const missing = jsonLines(stdout).filter(({ status }) => status === 'missing');
    const details = Object.fromEntries(missing.map(({ name, detail }) => [name, detail]));
    expect(Object.keys(details)).toEqual(['addon', 'libtorch', 'build tools', 'pip']);
    expect(details.addon).toContain('/nowhere/pare.node');
    expect(details.libtorch).toContain('LIBTORCH=');
    expect(details['build tools']).toMatch(/apt-get install .*g\+\+.*cmake/);
    expect(details.pip).toMatch(/apt-get install .*python3-pip/);
    const words = await pare(['doctor'], env);
    expect(words.exitCode).toBe(1);
    expect(words.stdout).toMatch(/^MISSING +addon/m);
  });
});

describe('the package', () => {
  test('has its public face', async () => {
    const program = `
      const pare = require(${JSON.stringify(folder)});
      console.log(JSON.stringify(Object.keys(pare).sort()));`;
    const { stdout, stderr } = await node(['-e', program]);
    expect(stderr).toBe('');
    expect(JSON.parse(stdout)).toEqual(
      expect.arrayContaining(['PareError', 'Processor', 'SpeechTranslator', 'loadModel', 'torch']),
    );
  });
});
