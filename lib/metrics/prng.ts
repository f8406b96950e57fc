import { MetricError } from './metric';

const multiplier = 0x2360ed051fc65da44385df649fccf645n;

/** 128 bits are six limbs of 22, the last of 18, so that sums of their products are exact. */
interface Limbs {
  s0: number;
  s1: number;
  s2: number;
  s3: number;
  s4: number;
  s5: number;
}

const limbSize = 2 ** 22;
const lastLimbSize = 2 ** 18;
const m = limbsOf(multiplier);

function limbsOf(value: bigint): Limbs {
  const limb = (at: bigint): number => Number(BigInt.asUintN(22, value >> at));
  return {
    s0: limb(0n),
    s1: limb(22n),
    s2: limb(44n),
    s3: limb(66n),
    s4: limb(88n),
    s5: limb(110n),
  };
}

/**
 * PCG64 (O'Neill 2014, variant XSL-RR 128/64), seeded and read as NumPy's `default_rng(seed)`
 * does, so that resampling draws the very segments that sacreBLEU draws.
 */
export class Pcg64 {
  private readonly state: Limbs;
  private readonly increment: Limbs;
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
    const increment = BigInt.asUintN(128, (((c << 64n) | d) << 1n) | 1n);
    // One step from 0, the seed added, and one more.
    const first = BigInt.asUintN(128, increment + ((a << 64n) | b));
    this.increment = limbsOf(increment);
    this.state = limbsOf(first);
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
    const { s0, s1, s2, s3, s4, s5 } = this.state;
    // The upper 64 bits onto the lower, turned right by the uppermost 6.
    const low = s0 ^ (s1 << 22) ^ (s2 >> 20) ^ (s3 << 2) ^ (s4 << 24);
    const high = (s1 >> 10) ^ (s2 << 12) ^ (s4 >> 8) ^ (s5 << 14);
    const turn = s5 >> 12;
    const first = turn & 32 ? high : low;
    const second = turn & 32 ? low : high;
    this.waiting = shiftRight(second, first, turn & 31);
    return shiftRight(first, second, turn & 31);
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
    for (;;) {
      const product = this.nextUint32() * bound;
      const drawn = Math.floor(product / 2 ** 32);
      const rest = product - drawn * 2 ** 32;
      // The costly remainder is below `bound`: seldom needed.
      if (rest >= bound || rest >= 2 ** 32 % bound) return drawn;
    }
  }

  /**
   * Draws bits as one call of `Generator.integers(2, size, dtype=bool)` does: all 32 of 32 bits, the
   * lowest first.
   */
  bits(): () => number {
    let bits = 0;
    let left = 0;
    return () => {
      if (left === 0) {
        bits = this.nextUint32();
        left = 32;
      } else bits >>>= 1;
      left--;
      return bits & 1;
    };
  }

  /** state = state * multiplier + increment, modulo 2^128. */
  private step(): void {
    const { s0, s1, s2, s3, s4, s5 } = this.state;
    const { increment } = this;
    let sum = s0 * m.s0 + increment.s0;
    let carry = Math.floor(sum / limbSize);
    this.state.s0 = sum - carry * limbSize;
    sum = s0 * m.s1 + s1 * m.s0 + increment.s1 + carry;
    carry = Math.floor(sum / limbSize);
    this.state.s1 = sum - carry * limbSize;
    sum = s0 * m.s2 + s1 * m.s1 + s2 * m.s0 + increment.s2 + carry;
    carry = Math.floor(sum / limbSize);
    this.state.s2 = sum - carry * limbSize;
    sum = s0 * m.s3 + s1 * m.s2 + s2 * m.s1 + s3 * m.s0 + increment.s3 + carry;
    carry = Math.floor(sum / limbSize);
    this.state.s3 = sum - carry * limbSize;
    sum = s0 * m.s4 + s1 * m.s3 + s2 * m.s2 + s3 * m.s1 + s4 * m.s0 + increment.s4 + carry;
    carry = Math.floor(sum / limbSize);
    this.state.s4 = sum - carry * limbSize;
    sum = s0 * m.s5 + s1 * m.s4 + s2 * m.s3 + s3 * m.s2 + s4 * m.s1 + s5 * m.s0;
    sum += increment.s5 + carry;
    this.state.s5 = sum - Math.floor(sum / lastLimbSize) * lastLimbSize;
  }
}

/** The lower 32 bits of the 64 bits `high`, `low` shifted right by 0 to 31. */
function shiftRight(low: number, high: number, by: number): number {
  // A shift by 32 would be one by 0; two shifts are not.
  return ((low >>> by) | ((high << 1) << (31 - by))) >>> 0;
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
