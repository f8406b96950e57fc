/** Going on from checkpoints: to the same bits, past damaged ones, and not from another run's. */
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PareError } from '../../lib/errors';
import { Generator, manualSeed, nn, randn, tensor, type Tensor } from '../../lib/torch';
import { readSafetensors } from '../../lib/torch/safetensors';
import { TrainingError } from '../../lib/train/error';
import { train, type TrainingLogEntry, type TrainOptions } from '../../lib/train/loop';
import { makeRun, rejection, values, type Micro, type Run } from './small-run';

jest.setTimeout(60_000);
let folder: string;
beforeEach(() => (folder = mkdtempSync(join(tmpdir(), 'pare-train-'))));
afterEach(() => rmSync(folder, { recursive: true }));

describe('resume', () => {
  const state = (
    fingerprint: string = 'a',
    everySteps: number = 3,
  ): TrainOptions<Micro>['state'] => ({
    dir: join(folder, 'checkpoints'),
    everySteps,
    fingerprint,
  });

  async function stopAfter(step: number, everySteps?: number): Promise<Run> {
    const controller = new AbortController();
    const run = makeRun({
      state: state('a', everySteps),
      signal: controller.signal,
      onStep: (entry) => {
        if (entry.step === step) controller.abort(new Error('killed'));
      },
    });
    manualSeed(7);
    await expect(train(run.options)).rejects.toThrow('killed');
    return run;
  }

  test('three steps and three more are six, bit for bit', async () => {
    manualSeed(7);
    const whole = makeRun();
    await train(whole.options);
    expect(whole.losses).toHaveLength(6);
    const first = await stopAfter(3);
    expect(first.losses).toEqual(whole.losses.slice(0, 3));
    const second = makeRun({ state: state() });
    manualSeed(12345);
    await train(second.options);
    expect(second.losses).toEqual(whole.losses.slice(3));
    expect(values(second.network)).toEqual(values(whole.network));
    const rest = (entry: TrainingLogEntry): object => ({ ...entry, seconds: 0 });
    expect(second.entries.map(rest)).toEqual(whole.entries.slice(3).map(rest));
    // Another random state gives other losses, so the test could fail.
    manualSeed(8);
    const other = makeRun();
    await train(other.options);
    expect(other.losses[0]).not.toBe(whole.losses[0]);
  });

  test('with moments in 8 bits, too', async () => {
    const run = (steps: number, parameter: Tensor): Promise<void> =>
      train({
        optimizer: 'adamw8bit',
        parameters: new Map([['weight', parameter]]),
        steps,
        schedule: 'constant',
        learningRate: 0.01,
        microBatches: (step) => [step],
        loss: (step) => {
          const target = randn([64, 64], { generator: new Generator(100 + step) });
          return { loss: parameter.sub(target).square().mean() };
        },
        state: {
          dir: join(folder, `${parameter.id}`),
          everySteps: 3,
          fingerprint: 'a',
        },
      });
    const start = (): Tensor => nn.parameter(randn([64, 64], { generator: new Generator(1) }));
    const whole = start();
    await run(6, whole);
    const parts = start();
    await run(3, parts);
    const file = readSafetensors(join(folder, `${parts.id}`, 'checkpoint-3', 'state.safetensors'));
    expect(file.info('optimizer.weight.state1').dtype).toBe('uint8');
    file.close();
    await run(6, parts);
    expect(parts.equal(whole)).toBe(true);
  });

  test('goes back to the last state that was written', async () => {
    manualSeed(7);
    const whole = makeRun();
    await train(whole.options);
    manualSeed(7);
    const killed = makeRun({
      state: state('a', 2),
      onStep: ({ step }) => {
        if (step === 5) throw new Error('killed');
      },
    });
    await expect(train(killed.options)).rejects.toThrow('killed');
    const again = makeRun({ state: state('a', 2) });
    await train(again.options);
    expect(again.entries.map(({ step }) => step)).toEqual([5, 6]);
    expect(again.losses).toEqual(whole.losses.slice(4));
  });

  test('goes on where it was when it was asked to stop', async () => {
    manualSeed(7);
    const whole = makeRun();
    await train(whole.options);
    await stopAfter(5, 2);
    const again = makeRun({ state: state('a', 2) });
    await train(again.options);
    expect(again.losses).toEqual(whole.losses.slice(5));
  });

  test('of a finished run restores it and does nothing', async () => {
    const run = makeRun({ state: state() });
    await train(run.options);
    const again = makeRun({ state: state() });
    await train(again.options);
    expect(again.losses).toEqual([]);
    expect(values(again.network)).toEqual(values(run.network));
    expect(readdirSync(state()!.dir).sort()).toEqual(['checkpoint-3', 'checkpoint-6']);
  });

  test('of another run is refused, and its state kept', async () => {
    await train(makeRun({ state: state('one') }).options);
    const last = join(state()!.dir, 'checkpoint-6', 'state.safetensors');
    const before = readFileSync(last);
    const other = makeRun({ state: state('other') });
    const start = values(other.network);
    const error = await rejection(train(other.options));
    expect(error).toBeInstanceOf(TrainingError);
    expect(error.message).toMatch(/state\.safetensors is the state of a run with other settings; /);
    expect(values(other.network)).toEqual(start);
    expect(readFileSync(last)).toEqual(before);
  });

  /** Ways in which a disk can spoil a checkpoint, and how each is named. */
  const damages: [string, (checkpoint: string) => void, RegExp][] = [
    ['cut short', (at) => truncateSync(join(at, 'state.safetensors'), 1000), /has 1000 bytes, not/],
    ['with a flipped bit', (at) => flip(join(at, 'state.safetensors'), -5), /other content than/],
    ['without its file', (at) => rmSync(join(at, 'state.safetensors')), /safetensors is missing/],
    ['without its manifest', (at) => rmSync(join(at, 'manifest.json')), /manifest.json is missing/],
    ['with half a manifest', (at) => truncateSync(join(at, 'manifest.json'), 20), /cannot be read/],
    ['with another manifest', (at) => flip(join(at, 'manifest.json'), -10), /other content than/],
    ['empty', (at) => readdirSync(at).forEach((name) => rmSync(join(at, name))), /is missing/],
  ];

  function flip(path: string, at: number): void {
    const bytes = readFileSync(path);
    const index = bytes.length + at;
    bytes[index] = bytes[index]! ^ 1;
    writeFileSync(path, bytes);
  }

  test.each(damages)(
    'from a checkpoint %s: it is named, the one before it used',
    async (_, spoil, how) => {
      manualSeed(7);
      const whole = makeRun();
      await train(whole.options);
      await stopAfter(5, 2);
      expect(readdirSync(state()!.dir).sort()).toEqual(['checkpoint-4', 'checkpoint-5']);
      spoil(join(state()!.dir, 'checkpoint-5'));
      const warnings: string[] = [];
      const again = makeRun({
        state: state('a', 2),
        onWarning: (message) => warnings.push(message),
      });
      await train(again.options);
      expect(warnings).toHaveLength(1);
      expect(warnings[0]).toMatch(how);
      expect(warnings[0]).toContain(join(state()!.dir, 'checkpoint-5'));
      expect(warnings[0]).toMatch(/ and was removed; the one before it is used, of step 4$/);
      expect(again.losses).toEqual(whole.losses.slice(4));
      expect(values(again.network)).toEqual(values(whole.network));
      expect(readdirSync(state()!.dir).sort()).toEqual(['checkpoint-4', 'checkpoint-6']);
    },
  );

  test('from nothing but damaged checkpoints is refused, each named, and none removed', async () => {
    await train(makeRun({ state: state() }).options);
    for (const step of [3, 6]) {
      truncateSync(join(state()!.dir, `checkpoint-${step}`, 'state.safetensors'), 1000);
    }
    const error = await rejection(train(makeRun({ state: state() }).options));
    expect(error).toBeInstanceOf(TrainingError);
    expect(error.message).toMatch(/checkpoint-6 is damaged .*checkpoint-3 is damaged .*remove \S+/);
    expect(readdirSync(state()!.dir).sort()).toEqual(['checkpoint-3', 'checkpoint-6']);
  });

  test('so many checkpoints are kept as is asked for, and a half-written one is cleared', async () => {
    const half = join(state()!.dir, 'checkpoint-9.tmp-1-2');
    mkdirSync(half, { recursive: true });
    await train(makeRun({ state: { ...state('a', 1)!, keep: 3 } }).options);
    const kept = ['checkpoint-4', 'checkpoint-5', 'checkpoint-6'];
    expect(readdirSync(state()!.dir).sort()).toEqual(kept);
  });

  test('a log hears where the run goes on, and is told to be on disk before each checkpoint', async () => {
    const heard: string[] = [];
    const listening = (): TrainOptions<Micro> =>
      makeRun({
        state: state('a', 2),
        onResume: (done) => heard.push(`resume ${done}`),
        onStep: ({ step }) => {
          heard.push(`step ${step}`);
          if (step === 3 && heard[0] !== 'again') throw new Error('killed');
        },
        onSave: (done) => heard.push(`save ${done}`),
      }).options;
    await expect(train(listening())).rejects.toThrow('killed');
    expect(heard).toEqual(['resume 0', 'step 1', 'step 2', 'save 2', 'step 3']);
    heard.splice(0, heard.length, 'again');
    await train(listening());
    expect(heard.slice(1)).toEqual([
      'resume 2',
      'step 3',
      'step 4',
      'save 4',
      'step 5',
      'step 6',
      'save 6',
    ]);
  });

  test('with other parameters than the state has is refused', async () => {
    await train(makeRun({ state: state() }).options);
    const run = makeRun({ state: state() });
    const extra = nn.parameter(tensor([1, 2]));
    const more = new Map([...run.options.parameters, ['extra', extra] as const]);
    const missing = await rejection(train({ ...run.options, parameters: more }));
    expect(missing).toBeInstanceOf(PareError);
    expect(missing.message).toContain('extra');
    const other = new Map(run.options.parameters).set('first.bias', nn.parameter(tensor([1])));
    const misshapen = await rejection(train({ ...run.options, parameters: other }));
    expect(misshapen).toBeInstanceOf(TrainingError);
    expect(misshapen.message).toMatch(/first\.bias.*\[16\].*\[1\]/);
  });
});
