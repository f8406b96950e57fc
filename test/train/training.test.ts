/** Five steps of training against PyTorch, PEFT and bitsandbytes: test/oracle/training.py and its kin. */
import { join } from 'node:path';
import { loadAdapter } from '../../lib/lora';
import { collate, type Qwen2Audio } from '../../lib/qwen2-audio';
import { publicTensorName } from '../../lib/qwen2-audio/names';
import { loadSafetensors, memory, noGrad, scope, type Tensor } from '../../lib/torch';
import { train, type TrainingLogEntry } from '../../lib/train/loop';
import {
  difference,
  examples,
  loadTiny,
  quantizeLinears,
  readVectors,
  settle,
  vectorsFolder,
} from '../qwen2-audio/tiny-model';

interface Run {
  losses: number[];
  gradientNorms: number[];
  lossAfter: number;
}

interface TrainingVectors {
  targets: number[][];
  learningRates: number[];
  optimizer: { betas: [number, number]; eps: number; weightDecay: number };
  maxGradNorm: number;
  full: Run & { finalNorms: Record<string, number> };
  fullAccumulated: Run & { microBatches: number[][] };
  lora: Run;
}

jest.setTimeout(300_000);
const vectors = readVectors<TrainingVectors>('training-vectors.json');
// Not the `qlora` of training.py: bitsandbytes' AVX-512 code reads this model's widths wrong.
const qlora = readVectors<{ qlora: Run }>('nf4-model-vectors.json').qlora;
const rows = examples(vectors.targets);
const allTargets = vectors.targets.flat().length;

interface Options {
  microBatches?: number[][];
  padding?: 'left' | 'right';
  parameters?: ReadonlyMap<string, Tensor>;
}

/** Trains as the vectors' documentation says. The last loss is that after the last step. */
async function losses(
  model: Qwen2Audio,
  options: Options = {},
): Promise<{ entries: TrainingLogEntry[]; lossAfter: number }> {
  const { microBatches = [[0, 1, 2]], padding = 'right' } = options;
  const parameters = options.parameters ?? new Map(model.namedParameters());
  const entries: TrainingLogEntry[] = [];
  const shareOf = (indices: number[]): Tensor => {
    const part = indices.map((row) => rows[row]!);
    return model.loss(collate(model, part, padding)).loss.div(allTargets);
  };
  await train({
    parameters,
    steps: vectors.learningRates.length,
    learningRate: vectors.learningRates[0]!,
    betas: vectors.optimizer.betas,
    eps: vectors.optimizer.eps,
    weightDecay: vectors.optimizer.weightDecay,
    decayVectors: true,
    maxGradNorm: vectors.maxGradNorm,
    schedule: 'cosine',
    microBatches: () => microBatches,
    loss: (indices) => ({ loss: shareOf(indices) }),
    onStep: (entry) => void entries.push(entry),
  });
  const lossAfter = microBatches
    .map((indices) => scope(() => noGrad(() => shareOf(indices).item())))
    .reduce((a, b) => a + b);
  return { entries, lossAfter };
}

const relative = (value: number, expected: number): number => Math.abs(value / expected - 1);

async function expectRun(
  model: Qwen2Audio,
  expected: Run,
  tolerance: number,
  options: Options = {},
): Promise<void> {
  const { entries, lossAfter } = await losses(model.train(), options);
  expect(entries.map(({ step }) => step)).toEqual([1, 2, 3, 4, 5]);
  for (const [i, { loss, learningRate, gradNorm }] of entries.entries()) {
    expect(relative(learningRate, vectors.learningRates[i]!)).toBeLessThan(1e-12);
    expect(relative(loss, expected.losses[i]!)).toBeLessThan(tolerance);
    // Norms of gradients amplify what the losses differ by.
    expect(relative(gradNorm, expected.gradientNorms[i]!)).toBeLessThan(10 * tolerance);
  }
  expect(relative(lossAfter, expected.lossAfter)).toBeLessThan(tolerance);
}

describe('full fine-tuning', () => {
  /** As `from_pretrained` leaves the model: positions, frozen when it was built, are trained. */
  function loadAllTrainable(): Qwen2Audio {
    const model = loadTiny();
    model.audioTower.embedPositions.weight.requiresGrad = true;
    return model;
  }

  test('of the whole batch', async () => {
    const model = loadAllTrainable();
    await expectRun(model, vectors.full, 1e-4);
    const state = model.stateDict();
    for (const [name, norm] of Object.entries(vectors.full.finalNorms)) {
      const own = state.get(publicTensorName(name))!;
      expect([name, relative(own.norm().item(), norm) < 1e-4]).toEqual([name, true]);
    }
  });

  test('of accumulated micro-batches, weighted by their target tokens', async () => {
    const { microBatches } = vectors.fullAccumulated;
    expect(microBatches).toEqual([[0, 1], [2]]);
    await expectRun(loadAllTrainable(), vectors.fullAccumulated, 1e-4, { microBatches });
  });

  test('padded on the left as on the right', async () => {
    await expectRun(loadAllTrainable(), vectors.full, 1e-4, { padding: 'left' });
    const model = loadTiny();
    const [left, right] = (['left', 'right'] as const).map((padding) =>
      scope(() => noGrad(() => model.loss(collate(model, rows, padding)).loss.item())),
    );
    expect(relative(left!, right!)).toBeLessThan(1e-6);
  });

  test('with the positions fixed, as the model has them by itself', async () => {
    const model = loadTiny();
    const positions = model.audioTower.embedPositions.weight;
    const before = positions.clone();
    const names = [...model.namedParameters()].map(([name]) => name);
    expect(names).not.toContain('audio_tower.embed_positions.weight');
    await expectRun(model, readVectors<{ full: Run }>('fixed-positions-vectors.json').full, 1e-4);
    expect(positions.equal(before)).toBe(true);
  });
});

describe('adapters', () => {
  const initial = join(vectorsFolder, 'adapter-initial');

  test('LoRA, rank-stabilised, on all linear layers', async () => {
    const model = loadTiny();
    const adapter = loadAdapter(initial, model);
    const parameters = adapter.parameters();
    expect([...model.namedParameters()].map(([name]) => name)).toEqual([...parameters.keys()]);
    await expectRun(model, vectors.lora, 1e-4, { parameters });
    // Adam divides a gradient by its own size, so elements may differ more than losses.
    const final = loadSafetensors(join(vectorsFolder, 'adapter-lora/adapter_model.safetensors'));
    const key = 'model.language_model.layers.4.self_attn.q_proj.lora_B.weight';
    const own = parameters.get(
      'language_model.model.layers.4.self_attn.q_proj.lora_B.default.weight',
    )!;
    expect(own.abs().amax().item()).toBeGreaterThan(1e-3);
    expect(difference(own, final.get(`base_model.model.${key}`)!)).toBeLessThan(2e-4);
  });

  test('QLoRA: the same on a base in NF4', async () => {
    const model = quantizeLinears(loadTiny());
    const packed = model.layers[0]!.mlp.upProj.weight;
    const before = packed.clone();
    const adapter = loadAdapter(initial, model);
    await expectRun(model, qlora, 1e-3, { parameters: adapter.parameters() });
    expect(packed.equal(before)).toBe(true);
    // Quantisation shows: the losses are not those of the float32 base.
    expect(relative(qlora.losses[0]!, vectors.lora.losses[0]!)).toBeGreaterThan(1e-2);
  });
});

test('a run leaves no tensor behind', async () => {
  const model = loadTiny();
  await losses(model);
  await settle();
  const before = memory();
  await losses(model);
  expect(memory()).toEqual(before);
});
