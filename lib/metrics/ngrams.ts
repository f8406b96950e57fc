/** How often each n-gram of one order occurs. */
export type NgramCounts = Map<string, number>;

/**
 * Counts the n-grams of every order from 1 to `maxOrder` (element `n - 1` holds order n). The key of
 * an n-gram is its units joined by `separator`: a space for words, which hold none, and nothing for
 * characters.
 */
export function countNgrams(
  units: readonly string[],
  maxOrder: number,
  separator: '' | ' ',
): NgramCounts[] {
  // Keys are slices of one string: no join per n-gram.
  const text = units.join(separator);
  const starts = new Array<number>(units.length + 1);
  let at = 0;
  for (let i = 0; i < units.length; i++) {
    starts[i] = at;
    at += units[i]!.length + separator.length;
  }
  starts[units.length] = at;

  const orders: NgramCounts[] = [];
  for (let n = 1; n <= maxOrder; n++) {
    const counts: NgramCounts = new Map();
    for (let i = 0; i + n <= units.length; i++) {
      const key = text.slice(starts[i], starts[i + n]! - separator.length);
      counts.set(key, (counts.get(key) ?? 0) + 1);
    }
    orders.push(counts);
  }
  return orders;
}

/** The number of n-grams counted. */
export function totalCount(counts: NgramCounts): number {
  let total = 0;
  for (const count of counts.values()) total += count;
  return total;
}

/** The number of n-grams that both have, each as often as the one that has it less often. */
export function matchCount(a: NgramCounts, b: NgramCounts): number {
  let matches = 0;
  for (const [key, count] of a) matches += Math.min(count, b.get(key) ?? 0);
  return matches;
}
