import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { BleuOptions, ChrfOptions, TokenizerName } from '../../lib/metrics';

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

interface Vectors {
  versions: { sacrebleu: string };
  corpora: Record<string, { hypotheses: string[]; references: string[] }>;
  scores: (BleuVector | ChrfVector)[];
  tokens: ({ text: string } & Record<TokenizerName, string[]>)[];
  bootstrap: {
    a: string[];
    b: string[];
    references: string[];
    cases: {
      metric: 'bleu' | 'chrf' | 'chrf++';
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
}

/** What sacreBLEU gave; written by `test/oracle/metrics.py`. */
export const vectors: Vectors = JSON.parse(
  readFileSync(join(__dirname, '../oracle/vectors/metrics.json'), 'utf8'),
) as Vectors;
