/** The steps of the method one by one: distill, finetune, importance; corpus check and report. */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { writeWav } from '../../lib/audio';
import { Context } from '../../lib/cli/context';
import { runProgram } from '../../lib/cli/program';
import type { CorpusCheck } from '../../lib/data';
import { finetuneCheckpoint, readTeacherTexts } from '../../lib/pipeline';
import { digests } from '../pipeline/folders';
import { tinyCorpus, tinySplits, writeCorpus } from '../pipeline/tiny-corpus';
import { tinyRecipe, writeRecipe } from '../pipeline/tiny-recipe';
import { jsonLines, oneLine, pare } from './invoke';

jest.setTimeout(600_000);

let dir: string;
let corpus: string;
let teacher: string;
const at = (...names: string[]): string => join(dir, ...names);

beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), 'pare-steps-'));
  corpus = at('corpus');
  tinyCorpus(corpus);
  const {
    name,
    output,
    seed,
    languages,
    generation,
    teacher: random,
  } = tinyRecipe(corpus, at('run'));
  const recipe = { name, output, seed, languages, generation, teacher: random };
  const made = await pare('run', writeRecipe(dir, { ...recipe, corpus: { path: corpus } }));
  expect(made.exitCode).toBe(0);
  teacher = at('run', 'teacher', 'model');
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const training = ['--batch-size', '8', '--steps', '4', '--learning-rate', '0.001'];

test('a teacher’s texts are made and learnt from', async () => {
  const texts = at('texts.json');
  const args = ['--corpus', corpus, '--to', 'German', '--output', texts];
  const made = await pare('distill', teacher, ...args, '--max-new-tokens', '12', '--json');
  expect(made.exitCode).toBe(0);
  const [counts] = jsonLines(made.stdout) as { de: Record<string, number> }[];
  expect(counts!.de).toMatchObject({ translated: 24 });
  const { train, dev } = tinySplits(corpus);
  const read = readTeacherTexts(texts, train);
  expect(read.de!.filter((text) => text !== undefined)).toHaveLength(counts!.de.kept!);
  expect(() => readTeacherTexts(texts, dev)).toThrow(/of the split 'train', none of these/);
  const twins = train.slice(0, 6);
  expect(() => readTeacherTexts(texts, twins, 'dev')).toThrow(/of the split 'train', none of/);

  const output = at('student');
  const options = ['--corpus', corpus, '--to', 'de', '--output', output, '--teacher-texts', texts];
  const trained = await pare('finetune', teacher, ...options, ...training, '--json');
  expect(trained.stderr).toBe('');
  expect(jsonLines(trained.stdout)).toEqual([
    { output, kind: 'checkpoint', log: join(output, 'log.jsonl') },
  ]);
  expect(readFileSync(join(output, 'log.jsonl'), 'utf8').trim().split('\n')).toHaveLength(4);
  expect((await pare('inspect', output)).exitCode).toBe(0);
  expect(existsSync(`${output}.work`)).toBe(false);

  const lossOf = (folder: string): number =>
    jsonLines(readFileSync(join(at(folder), 'log.jsonl'), 'utf8')).at(-1)!.loss as number;
  for (const [i, lean] of [
    ['--weights', 'bfloat16'],
    ['--optimizer', 'adamw8bit', '--gradient-checkpointing', '--packing'],
  ].entries()) {
    const others = options.map((value) => (value === output ? at(`lean-${i}`) : value));
    expect((await pare('finetune', teacher, ...others, ...training, ...lean)).exitCode).toBe(0);
    expect(lossOf(`lean-${i}`) / lossOf('student')).toBeCloseTo(1, 1);
    expect(lossOf(`lean-${i}`)).not.toBe(lossOf('student'));
  }

  const again = await pare('finetune', teacher, ...options, ...training);
  expect(again).toMatchObject({ exitCode: 1, stdout: '' });
  expect(again.stderr).toBe(`pare: ${output} exists already; choose another folder\n`);
});

test('an adapter; interrupted and taken up, it is the same', async () => {
  const adapter = (output: string): string[] => [
    ...['finetune', teacher, '--corpus', corpus, '--output', output, ...training],
    ...['--lora-r', '2', '--rslora', '--save-every', '1'],
  ];
  expect((await pare(...adapter(at('whole')))).exitCode).toBe(0);
  let stderr = '';
  const context = new Context(
    { write: () => true },
    { write: (text) => (stderr += text) },
    process.env,
    // A second a look, so that progress is told; Ctrl-C comes with it.
    (() => {
      let time = 0;
      return () => {
        if (existsSync(`${at('parts')}.work/checkpoints`)) process.emit('SIGINT');
        return (time += 1000);
      };
    })(),
  );
  expect(await runProgram(adapter(at('parts')), context)).toBe(1);
  expect(stderr).toContain('pare: interrupted\npare: the same command goes on');
  expect(existsSync(at('parts'))).toBe(false);
  expect((await pare(...adapter(at('parts')))).exitCode).toBe(0);
  const weights = (name: string): string => digests(at(name))['adapter_model.safetensors']!;
  expect(weights('parts')).toBe(weights('whole'));
  const translated = await pare(
    ...['translate', join(corpus, 'audio', 'red-blue.wav'), '--model', teacher],
    ...['--adapter', at('whole'), '--to', 'German', '--max-new-tokens', '4'],
  );
  expect(translated.exitCode).toBe(0);
});

test('a file that cannot be written is said before anything is read or fetched', async () => {
  const args = ['nobody/here', '--corpus', corpus, '--output'];
  for (const command of [['distill'], ['importance', '--remove', '1']]) {
    for (const [output, why] of [
      [dir, 'it is a folder, not a file; give a file'],
      [
        join(corpus, 'corpus.json', 'x.json'),
        'a part of the path is a file, not a folder; check the path',
      ],
    ] as const) {
      const { exitCode, stderr } = await pare(...command, ...args, output);
      expect([exitCode, stderr]).toEqual([1, expect.stringContaining(`write ${output}: ${why}`)]);
    }
  }
});

test('the same for a program, without a trace of one that fails', async () => {
  const options = { corpus, split: 'train', languages: ['fr'] };
  const call = finetuneCheckpoint(teacher, at('none'), {
    ...options,
    training: { batchSize: 8, learningRate: 1e-3, seed: 1 },
  });
  await expect(call).rejects.toThrow(`${corpus} has no references in fr; it has de, zh`);
  expect(readdirSync(dir).filter((name) => name.startsWith('none'))).toEqual([]);
  const args = ['--corpus', corpus, '--output', at('none'), ...training, '--lora-r', '2'];
  const targets = await pare('finetune', teacher, ...args, '--lora-targets', 'nothing');
  expect(targets.stderr).toContain('no linear layer matches');
  expect(readdirSync(dir).filter((name) => name.startsWith('none'))).toEqual([]);
});

test.each(['distill', 'finetune'])('%s says at once that it cannot write', async (name) => {
  writeFileSync(at('a-file'), '');
  const output = at('a-file', 'output');
  const args = [name, teacher, '--corpus', corpus, '--output', output, '--limit', '1'];
  const result = await pare(...args);
  expect(result).toEqual({
    ...{ exitCode: 1, stdout: '' },
    stderr: `pare: cannot write ${output}: a part of the path is a file, not a folder; check the path\n`,
  });
});

test('a search by itself; a longer one goes on from it', async () => {
  const output = at('layers.json');
  const args = (remove: string): string[] => [
    ...['importance', teacher, '--corpus', corpus, '--to', 'German', '--output', output],
    ...['--remove', remove, '--criterion', 'loss', '--batch-size', '4'],
  ];
  const first = await pare(...args('1'), '--json');
  const { removed } = jsonLines(first.stdout)[0] as { removed: number[] };
  const traced = readFileSync(`${output}.trace.jsonl`, 'utf8');
  const second = await pare(...args('2'));
  expect(second.exitCode).toBe(0);
  expect(readFileSync(`${output}.trace.jsonl`, 'utf8').startsWith(traced)).toBe(true);
  expect(second.stdout).toContain(`without layer ${removed[0]}: `);
  const [, layers] = /--layers ([\d,]+) /.exec(second.stdout)!;
  expect(layers!.split(',')).toHaveLength(2);
  const pruned = await pare('prune', teacher, '--layers', layers!, '--output', at('pruned'));
  expect(pruned.exitCode).toBe(0);
  expect(JSON.parse(readFileSync(output, 'utf8'))).toMatchObject({ kept: expect.any(Array) });
});

test.each([
  [['finetune', 'm', '--corpus', 'c', '--output', 'o', '--lora-alpha', '4'], '--lora-r'],
  [
    ['finetune', 'm', '--corpus', 'c', '--output', 'o', '--steps', '1', '--epochs', '1'],
    'cannot be used with',
  ],
  [['finetune', 'm', '--corpus', 'c', '--output', 'o', '--weight-decay', '-1'], 'at least 0'],
  [['finetune', 'm', '--corpus', 'c', '--output', 'o', '--weights', 'bf16'], 'float32, bfloat16'],
  [['importance', 'm', '--corpus', 'c', '--output', 'o', '--remove', '0'], 'at least 1'],
  [['distill', 'm', '--corpus', 'c', '--output', 'o', '--min-chrf', '101'], '0 to 100'],
  [['corpus', 'check'], 'corpus'],
  [['corpus', 'chekc', 'x'], 'check'],
])('%j is a wrong use', async (args, says) => {
  const result = await pare(...args);
  expect(result).toMatchObject({ exitCode: 2, stdout: '' });
  expect(result.stderr).toMatch(oneLine);
  expect(result.stderr).toContain(says);
});

describe('corpus check', () => {
  test('a sound corpus', async () => {
    const { exitCode, stdout } = await pare('corpus', 'check', corpus);
    expect(exitCode).toBe(0);
    expect(stdout).toMatch(/^en into de, zh\ntrain: 24 utterances, 1 speakers, /);
    expect(stdout).toContain('16000 Hz (24)');
    expect(stdout).not.toContain('error');
  });

  test('an empty split has no numbers', async () => {
    const empty = at('empty');
    const { train, test } = tinySplits(empty);
    writeCorpus(empty, { train, dev: [], test });
    const { exitCode, stdout } = await pare('corpus', 'check', empty, '--split', 'dev');
    expect(exitCode).toBe(1);
    expect(stdout).toBe(
      'en into de, zh\ndev: 0 utterances\n' +
        'error: dev: the split has no utterance that can be used\n',
    );
  });

  test('what is wrong is named, with the utterance', async () => {
    const broken = at('broken');
    const { train, dev, test } = tinySplits(broken);
    writeWav(join(broken, train[0]!.audio), new Float32Array(16000), 16000);
    writeWav(join(broken, train[1]!.audio), Float32Array.from({ length: 8000 }, Math.random), 8000);
    writeFileSync(join(broken, train[2]!.audio), 'no sound');
    const again = { ...dev[1]!, id: 'again', audio: dev[0]!.audio };
    writeCorpus(broken, {
      train: [...train, { ...test[0]!, id: 'leaked' }],
      dev: [...dev, again],
      test,
    });
    const { exitCode, stdout } = await pare(
      'corpus',
      'check',
      broken,
      '--json',
      '--max-seconds',
      '0.95',
    );
    expect(exitCode).toBe(1);
    const { languages, splits, problems } = jsonLines(stdout)[0] as unknown as CorpusCheck;
    expect(languages).toEqual({ source: 'en', targets: ['de', 'zh'] });
    expect(splits[0]!.sampleRates).toEqual({ 8000: 1, 16000: 23 });
    const told = problems.map(({ severity, split, ids, what }) =>
      [severity, split, ids.join(' '), what].join(' | '),
    );
    const id = (i: number): string => train[i]!.id;
    for (const pattern of [
      `error | train | ${id(0)} | .*is silent`,
      `error | train | ${id(0)} | .*has 1.0 s; a model hears 0.95 s at most`,
      `warning | train | ${id(1)} | .*the manifest says`,
      `error | train | ${id(2)} | .*cannot be decoded`,
      `error | dev | ${dev[0]!.id} again | the same sound`,
      `error | train and test | leaked ${test[0]!.id} | the same group`,
      `error | train and test | leaked ${test[0]!.id} | the same sentence by the same speaker`,
      `warning | train and dev | .* | the same speaker \\(`,
    ]) {
      const escaped = pattern.replaceAll(' | ', ' \\| ');
      expect(told).toContainEqual(expect.stringMatching(new RegExp(`^${escaped}`)));
    }
  });
});

test('a report is drawn again from its numbers', async () => {
  const page = at('page.html');
  const { exitCode, stdout } = await pare('report', at('run'), '--output', page);
  expect(exitCode).toBe(0);
  expect(stdout).toContain('BLEU');
  expect(readFileSync(page, 'utf8')).toBe(readFileSync(at('run', 'report.html'), 'utf8'));
  const none = await pare('report', corpus);
  expect(none).toMatchObject({ exitCode: 1, stdout: '' });
  expect(none.stderr).toMatch(/^pare: .* has no report\.json; finish its run first: pare run\n$/);
});
