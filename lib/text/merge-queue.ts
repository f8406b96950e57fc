/** A pair of neighbouring tokens, how often it occurs, and the words that have or had it. */
export interface Pair {
  left: number;
  right: number;
  count: number;
  words: Set<number>;
}

interface Entry {
  pair: Pair;
  /** The pair's count when the entry was made; stale if it has changed since. */
  count: number;
}

/**
 * The pairs of a corpus by frequency: a binary heap whose entries are checked when they come up
 * and put back if their pair's count has changed meanwhile.
 */
export class MergeQueue {
  private readonly pairs = new Map<number, Pair>();
  private readonly heap: Entry[] = [];
  /** Pairs whose count rose or that are new since the last {@link pop}. */
  private readonly risen = new Set<Pair>();

  /** Adds `count` (it may be negative) occurrences of a pair in a word. */
  add(left: number, right: number, count: number, word: number): void {
    const key = left * 2 ** 26 + right;
    let pair = this.pairs.get(key);
    if (!pair) {
      pair = { left, right, count: 0, words: new Set() };
      this.pairs.set(key, pair);
    }
    pair.count += count;
    if (count > 0) {
      pair.words.add(word);
      this.risen.add(pair);
    }
  }

  /** Takes the most frequent pair that occurs at least `minimum` times; ties by the ids. */
  pop(minimum: number): Pair | undefined {
    for (const pair of this.risen) this.push({ pair, count: pair.count });
    this.risen.clear();
    for (;;) {
      const entry = this.take();
      if (!entry) return undefined;
      const { pair, count } = entry;
      if (pair.count < minimum) continue;
      if (pair.count === count) return pair;
      // A fall leaves its entry too high; a rise has made another entry.
      if (pair.count < count) this.push({ pair, count: pair.count });
    }
  }

  private push(entry: Entry): void {
    const { heap } = this;
    let at = heap.push(entry) - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!before(entry, heap[parent]!)) break;
      heap[at] = heap[parent]!;
      at = parent;
    }
    heap[at] = entry;
  }

  private take(): Entry | undefined {
    const { heap } = this;
    const top = heap[0];
    const last = heap.pop();
    if (!top || !last || heap.length === 0) return top;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && before(heap[child + 1]!, heap[child]!)) child++;
      if (!before(heap[child]!, last)) break;
      heap[at] = heap[child]!;
      at = child;
    }
    heap[at] = last;
    return top;
  }
}

function before(a: Entry, b: Entry): boolean {
  if (a.count !== b.count) return a.count > b.count;
  if (a.pair.left !== b.pair.left) return a.pair.left < b.pair.left;
  return a.pair.right < b.pair.right;
}
