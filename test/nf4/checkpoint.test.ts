/** Checkpoints of bitsandbytes: read, and written again byte for byte. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { dequantizeNf4, isQuantized, Linear4bit, QuantStateError } from '../../lib/nf4';
import { loadSafetensors, nn, noGrad, scope, tensor, writeSafetensors } from '../../lib/torch';
import { checkpointPath, sha256, valuesTensor, vectors } from './vectors';

test('a state dict has the same names in the same order, and reads back', () => {
  const folder = mkdtempSync(join(tmpdir(), 'pare-nf4-'));
  scope(() => {
    const given = loadSafetensors(checkpointPath);
    expect(isQuantized(given, 'proj')).toBe(true);
    expect(isQuantized(given, 'other')).toBe(false);
    const read = Linear4bit.fromStateDict(given, 'proj');
    expect(read.bias!.dtype).toBe('bfloat16');
    expect(sha256(dequantizeNf4(read.weight, read.quantState))).toBe(
      vectors.checkpoint.dequantizedSha256,
    );

    // Quantised here, the same weight gives every byte of that file.
    const linear = new nn.Linear(96, 40, { dtype: 'bfloat16' });
    linear.weight.dispose();
    linear.weight = nn.parameter(valuesTensor([40, 96], 'bfloat16', 21, 64));
    noGrad(() => linear.bias!.copy_(valuesTensor([40], 'bfloat16', 22)));
    const made = Linear4bit.fromLinear(linear);
    for (const module of [read, made]) {
      const state = Array.from(module.stateDict(), ([k, v]) => [`proj.${k}`, v] as const);
      expect(state.map(([name]) => name)).toEqual(vectors.checkpoint.keys);
      for (const [name, value] of state) {
        expect([name, value.dtype, value.shape]).toEqual([
          name,
          given.get(name)!.dtype,
          given.get(name)!.shape,
        ]);
        expect([name, sha256(value)]).toEqual([name, sha256(given.get(name)!)]);
      }
    }

    const path = join(folder, 'again.safetensors');
    writeSafetensors(path, made.stateDict());
    const again = Linear4bit.fromStateDict(loadSafetensors(path), '');
    const x = valuesTensor([3, 96], 'bfloat16', 1);
    expect(sha256(again.forward(x))).toBe(sha256(read.forward(x)));
    for (const module of [read, made, again, linear]) module.dispose();
  });
  rmSync(folder, { recursive: true });
});

test('bytes stored under another dtype are read the same', () => {
  scope(() => {
    const given = loadSafetensors(checkpointPath);
    given.set('proj.weight', given.get('proj.weight')!.reshape([-1, 2]).viewDtype('bfloat16'));
    const read = Linear4bit.fromStateDict(given, 'proj');
    expect(sha256(dequantizeNf4(read.weight, read.quantState))).toBe(
      vectors.checkpoint.dequantizedSha256,
    );
    read.dispose();
  });
});

test.each([
  ['weight', /proj\.weight is missing/],
  ['weight.absmax', /proj\.weight\.absmax is missing/],
  ['weight.nested_quant_map', /proj\.weight\.nested_quant_map is missing/],
  ['weight.quant_state.bitsandbytes__nf4', /quant_state\.bitsandbytes__nf4 is missing/],
])('without %s', (key, message) => {
  scope(() => {
    const given = loadSafetensors(checkpointPath);
    given.delete(`proj.${key}`);
    expect(() => Linear4bit.fromStateDict(given, 'proj')).toThrow(QuantStateError);
    expect(() => Linear4bit.fromStateDict(given, 'proj')).toThrow(message);
  });
});

test('an FP4 checkpoint is refused by name', () => {
  scope(() => {
    const given = loadSafetensors(checkpointPath);
    const nf4 = 'proj.weight.quant_state.bitsandbytes__nf4';
    given.set(nf4.replace('nf4', 'fp4'), given.get(nf4)!);
    given.delete(nf4);
    expect(() => Linear4bit.fromStateDict(given, 'proj')).toThrow(/the weight is FP4/);
  });
});

test('another codebook is refused', () => {
  scope(() => {
    const given = loadSafetensors(checkpointPath);
    given.set('proj.weight.quant_map', tensor(Array.from({ length: 16 }, (_, i) => i / 15)));
    expect(() => Linear4bit.fromStateDict(given, 'proj')).toThrow(/not the NF4 codebook/);
  });
});
