/** Completion scripts; bash's is tried in bash. */
import { spawnSync } from 'node:child_process';
import { pare } from './invoke';

/** What bash completes the last word of a line to. */
function completed(script: string, ...words: string[]): string[] {
  const program = `${script}
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _pare; printf '%s\\n' "\${COMPREPLY[@]}"`;
  const { stdout, stderr, status } = spawnSync('bash', ['-c', program, 'bash', ...words], {
    encoding: 'utf8',
  });
  expect([status, stderr]).toEqual([0, '']);
  return stdout.split('\n').filter((word) => word !== '');
}

test('bash completes commands, options, choices and files', async () => {
  const { exitCode, stdout } = await pare('completion', 'bash');
  expect(exitCode).toBe(0);
  expect(completed(stdout, 'pare', 'in')).toEqual(['inspect']);
  expect(completed(stdout, 'pare', '')).toEqual(
    expect.arrayContaining(['run', 'translate', 'completion']),
  );
  expect(completed(stdout, 'pare', 'run', '--sw')).toEqual(['--sweep']);
  expect(completed(stdout, 'pare', 'run', '--')).toEqual(
    expect.arrayContaining(['--set', '--quiet', '--help']),
  );
  expect(completed(stdout, 'pare', 'translate', '--dtype', 'b')).toEqual(['bfloat16']);
  expect(completed(stdout, 'pare', 'corpus', '')).toEqual(['check']);
  expect(completed(stdout, 'pare', 'corpus', 'check', '--sp')).toEqual(['--split']);
  expect(completed(stdout, 'pare', 'completion', 'f')).toEqual(['fish']);
  expect(completed(stdout, 'pare', 'completion', '--h')).toEqual(['--help']);
  expect(completed(stdout, 'pare', 'inspect', 'packa')).toEqual(
    expect.arrayContaining(['package.json']),
  );
});

describe.each(['zsh', 'fish'])('%s', (shell) => {
  test('every command and option, in quotes that end', async () => {
    const { stdout } = await pare('completion', shell);
    expect((stdout.match(/'/g) ?? []).length % 2).toBe(0);
    for (const word of ['inspect', 'sweep', 'set', 'quiet']) expect(stdout).toContain(word);
  });

  const installed = spawnSync(shell, ['--version']).status === 0;
  (installed ? test : test.skip)('is taken by the shell', async () => {
    const { stdout } = await pare('completion', shell);
    const { status, stderr } = spawnSync(shell, ['-n'], { input: stdout, encoding: 'utf8' });
    expect([status, stderr]).toEqual([0, '']);
  });
});

test('another shell is a wrong use', async () => {
  expect(await pare('completion', 'tcsh')).toMatchObject({ exitCode: 2, stdout: '' });
});
