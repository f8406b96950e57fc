import { Context } from '../../lib/cli/context';
import { runProgram } from '../../lib/cli/program';
import { oneLine, pare, pareWith } from './invoke';

const commands = [
  ...['run', 'translate', 'evaluate', 'score', 'compare', 'prune', 'quantize', 'inspect', 'synth'],
  ...['merge', 'doctor', 'completion', 'finetune', 'importance', 'distill', 'report', 'corpus'],
];

describe('the program', () => {
  test('names every command in its help', async () => {
    const { exitCode, stdout, stderr } = await pare('--help');
    expect(exitCode).toBe(0);
    expect(stderr).toBe('');
    for (const command of commands) expect(stdout).toMatch(new RegExp(`^  ${command} `, 'm'));
  });

  test.each(commands)('%s has help with at least two examples', async (command) => {
    const { exitCode, stdout } = await pare(command, '--help');
    expect(exitCode).toBe(0);
    const shown = stdout.slice(stdout.indexOf('Examples:')).match(/^ {2}pare /gm) ?? [];
    expect(shown.length).toBeGreaterThanOrEqual(2);
    expect(stdout.match(new RegExp(`^  pare ${command}\\b`, 'gm'))?.length).toBe(shown.length);
  });

  test('errors are red on a terminal, and nowhere else', async () => {
    const written = async (isTTY: boolean, env: NodeJS.ProcessEnv): Promise<string> => {
      let stderr = '';
      const terminal = { isTTY, write: (text: string) => (stderr += text) };
      await runProgram(['inspect'], new Context({ write: () => true }, terminal, env));
      return stderr;
    };
    expect(await written(true, {})).toContain('\u001b[31mpare:\u001b[39m missing');
    expect(await written(false, {})).toMatch(/^pare: missing/);
    expect(await written(true, { NO_COLOR: '1' })).toMatch(/^pare: missing/);
    expect(await written(true, { TERM: 'dumb' })).toMatch(/^pare: missing/);
  });

  test('--quiet and --verbose exclude each other; --quiet still tells of errors', async () => {
    const both = await pare('inspect', '/nowhere', '--quiet', '--verbose');
    expect(both).toMatchObject({ exitCode: 2 });
    const quiet = await pare('inspect', '/nowhere', '--quiet');
    expect(quiet).toMatchObject({ exitCode: 1, stdout: '' });
    expect(quiet.stderr).toMatch(oneLine);
    const verbose = await pare('inspect', '/nowhere', '--verbose');
    expect(verbose.stderr.split('\n').length).toBeGreaterThan(3);
  });

  test('says its version', async () => {
    const { version } = jest.requireActual<{ version: string }>('../../package.json');
    expect(await pare('--version')).toEqual({ exitCode: 0, stdout: `${version}\n`, stderr: '' });
  });

  test.each([
    { args: ['frobnicate'], says: 'frobnicate' },
    { args: ['inspect', 'x', '--frobnicate'], says: '--frobnicate' },
    { args: ['inspect'], says: 'dir' },
    { args: ['inspect', 'x', 'y'], says: 'too many arguments' },
    { args: ['translate', 'x.wav', '--model', 'm'], says: '--to' },
    { args: ['translate', 'x.wav', '--to', 'German'], says: '--model' },
    { args: ['translate', '--model', 'm', '--to', 'German'], says: 'file' },
    {
      args: ['translate', 'x.wav', '--model', 'm', '--to', 'German', '--batch-size', '0'],
      says: 'at least 1',
    },
    { args: ['score', 'a', 'b'], says: '--metric' },
    { args: ['score', 'a', 'b', '--metric', 'comet'], says: 'bleu, chrf, chrf++' },
    { args: ['score', 'a', 'b', '--metric', 'chrf', '--tokenize', 'zh'], says: 'of bleu, not of' },
    { args: ['score', 'a', 'b', '--metric', 'bleu', '--normalizer', 'basic'], says: 'wer, cer' },
    { args: ['compare', 'a'], says: 'two systems' },
    { args: ['compare', 'a', 'b', '--names', 'x'], says: 'give 2' },
    { args: ['compare', 'a', 'b', '--output', 'table.pdf'], says: '.tex, .md, .json' },
    { args: ['compare', 'a', 'b', '--trials', '9'], says: '--paired-ar' },
    { args: ['compare', 'a', 'b', '--alpha', '5'], says: 'between 0 and 1' },
    { args: ['prune', 'm', '--layers', '3,x', '--output', 'o'], says: "'x'" },
    { args: ['prune', 'm', '--layers', '5-3', '--output', 'o'], says: "'5-3'" },
    { args: ['prune', 'm', '--layers', '3,2-4', '--output', 'o'], says: 'twice' },
    { args: ['inspect', ''], says: "argument 'dir' is empty" },
    { args: ['quantize', 'm', ''], says: "argument 'output' is empty" },
    { args: ['score', 'a', 'b', '', '-m', 'bleu'], says: "argument 'refs' is empty" },
    { args: ['merge', 'm', '--output', ''], says: "option '--output <dir>' is empty" },
    { args: ['corpus', 'check', ''], says: "argument 'corpus' is empty" },
  ])('$args is a wrong use', async ({ args, says }) => {
    const { exitCode, stdout, stderr } = await pare(...args);
    expect(exitCode).toBe(2);
    expect(stdout).toBe('');
    expect(stderr).toMatch(oneLine);
    expect(stderr).toContain(says);
  });

  test('no command at all shows the help and is a wrong use', async () => {
    const { exitCode, stdout, stderr } = await pare();
    expect(exitCode).toBe(2);
    expect(stdout).toBe('');
    expect(stderr).toContain('Usage: pare');
  });

  test('a failure is one line, with a stack only where PARE_DEBUG asks', async () => {
    const short = await pareWith({ PARE_DEBUG: '' }, 'inspect', '/nowhere');
    expect(short).toMatchObject({ exitCode: 1, stdout: '' });
    expect(short.stderr).toMatch(oneLine);
    expect(short.stderr).toContain('/nowhere is neither a folder nor a name on the hub');
    const long = await pareWith({ PARE_DEBUG: '1' }, 'inspect', '/nowhere');
    expect(long.exitCode).toBe(1);
    expect(long.stderr).toMatch(/^pare: .*\n.*CheckpointError.*\n\s+at /);
  });

  test('a recipe that cannot be followed is told before anything is loaded', async () => {
    const missing = await pare('run', '/nowhere/recipe.yaml');
    expect(missing).toMatchObject({ exitCode: 1, stdout: '' });
    expect(missing.stderr).toMatch(oneLine);
    expect(missing.stderr).toContain('/nowhere/recipe.yaml');
  });
});
