/**
 * Plans against what is then measured: memory and time of every stage of recipes of three sizes. Each
 * is planned in a process of its own, and each stage is made in one that the kernel watches (VmHWM,
 * processor time of all threads). Prints the tables of bench/PLAN.md.
 *
 *   npx tsc -p bench/tsconfig.json
 *   PARE_ADDON=build/pare.node OMP_NUM_THREADS=1 node build/bench/bench/plan.js FOLDER [SIZE]...
 *
 * `plan.js fits` prints what of the paper's recipe fits into how much memory.
 *
 * Processor seconds of one thread depend least on what else the machine does; the same is planned
 * and measured. FOLDER keeps corpora, runs and results; what is there is not made again.
 */
import { execFile } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { cpus, loadavg, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { stringify } from 'yaml';
import { planRecipe, readRecipe, runRecipe, type Plan } from '../lib/pipeline';
import { demoCorpusDir, ensureDemoCorpus } from '../lib/pipeline/demo-corpus';
import { misfitOf } from '../lib/pipeline/plan-fit';
import { planInputs } from '../lib/pipeline/plan-inputs';
import { synthesizeCheckpoint } from '../lib/qwen2-audio/synthesize';
import { publicShapes } from '../lib/qwen2-audio/public-shapes';

const execute = promisify(execFile);

/** What a stage took. */
interface Measured {
  name: string;
  /** Processor seconds. */
  processor: number;
  /** Bytes. */
  peak: number;
}

interface Result {
  plan: Plan;
  /** Made when the teacher's texts were there, of which the student learns those that are new. */
  later: Plan;
  measured: Measured[];
  load: number;
}

const training = { batchSize: 8, learningRate: 1e-4, maxGradNorm: 1, saveEvery: 100 };
const lora = { r: 8, loraAlpha: 16, useRslora: true, loraDropout: 0, targetModules: 'all-linear' };

const tiny = {
  vocabSize: 320,
  audio: {
    ...{ d_model: 32, encoder_layers: 1, encoder_attention_heads: 2, encoder_ffn_dim: 64 },
    max_source_positions: 150,
  },
  text: {
    ...{ hidden_size: 32, intermediate_size: 64, num_hidden_layers: 5, num_attention_heads: 2 },
    ...{ num_key_value_heads: 2, initializer_range: 0.08 },
  },
};

/** A vocabulary of 20,000, with the ids of its special tokens. */
const vocabulary = {
  ...{ audio_token_index: 19000, 'text_config.vocab_size': 20000 },
  ...{ 'text_config.bos_token_id': 18997, 'text_config.pad_token_id': 18997 },
  'text_config.eos_token_id': 18999,
};

/** A checkpoint's numbers: a small corpus does not have the words for a vocabulary of 20,000. */
const wide = {
  ...vocabulary,
  ...{ 'audio_config.d_model': 256, 'audio_config.encoder_layers': 4 },
  ...{ 'audio_config.encoder_attention_heads': 4, 'audio_config.encoder_ffn_dim': 1024 },
  'audio_config.max_source_positions': 150,
  ...{ 'text_config.hidden_size': 512, 'text_config.intermediate_size': 1536 },
  ...{ 'text_config.num_hidden_layers': 8, 'text_config.num_attention_heads': 8 },
  'text_config.num_key_value_heads': 8,
};

interface Size {
  title: string;
  recipe: object;
  /** Utterances of each split. */
  counts?: Record<'train' | 'dev' | 'test', number>;
  /** Writes the checkpoint that the recipe begins with. */
  prepare?: (folder: string) => Promise<unknown>;
}

/** The recipes, by their size. What is random does not end its texts: they are as long as allowed. */
const sizes: Record<string, Size> = {
  tiny: {
    title: '5 decoder layers of width 32',
    recipe: {
      generation: { maxNewTokens: 4, batchSize: 10 },
      teacher: { random: tiny, train: { ...training, steps: 100 } },
      importance: { remove: 2, criterion: 'chrf' },
      heal: { ...training, steps: 100, microBatchSize: 4 },
      quantize: {},
      distill: { ...training, steps: 100, lora },
    },
  },
  demo: {
    title: "the demo's teacher, 12 decoder layers of width 128",
    recipe: {
      generation: { maxNewTokens: 24, batchSize: 20 },
      teacher: { checkpoint: resolve('recipes/demo-teacher') },
      importance: { remove: 2, criterion: { de: 'chrf++', zh: 'chrf' } },
      heal: { ...training, batchSize: 32, steps: 8 },
      quantize: {},
      distill: { ...training, batchSize: 32, steps: 8, lora },
    },
  },
  wide: {
    title: '8 decoder layers of width 512, 20,000 tokens',
    prepare: (folder) =>
      synthesizeCheckpoint('qwen2-audio-tiny', join(folder, 'wide-teacher'), { set: wide }),
    recipe: {
      generation: { maxNewTokens: 4, batchSize: 10 },
      teacher: { checkpoint: 'wide-teacher', train: { ...training, batchSize: 4, steps: 4 } },
      importance: { remove: 1, criterion: 'chrf', protectedLayers: [1, 2, 3, 4] },
      heal: { ...training, steps: 3, bf16: true, gradientCheckpointing: true, microBatchSize: 4 },
      quantize: {},
      distill: { ...training, steps: 3, bf16: true, gradientCheckpointing: true, lora },
    },
  },
  seven: {
    title: "4 of the 7B's layers of each kind, in its widths, 20,000 tokens",
    counts: { train: 16, dev: 4, test: 4 },
    prepare: (folder) => {
      const set = {
        ...vocabulary,
        ...{ 'text_config.num_hidden_layers': 4, 'audio_config.encoder_layers': 4 },
      };
      return synthesizeCheckpoint('qwen2-audio-7b', join(folder, 'seven-teacher'), { set });
    },
    recipe: {
      generation: { maxNewTokens: 4, batchSize: 4 },
      teacher: { checkpoint: 'seven-teacher' },
      quantize: {},
      distill: {
        ...{ ...training, steps: 3, bf16: true, gradientCheckpointing: true },
        ...{ optimizer: 'adamw8bit', lora: { ...lora, r: 64 } },
      },
    },
  },
};

const usualCounts = { train: 120, dev: 24, test: 40 };

/** A part of the demo's corpus, so that runs are short. */
async function corpusIn(folder: string, counts = usualCounts): Promise<string> {
  const dir = join(folder, `corpus-${counts.train}`);
  if (existsSync(join(dir, 'corpus.json'))) return dir;
  const demo = demoCorpusDir();
  await ensureDemoCorpus(demo, {});
  mkdirSync(dir, { recursive: true });
  symlinkSync(join(demo, 'audio'), join(dir, 'audio'));
  const splits = Object.entries(counts).map(([name, count]) => {
    const lines = readFileSync(join(demo, `${name}.jsonl`), 'utf8')
      .trim()
      .split('\n');
    const some = lines.slice(0, count);
    writeFileSync(join(dir, `${name}.jsonl`), `${some.join('\n')}\n`);
    const seconds = some.reduce(
      (sum, line) => sum + (JSON.parse(line) as { seconds: number }).seconds,
      0,
    );
    return [name, { utterances: count, seconds, speakers: 1 }] as const;
  });
  const description = JSON.parse(readFileSync(join(demo, 'corpus.json'), 'utf8')) as object;
  const own = { ...description, splits: Object.fromEntries(splits) };
  writeFileSync(join(dir, 'corpus.json'), JSON.stringify(own));
  return dir;
}

/** In the child: makes the next stage of a recipe and says what it took; nothing when all is done. */
async function next(file: string): Promise<void> {
  const peak = (): number =>
    1024 * Number(/VmHWM:\s*(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))![1]);
  const processor = (): number => {
    const { user, system } = process.cpuUsage();
    return (user + system) / 1e6;
  };
  let measured: (Measured & { audio: number }) | undefined;
  let before = processor();
  let audio = 0;
  let lastAudio: number | undefined;
  const stop = new AbortController();
  const run = runRecipe(file, {
    ignorePlan: true,
    signal: stop.signal,
    onProgress: ({ label }) => {
      const now = processor();
      if (label === 'reading audio' && lastAudio !== undefined) audio += now - lastAudio;
      lastAudio = label === 'reading audio' ? now : undefined;
    },
    onStage: (name, { given, reused }) => {
      if (!given && !reused) {
        measured = { name, processor: processor() - before, peak: peak(), audio };
        stop.abort();
        // What follows may not look at the signal before it is done.
        throw stop.signal.reason;
      }
      before = processor();
    },
  });
  await run.catch((error: unknown) => {
    if (!stop.signal.aborted) throw error;
  });
  console.log(JSON.stringify(measured ?? null));
}

async function inChild<T>(...args: string[]): Promise<T> {
  const options = { maxBuffer: 1 << 26 };
  const { stdout } = await execute(
    process.execPath,
    [...process.execArgv, __filename, ...args],
    options,
  );
  return JSON.parse(stdout.trim().split('\n').at(-1)!) as T;
}

async function resultOf(folder: string, size: string): Promise<Result> {
  const path = join(folder, `${size}.json`);
  const before = existsSync(path)
    ? (JSON.parse(readFileSync(path, 'utf8')) as Partial<Result>)
    : undefined;
  if (before?.plan !== undefined) return before as Result;
  const output = join(folder, size);
  if (before === undefined) rmSync(output, { recursive: true, force: true });
  const { counts, prepare, recipe: own } = sizes[size]!;
  if (before === undefined) await prepare?.(folder);
  const recipe = {
    ...{ name: size, output, seed: 3, languages: ['de', 'zh'] },
    ...{ corpus: { path: await corpusIn(folder, counts) }, evaluate: { samples: 100 } },
    ...own,
  };
  const file = join(folder, `${size}.yaml`);
  writeFileSync(file, stringify(recipe));
  // As if nothing were there yet.
  const plan = await inChild<Plan>('--plan', file, `output=${output}-none`);
  const measured: Measured[] = before?.measured ?? [];
  // Every process reads the audio that its stage hears; in a run of one process the first one does.
  const hears = ['teacher', 'evaluation-teacher', 'importance'];
  if (!('train' in (recipe as unknown as { teacher: object }).teacher)) hears.push('healed');
  const last = plan.stages.at(-1)!.name;
  while (before === undefined && measured.at(-1)?.name !== last) {
    const one = await inChild<(Measured & { audio: number }) | null>('--next', file);
    if (one === null) break;
    const { audio, ...own } = one;
    if (!hears.includes(own.name)) own.processor -= audio;
    console.error(own);
    measured.push(own);
  }
  const later = await inChild<Plan>('--plan', file);
  const result = { plan, later, measured, load: loadavg()[0]! };
  writeFileSync(path, JSON.stringify(result, null, 1));
  return result;
}

function rows({ plan, later, measured }: Result): string[] {
  const gigabytes = (bytes: number): string => (bytes / 1e9).toFixed(2);
  const row = (from: Plan, title: string, { name, processor, peak }: Measured): string[] => {
    const stage = from.stages.find((one) => one.name === name);
    if (stage === undefined) return [];
    const { processorSeconds: planned } = stage;
    const cells = [
      title,
      gigabytes(stage.peak),
      gigabytes(peak),
      (stage.peak / peak).toFixed(2),
      planned?.toFixed(1) ?? '',
      processor.toFixed(1),
      planned === undefined ? '' : (planned / processor).toFixed(2),
    ];
    return [`| ${cells.join(' | ')} |`];
  };
  return measured.flatMap((one) => [
    ...row(plan, one.name, one),
    ...(one.name === 'student' ? row(later, 'student, the texts being there', one) : []),
  ]);
}

const head = [
  ...['stage', 'planned GB', 'measured GB', 'ratio'],
  ...['planned processor s', 'measured processor s', 'ratio'],
];

/** What of the paper's recipe fits into how much memory, and with which settings. */
async function fits(): Promise<string[]> {
  const file = 'recipes/paper-de.yaml';
  const base = mkdtempSync(join(tmpdir(), 'pare-fits-'));
  writeFileSync(join(base, 'config.json'), JSON.stringify(publicShapes['qwen2-audio-7b']));
  const gigabytes = [16, 24, 48, 80];
  const lines = [
    `| stage | as it stands | ${gigabytes.map((gb) => `${gb} GB`).join(' | ')} |`,
    `|---|---:|${gigabytes.map(() => '---|').join('')}`,
  ];
  try {
    const set = [`teacher.checkpoint=${base}`, 'corpus.path=/nowhere', 'variants='];
    const inputs = await planInputs(file, readRecipe(file, set).recipe);
    const { stages } = await planRecipe(file, { set });
    for (const { name, peak } of stages) {
      const cells = gigabytes.map((gb) => {
        const options = { machine: { memory: gb * 1e9, disk: Infinity }, stages: [name] };
        const misfit = misfitOf(file, inputs, options)?.message;
        if (misfit === undefined) return 'fits';
        const least = /\((\S+ GB) at least/.exec(misfit)?.[1];
        if (least !== undefined) return `no: ${least}`;
        const settings = misfit.matchAll(/--set \S*?(\w+)=(\w+)/g);
        const with_ = Array.from(settings, ([, key, value]) => `${key} ${value}`).join(', ');
        return `${with_}: ${/planned to fit \((\S+ GB)\)/.exec(misfit)![1]}`;
      });
      lines.push(`| ${name} | ${(peak / 1e9).toFixed(1)} GB | ${cells.join(' | ')} |`);
    }
  } finally {
    rmSync(base, { recursive: true });
  }
  return lines;
}

async function main(): Promise<void> {
  const [folder, ...chosen] = process.argv.slice(2);
  if (folder === 'fits') return console.log((await fits()).join('\n'));
  if (folder === undefined) throw new Error('give a folder');
  mkdirSync(folder, { recursive: true });
  console.log(`${cpus()[0]?.model}, Node ${process.versions.node}`);
  for (const size of chosen.length > 0 ? chosen : Object.keys(sizes)) {
    const result = await resultOf(resolve(folder), size);
    console.log(
      `\n${sizes[size]!.title}; calibrated in ${result.plan.calibration?.toFixed(1)} s\n`,
    );
    console.log(`| ${head.join(' | ')} |`);
    console.log(`|${head.map((_, i) => (i === 0 ? '---|' : '---:|')).join('')}`);
    console.log(rows(result).join('\n'));
  }
}

const [first, file, ...set] = process.argv.slice(2);
const work =
  first === '--next'
    ? next(file!)
    : first === '--plan'
      ? planRecipe(file!, { time: true, set }).then((plan) => console.log(JSON.stringify(plan)))
      : main();
work.catch((error: unknown) => {
  console.error(error);
  process.exitCode = 1;
});
