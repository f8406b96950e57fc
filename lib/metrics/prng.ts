import { MetricError } from './metric';

const mask32 = 0xffffffffn;
const pcgMultiplier = 0x2360ed051fc65da44385df649fccf645n;

/**
 * PCG64 (O'Neill 2014, variant XSL-RR 128/64), seeded and read as NumPy's `default_rng(seed)`
 * does, so that resampling draws the very segments that sacreBLEU draws.
 */
export class Pcg64 {
  private state = 0n;
  private readonly increment: bigint;
  /** The upper half of the last 64 bits, until it is drawn; -1 when there is none. */
  private waiting = -1;

  /**
   * @param seed a whole number from 0 to 2^53 - 1.
   * @throws MetricError for any other.
   */
  constructor(seed: number) {
    if (!Number.isSafeInteger(seed) || seed < 0) {
      throw new MetricError(`seed ${seed}: give a whole number from 0 to 2^53 - 1`);
    }
    const [a, b, c, d] = seedSequence(seed);
    this.increment = BigInt.asUintN(128, (((c << 64n) | d) << 1n) | 1n);
    this.step();
    this.state = BigInt.asUintN(128, this.state + ((a << 64n) | b));
    this.step();
  }

  /** The next 32 random bits, as a number from 0 to 2^32 - 1. */
  nextUint32(): number {
    if (this.waiting >= 0) {
      const upper = this.waiting;
      this.waiting = -1;
      return upper;
    }
    this.step();
    const folded = (this.state >> 64n) ^ (this.state & 0xffffffffffffffffn);
    const rotation = this.state >> 122n;
    const bits = BigInt.asUintN(64, (folded >> rotation) | (folded << (64n - rotation)));
    this.waiting = Number(bits >> 32n);
    return Number(bits & mask32);
  }

  /**
   * A number from 0 to `bound - 1`, all equally likely (Lemire 2019, as `Generator.integers`).
   * @param bound from 1 to 2^21, so that products stay exact.
   * @throws MetricError for any other.
   */
  nextBelow(bound: number): number {
    if (!Number.isInteger(bound) || bound < 1 || bound > 2 ** 21) {
      throw new MetricError(`cannot draw from ${bound} items: give from 1 to 2^21`);
    }
    // NumPy draws nothing when there is no choice.
    if (bound === 1) return 0;
    const rejected = 2 ** 32 % bound;
    for (;;) {
      const product = this.nextUint32() * bound;
      if (product % 2 ** 32 >= rejected) return Math.floor(product / 2 ** 32);
    }
  }

  private step(): void {
    this.state = BigInt.asUintN(128, this.state * pcgMultiplier + this.increment);
  }
}

/**
 * NumPy's `SeedSequence(seed).generate_state(4, uint64)`, after O'Neill's `seed_seq_fe`: spreads a
 * seed over 256 bits.
 */
function seedSequence(seed: number): [bigint, bigint, bigint, bigint] {
  let hash = 0x43b0d7e5;
  const hashMix = (value: number): number => {
    const mixed = value ^ hash;
    hash = Math.imul(hash, 0x931e8875);
    const product = Math.imul(mixed, hash);
    return product ^ (product >>> 16);
  };
  const pool = [seed % 2 ** 32, Math.floor(seed / 2 ** 32), 0, 0].map(hashMix);
  for (let source = 0; source < 4; source++) {
    for (let target = 0; target < 4; target++) {
      if (source === target) continue;
      const other = hashMix(pool[source]!);
      const mixed = Math.imul(0xca01f9dd, pool[target]!) - Math.imul(0x4973f715, other);
      pool[target] = mixed ^ (mixed >>> 16);
    }
  }

  hash = 0x8b51f9dd;
  const word = (i: number): bigint => {
    const mixed = pool[i % 4]! ^ hash;
    hash = Math.imul(hash, 0x58f38ded);
    const product = Math.imul(mixed, hash);
    return BigInt((product ^ (product >>> 16)) >>> 0);
  };
  const pair = (i: number): bigint => word(i) | (word(i + 1) << 32n);
  return [pair(0), pair(2), pair(4), pair(6)];
}
