/** That the emulator knows right from wrong: layouts of fragments, and each mistake that it is for. */
import { sanitizer, runCases, tryCases, type KernelCase } from './emulate';

/** Small integers are exact in 16 bits: float16 of -4 to 4. */
const halves = [-4, -3, -2, -1, 0, 1, 2, 3, 4];
const bitsOfHalves = [0xc400, 0xc200, 0xc000, 0xbc00, 0, 0x3c00, 0x4000, 0x4200, 0x4400];

function selfTest(which: number): KernelCase {
  const bits = Uint16Array.from({ length: 384 }, (_, i) => bitsOfHalves[digit(i)]!);
  return { name: 'selfTest', args: [which], buffers: [bits] };
}

function digit(i: number): number {
  return (i * i * 7 + i * 3) % 9;
}

function floats(bytes: Uint8Array): Float32Array {
  return new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
}

async function resultOf(which: number): Promise<Float32Array> {
  return floats((await runCases([selfTest(which)]))[0]![0]!);
}

test.each([
  [0, 'ldmatrix', (k: number, column: number) => 256 + column * 16 + k],
  [1, 'ldmatrix.trans', (k: number, column: number) => 256 + k * 8 + column],
])('%d: mma of what %s loads is the product of the matrices', async (which, _, second) => {
  const expected = Array.from({ length: 128 }, (_, i) => {
    let sum = 0;
    for (let k = 0; k < 16; k++) {
      const left = halves[digit((i >> 3) * 16 + k)]!;
      sum += left * halves[digit(second(k, i % 8))]!;
    }
    return sum;
  });
  expect(Array.from(await resultOf(which))).toEqual(expected);
});

test('a copy in the background arrives when it is waited for, and no earlier', async () => {
  const expected = Array.from({ length: 128 }, (_, i) => bitsOfHalves[digit(i)]!);
  expect(Array.from((await resultOf(2)).subarray(0, 128))).toEqual(expected);
  const early = await tryCases([selfTest(3)]);
  if (sanitizer === 'thread') {
    expect(early).toMatchObject({ status: 66, stderr: expect.stringContaining('data race') });
  } else {
    // The first lane reads before any has waited.
    const read = floats(early.results[0]![0]!).filter((_, i) => i < 128 && i % 32 === 0);
    expect(Array.from(read)).toEqual(Array(4).fill(0xffff));
  }
});

test.each([
  [4, 'ends while its copies are under way'],
  [7, 'not every thread comes to the barrier'],
  [8, 'not every lane comes to the exchange'],
])('%d: it %s', async (which, complaint) => {
  const { status, stderr } = await tryCases([selfTest(which)]);
  expect(stderr).toContain(complaint);
  expect(status).not.toBe(0);
});

test('what two threads touch needs a barrier between', async () => {
  const expected = Array.from({ length: 64 }, (_, i) => bitsOfHalves[digit((i + 1) % 64)]!);
  for (const backwards of [false, true]) {
    const [result] = await runCases([selfTest(6)], { backwards });
    expect(Array.from(floats(result![0]!).subarray(0, 64))).toEqual(expected);
  }
  const { status, stderr } = await tryCases([selfTest(5)]);
  if (sanitizer === 'thread') {
    expect(stderr).toContain('data race');
    expect(status).toBe(66);
  } else {
    expect(status).toBe(0); // only the other sanitizer looks for it
  }
});
