/** `--device`: what computes on a GPU says before any work where there is none. */
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { cudaIsAvailable } from '../../lib/torch';
import { tinyCorpus } from '../pipeline/tiny-corpus';
import { tinyRecipe, writeRecipe } from '../pipeline/tiny-recipe';
import { writeTinyCheckpoint } from '../tiny-checkpoint';
import { oneLine, pare } from './invoke';

jest.setTimeout(120_000);

let dir: string;
let commands: Record<string, string[]>;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'pare-device-'));
  const [model, corpus] = [join(dir, 'model'), join(dir, 'corpus')];
  writeTinyCheckpoint(model);
  tinyCorpus(corpus);
  const recipe = writeRecipe(dir, tinyRecipe(corpus, join(dir, 'output')));
  const output = ['--output', join(dir, 'output')];
  commands = {
    run: ['run', recipe],
    sweep: ['run', recipe, '--sweep', 'importance.remove=1,2'],
    finetune: ['finetune', model, '--corpus', corpus, ...output],
    importance: ['importance', model, '--corpus', corpus, '--remove', '1', ...output],
    distill: ['distill', model, '--corpus', corpus, ...output],
    evaluate: ['evaluate', '--model', model, '--corpus', corpus],
  };
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const names = ['run', 'sweep', 'finetune', 'importance', 'distill', 'evaluate'] as const;

// With a GPU they would run: see test/pipeline/cuda.test.ts.
const withoutGpu = cudaIsAvailable() ? test.skip : test;
if (cudaIsAvailable()) console.warn('skipped: there is a GPU');

withoutGpu.each(names)('%s without a GPU: one line, nothing written', async (name) => {
  const { exitCode, stdout, stderr } = await pare(...commands[name]!, '--device', 'cuda');
  expect({ exitCode, stdout }).toEqual({ exitCode: 1, stdout: '' });
  expect(stderr).toMatch(oneLine);
  expect(stderr).toContain('device cuda: this machine or this build has no CUDA; give cpu');
  expect(existsSync(join(dir, 'output'))).toBe(false);
});

test.each(names)('%s with a device that is none', async (name) => {
  const { exitCode, stderr } = await pare(...commands[name]!, '--device', 'gpu');
  expect(exitCode).toBe(2);
  expect(stderr).toContain('It must be cpu, cuda or cuda:0.');
});

test('a plan for a GPU says what is there and what is here, without one', async () => {
  const { exitCode, stdout, stderr } = await pare(...commands.run!, '--plan', '--device', 'cuda');
  expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
  expect(stdout).toMatch(/^stage +parameters +trained +memory +GPU +disk/m);
  expect(stdout).toMatch(/GPU: program 0\.60 GB/);
  expect(stdout).toMatch(/the GPU's memory: 0\.\d\d GB at the peak/);
  expect(stdout).toContain('assumed: no times: they are calibrated on a CPU alone');
});
