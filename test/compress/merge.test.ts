/** Adapters merged into weights, and what the report says of it. */
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { mergeCheckpoint, type MergeOptions, type MergeReport } from '../../lib/compress/merge';
import {
  heldOutLoss,
  mergeInFullPrecision,
  mergeInNf4,
  quantizeModel,
  recommendForm,
  type FormReport,
} from '../../lib/compress';
import { loadAdapter, LoraError } from '../../lib/lora';
import { dequantizeNf4, Embedding4bit, Linear4bit, quantizeNf4 } from '../../lib/nf4';
import { loadModel, saveModel, type Qwen2Audio } from '../../lib/qwen2-audio';
import { account } from '../../lib/qwen2-audio/accounting';
import { memory, nn, type Tensor } from '../../lib/torch';
import { writeRandomAdapter } from '../lora/random-adapter';
import { difference, settle } from '../qwen2-audio/tiny-model';
import { languages, tinyTask, type TinyTask } from './tiny-task';

jest.setTimeout(300_000);

let task: TinyTask;
const at = (name: string): string => join(task.dir, name);
const adapterConfig = { r: 4, loraAlpha: 8, useRslora: true };
const attention = { r: 2, loraAlpha: 4, targetModules: ['q_proj', 'lm_head'] };

/** Checkpoints: float32, bf16, and what NF4 makes of each. */
beforeAll(async () => {
  task = await tinyTask();
  const model = task.newModel(3);
  saveModel(at('float32'), model, task.processor);
  saveModel(at('bf16'), model, task.processor, { dtype: 'bfloat16' });
  model.dispose();
  for (const [from, to, options] of [
    ['float32', 'nf4-float32', {}],
    ['bf16', 'nf4', { embeddings: true, blockSize: 32 }],
  ] as const) {
    const opened = loadModel(at(from));
    quantizeModel(opened, options);
    saveModel(at(to), opened, task.processor);
    opened.dispose();
  }
  writeRandomAdapter(at('adapter'), at('float32'), adapterConfig, 3, 0.05);
  writeRandomAdapter(at('attention'), at('float32'), attention, 4, 0.05);
});
afterAll(() => task.dispose());

let count = 0;
const merge = async (
  from: string,
  options: MergeOptions = {},
): Promise<MergeReport & { folder: string }> => {
  const folder = at(`merged-${count++}`);
  const report = await mergeCheckpoint(at(from), folder, { adapter: at('adapter'), ...options });
  return { ...report, folder };
};
const devSet = (): MergeOptions['dev'] => ({ corpus: task.corpus, split: 'dev' });
const lossOf = async (model: Qwen2Audio): Promise<number> =>
  (await heldOutLoss(model, task.features, task.splits.dev, languages)).loss;

function plainWeight(module: nn.Module): Tensor {
  if (module instanceof Linear4bit) {
    return dequantizeNf4(module.weight, module.quantState, 'float32');
  }
  return (module as nn.Linear).weight.to('float32');
}

/** Linear layers and embeddings of a model by name. */
function layersOf(model: nn.Module): Map<string, nn.Module> {
  const kinds = [nn.Linear, Linear4bit, nn.Embedding, Embedding4bit];
  return new Map([...model.namedModules()].filter(([, m]) => kinds.some((k) => m instanceof k)));
}

describe('the weights', () => {
  test.each(['float32', 'bf16', 'nf4', 'nf4-float32'])(
    'over %s: the sum in float32, rounded once',
    async (from) => {
      const { folder } = await merge(from);
      const base = layersOf(loadModel(at(from)));
      const merged = loadModel(folder);
      const adapter = loadAdapter(at('adapter'), loadModel(at('float32')));
      const dtype = from.endsWith('float32') ? 'float32' : 'bfloat16';
      let adapted = 0;
      for (const [name, layer] of layersOf(merged)) {
        const { weight, bias } = layer as nn.Linear;
        expect(weight.dtype).toBe(dtype);
        expect(bias?.dtype ?? dtype).toBe(dtype);
        const before = base.get(name)!;
        const update = adapter.layers.get(name);
        if (before instanceof Embedding4bit || update === undefined) continue;
        adapted++;
        const expected = plainWeight(before).add(update.deltaWeight()).to(dtype);
        expect(weight.equal(expected)).toBe(true);
        expect(weight.to('float32').equal(plainWeight(before))).toBe(false);
      }
      expect(adapted).toBe(adapter.layers.size);
      const { quantization, storage } = account(folder);
      expect({ quantization, storage }).toEqual({ quantization: null, storage: dtype });
    },
  );

  test('requantised over a 4-bit base: from the float32 sum, and untouched layers keep their bytes', async () => {
    const { folder } = await merge('nf4', { adapter: at('attention'), quantize: 'nf4' });
    const base = loadModel(at('nf4')).stateDict();
    const merged = loadModel(folder);
    const state = merged.stateDict();
    const adapter = loadAdapter(at('attention'), loadModel(at('float32')));
    expect([...state.keys()]).toEqual([...base.keys()]);
    for (const [name, module] of layersOf(merged)) {
      const update = adapter.layers.get(name);
      const packed = state.get(`${name}.weight`)!;
      if (update === undefined) {
        for (const own of Array.from(module.ownTensors(), ([key]) => `${name}.${key}`)) {
          expect(state.get(own)!.equal(base.get(own)!)).toBe(true);
        }
      } else if (module instanceof Linear4bit) {
        const before = layersOf(loadModel(at('nf4'))).get(name) as Linear4bit;
        const expected = quantizeNf4(plainWeight(before).add(update.deltaWeight()), {
          blockSize: 32,
        });
        expect(packed.equal(expected.packed)).toBe(true);
        expect(module.quantState).toMatchObject({ blockSize: 32, dtype: 'bfloat16' });
        expect(module.quantState.absmax.equal(expected.quantState.absmax)).toBe(true);
      } else {
        expect(name).toBe('language_model.lm_head');
        expect(packed.dtype).toBe('bfloat16');
        expect(packed.equal(base.get(`${name}.weight`)!)).toBe(false);
      }
    }
  });

  test('quantised from full precision: every linear layer but lm_head', async () => {
    const { folder } = await merge('bf16', { adapter: at('attention'), quantize: 'nf4' });
    const merged = layersOf(loadModel(folder));
    const plain = [...merged].filter(([, module]) => !(module instanceof Linear4bit));
    expect(plain.map(([name]) => name)).toEqual([
      'audio_tower.embed_positions',
      'language_model.model.embed_tokens',
      'language_model.lm_head',
    ]);
    const adapter = loadAdapter(at('attention'), loadModel(at('float32')));
    const [name, update] = [...adapter.layers][0]!;
    const base = layersOf(loadModel(at('bf16'))).get(name)!;
    const { packed } = quantizeNf4(plainWeight(base).add(update.deltaWeight()));
    expect((merged.get(name) as Linear4bit).weight.equal(packed)).toBe(true);
  });

  test('nothing is left in memory', async () => {
    await settle();
    const before = memory();
    for (const from of ['nf4', 'bf16']) {
      for (const make of [mergeInFullPrecision, mergeInNf4]) {
        const model = loadModel(at(from));
        const adapter = loadAdapter(at('adapter'), model);
        make(model, adapter);
        adapter.dispose();
        model.dispose();
      }
    }
    // What loading a 4-bit checkpoint leaves to the collector.
    await settle();
    expect(memory()).toEqual(before);
  });
});

describe('the report', () => {
  test('loss, agreement and bytes of all three forms', async () => {
    const seen = new Set<string>();
    const onProgress = (label: string): void => void seen.add(label);
    const report = await merge('nf4', { dev: devSet(), onProgress });
    expect(report.forms.map(({ form }) => form)).toEqual(['adapter', 'merged', 'requantized']);
    const [adapter, merged, requantized] = report.forms as [FormReport, FormReport, FormReport];
    expect(adapter.bytes).toBe(account(at('nf4'), { adapter: at('adapter') }).bytes);
    expect(merged.bytes).toBe(account(report.folder).bytes);
    expect(adapter.tokenAgreement).toBe(1);
    using model = loadModel(at('nf4'));
    const attached = loadAdapter(at('adapter'), model);
    expect(adapter.loss).toBeCloseTo(await lossOf(model), 6);
    attached.dispose();
    using written = loadModel(report.folder);
    expect(merged.loss).toBeCloseTo(await lossOf(written), 6);
    // The weights differ by a rounding to bfloat16, those in 4 bits by much more.
    const change = ({ loss }: FormReport): number => Math.abs(loss! - adapter.loss!);
    expect(change(requantized)).toBeGreaterThan(2 * change(merged));
    expect(requantized.tokenAgreement).toBeLessThan(merged.tokenAgreement!);
    expect(report.dev).toMatchObject({ split: 'dev', languages: ['de', 'zh'], utterances: 6 });
    expect(report.dev!.tokens).toBeGreaterThan(50);
    expect(report).toMatchObject({ written: 'merged', adapter: at('adapter') });
    const { folder, ...said } = report;
    const file = readFileSync(join(folder, 'merge.json'), 'utf8');
    expect(JSON.parse(file)).toEqual(said);
    expect([...seen]).toEqual([
      'reading speech',
      ...['adapter', 'requantized', 'merged'].map((form) => `measuring ${form}`),
    ]);
  });

  test('what is not written is measured and weighed as if it were', async () => {
    const dev = devSet();
    const merged = await merge('nf4', { dev });
    const requantized = await merge('nf4', { dev, quantize: 'nf4' });
    expect(requantized.written).toBe('requantized');
    expect(requantized.forms).toEqual(merged.forms);
    expect(requantized.recommended).toEqual(merged.recommended);
  });

  test('the loss is that of the training loss', async () => {
    const dir = at('float32');
    using model = loadModel(dir);
    const { loss, tokens, predictions } = await heldOutLoss(
      model,
      task.features,
      task.splits.dev,
      languages,
      { batchSize: 4 },
    );
    expect(predictions).toHaveLength(tokens);
    const whole = await heldOutLoss(model, task.features, task.splits.dev, languages);
    expect(whole.loss).toBeCloseTo(loss, 4);
    const german = await heldOutLoss(model, task.features, task.splits.dev, ['de']);
    const chinese = await heldOutLoss(model, task.features, task.splits.dev, ['zh']);
    expect(german.tokens + chinese.tokens).toBe(tokens);
    const mean = (german.loss * german.tokens + chinese.loss * chinese.tokens) / tokens;
    expect(mean).toBeCloseTo(loss, 4);
  });

  test('without a dev set, bytes alone', async () => {
    const { forms, dev, recommended } = await merge('bf16');
    expect(forms.map(({ form, loss, tokenAgreement }) => [form, loss, tokenAgreement])).toEqual([
      ['adapter', null, null],
      ['merged', null, null],
    ]);
    expect([dev, recommended]).toEqual([null, null]);
  });
});

describe('what is recommended', () => {
  const form = (
    name: FormReport['form'],
    bytes: number,
    loss: number | null,
    tokenAgreement: number | null,
  ): FormReport => ({ form: name, bytes, loss, tokenAgreement });
  const adapter = form('adapter', 5000, 0.5, 1);

  test('the smallest of those that are as good', () => {
    const forms = [
      adapter,
      form('merged', 9000, 0.5001, 0.999),
      form('requantized', 4000, 0.5042, 0.995),
    ];
    expect(recommendForm(forms)).toEqual({
      form: 'requantized',
      reason:
        '4,000 bytes, the smallest that answers as the adapter does (+0.0042 nats a token, ' +
        '99.50 % of tokens the same); adapter has 5,000 bytes; merged has 9,000 bytes, ' +
        '+0.0001 nats a token, 99.90 % of tokens the same',
    });
    expect(recommendForm(forms, { maxLossIncrease: 0.001 })!.form).toBe('adapter');
    expect(recommendForm(forms, { minAgreement: 0.996 })!.form).toBe('adapter');
  });

  test('the adapter where merging costs too much, by loss or by agreement', () => {
    for (const requantized of [
      form('requantized', 4000, 0.6, 0.999),
      form('requantized', 4000, 0.4, 0.9),
    ]) {
      const { form: best, reason } = recommendForm([
        adapter,
        form('merged', 9000, 0.5, 1),
        requantized,
      ])!;
      expect(best).toBe('adapter');
      expect(reason).toMatch(/^5,000 bytes, .*requantized has [+-]0\.1000 nats.*merged has 9,000/);
    }
  });

  test('nothing where a form was not measured', () => {
    expect(recommendForm([adapter, form('merged', 1, null, null)])).toBeNull();
    expect(recommendForm([form('merged', 1, 0.5, 1)])).toBeNull();
  });
});

describe('what cannot be merged, and leaves nothing', () => {
  const refuse = async (
    message: string | RegExp,
    from: string,
    options: MergeOptions = {},
    output = at('refused'),
  ): Promise<void> => {
    const all = { adapter: at('adapter'), ...options };
    await expect(mergeCheckpoint(at(from), output, all)).rejects.toThrow(message);
  };
  const leftovers = (): string[] => readdirSync(task.dir).filter((name) => name.includes('.tmp-'));

  test('no adapter, an output that is there', async () => {
    await refuse('has no adapter to merge; give one', 'bf16', { adapter: undefined });
    await refuse(
      'is neither a folder nor a name on the hub (owner/name); give the folder of a checkpoint',
      'nowhere',
    );
    mkdirSync(at('taken'));
    await refuse('exists already', 'bf16', {}, at('taken'));
    expect(readdirSync(at('taken'))).toEqual([]);
  });

  test('an adapter of another base', async () => {
    const other = task.newModel(2);
    saveModel(at('shorter'), other, task.processor);
    other.dispose();
    await expect(
      mergeCheckpoint(at('shorter'), at('refused'), { adapter: at('adapter') }),
    ).rejects.toThrow(LoraError);
    await refuse(/unexpected tensor .*layers\.2.*another base \(more layers\)/, 'shorter');
    expect(existsSync(at('refused'))).toBe(false);
  });

  test('a dev set that is not there, before anything is loaded', async () => {
    await refuse("no split 'nowhere'", 'bf16', { dev: { corpus: task.corpus, split: 'nowhere' } });
    await refuse('no references in fr; it has de, zh', 'bf16', {
      dev: { corpus: task.corpus, languages: ['French'] },
    });
    await refuse('is neither a folder nor a name on the hub', 'bf16', {
      dev: { corpus: at('nothing') },
    });
    expect(existsSync(at('refused'))).toBe(false);
  });

  test('aborted on the way', async () => {
    const controller = new AbortController();
    const onProgress = (label: string): void => {
      if (label === 'measuring merged') controller.abort();
    };
    await refuse(/abort/i, 'bf16', { dev: devSet(), signal: controller.signal, onProgress });
    expect(existsSync(at('refused'))).toBe(false);
    expect(leftovers()).toEqual([]);
  });

  test("the checkpoint's own adapter is taken, and is not in what is written", async () => {
    cpSync(at('nf4'), at('own'), { recursive: true });
    cpSync(at('adapter'), at('own/adapter'), { recursive: true });
    const { folder, adapter } = await merge('own', { adapter: undefined });
    expect(adapter).toBe(at('own/adapter'));
    expect(existsSync(join(folder, 'adapter'))).toBe(false);
    const [own, given] = [folder, (await merge('nf4')).folder].map((dir) => loadModel(dir));
    const [a, b] = [own!.stateDict(), given!.stateDict()];
    for (const [name, value] of a) expect(difference(value, b.get(name)!)).toBe(0);
  });
});
