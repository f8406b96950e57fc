/**
 * What a recipe may say. The schema's types are the program's types, and its descriptions are what
 * an editor shows. A new key of a stage is optional and has no default: defaults go into the hash
 * of the stage, and finished runs would be made again.
 */
import { z } from 'zod';
import { optimizerNames, roundings, weightDtypes } from '../train/optimizers';
import { scheduleNames } from '../train/schedule';

const count = z.number().int().positive();
const rate = z.number().min(0).max(1);
const path = z.string().min(1);

const columns = z
  .strictObject({
    audio: path.optional(),
    text: path.optional().describe('what is said'),
    seconds: path.optional(),
    speaker: path.optional(),
    group: path.optional().describe('what must lie whole in one split, such as a talk'),
    id: path.optional(),
    split: path.optional().describe('where one file holds all splits'),
    translations: z.record(z.string(), path).optional().describe('by language'),
  })
  .describe('what the columns of manifests or Parquet files are called; a part with a dot');

const corpusSource = {
  path: path
    .optional()
    .describe(
      "a folder with corpus.json, manifests or Parquet files, relative to the recipe's own folder",
    ),
  hub: path
    .optional()
    .describe('in place of a folder: a dataset of the hub, owner/name or owner/name@revision'),
  config: z
    .string()
    .min(1)
    .optional()
    .describe('of several datasets in one folder or repository, the one with this name'),
  columns: columns.optional(),
};

const corpus = z.strictObject({
  ...corpusSource,
  demo: z
    .strictObject({
      seed: z.number().int().optional(),
      train: count.optional(),
      dev: count.optional(),
      test: count.optional(),
      testVoices: count.optional(),
    })
    .optional()
    .describe("the demo's corpus in place of a folder; it is made if it is not there"),
  train: z.string().default('train').describe('the split to train on'),
  dev: z
    .string()
    .default('dev')
    .describe('layers are chosen on this split, and nothing else is done with it'),
  test: z
    .array(z.string())
    .min(1)
    .default(['test'])
    .describe('splits that are reported, touched once a model; the first is the main one'),
  testNames: z
    .record(z.string(), z.string())
    .default({})
    .describe('what each test split tests, for the report'),
});

const optimization = {
  epochs: z.number().positive().optional(),
  steps: count.optional().describe('in place of epochs'),
  batchSize: count.describe('utterances a step; each brings all of its targets'),
  microBatchSize: count
    .optional()
    .describe('utterances that are in memory together; gradients are summed over the step'),
  optimizer: z
    .enum(optimizerNames)
    .optional()
    .describe('adamw unless given; adamw8bit keeps its moments in 8 bits'),
  learningRate: z.number().positive(),
  betas: z.tuple([rate, rate]).optional(),
  eps: z.number().positive().optional(),
  weightDecay: z.number().min(0).optional().describe('of matrices; 0 unless given'),
  decayVectors: z.boolean().optional().describe('norms and biases are decayed, too'),
  schedule: z.enum(scheduleNames).optional().describe('of the learning rate; cosine unless given'),
  warmupSteps: z.number().int().min(0).optional(),
  maxGradNorm: z.number().min(0).optional().describe('gradients are scaled down to this norm'),
  specAugment: z
    .strictObject({
      frequencyMasks: z.number().int().min(0).optional(),
      frequencyWidth: z.number().int().min(0).optional(),
      timeMasks: z.number().int().min(0).optional(),
      timeWidth: z.number().int().min(0).optional(),
      timeFraction: rate.optional(),
    })
    .optional(),
  warp: z
    .strictObject({ timeStretch: rate.optional(), frequencyWarp: rate.optional() })
    .optional()
    .describe('speed and throat of the speaker, changed anew each time'),
  bf16: z.boolean().optional().describe('matrix products in bfloat16, from float32 weights'),
  weights: z
    .enum(weightDtypes)
    .optional()
    .describe('what weights and gradients are held in; float32 unless given'),
  rounding: z
    .enum(roundings)
    .optional()
    .describe('of weights in bfloat16; stochastic unless given, nearest loses small updates'),
  gradientCheckpointing: z
    .boolean()
    .optional()
    .describe('activations are made again in backward, not kept: less memory, a third slower'),
  packing: z
    .boolean()
    .optional()
    .describe('sequences of a micro-batch in one row: the decoder computes no padding'),
  seed: z.number().int().optional().describe("of this stage; the recipe's unless given"),
  saveEvery: count
    .default(100)
    .describe('steps between two checkpoints that a killed run goes on from'),
  keep: count
    .optional()
    .describe('checkpoints that are kept, 2 unless given; changes nothing of the result'),
};

const lora = z.strictObject({
  r: count.describe('rank'),
  loraAlpha: z.number().positive(),
  useRslora: z.boolean().optional().describe('scale by alpha / sqrt(r) in place of alpha / r'),
  loraDropout: rate.optional(),
  targetModules: z
    .union([z.string(), z.array(z.string())], { error: 'give all-linear, or names such as q_proj' })
    .optional()
    .describe('all-linear (every linear layer but lm_head), a pattern, or a list of names'),
});

const criterion = z.enum(['bleu', 'chrf', 'chrf++', 'loss']);

const randomStart = z.strictObject({
  vocabSize: count,
  audio: z.strictObject({
    d_model: count,
    encoder_layers: count,
    encoder_attention_heads: count,
    encoder_ffn_dim: count,
    max_source_positions: count,
  }),
  text: z.strictObject({
    hidden_size: count,
    intermediate_size: count,
    num_hidden_layers: count,
    num_attention_heads: count,
    num_key_value_heads: count,
    initializer_range: z.number().positive(),
  }),
});

const teacher = z
  .strictObject({
    checkpoint: path
      .optional()
      .describe(
        'a Qwen2-Audio checkpoint to start from, a folder or owner/name[@revision] on the hub; without train it is the teacher',
      ),
    log: path.optional().describe('the log of its training, for the report'),
    madeBy: path
      .optional()
      .describe('the recipe that made the checkpoint; followed with --from-scratch'),
    random: randomStart
      .optional()
      .describe('in place of a checkpoint: a new vocabulary and random weights of this shape'),
    train: z
      .strictObject({
        ...optimization,
        lora: lora.optional().describe('trains an adapter in place of the weights'),
        transcribeRate: rate.optional().describe('share of utterances that are also transcribed'),
        ctcWeight: z.number().min(0).optional(),
        ctcSteps: z.number().int().min(0).optional(),
      })
      .optional(),
  })
  .refine((t) => (t.checkpoint === undefined) !== (t.random === undefined), {
    message: 'give either checkpoint or random',
  })
  .refine((t) => t.random === undefined || t.train !== undefined, {
    message: 'a random start needs train',
  });

const importance = z.strictObject({
  remove: count.describe('decoder layers to remove'),
  criterion: z
    .union([criterion, z.record(z.string(), criterion)], {
      error: `give one of ${criterion.options.join(', ')}, or one for each language`,
    })
    .describe('what a candidate is scored by on the dev split, for all languages or for each'),
  protectedLayers: z
    .array(z.number().int().min(0))
    .default([])
    .describe('never removed, beside the first and the last'),
  method: z
    .enum(['search', 'middle'])
    .optional()
    .describe('search (unless given): one layer after the other; middle: the block in the middle'),
});

const heal = z.strictObject({
  ...optimization,
  teacherTexts: z
    .boolean()
    .default(false)
    .describe("trains on the teacher's translations, too, as in the paper"),
  every: count
    .optional()
    .describe('heals after so many removed layers, then searches on; once at the end unless given'),
});

const quantize = z.strictObject({
  blockSize: z.literal([64, 128, 256, 512, 1024, 2048, 4096]).default(64),
  doubleQuant: z.boolean().default(true).describe("the blocks' scales are quantised, too"),
  skip: z.array(z.string()).default([]).describe('linear layers that stay as they are'),
  lmHead: z.boolean().default(false).describe('lm_head in 4 bits, too'),
  embeddings: z
    .boolean()
    .default(false)
    .describe('token embeddings in 4 bits, too; transformers does not load them'),
});

const extraCorpus = z
  .strictObject({
    ...corpusSource,
    split: z.string().default('train'),
    limit: count
      .optional()
      .describe('so many of its utterances, drawn by the seed; all unless given'),
  })
  .refine((c) => (c.path === undefined) !== (c.hub === undefined), {
    message: 'give either path or hub',
  });

const distill = z.strictObject({
  ...optimization,
  lora,
  minChrf: z
    .number()
    .min(0)
    .max(100)
    .default(0)
    .describe("the teacher's translations below this sentence chrF are dropped"),
  extra: z
    .array(extraCorpus)
    .min(1)
    .optional()
    .describe('further corpora to train on, by their references'),
});

export const recipeSchema = z
  .strictObject({
    name: z.string().regex(/^[\w.-]+$/, 'letters, digits, dots and dashes only'),
    title: z.string().optional(),
    output: z.string().min(1).describe('the run folder, relative to where the command is run'),
    seed: z.number().int().default(1),
    corpus: corpus.refine(
      (c) => [c.path, c.hub, c.demo].filter((source) => source !== undefined).length === 1,
      { message: 'give either path, hub or demo' },
    ),
    languages: z
      .array(z.enum(['de', 'zh']))
      .min(1)
      .refine((all) => new Set(all).size === all.length, { message: 'names a language twice' }),
    generation: z.strictObject({
      maxNewTokens: count.describe('tokens of a translation at most'),
      batchSize: count.default(32).describe('utterances decoded together'),
    }),
    teacher,
    importance: importance.optional().describe('which decoder layers go'),
    heal: heal.optional().describe('full fine-tuning of the pruned model'),
    quantize: quantize.optional().describe('NF4 for every linear layer but lm_head'),
    distill: distill
      .optional()
      .describe("QLoRA over the 4-bit base, on references and the teacher's translations"),
    evaluate: z
      .strictObject({ samples: count.default(1000), seed: z.number().int().min(0).default(12345) })
      .default({ samples: 1000, seed: 12345 })
      .describe('the bootstrap of the intervals'),
    variants: z
      .record(z.string().regex(/^[\w.-]+$/), z.record(z.string(), z.unknown()), {
        error: 'give a name to each set of changes: letters, digits, dots and dashes',
      })
      .optional()
      .describe(
        'runs of their own that are compared: by name, the keys (importance.remove) to change; ' +
          'null leaves a key out',
      ),
  })
  .refine(
    ({ importance, languages }) =>
      importance === undefined ||
      typeof importance.criterion === 'string' ||
      languages.every((language) => language in (importance.criterion as object)),
    { message: 'give a criterion for each language', path: ['importance', 'criterion'] },
  )
  .refine((r) => !r.heal?.teacherTexts || r.distill !== undefined, {
    message: 'the teacher translates for distill: add it',
    path: ['heal', 'teacherTexts'],
  })
  .refine((r) => r.heal?.every === undefined || r.importance?.method !== 'middle', {
    message: 'a block in the middle goes at once; leave this out, or search',
    path: ['heal', 'every'],
  })
  .refine((r) => r.heal?.every === undefined || r.importance !== undefined, {
    message: 'no layer is removed that could be healed after: add importance, or leave this out',
    path: ['heal', 'every'],
  })
  .refine(({ teacher: { train } }) => !train?.ctcSteps || (train.ctcWeight ?? 0) > 0, {
    message: 'the CTC loss, from which alone these steps learn, has no weight: give ctcWeight',
    path: ['teacher', 'train', 'ctcSteps'],
  })
  .refine((r) => r.distill === undefined || r.quantize !== undefined, {
    message: 'distill trains an adapter over a 4-bit base: it needs quantize',
    path: ['distill'],
  });

/** A checked recipe, with its defaults filled in; docs/recipes.md explains the keys. */
export type Recipe = z.infer<typeof recipeSchema>;
export type TrainingSettings = Omit<NonNullable<Recipe['heal']>, 'teacherTexts' | 'every'>;

/** The schema in JSON Schema's terms, for editors: what may be written, before defaults. */
export function recipeJsonSchema(): Record<string, unknown> {
  return { ...z.toJSONSchema(recipeSchema, { io: 'input' }), title: 'A recipe of pare' };
}
