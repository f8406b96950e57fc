import { existsSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Context } from '../../lib/cli/context';
import { runProgram } from '../../lib/cli/program';
import type { ComparisonTable } from '../../lib/compress';
import type { ReportData } from '../../lib/report';
import { tinySplits, writeCorpus } from '../pipeline/tiny-corpus';
import { tinyRecipe, writeRecipe } from '../pipeline/tiny-recipe';
import { jsonLines, oneLine, pare } from './invoke';

jest.setTimeout(300_000);

let folder: string;
let output: string;
let recipe: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'pare-run-'));
  output = join(folder, 'run');
  const corpus = join(folder, 'corpus');
  writeCorpus(corpus, tinySplits(corpus));
  // From teacher to pruned student: the rest of the chain is the pipeline's own test.
  const { heal: _, distill: __, ...short } = tinyRecipe(corpus, output);
  recipe = writeRecipe(folder, { ...short, importance: { remove: 1, criterion: 'chrf' } });
});
afterAll(() => rmSync(folder, { recursive: true }));

describe('pare run', () => {
  test('an interrupted run says how to go on, and the same command does', async () => {
    let stderr = '';
    const interrupting = {
      write: (text: string): void => {
        stderr += text;
        // The line that a stage leaves, not one of its progress.
        if (/^teacher: \d+ s\n$/.test(text)) process.emit('SIGINT');
      },
    };
    const silent = { write: (text: string) => expect(text).toBe('') };
    const context = new Context(silent, interrupting, process.env, () => 0);
    expect(await runProgram(['run', recipe], context)).toBe(1);
    expect(stderr).toContain('pare: interrupted\n');
    expect(stderr.trimEnd().split('\n').at(-1)).toMatch(/^pare: the same command goes on/);
    expect(existsSync(join(output, 'report.html'))).toBe(false);
    expect(process.listenerCount('SIGINT')).toBe(0);

    const result = await pare('run', recipe, '--json');
    expect(result.exitCode).toBe(0);
    expect(result.stderr).toMatch(/^teacher: taken from before$/m);
    expect(result.stderr).toMatch(/^importance: \d+ s$/m);
    const [summary, ...more] = jsonLines(result.stdout);
    expect(more).toEqual([]);
    expect(summary).toEqual({
      dir: output,
      student: expect.stringContaining(output),
      reportPath: join(output, 'report.html'),
      models: expect.any(Array),
    });
    const models = summary!.models as { name: string; size: { decoderLayers: number } }[];
    expect(models[0]).toMatchObject({ name: 'teacher', size: { decoderLayers: 5 } });
    expect(models.at(-1)).toMatchObject({ role: 'student', size: { decoderLayers: 4 } });
    const inspected = await pare('inspect', String(summary!.student), '--json');
    expect(jsonLines(inspected.stdout)[0]).toMatchObject(models.at(-1)!.size);
  });

  test('a finished run is taken from its folder; the table says where the report is', async () => {
    const { exitCode, stdout, stderr } = await pare('run', recipe);
    expect(exitCode).toBe(0);
    for (const line of stderr.trimEnd().split('\n')) expect(line).toContain('taken from before');
    expect(stdout).toContain('BLEU');
    expect(stdout).toContain(`report:  ${join(output, 'report.html')}`);
    expect(readFileSync(join(output, 'report.html'), 'utf8')).toContain('<svg');
  });

  test('its models can be compared, with the numbers of the report', async () => {
    const baseline = join(output, 'evaluation-teacher');
    const { samples, seed } = tinyRecipe('corpus', output).evaluate;
    const args = ['compare', baseline, output, '--samples', `${samples}`, '--seed', `${seed}`];
    const { exitCode, stdout, stderr } = await pare(...args, '--json');
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
    const tables = jsonLines(stdout)[0] as unknown as ComparisonTable[];
    const report = JSON.parse(readFileSync(join(output, 'report.json'), 'utf8')) as ReportData;
    const { evaluations } = report.models.at(-1)!;
    expect(tables).toHaveLength(evaluations.length);
    for (const [t, { language, testSet, scores }] of evaluations.entries()) {
      expect(tables[t]).toMatchObject({ language, testSet });
      const compared = tables[t]!.systems[1]!.scores;
      for (const [m, score] of Object.values(scores).entries()) {
        expect(compared[m]).toMatchObject({ score: score.value, ...score.interval });
        expect(compared[m]!.versusBaseline!.pValue).toBe(score.versusTeacher!.pValue);
        expect(tables[t]!.metrics[m]!.signature).toBe(score.signature);
      }
    }
  });

  test('an unchanged run does not draw its report again; a lost one is drawn', async () => {
    const report = join(output, 'report.html');
    const { mtimeNs } = statSync(report, { bigint: true });
    await pare('run', recipe);
    expect(statSync(report, { bigint: true }).mtimeNs).toBe(mtimeNs);
    rmSync(report);
    await pare('run', recipe);
    expect(existsSync(report)).toBe(true);
  });

  test('SIGTERM is heard like Ctrl-C', async () => {
    let stderr = '';
    const ending = {
      write: (text: string): void => {
        stderr += text;
        if (/^teacher: /.test(text)) process.emit('SIGTERM');
      },
    };
    const context = new Context({ write: () => true }, ending, process.env, () => 0);
    expect(await runProgram(['run', recipe, '--set', 'evaluate.samples=99'], context)).toBe(1);
    expect(stderr).toContain('pare: interrupted\n');
    expect(process.listenerCount('SIGTERM')).toBe(0);
  });

  test('a checkpoint that is given was not taken from before; quiet tells nothing', async () => {
    const teacher = { checkpoint: join(output, 'teacher', 'model') };
    const { heal: _, distill: __, ...base } = tinyRecipe(join(folder, 'corpus'), output);
    const given = writeRecipe(
      folder,
      { ...base, importance: undefined, teacher, output: join(folder, 'given') },
      'given.yaml',
    );
    const first = await pare('run', given);
    expect(first.exitCode).toBe(0);
    expect(first.stderr).toMatch(/^teacher: the checkpoint that is given$/m);
    const quiet = await pare('run', given, '--quiet');
    expect(quiet).toMatchObject({ exitCode: 0, stderr: '' });
    const verbose = await pare('--verbose', 'run', given);
    expect(verbose.stderr).toContain(join(folder, 'given', 'quantized'));
  });

  test('a sweep prints a table, and with --json an object a run', async () => {
    const args = ['run', recipe, '--sweep', 'importance.remove=1,2', '--set', 'languages=[de]'];
    const told = await pare(...args, '--tensorboard', join(folder, 'events'));
    expect(told.exitCode).toBe(0);
    expect(told.stdout).toMatch(/^\| importance\.remove=2 \| 3 \| /m);
    expect(told.stderr).toMatch(/^run 2 of 2: importance\.remove=2$/m);
    expect(existsSync(join(folder, 'events', 'importance.remove=1', 'teacher'))).toBe(true);
    const lines = jsonLines((await pare(...args, '--json')).stdout);
    expect(lines.map(({ run }) => run)).toEqual([
      ...['importance.remove=1', 'importance.remove=2', undefined],
    ]);
    expect(lines[2]).toMatchObject({ reportPath: join(output, 'sweep.html') });
    expect(lines[2]!.rows).toHaveLength(3);
  });

  test('--plan says what is needed and runs nothing', async () => {
    const none = join(folder, 'planned');
    const planned = await pare('run', recipe, '--plan', '--set', `output=${none}`);
    expect(planned).toMatchObject({ exitCode: 0, stderr: '' });
    expect(planned.stdout).toMatch(/^importance +[\d,]+ +[\d.]+ GB/m);
    expect(planned.stdout).toContain('3 candidates');
    expect(planned.stdout).toMatch(/^memory: .* at the peak; this machine has .*$/m);
    expect(planned.stdout).toMatch(/^it fits$/m);
    expect(planned.stdout).toMatch(/^time: .* calibrated in \d+ s of processor time/m);
    expect(existsSync(none)).toBe(false);
    const args = ['--plan', '--no-time', '--json', '--sweep', 'importance.remove=1,2'];
    const lines = jsonLines((await pare('run', recipe, ...args)).stdout);
    expect(lines.map(({ run }) => run)).toEqual(['importance.remove=1', 'importance.remove=2']);
    expect(lines[0]).not.toHaveProperty('calibration');
  });

  test.each([
    ['--set', 'importance.remvoe=1', 'did you mean "remove"?'],
    ['--set', 'importance', 'sets nothing'],
    ['--sweep', 'importance.remove=', 'no values'],
    ['--variant', 'a', 'no variant a'],
  ])('%s %s is a wrong use', async (flag, value, says) => {
    const result = await pare('run', recipe, flag, value);
    expect(result).toMatchObject({ exitCode: 2, stdout: '' });
    expect(result.stderr).toMatch(oneLine);
    expect(result.stderr).toContain(says);
  });

  test.each([
    { change: { importence: {} }, says: 'importence' },
    { change: { name: 'other' }, says: 'tiny' },
    { change: { generation: { maxNewTokens: 0 } }, says: 'generation.maxNewTokens' },
  ])('$change: one line', async ({ change, says }) => {
    const wrong = { ...tinyRecipe(join(folder, 'corpus'), output), ...change };
    const result = await pare('run', writeRecipe(folder, wrong, 'wrong.yaml'));
    expect(result).toMatchObject({ exitCode: 1, stdout: '' });
    expect(result.stderr).toMatch(oneLine);
    expect(result.stderr).toContain(says);
  });
});
