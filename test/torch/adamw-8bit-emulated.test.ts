/** The CUDA kernel's own source, run by test/cuda-emulator, against the CPU's: the same bytes. */
import { keep, nn, optim, scope, Tensor, tensor } from '../../lib/torch';
import { binding } from '../../lib/torch/binding';
import { elements, runCases, type KernelCase } from '../cuda-emulator/emulate';

const dtypes = ['float32', 'bfloat16', 'float16'] as const;
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

test.each(dtypes)('%s: parameters, codes and absmax of several steps', async (dtype) => {
  const cases: KernelCase[] = [];
  const wanted: Buffer[][] = [];
  // Whole blocks, and a last one that is ragged: of less than eight values, of eight and more.
  for (const count of [4096, 4096 + 261, 4096 + 5, 4096 + 513]) {
    const values = Float32Array.from({ length: count }, (_, i) => ((i * 37) % 513) / 256 - 1);
    const weight = keep(nn.parameter(tensor(values, { dtype })));
    const optimizer = new optim.AdamW8bit(
      [{ parameters: new Map([['weight', weight]]), weightDecay }],
      settings,
    );
    const state = optimizer.stateDict();
    const now = (): Tensor[] => [weight, ...parts.map((part) => state.get(`weight.${part}`)!)];
    for (let step = 1; step <= 4; step++) {
      scope(() => {
        const gradient = tensor(
          Float32Array.from({ length: count }, (_, i) => value(i, step)),
          { dtype },
        );
        const [parameter, ...before] = now().map((t) => t.detach().toBytes());
        const maps = [true, false].map((s) => Tensor.from(binding.dynamicMap(s, 'cpu')).toBytes());
        cases.push({
          name: 'adamw8bit',
          args: [
            ...[elements[dtype], count, step % 2, step],
            ...[lr, ...settings.betas, weightDecay, settings.eps],
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
  for (const backwards of [false, true]) {
    const results = await runCases(cases, { backwards });
    for (const [i, expected] of wanted.entries()) {
      expected.forEach((bytes, part) =>
        expect([i, part, Buffer.from(results[i]![part]!).equals(bytes)]).toEqual([i, part, true]),
      );
    }
  }
});
