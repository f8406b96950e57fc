import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { LogMel } from '../../lib/audio';
import { Batch } from '../../lib/qwen2-audio/batch';
import { vectorsFolder } from './network';

/** `input_features` of test/oracle/model.py: log-mel values by a formula of integers. */
function clip(index: number, frames: number): LogMel {
  const [nMels, computedFrames] = [128, 200];
  const data = new Float32Array(nMels * computedFrames).fill(-0.8125);
  for (let mel = 0; mel < nMels; mel++) {
    for (let t = 0; t < frames; t++) {
      const n = 7919 * index + 31 * mel * mel + 17 * (index + 2) * mel * t + 5 * t * t;
      data[mel * computedFrames + t] = (n % 2003) / 1001.5 - 1;
    }
  }
  return { data, nMels, computedFrames, frames, floor: -0.8125 };
}

/** The batch of test/oracle/training.py. */
export function trainingBatch(): Batch {
  const read = (name: string): unknown =>
    JSON.parse(readFileSync(join(vectorsFolder, name), 'utf8')) as unknown;
  const model = read('model-vectors.json') as {
    prompts: number[][];
    featureAttentionMaskSums: number[];
  };
  const { targets } = read('training-vectors.json') as { targets: number[][] };
  const examples = targets.map((target, i) => ({
    inputIds: [...model.prompts[i]!, ...target],
    labels: [...model.prompts[i]!.map(() => -100), ...target],
    mel: clip(i, model.featureAttentionMaskSums[i]!),
  }));
  return new Batch(examples, { padding: 'right', padTokenId: 0, audioTokenIndex: 3, window: 200 });
}
