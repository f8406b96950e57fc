/**
 * What a report is made of: one plain object that survives `JSON.stringify`, filled by the pipeline
 * from the artifacts of a run folder. A list that is empty leaves its section out. Numbers that are
 * not known are `null`, never NaN.
 */
export interface ReportData {
  /** Headline, for example `Demo: half the layers, in 4 bits`. */
  readonly title: string;
  /** When the run ended, ISO 8601. */
  readonly date: string;
  readonly recipe: ReportRecipe;
  readonly versions: ReportVersions;
  /** In the order of the run. */
  readonly stages: readonly StageTime[];
  /** Target languages, in the order of the tables. */
  readonly languages: readonly ReportLanguage[];
  /** Test sets, the main one first; what the head of the report quotes is measured on it. */
  readonly testSets: readonly ReportTestSet[];
  /** The teacher first, then the steps, then the student or students. */
  readonly models: readonly ModelResult[];
  /** What always giving one and the same answer would score. */
  readonly constantAnswers: readonly ConstantAnswer[];
  /** One layer search, or one for each language. */
  readonly importance: readonly ImportanceSearch[];
  /** Layers that went without a search. */
  readonly blocks?: readonly RemovedBlock[];
  /** One for each training stage, the teacher's own log included. */
  readonly curves: readonly TrainingCurve[];
  /** More than are shown may be given: the report picks some that differ and some that agree. */
  readonly examples: readonly TranslationExample[];
  readonly protocol: Protocol;
}

/** Neighbouring decoder layers that were removed at once, because of where they lie. */
export interface RemovedBlock {
  readonly name: string;
  /** By their number in the teacher, from 0. */
  readonly layers: readonly number[];
}

/** The recipe that was followed. */
export interface ReportRecipe {
  readonly name: string;
  /** The text of the YAML file. */
  readonly yaml: string;
}

/** What the numbers were measured with. */
export interface ReportVersions {
  readonly pare: string;
  readonly node: string;
  readonly libtorch: string;
  /** Model name of the processor and the number of cores. */
  readonly cpu: string;
  readonly gpu?: string;
  readonly platform?: string;
}

/** How long a stage took. */
export interface StageTime {
  readonly name: string;
  readonly seconds: number;
  /** True where an artifact of an earlier run was taken; `seconds` is then what it took to make. */
  readonly reused: boolean;
}

/** A target language. */
export interface ReportLanguage {
  /** BCP 47: `de`, `zh`. */
  readonly code: string;
  /** English name: `German`. */
  readonly name: string;
}

/** A split that models are tested on. */
export interface ReportTestSet {
  /** As in the evaluations: `test`, `test-voices`. */
  readonly id: string;
  /** What it tests: `unseen combinations`. */
  readonly name: string;
}

/** `teacher`: what everything is compared with. `step`: on the way. `student`: what is handed over. */
export type ModelRole = 'teacher' | 'step' | 'student';

/** A model of the chain: how large it is and how well it translates. */
export interface ModelResult {
  /** Short; it labels the points of a plot: `healed`, `NF4 before QLoRA`. */
  readonly name: string;
  readonly role: ModelRole;
  readonly size: ModelSize;
  /** At most one for each language and test set; languages may be missing. */
  readonly evaluations: readonly Evaluation[];
}

/** A model counted, as `pare inspect` counts it. */
export interface ModelSize {
  readonly decoderLayers: number;
  readonly encoderLayers: number;
  /** Logical parameters: the weights that the arithmetic sees, however they are packed. */
  readonly parameters: number;
  /**
   * Elements of the tensors as stored: two packed 4-bit weights are one. This is the paper's count
   * of "parameters".
   */
  readonly storedElements: number;
  /** Bytes on disk of all weight files, adapter included. */
  readonly bytes: number;
  /** What the weights are stored in: `float32`, `NF4 + bfloat16`. */
  readonly storage: string;
  /** Sums to `bytes`, up to file headers. */
  readonly bytesByCategory: readonly { readonly category: ByteCategory; readonly bytes: number }[];
}

/** A part of the model that weight bytes are told for. */
export type ByteCategory =
  | 'embeddings'
  | 'lm_head'
  | 'encoder'
  | 'projector'
  | 'decoder'
  | 'adapter'
  | 'quantisation state'
  | 'other';

/** The metrics that a report shows, by the names of the metrics room. */
export type MetricName = 'bleu' | 'chrf' | 'chrf++' | 'exact_match';

/** All are 0 to 100; `exact_match` is the percentage of equal segments. */
export type MetricScores = Readonly<Partial<Record<MetricName, MetricScore>>>;

/** A model on one test set in one language. */
export interface Evaluation {
  /** {@link ReportLanguage.code} */
  readonly language: string;
  /** {@link ReportTestSet.id} */
  readonly testSet: string;
  readonly segments: number;
  readonly scores: MetricScores;
  /** Generated tokens per second of wall time, or null where it was not measured. */
  readonly tokensPerSecond: number | null;
}

/** Bounds of a 95 % interval, in the unit of the value it belongs to. */
export interface Interval {
  readonly low: number;
  readonly high: number;
}

/** The value of a metric with its uncertainty. */
export interface MetricScore {
  readonly value: number;
  readonly interval: Interval | null;
  /** In sacreBLEU's form: `nrefs:1|case:mixed|…`. */
  readonly signature: string;
  /** Null for the teacher itself. */
  readonly versusTeacher: Comparison | null;
}

/** A model against the teacher on the same sentences. */
export interface Comparison {
  /**
   * This model's score divided by the teacher's, same metric, same test set: 0.97 is 97 %; null where
   * the teacher scores 0.
   */
  readonly retention: number | null;
  readonly interval: Interval | null;
  /** Of the paired bootstrap: how likely so large a difference is by chance. */
  readonly pValue: number | null;
}

/** The floor that formulaic texts have: one answer given to everything, and its scores. */
export interface ConstantAnswer {
  readonly language: string;
  readonly testSet: string;
  /** The one answer given to everything. */
  readonly answer: string;
  readonly scores: MetricScores;
}

/** The greedy search for layers that the task does not need. Layers bear their original numbers. */
export interface ImportanceSearch {
  /** What was searched for: `German`, or `German and Chinese`. */
  readonly name: string;
  /** `chrF++`, `chrF`, `BLEU`, `loss`. */
  readonly criterion: string;
  readonly higherIsBetter: boolean;
  readonly devSet: string;
  readonly devSegments: number;
  /** Decoder layers at the start. */
  readonly layers: number;
  /** Never candidates: the first and the last, and what the recipe adds. */
  readonly protectedLayers: readonly number[];
  /** Score with every layer in place, if it was measured. */
  readonly fullScore: number | null;
  readonly iterations: readonly ImportanceIteration[];
}

/** A round of the search: every layer left was tried, one went. */
export interface ImportanceIteration {
  /** The layer removed for good. */
  readonly removed: number;
  /** Score of the model without that layer, for every layer still there and not protected. */
  readonly candidates: readonly { readonly layer: number; readonly score: number }[];
}

/** How the loss of a training stage went. */
export interface TrainingCurve {
  /** `teacher`, `healing`, `QLoRA`. */
  readonly stage: string;
  /** How many steps the log has, however few points they are drawn as. */
  readonly steps: number;
  /** The parts of the loss, where the log has them apart; otherwise the loss as a whole. */
  readonly losses: readonly LossSeries[];
  /** Empty where it was not logged. */
  readonly learningRate: readonly CurvePoint[];
  /** Loss on the dev set, where it was measured. */
  readonly validation: readonly { readonly step: number; readonly loss: number }[];
}

/**
 * `translation`: cross-entropy per target token. `ctc`: the CTC loss per transcript token, before
 * its weight. `loss`: what is minimised, of a log that does not have its parts.
 */
export type LossKind = 'translation' | 'ctc' | 'loss';

/** One part of the loss over the steps. */
export interface LossSeries {
  readonly kind: LossKind;
  /** A part may begin after the first step. */
  readonly points: readonly CurvePoint[];
}

/** A logged step, or neighbouring ones as one. */
export interface CurvePoint {
  /** The mean of their numbers. */
  readonly step: number;
  /** How many they are. */
  readonly steps: number;
  readonly mean: number;
  /** The lowest and the highest of them. */
  readonly low: number;
  readonly high: number;
}

/** One utterance as the reference, the teacher and the student have it. */
export interface TranslationExample {
  readonly id: string;
  readonly language: string;
  readonly testSet: string;
  /** What is said, in English. */
  readonly source: string;
  readonly reference: string;
  readonly teacher: string;
  readonly student: string;
}

/** Which split was used for what. */
export interface Protocol {
  readonly splits: readonly ProtocolSplit[];
  /** How the intervals were made; null where there are none. */
  readonly bootstrap: { readonly samples: number; readonly seed: number } | null;
}

/** A split, and what its scores were used for. */
export interface ProtocolSplit {
  readonly name: string;
  readonly segments: number;
  /** `choosing the layers; early stopping`. */
  readonly use: string;
  /** Whether anything was chosen by its scores. */
  readonly selects: boolean;
}
