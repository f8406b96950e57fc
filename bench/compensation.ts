/**
 * Ways to write a step into bfloat16, on a network of three layers that learns another's answers:
 * weights in float32; in bfloat16 with a second one that holds what rounding lost (Kahan), which is
 * imitated here by a float32 copy that is rounded to the sum of two; rounded stochastically; rounded
 * to the nearest.
 *
 *   npx tsc -p bench/tsconfig.json
 *   PARE_ADDON=build/pare.node node build/bench/bench/compensation.js
 *
 * Prints the loss at the end for two learning rates; docs/memory.md has the numbers.
 */
import {
  backward,
  functional as F,
  Generator,
  nn,
  noGrad,
  optim,
  randn,
  scope,
  type DType,
  type Tensor,
} from '../lib/torch';

const sizes = [32, 128, 128, 8];
const steps = 600;
const seed = 1;
const kinds = ['float32', 'compensated', 'stochastic', 'nearest'] as const;

class Network extends nn.Module {
  layers: nn.Linear[];

  constructor(seed: number, dtype?: DType) {
    super();
    const generator = new Generator(seed);
    this.layers = sizes
      .slice(1)
      .map((out, i) => new nn.Linear(sizes[i]!, out, { generator, dtype }));
  }

  forward(x: Tensor): Tensor {
    return this.layers.reduce((h, layer, i) => {
      const y = layer.forward(h);
      return i < this.layers.length - 1 ? F.gelu(y) : y;
    }, x);
  }
}

const taught = new Network(99);
noGrad(() => {
  for (const { weight } of taught.layers) scope(() => weight.copy_(weight.mul(2)));
});

/** What two values in bfloat16 hold of a copy in float32; the first is the parameter. */
function split(copy: Tensor, parameter: Tensor): void {
  const own = copy.detach();
  parameter.detach().copy_(own);
  const high = parameter.detach().to('float32');
  own.copy_(high.add(own.sub(high).to('bfloat16').to('float32')));
}

function lossAfter(kind: (typeof kinds)[number], learningRate: number): number {
  const dtype = kind === 'float32' ? 'float32' : 'bfloat16';
  const network = new Network(seed, dtype);
  const parameters = new Map(network.namedParameters());
  const copies = new Map<string, Tensor>();
  if (kind === 'compensated') {
    for (const [name, p] of parameters) {
      copies.set(name, nn.parameter(scope(() => p.detach().to('float32'))));
    }
  }
  const trained = copies.size > 0 ? copies : parameters;
  const optimizer = new optim.AdamW8bit([{ parameters: trained, weightDecay: 0 }], {
    betas: [0.9, 0.98],
    roundingSeed: kind === 'stochastic' ? seed : undefined,
  });
  const loss = (examples: number, of: number): Tensor => {
    const x = randn([examples, sizes[0]!], { generator: new Generator(of) });
    const wanted = noGrad(() => taught.forward(x));
    return network.forward(x.to(dtype)).to('float32').sub(wanted).square().mean();
  };
  for (let step = 0; step < steps; step++) {
    scope(() => {
      backward(loss(32, 1000 + step));
      for (const [name, copy] of copies) copy.grad = parameters.get(name)!.grad!.to('float32');
      optimizer.step(learningRate * 0.5 * (1 + Math.cos((Math.PI * step) / steps)));
      optimizer.zeroGrad();
      for (const p of parameters.values()) p.grad = undefined;
      noGrad(() => {
        for (const [name, copy] of copies) split(copy, parameters.get(name)!);
      });
    });
  }
  const result = scope(() => noGrad(() => loss(4096, 5).item()));
  optimizer.dispose();
  network.dispose();
  for (const copy of copies.values()) copy.dispose();
  return result;
}

for (const learningRate of [2e-3, 2e-4]) {
  for (const kind of kinds) {
    console.log(`${learningRate}, ${kind}: ${lossAfter(kind, learningRate).toFixed(4)}`);
  }
}
