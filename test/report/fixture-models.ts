import type {
  ConstantAnswer,
  Evaluation,
  MetricName,
  MetricScores,
  ModelResult,
  ModelSize,
} from '../../lib/report';

/** Numbers that look like a run's and are the same every time. */
export function generator(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state * 1664525 + 1013904223) % 2 ** 32;
    return state / 2 ** 32;
  };
}

export const round: (value: number, digits: number) => number = (value, digits) =>
  Number(value.toFixed(digits));

const names: readonly MetricName[] = ['bleu', 'chrf', 'chrf++', 'exact_match'];
const signatures: Record<string, (language: string) => string> = {
  bleu: (language) =>
    `nrefs:1|bs:1000|seed:12345|case:mixed|eff:no|tok:${language === 'zh' ? 'zh' : '13a'}|smooth:exp|version:2.6.0`,
  chrf: () => 'nrefs:1|bs:1000|seed:12345|case:mixed|eff:yes|nc:6|nw:0|space:no|version:2.6.0',
  'chrf++': () => 'nrefs:1|bs:1000|seed:12345|case:mixed|eff:yes|nc:6|nw:2|space:no|version:2.6.0',
  exact_match: () => 'nrefs:1|bs:1000|seed:12345|case:mixed|trim:yes',
};

function scores(
  base: readonly number[],
  language: string,
  teacher: readonly number[] | null,
  random: () => number,
): MetricScores {
  return Object.fromEntries(
    names.map((name, i) => {
      const value = base[i]!;
      const spread = (name === 'exact_match' ? 3 : 1.6) * (0.7 + random() * 0.6);
      const whole = teacher?.[i];
      const retention = whole ? value / whole : 1;
      return [
        name,
        {
          value: round(value, 4),
          interval: {
            low: round(Math.max(0, value - spread), 4),
            high: round(Math.min(100, value + spread), 4),
          },
          signature: signatures[name]!(language),
          versusTeacher: whole
            ? {
                retention: round(retention, 5),
                interval: { low: round(retention - 0.021, 5), high: round(retention + 0.019, 5) },
                pValue: retention < 0.9 ? 0.0004 : round(0.05 + random() * 0.4, 4),
              }
            : null,
        },
      ];
    }),
  );
}

const conditions = [
  ['de', 'test', [93.42, 97.31, 96.84, 94.5]],
  ['de', 'test-voices', [78.15, 87.62, 86.03, 75.5]],
  ['zh', 'test', [94.77, 95.9, 93.28, 93.5]],
  ['zh', 'test-voices', [80.36, 84.12, 80.9, 72]],
] as const;

function evaluations(quality: number, speed: number, teacher: boolean): Evaluation[] {
  const random = generator(Math.round(quality * 1e6));
  return conditions.map(([language, testSet, base]) => ({
    language,
    testSet,
    segments: 200,
    scores: scores(
      base.map((value, i) => value * (i === 3 ? quality ** 2 : quality)),
      language,
      teacher ? null : base,
      random,
    ),
    tokensPerSecond: round(speed * (0.95 + random() * 0.1), 2),
  }));
}

function size(
  decoderLayers: number,
  parameters: number,
  quantised: boolean,
  adapter: boolean,
): ModelSize {
  const decoder = decoderLayers * 196_992;
  const perDecoder = quantised ? 0.5 : 2;
  const bytesByCategory: {
    category: ModelSize['bytesByCategory'][number]['category'];
    bytes: number;
  }[] = [
    { category: 'embeddings', bytes: 2 * 262_144 },
    { category: 'lm_head', bytes: 2 * 262_144 },
    { category: 'encoder', bytes: Math.round(perDecoder * 790_528) },
    { category: 'projector', bytes: Math.round(perDecoder * 16_512) },
    { category: 'decoder', bytes: Math.round(perDecoder * decoder) },
  ];
  if (quantised) {
    bytesByCategory.push({
      category: 'quantisation state',
      bytes: Math.round((decoder + 807_040) / 64 + 18_231),
    });
  }
  if (adapter) bytesByCategory.push({ category: 'adapter', bytes: 331_776 });
  const bytes = bytesByCategory.reduce((sum, entry) => sum + entry.bytes, 0);
  return {
    decoderLayers,
    encoderLayers: 4,
    parameters,
    storedElements: quantised ? 524_288 + Math.round((parameters - 524_288) / 2) : parameters,
    bytes,
    storage: quantised ? (adapter ? 'NF4 + bfloat16 + LoRA' : 'NF4 + bfloat16') : 'bfloat16',
    bytesByCategory,
  };
}

export function models(): ModelResult[] {
  const full = 524_288 + 807_040 + 12 * 196_992;
  const half = full - 6 * 196_992;
  const model = (
    name: string,
    role: ModelResult['role'],
    quality: number,
    speed: number,
    modelSize: ModelSize,
  ): ModelResult => ({
    name,
    role,
    size: modelSize,
    evaluations: evaluations(quality, speed, role === 'teacher'),
  });
  return [
    model('teacher', 'teacher', 1, 212, size(12, full, false, false)),
    model('pruned only', 'step', 0.52, 371, size(6, half, false, false)),
    model('healed', 'step', 0.985, 373, size(6, half, false, false)),
    model('NF4 before QLoRA', 'step', 0.941, 248, size(6, half, true, false)),
    model('QLoRA, references only', 'step', 0.972, 229, size(6, half + 165_888, true, true)),
    model('student', 'student', 0.991, 231, size(6, half + 165_888, true, true)),
  ];
}

export function constantAnswers(): ConstantAnswer[] {
  return conditions.map(([language, testSet]) => ({
    language,
    testSet,
    answer: language === 'zh' ? '2月17日星期三' : 'Mittwoch, 17. Februar',
    scores: scores([3.21, 24.65, 21.37, 0.5], language, null, generator(7)),
  }));
}
