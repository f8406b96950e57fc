import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { loadSafetensors, nn, tensor, zeros } from '../../lib/torch';
import type { Generator, NestedNumbers, Tensor } from '../../lib/torch';

export const vectorsFolder: string = join(__dirname, '../oracle/vectors');

/** The network of test/oracle/lora.py. */
export class Network extends nn.Module {
  qProj: nn.Linear;
  oProj: nn.Linear;
  lmHead: nn.Linear;

  constructor(options: { generator?: Generator; dtype?: 'float32' | 'bfloat16' } = {}) {
    super();
    this.qProj = new nn.Linear(6, 10, options);
    this.oProj = new nn.Linear(10, 5, { ...options, bias: false });
    this.lmHead = new nn.Linear(5, 7, { ...options, bias: false });
  }

  forward(x: Tensor): Tensor {
    return this.lmHead.forward(this.oProj.forward(this.qProj.forward(x).tanh()).tanh());
  }
}

/** With the weights that the vectors were made with. */
export function oracleNetwork(dtype: 'float32' | 'bfloat16' = 'float32'): Network {
  const network = new Network({ dtype });
  network.loadStateDict(loadSafetensors(join(vectorsFolder, 'lora/base.safetensors')));
  return network;
}

/** A layer whose weight is packed, as a 4-bit layer's is: the face that LoRA sees of it. */
export class PackedLinear extends nn.Module {
  weight: Tensor;
  readonly inFeatures = 6;
  readonly outFeatures = 4;

  constructor() {
    super();
    this.weight = nn.parameter(zeros([12, 1], { dtype: 'uint8' }), false);
  }

  forward(x: Tensor): Tensor {
    return x.narrow(-1, 0, this.outFeatures);
  }
}

export interface Vectors {
  scaling: number;
  x: NestedNumbers;
  output: NestedNumbers;
  outputBfloat16: NestedNumbers;
  gradients: Record<string, NestedNumbers>;
  merged: Record<string, NestedNumbers>;
  names: string[];
  targets: { targetModules: string | string[]; matches: boolean[] }[];
}

export function readVectors(): Vectors {
  return JSON.parse(readFileSync(join(vectorsFolder, 'lora/vectors.json'), 'utf8')) as Vectors;
}

/** The largest difference of two tensors. */
export function difference(a: Tensor, b: NestedNumbers | Tensor): number {
  const other = typeof b === 'object' && 'shape' in b ? b : tensor(b);
  expect(a.shape).toEqual(other.shape);
  return a.sub(other).abs().amax().item();
}
