export { openCorpus, type Corpus, type CorpusDescription, type Utterance } from './corpus';
export { checkDisjoint } from './disjoint';
export { CorpusError } from './error';
export { bucketBatches } from './batches';
export { seededRandom, type Random } from './random';
export {
  checkCorpus,
  type CheckOptions,
  type CorpusCheck,
  type CorpusProblem,
  type SplitSummary,
} from './check';
