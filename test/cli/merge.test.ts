import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Context } from '../../lib/cli/context';
import { runProgram } from '../../lib/cli/program';
import { account } from '../../lib/qwen2-audio/accounting';
import { writeRandomAdapter } from '../lora/random-adapter';
import { tinyCorpus } from '../pipeline/tiny-corpus';
import { writeTinyCheckpoint } from '../tiny-checkpoint';
import { jsonLines, oneLine, pare } from './invoke';

jest.setTimeout(120_000);

let folder: string;
const path = (name: string): string => join(folder, name);

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'pare-merge-'));
  writeTinyCheckpoint(path('model'));
  writeRandomAdapter(path('adapter'), path('model'), { r: 2, loraAlpha: 4 }, 1);
  tinyCorpus(path('corpus'));
});
afterAll(() => rmSync(folder, { recursive: true }));

const merge = (...args: string[]): ReturnType<typeof pare> =>
  pare('merge', path('model'), '--adapter', path('adapter'), ...args);

describe('pare merge', () => {
  test('measures on a corpus and prints what it measured', async () => {
    const output = path('measured');
    const corpus = ['--corpus', path('corpus'), '--to', 'German'];
    const { exitCode, stdout, stderr } = await merge('--output', output, ...corpus, '--json');
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
    const [report] = jsonLines(stdout);
    expect(report).toMatchObject({
      model: path('model'),
      output,
      written: 'merged',
      dev: { split: 'dev', languages: ['de'], utterances: 6 },
      forms: [{ form: 'adapter', tokenAgreement: 1 }, { form: 'merged' }, { form: 'requantized' }],
    });
    expect(JSON.parse(readFileSync(join(output, 'merge.json'), 'utf8'))).toEqual(report);
    const words = await merge('--output', path('words'), ...corpus, '--limit', '2');
    expect(words.stdout).toMatch(/^.*: merged\n +bytes +loss +agreement\nadapter .* 100\.00 %\n/);
    expect(words.stdout).toMatch(/\ndev, de: 2 utterances, \d+ tokens\nrecommended: \w+; .+\n$/);
  });

  test('writes 4 bits where it is asked to, and says that nothing was measured', async () => {
    const output = path('small');
    const { exitCode, stdout } = await merge('--output', output, '--quantize', 'nf4');
    expect(exitCode).toBe(0);
    expect(stdout).toContain('small: requantized; nothing was measured (give --corpus)');
    expect(account(output).quantization).toBe('nf4');
  });

  test('refuses what cannot be, and leaves nothing', async () => {
    const output = path('refused');
    for (const [args, exitCode, message] of [
      [['--quantize', 'int8'], 2, 'nf4'],
      [['--to', 'German'], 2, '--corpus'],
      [['--corpus', path('nowhere')], 1, path('nowhere')],
      [['--corpus', path('corpus'), '--to', 'French'], 1, 'no references in fr'],
      [['--corpus', path('corpus'), '--split', 'none'], 1, "no split 'none'"],
    ] as const) {
      const result = await merge('--output', output, ...args);
      expect(result).toMatchObject({ exitCode, stdout: '' });
      expect(result.stderr).toMatch(oneLine);
      expect(result.stderr).toContain(message);
    }
    // Each signal comes with the first look at the clock, which progress takes.
    for (const signal of ['SIGINT', 'SIGTERM'] as const) {
      const commands = [
        ['merge', path('model'), '--adapter', path('adapter'), '--corpus', path('corpus')],
        ['quantize', path('model'), output],
      ];
      for (const command of commands) {
        let stderr = '';
        const context = new Context(
          { write: () => true },
          { write: (text) => (stderr += text) },
          process.env,
          () => {
            if (process.listenerCount(signal) > 0) process.emit(signal);
            return 0;
          },
        );
        const args = command[0] === 'merge' ? [...command, '--output', output] : command;
        expect([signal, await runProgram(args, context), stderr]).toEqual([
          ...[signal, 1, 'pare: interrupted\n'],
        ]);
      }
    }
    const without = await pare('merge', path('model'), '--output', output);
    expect(without.exitCode).toBe(1);
    expect(without.stderr).toContain('has no adapter to merge');
    expect((await pare('merge', path('model'))).exitCode).toBe(2);
    for (const option of ['--columns', '--split', '--to', '--limit', '--batch-size']) {
      const value = option === '--columns' ? 'text=sentence' : option === '--to' ? 'German' : '2';
      const vain = await pare('merge', path('model'), '--output', output, option, value);
      expect([vain.exitCode, vain.stderr]).toEqual([
        2,
        expect.stringContaining(`${option} is for a corpus; give one (--corpus)`),
      ]);
    }
    expect(existsSync(output)).toBe(false);
    expect(readdirSync(folder).filter((name) => name.includes('.tmp-'))).toEqual([]);
  });
});
