/** Recipes: the YAML file that a run follows. The schema's types are the program's types. */
import { readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { parse, parseDocument } from 'yaml';
import { z } from 'zod';
import { PareError } from '../errors';
import { fileError } from '../files';
import { optimizerNames } from '../train/optimizers';
import { scheduleNames } from '../train/schedule';

/** A recipe that cannot be followed. */
export class RecipeError extends PareError {}

const count = z.number().int().positive();
const rate = z.number().min(0).max(1);
/** Relative to the recipe's own folder. */
const path = z.string().min(1);

const corpus = z.strictObject({
  /** A corpus folder; or `demo`, which is made if it is not there. */
  path: path.optional(),
  demo: z
    .strictObject({
      seed: z.number().int().optional(),
      train: count.optional(),
      dev: count.optional(),
      test: count.optional(),
      testVoices: count.optional(),
    })
    .optional(),
  train: z.string().default('train'),
  /** Layers are chosen on this split, nothing else is. */
  dev: z.string().default('dev'),
  /** Reported, and touched once a model; the first is the main one. */
  test: z.array(z.string()).min(1).default(['test']),
  /** What the test splits test, for the report. */
  testNames: z.record(z.string(), z.string()).default({}),
});

const optimization = {
  epochs: z.number().positive().optional(),
  steps: count.optional(),
  batchSize: count,
  microBatchSize: count.optional(),
  optimizer: z.enum(optimizerNames).optional(),
  learningRate: z.number().positive(),
  betas: z.tuple([rate, rate]).optional(),
  eps: z.number().positive().optional(),
  weightDecay: z.number().min(0).optional(),
  decayVectors: z.boolean().optional(),
  schedule: z.enum(scheduleNames).optional(),
  warmupSteps: z.number().int().min(0).optional(),
  maxGradNorm: z.number().min(0).optional(),
  specAugment: z
    .strictObject({
      frequencyMasks: z.number().int().min(0).optional(),
      frequencyWidth: z.number().int().min(0).optional(),
      timeMasks: z.number().int().min(0).optional(),
      timeWidth: z.number().int().min(0).optional(),
      timeFraction: rate.optional(),
    })
    .optional(),
  warp: z.strictObject({ timeStretch: rate.optional(), frequencyWarp: rate.optional() }).optional(),
  bf16: z.boolean().optional(),
  /** Activations of a layer are made again in backward instead of kept: less memory, a third slower. */
  gradientCheckpointing: z.boolean().optional(),
  seed: z.number().int().optional(),
  /** Steps between two writes of the state that a killed run goes on from. */
  saveEvery: count.default(100),
};

const lora = z.strictObject({
  r: count,
  loraAlpha: z.number().positive(),
  useRslora: z.boolean().optional(),
  loraDropout: rate.optional(),
  targetModules: z.union([z.string(), z.array(z.string())]).optional(),
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
    /** A Qwen2-Audio checkpoint to start from; without `train` it is the teacher. */
    checkpoint: path.optional(),
    /** The log of its training, for the report. */
    log: path.optional(),
    /** The recipe that made the checkpoint; followed instead when a run is asked `fromScratch`. */
    madeBy: path.optional(),
    /** Instead of a checkpoint: a new vocabulary and random weights of this shape. */
    random: randomStart.optional(),
    train: z
      .strictObject({
        ...optimization,
        lora: lora.optional(),
        transcribeRate: rate.optional(),
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

const recipeSchema = z
  .strictObject({
    name: z.string().regex(/^[\w.-]+$/, 'letters, digits, dots and dashes only'),
    title: z.string().optional(),
    /** The run folder; relative to where the command is run. */
    output: z.string().min(1),
    seed: z.number().int().default(1),
    corpus: corpus.refine((c) => (c.path === undefined) !== (c.demo === undefined), {
      message: 'give either path or demo',
    }),
    languages: z.array(z.enum(['de', 'zh'])).min(1),
    generation: z.strictObject({ maxNewTokens: count, batchSize: count.default(32) }),
    teacher,
    importance: z
      .strictObject({
        remove: count,
        criterion: z.union([criterion, z.record(z.string(), criterion)], {
          error: `give one of ${criterion.options.join(', ')}, or one for each language`,
        }),
        protectedLayers: z.array(z.number().int().min(0)).default([]),
      })
      .optional(),
    /** Full fine-tuning of the pruned model on the references. */
    heal: z
      .strictObject({
        ...optimization,
        /** And on the teacher's translations, as in the paper. */
        teacherTexts: z.boolean().default(false),
      })
      .optional(),
    quantize: z
      .strictObject({
        blockSize: z.literal([64, 128, 256, 512, 1024, 2048, 4096]).default(64),
        doubleQuant: z.boolean().default(true),
        skip: z.array(z.string()).default([]),
        /** In 4 bits, too; what it costs is what the report's quantised model loses. */
        lmHead: z.boolean().default(false),
        embeddings: z.boolean().default(false),
      })
      .optional(),
    /** QLoRA on the references and the teacher's translations. */
    distill: z
      .strictObject({ ...optimization, lora, minChrf: z.number().min(0).max(100).default(0) })
      .optional(),
    evaluate: z
      .strictObject({ samples: count.default(1000), seed: z.number().int().min(0).default(12345) })
      .default({ samples: 1000, seed: 12345 }),
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
  .refine((r) => r.distill === undefined || r.quantize !== undefined, {
    message: 'distill trains an adapter over a 4-bit base: it needs quantize',
    path: ['distill'],
  });

export type Recipe = z.infer<typeof recipeSchema>;
export type TrainingSettings = Omit<NonNullable<Recipe['heal']>, 'teacherTexts'>;

/**
 * Checks a recipe's text.
 * @throws RecipeError naming file and key: not YAML, a key missing, unknown or of a wrong type
 */
export function parseRecipe(text: string, where: string): Recipe {
  const document = parseDocument(text);
  let value: unknown;
  try {
    const broken = document.errors[0];
    if (broken !== undefined) throw broken;
    value = document.toJS();
  } catch (cause) {
    const [reason] = (cause as Error).message.split('\n');
    throw new RecipeError(`${where}: not valid YAML: ${reason}`, { cause });
  }
  const result = recipeSchema.safeParse(value);
  if (result.success) return result.data;
  const issue = result.error.issues[0]!;
  const at = issue.path.join('.');
  const key = issue.code === 'unrecognized_keys' ? `unknown key "${issue.keys[0]}"` : issue.message;
  throw new RecipeError(`${where}: ${at === '' ? '' : `${at}: `}${key}; see recipes/ for examples`);
}

/** The recipe's text with `key.of.it=value` in place of what it says there. */
function override(text: string, settings: readonly string[], where: string): string {
  const document = parseDocument(text);
  // What is no YAML stays as it is: `parseRecipe` says so.
  if (settings.length === 0 || document.errors.length > 0) return text;
  let changed = text;
  for (const setting of settings) {
    const [, key, value] = /^([^=]+)=(.*)$/s.exec(setting) ?? [];
    if (key === undefined) {
      throw new RecipeError(
        `${where}: '${setting}' sets nothing; give key=value, such as importance.remove=8`,
      );
    }
    try {
      const keys = key.split('.');
      if (value !== '') document.setIn(keys, parse(value!, { logLevel: 'error' }));
      else if (!document.deleteIn(keys)) throw new Error(`there is no ${key} to leave out`);
      changed = document.toString();
    } catch (cause) {
      const [reason] = (cause as Error).message.split('\n');
      throw new RecipeError(`${where}: cannot set ${setting}: ${reason}`, { cause });
    }
  }
  return changed;
}

/**
 * Reads and checks a recipe; paths to what it reads are taken from its own folder.
 * @param set what to change in it, as `importance.remove=8`; nothing behind the sign leaves the key
 * out
 * @throws RecipeError, FileError
 */
export function readRecipe(
  file: string,
  set: readonly string[] = [],
): { recipe: Recipe; yaml: string } {
  let yaml: string;
  try {
    yaml = readFileSync(file, 'utf8');
  } catch (error) {
    throw fileError('read', file, error);
  }
  yaml = override(yaml, set, file);
  const recipe = parseRecipe(yaml, file);
  const at = (value: string | undefined): string | undefined =>
    value === undefined ? undefined : resolve(dirname(file), value);
  const { corpus, teacher } = recipe;
  const absolute = {
    ...teacher,
    checkpoint: at(teacher.checkpoint),
    log: at(teacher.log),
    madeBy: at(teacher.madeBy),
  };
  return {
    recipe: { ...recipe, corpus: { ...corpus, path: at(corpus.path) }, teacher: absolute },
    yaml,
  };
}
