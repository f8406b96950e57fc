import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { BleuOptions, ChrfOptions, TerOptions, TokenizerName } from '../../lib/metrics';

interface ScoreVector {
  corpus: string;
  name: string;
  score: number;
  signature: string;
  statistics: number[][];
}

type BleuVector = ScoreVector & {
  metric: 'bleu';
  options: BleuOptions;
  precisions: number[];
  brevityPenalty: number;
};

type ChrfVector = ScoreVector & { metric: 'chrf'; options: ChrfOptions };
type TerVector = ScoreVector & { metric: 'ter'; options: TerOptions };

type Name = 'bleu' | 'chrf' | 'chrf++' | 'ter';

interface Vectors {
  versions: { sacrebleu: string };
  corpora: Record<string, { hypotheses: string[]; references: string[] }>;
  scores: (BleuVector | ChrfVector | TerVector)[];
  tokens: ({ text: string } & Record<TokenizerName, string[]>)[];
  bootstrap: {
    a: string[];
    b: string[];
    references: string[];
    cases: {
      metric: Name;
      options: BleuOptions;
      samples: number;
      seed: number;
      signature: string;
      sacrebleu: { mean: number; ci: number };
      float64: { mean: number; low: number; high: number; low90: number; high90: number };
      paired: { scoreA: number; scoreB: number; pValue: number };
    }[];
  };
  generator: { seed: number; bound: number; values: number[]; last: number }[];
  bits: { seed: number; bits: string }[];
  several: {
    hypotheses: string[];
    references: string[][][];
    scores: {
      /** Index into the lists above. */
      references: number;
      metric: Name;
      score: number;
      signature: string;
      statistics: number[][];
    }[];
  };
  shifts: { hypothesis: string; reference: string; edits: number }[];
  paired: {
    systems: Record<string, string[]>;
    /** With one reference a segment, and with one or two. */
    references: [string[], string[][]];
    cases: {
      metric: Name;
      references: 1 | 2;
      test: 'bs' | 'ar';
      samples: number;
      signature: string;
      scores: number[];
      /** The baseline's is null. */
      pValues: (number | null)[];
    }[];
  };
}

/** Hits, substitutions, deletions, insertions. */
type Counts = [number, number, number, number];

interface Transcripts {
  spellings: { count: number; sha256: string };
  rates: {
    corpus: { wer: number; cer: number };
    segments: { reference: string; hypothesis: string; words: Counts; characters: Counts }[];
  };
  normalized: {
    text: string;
    english: string;
    basic: string;
    removeDiacritics?: string;
    splitLetters?: string;
  }[];
}

function read(name: string): unknown {
  return JSON.parse(readFileSync(join(__dirname, '../oracle/vectors', name), 'utf8'));
}

/** What sacreBLEU gave; written by `test/oracle/metrics.py`. */
export const vectors: Vectors = read('metrics.json') as Vectors;

/** What Whisper's normalisers and jiwer gave; written by `test/oracle/transcripts.py`. */
export const transcripts: Transcripts = read('transcripts.json') as Transcripts;
