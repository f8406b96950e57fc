export { openCorpus, type Corpus, type CorpusDescription, type Utterance } from './corpus';
export { checkDisjoint } from './disjoint';
export { CorpusError } from './error';
