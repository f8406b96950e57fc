export {
  findSource,
  openCorpus,
  type Corpus,
  type CorpusDescription,
  type CorpusSource,
  type OpenOptions,
  type ReadOptions,
  type Utterance,
} from './corpus';
export type { ColumnNames } from './columns';
export { checkDisjoint } from './disjoint';
export { sentenceOf } from './sentence';
export { CorpusError } from './error';
export { bucketBatches, readingOrder } from './batches';
export { seededRandom, type Random } from './random';
export {
  checkCorpus,
  type CheckOptions,
  type CorpusCheck,
  type CorpusProblem,
  type SplitSummary,
} from './check';
