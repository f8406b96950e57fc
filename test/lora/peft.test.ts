/** Agreement with PEFT: test/oracle/lora.py and the adapters of test/oracle/training.py. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadAdapter, mergeLora, attachLora, saveAdapter } from '../../lib/lora';
import { inMemoryName, parseKey, publicName, tensorKey } from '../../lib/lora/peft-names';
import { targetMatcher } from '../../lib/lora/targets';
import { parseConfig } from '../../lib/qwen2-audio/config';
import { Qwen2Audio } from '../../lib/qwen2-audio/model';
import { backward, Generator, loadSafetensors, noGrad, tensor } from '../../lib/torch';
import { difference, oracleNetwork, readVectors, vectorsFolder } from './network';
import { trainingBatch } from './tiny-batch';

const vectors = readVectors();
const adapterFolder = join(vectorsFolder, 'lora/adapter');
let folder: string;
beforeEach(() => (folder = mkdtempSync(join(tmpdir(), 'pare-lora-'))));
afterEach(() => rmSync(folder, { recursive: true }));

describe('a small network against PEFT', () => {
  test('scale, output and gradients', () => {
    const network = oracleNetwork();
    const adapter = loadAdapter(adapterFolder, network);
    for (const layer of adapter.layers.values())
      expect(layer.scale).toBeCloseTo(vectors.scaling, 12);
    const output = network.forward(tensor(vectors.x));
    expect(difference(output, vectors.output)).toBeLessThan(1e-6);
    backward(output.square().sum());
    expect(adapter.parameters().size).toBe(4);
    for (const [name, parameter] of adapter.parameters()) {
      const key = `base_model.model.${name}`;
      expect(difference(parameter.grad!, vectors.gradients[key]!)).toBeLessThan(2e-5);
    }
  });

  test('a bfloat16 base with a float32 adapter', () => {
    const network = oracleNetwork('bfloat16');
    loadAdapter(adapterFolder, network);
    const output = noGrad(() => network.forward(tensor(vectors.x).to('bfloat16')));
    expect(output.dtype).toBe('bfloat16');
    // Each rounding of the three layers may go the other way.
    expect(difference(output.to('float32'), vectors.outputBfloat16)).toBeLessThan(0.02);
  });

  test('merged weights', () => {
    const network = oracleNetwork();
    mergeLora(loadAdapter(adapterFolder, network));
    const state = network.stateDict();
    expect([...state.keys()].sort()).toEqual(Object.keys(vectors.merged).sort());
    for (const [name, value] of state) {
      expect(difference(value, vectors.merged[name]!)).toBeLessThan(1e-6);
    }
  });

  test.each(vectors.targets)('targets $targetModules', ({ targetModules, matches }) => {
    expect(vectors.names.map(targetMatcher(targetModules))).toEqual(matches);
  });

  test('what is saved is what PEFT saved', () => {
    const adapter = loadAdapter(adapterFolder, oracleNetwork());
    saveAdapter(folder, adapter);
    const config = (at: string): object =>
      JSON.parse(readFileSync(join(at, 'adapter_config.json'), 'utf8')) as object;
    // What differs: the name of Python's class, and that A and B had a random start.
    expect(config(adapterFolder)).toMatchObject({
      ...config(folder),
      auto_mapping: expect.anything(),
      init_lora_weights: false,
    });
    expectSameTensors(folder, adapterFolder);
  });
});

function expectSameTensors(a: string, b: string): void {
  const [own, theirs] = [a, b].map((at) => loadSafetensors(join(at, 'adapter_model.safetensors')));
  expect([...own!.keys()].sort()).toEqual([...theirs!.keys()].sort());
  for (const [name, value] of own!) expect(value.equal(theirs!.get(name)!)).toBe(true);
}

describe('the tiny Qwen2-Audio', () => {
  const config = JSON.parse(
    readFileSync(join(vectorsFolder, 'tiny-model/config.json'), 'utf8'),
  ) as Record<string, unknown>;
  const training = JSON.parse(
    readFileSync(join(vectorsFolder, 'training-vectors.json'), 'utf8'),
  ) as {
    lora: {
      modules: string[];
      scaling: number;
      losses: number[];
      gradientNorms: number[];
      lossAfter: number;
    };
  };
  const makeModel = (): Qwen2Audio => new Qwen2Audio(parseConfig(config));

  test('all-linear means the layers that PEFT adapts', () => {
    const adapter = attachLora(
      makeModel(),
      { r: 4, loraAlpha: 8, useRslora: true },
      { generator: new Generator(1) },
    );
    const names = [...adapter.layers.keys()];
    expect(names.map(inMemoryName).sort()).toEqual(training.lora.modules);
    expect(names.map(inMemoryName).map(publicName)).toEqual(names);
    for (const layer of adapter.layers.values()) expect(layer.scale).toBe(training.lora.scaling);
  });

  test.each(['adapter-initial', 'adapter-lora', 'adapter-qlora'])('%s there and back', (name) => {
    const from = join(vectorsFolder, name);
    const model = makeModel();
    const adapter = loadAdapter(from, model);
    expect(adapter.layers.size).toBe(training.lora.modules.length);
    const written = loadSafetensors(join(from, 'adapter_model.safetensors'));
    const key = tensorKey('language_model.model.layers.1.mlp.down_proj', 'lora_B');
    const held = model
      .stateDict()
      .get('language_model.model.layers.1.mlp.down_proj.lora_B.default.weight');
    expect(held!.equal(written.get(key)!)).toBe(true);
    saveAdapter(folder, adapter, { baseModelNameOrPath: 'tiny-model' });
    expectSameTensors(folder, from);
    const read = (at: string): Record<string, unknown> =>
      JSON.parse(readFileSync(join(at, 'adapter_config.json'), 'utf8')) as Record<string, unknown>;
    expect(read(from)).toMatchObject(read(folder));
  });

  test('loss and gradient of adapters that PEFT trained', () => {
    const loss = (name: string, merged: boolean = false): { value: number; norm?: number } => {
      const model = makeModel();
      model.loadStateDict(loadSafetensors(join(vectorsFolder, 'tiny-model/model.safetensors')));
      const adapter = loadAdapter(join(vectorsFolder, name), model);
      if (merged) mergeLora(adapter);
      const sums = model.loss(trainingBatch());
      const mean = sums.loss.div(sums.targets);
      if (merged) return { value: mean.item() };
      backward(mean);
      const squares = [...adapter.parameters().values()].map((p) => p.grad!.norm().item() ** 2);
      return { value: mean.item(), norm: Math.sqrt(squares.reduce((a, b) => a + b, 0)) };
    };
    const near = (value: number | undefined, expected: number): void =>
      expect(Math.abs(value! / expected - 1)).toBeLessThan(1e-5);
    const first = loss('adapter-initial');
    near(first.value, training.lora.losses[0]!);
    near(first.norm, training.lora.gradientNorms[0]!);
    near(loss('adapter-lora').value, training.lora.lossAfter);
    near(loss('adapter-lora', true).value, training.lora.lossAfter);
  });

  test('names of both versions of transformers', () => {
    for (const [name, inMemory] of [
      ['language_model.model.layers.3.mlp.up_proj', 'model.language_model.layers.3.mlp.up_proj'],
      ['language_model.lm_head', 'lm_head'],
      ['audio_tower.layers.0.fc1', 'model.audio_tower.layers.0.fc1'],
      ['multi_modal_projector.linear', 'model.multi_modal_projector.linear'],
      ['other.linear', 'other.linear'],
    ] as const) {
      expect(inMemoryName(name)).toBe(inMemory);
      expect(publicName(inMemory)).toBe(name);
      expect(publicName(name)).toBe(name);
      const key = tensorKey(name, 'lora_A');
      expect(parseKey(key)).toEqual({ module: inMemory, tensor: 'lora_A' });
    }
    expect(parseKey('base_model.model.lm_head.weight')).toBeUndefined();
  });
});
