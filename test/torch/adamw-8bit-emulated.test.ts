/** The CUDA kernel's own source, run by test/cuda-emulator, against the CPU's: the same bytes. */
import { keep, nn, optim, scope, Tensor, tensor } from '../../lib/torch';
import { binding } from '../../lib/torch/binding';
import { elements, runCases, type KernelCase } from '../cuda-emulator/emulate';

/** Of parameter and gradient, and the seed of stochastic rounding. */
const kinds = [
  { dtype: 'float32', gradientDtype: 'float32' },
  { dtype: 'float16', gradientDtype: 'float16' },
  { dtype: 'bfloat16', gradientDtype: 'bfloat16' },
  { dtype: 'bfloat16', gradientDtype: 'float32' },
  { dtype: 'bfloat16', gradientDtype: 'bfloat16', roundingSeed: 5 },
  { dtype: 'bfloat16', gradientDtype: 'float32', roundingSeed: 2 ** 40 + 3 },
] as const;
interface Kind {
  dtype: keyof typeof elements;
  gradientDtype: keyof typeof elements;
  roundingSeed?: number;
}
const settings = { betas: [0.9, 0.995] as [number, number], eps: 1e-8 };
const weightDecay = 0.01;
const lr = 0.003;
const parts = ['state1', 'state2', 'absmax1', 'absmax2'] as const;

function value(i: number, step: number): number {
  const value = ((i * i * 31 + i * 7 + step * step * 13 + i * step * 5) % 509) - 254;
  const block = Math.floor(i / 256);
  // Blocks of zeros, of subnormals, and with what is not finite.
  if (block === 1) return 0;
  if (block === 2) return value * 2 ** -140;
  if (block === 3 && i % 97 === 0) return [NaN, Infinity, -Infinity][i % 3]!;
  return i % 17 === 0 ? 0 : value * 2 ** (-8 - (block % 12));
}

/** What `settingsOf` and `roundingOf` of cases.cc read; the parameter is the first. */
const lastArgs = (seed?: number): number[] => [
  ...[lr, ...settings.betas, weightDecay, settings.eps],
  ...[Number(seed !== undefined), seed ?? 0, 0],
];

test.each<Kind>(kinds)('%j: parameters, codes and absmax of several steps', async (kind) => {
  const { dtype, gradientDtype, roundingSeed } = kind;
  const cases: KernelCase[] = [];
  const wanted: Buffer[][] = [];
  // Whole blocks, and a last one that is ragged: of less than eight values, of eight and more.
  for (const count of [4096, 4096 + 261, 4096 + 5, 4096 + 513]) {
    const values = Float32Array.from({ length: count }, (_, i) => ((i * 37) % 513) / 256 - 1);
    const weight = keep(nn.parameter(tensor(values, { dtype })));
    const optimizer = new optim.AdamW8bit(
      [{ parameters: new Map([['weight', weight]]), weightDecay }],
      { ...settings, roundingSeed },
    );
    const state = optimizer.stateDict();
    const now = (): Tensor[] => [weight, ...parts.map((part) => state.get(`weight.${part}`)!)];
    for (let step = 1; step <= 4; step++) {
      scope(() => {
        const gradient = tensor(
          Float32Array.from({ length: count }, (_, i) => value(i, step)),
          { dtype: gradientDtype },
        );
        const [parameter, ...before] = now().map((t) => t.detach().toBytes());
        const maps = [true, false].map((s) => Tensor.from(binding.dynamicMap(s, 'cpu')).toBytes());
        cases.push({
          name: 'adamw8bit',
          args: [
            ...[elements[dtype], elements[gradientDtype], count, step % 2, step],
            ...lastArgs(roundingSeed),
          ],
          buffers: [parameter!, gradient.toBytes(), ...before, ...maps],
          outputs: 5,
        });
        weight.grad = gradient;
        optimizer.step(lr);
        wanted.push(now().map((t) => Buffer.from(t.detach().toBytes())));
      });
    }
    optimizer.dispose();
  }
  await expectSame(cases, wanted);
});

test.each(['bfloat16', 'float32'] as const)(
  'moments in float32, gradients in %s: parameters and moments of several steps',
  async (gradientDtype) => {
    const cases: KernelCase[] = [];
    const wanted: Buffer[][] = [];
    const roundingSeed = 7;
    for (const count of [4096, 5, 4096 + 261]) {
      const values = Float32Array.from({ length: count }, (_, i) => ((i * 37) % 513) / 256 - 1);
      const weight = keep(nn.parameter(tensor(values, { dtype: 'bfloat16' })));
      const optimizer = new optim.AdamW(
        [{ parameters: new Map([['weight', weight]]), weightDecay }],
        { ...settings, roundingSeed },
      );
      const state = optimizer.stateDict();
      const moments = ['weight.exp_avg', 'weight.exp_avg_sq'].map((name) => state.get(name)!);
      const now = (): Uint8Array[] => [weight, ...moments].map((t) => t.detach().toBytes());
      for (let step = 1; step <= 3; step++) {
        scope(() => {
          const gradient = tensor(
            Float32Array.from({ length: count }, (_, i) => value(i, step)),
            { dtype: gradientDtype },
          );
          const [parameter, ...before] = now();
          cases.push({
            name: 'adamwBFloat16',
            args: [elements[gradientDtype], count, step, ...lastArgs(roundingSeed)],
            buffers: [parameter!, gradient.toBytes(), ...before],
            outputs: 3,
          });
          weight.grad = gradient;
          optimizer.step(lr);
          wanted.push(now().map((bytes) => Buffer.from(bytes)));
        });
      }
      optimizer.dispose();
    }
    await expectSame(cases, wanted);
  },
);

async function expectSame(
  cases: readonly KernelCase[],
  wanted: readonly Buffer[][],
): Promise<void> {
  for (const backwards of [false, true]) {
    const results = await runCases(cases, { backwards });
    for (const [i, expected] of wanted.entries()) {
      expected.forEach((bytes, part) =>
        expect([i, part, Buffer.from(results[i]![part]!).equals(bytes)]).toEqual([i, part, true]),
      );
    }
  }
}
