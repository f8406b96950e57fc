/** Several adapters on one model: the vectors of test/oracle/adapters.py. */
import { join } from 'node:path';
import {
  activeAdapters,
  adapterNames,
  attachLora,
  baseStateDict,
  deleteAdapter,
  detachLora,
  disableAdapter,
  enableAdapter,
  loadAdapter,
  LoraError,
  LoraLinear,
  mergeLora,
  setAdapter,
} from '../../lib/lora';
import { generate, type Qwen2Audio } from '../../lib/qwen2-audio';
import { Generator, memory } from '../../lib/torch';
import {
  examples,
  leftPadded,
  loadTiny,
  quantizeLinears,
  readVectors,
  settle,
  vectors,
  vectorsFolder,
} from '../qwen2-audio/tiny-model';

type Use = 'base' | 'everything' | 'attention' | 'both' | 'disabled';

const oracle =
  readVectors<Record<'float32' | 'nf4', { greedy: Record<Use, number[][]> }>>(
    'adapters/vectors.json',
  );
const folderOf = (name: string): string => join(vectorsFolder, 'adapters', name);

const greedy = (model: Qwen2Audio): Promise<number[][]> =>
  generate(model, leftPadded(model, examples()), { maxNewTokens: vectors.maxNewTokens });

/** The tiny model with both adapters, the first in use. */
function withBoth(model: Qwen2Audio = loadTiny()): Qwen2Audio {
  loadAdapter(folderOf('everything'), model, { name: 'everything' });
  loadAdapter(folderOf('attention'), model, { name: 'attention' });
  return model;
}

describe.each(['float32', 'nf4'] as const)('over a %s base, as PEFT', (kind) => {
  const expected = oracle[kind].greedy;
  const base = (): Qwen2Audio => (kind === 'nf4' ? quantizeLinears(loadTiny()) : loadTiny());

  test('switched, added, disabled, enabled and deleted', async () => {
    const model = base();
    expect(adapterNames(model)).toEqual([]);
    expect(await greedy(model)).toEqual(expected.base);
    withBoth(model);
    expect(adapterNames(model)).toEqual(['everything', 'attention']);
    expect(activeAdapters(model)).toEqual(['everything']);
    expect(await greedy(model)).toEqual(expected.everything);
    setAdapter(model, 'attention');
    expect(await greedy(model)).toEqual(expected.attention);
    setAdapter(model, ['everything', 'attention']);
    expect(await greedy(model)).toEqual(expected.both);
    disableAdapter(model);
    expect(activeAdapters(model)).toEqual([]);
    expect(await greedy(model)).toEqual(expected.base);
    enableAdapter(model);
    expect(await greedy(model)).toEqual(expected.both);
    setAdapter(model, 'everything');
    deleteAdapter(model, 'everything');
    expect(activeAdapters(model)).toEqual(['attention']);
    expect(await greedy(model)).toEqual(expected.attention);
    deleteAdapter(model, 'attention');
    expect(adapterNames(model)).toEqual([]);
    expect(await greedy(model)).toEqual(expected.base);
  });

  test('the order of loading does not matter', async () => {
    const model = base();
    loadAdapter(folderOf('attention'), model, { name: 'attention' });
    loadAdapter(folderOf('everything'), model, { name: 'everything' });
    expect(await greedy(model)).toEqual(expected.attention);
    setAdapter(model, 'everything');
    expect(await greedy(model)).toEqual(expected.everything);
  });
});

test('the base keeps its names, and each adapter has its own', () => {
  const plain = loadTiny();
  const model = withBoth();
  expect([...baseStateDict(model).keys()]).toEqual([...plain.stateDict().keys()]);
  const layer = 'language_model.model.layers.0.self_attn.q_proj';
  const names = [...model.stateDict().keys()].filter((name) => name.startsWith(layer));
  expect(names.sort()).toEqual(
    [
      'bias',
      'lora_A.attention.weight',
      'lora_A.everything.weight',
      'lora_B.attention.weight',
      'lora_B.everything.weight',
      'weight',
    ].map((own) => `${layer}.${own}`),
  );
});

test('what is in use is trainable and nothing else; after the last all is as before', () => {
  const model = loadTiny();
  const trainable = (): string[] => Array.from(model.namedParameters(), ([name]) => name);
  const before = trainable();
  withBoth(model);
  const of = (name: string): boolean => trainable().every((n) => n.includes(`.${name}.weight`));
  expect(of('everything')).toBe(true);
  setAdapter(model, 'attention');
  expect(of('attention')).toBe(true);
  // q_proj and v_proj of two encoder and five decoder layers, and lm_head; A and B of each.
  expect(trainable()).toHaveLength(2 * (2 * 7 + 1));
  disableAdapter(model);
  expect(trainable()).toEqual([]);
  for (const name of ['everything', 'attention']) deleteAdapter(model, name);
  expect(trainable()).toEqual(before);
  expect([...model.namedModules()].some(([, module]) => module instanceof LoraLinear)).toBe(false);
});

test('one is merged or detached, the other stays', async () => {
  const { greedy: expected } = oracle.float32;
  const model = loadTiny();
  const first = loadAdapter(folderOf('everything'), model, { name: 'everything' });
  loadAdapter(folderOf('attention'), model, { name: 'attention' });
  detachLora(first);
  expect(first.parameters().size).toBeGreaterThan(0);
  expect(await greedy(model)).toEqual(expected.attention);
  // A second time there is nothing to do.
  detachLora(first);
  expect(await greedy(model)).toEqual(expected.attention);

  const other = loadTiny();
  const merged = loadAdapter(folderOf('everything'), other, { name: 'everything' });
  loadAdapter(folderOf('attention'), other, { name: 'attention' });
  mergeLora(merged);
  expect(activeAdapters(other)).toEqual(['attention']);
  expect(await greedy(other)).toEqual(expected.both);
  disableAdapter(other);
  expect(await greedy(other)).toEqual(expected.everything);
});

test('a pruned view switches with its model', async () => {
  const model = withBoth();
  const view = model.withLayers([...model.layers.keys()]);
  setAdapter(view, 'attention');
  expect(await greedy(model)).toEqual(oracle.float32.greedy.attention);
  expect(adapterNames(view)).toEqual(['everything', 'attention']);
});

test('deleting frees, and disposing of the model frees all of them', async () => {
  const model = loadTiny();
  await settle();
  const before = memory();
  withBoth(model);
  for (const name of ['attention', 'everything']) deleteAdapter(model, name);
  expect(memory()).toEqual(before);
  const other = loadTiny();
  withBoth(other).dispose();
  expect(memory()).toEqual(before);
});

describe('names that cannot be', () => {
  const load = (model: Qwen2Audio, name?: string): unknown =>
    loadAdapter(folderOf('attention'), model, { name });

  test('taken, empty, with a dot', () => {
    const model = withBoth();
    const state = [...model.stateDict().keys()];
    expect(() => load(model, 'everything')).toThrow(LoraError);
    expect(() => load(model, 'everything')).toThrow(
      "the model has an adapter 'everything' already; give this one another name",
    );
    expect(() => load(model, '')).toThrow('an adapter cannot be called ""');
    expect(() => load(model, 'de.v2')).toThrow('an adapter cannot be called "de.v2"');
    const options = { generator: new Generator(1), name: 'attention' };
    expect(() => attachLora(model, { r: 1, loraAlpha: 1 }, options)).toThrow(LoraError);
    expect([...model.stateDict().keys()]).toEqual(state);
    load(model);
    expect(adapterNames(model)).toEqual(['everything', 'attention', 'default']);
  });

  test('unknown ones change nothing', () => {
    const model = withBoth();
    const message = "the model has no adapter 'german'; it has 'everything', 'attention'";
    expect(() => setAdapter(model, 'german')).toThrow(message);
    expect(() => setAdapter(model, ['attention', 'german'])).toThrow(message);
    expect(() => deleteAdapter(model, 'german')).toThrow(message);
    expect(() => setAdapter(model, [])).toThrow('give a name, or disable the adapters');
    expect(activeAdapters(model)).toEqual(['everything']);
  });

  test('no adapter at all', () => {
    const model = loadTiny();
    for (const change of [disableAdapter, enableAdapter]) {
      expect(() => change(model)).toThrow('the model has no adapter; load one first');
    }
    expect(() => setAdapter(model, 'default')).toThrow(LoraError);
    expect(() => deleteAdapter(model, 'default')).toThrow(LoraError);
  });
});
