/**
 * The edit distance of TER: words are inserted, deleted, replaced, or shifted as a block at the cost
 * of one. Finding the fewest edits is hard, so Tercom (Snover et al. 2006) searches greedily; this is
 * the search of sacreBLEU's `lib_ter.py`, its limits and its order of preference included.
 */
const maxShiftSize = 10;
const maxShiftDistance = 50;
const maxShiftCandidates = 1000;
const beamWidth = 25;
/** More than any distance; a sum of a few still is an int32. */
const unreachable = 2 ** 28;

interface Shift {
  /** The distance after it. */
  distance: number;
  start: number;
  length: number;
  /** Before which word of the hypothesis the block goes. */
  target: number;
}

/** The edits that make `reference` of `hypothesis`, both cut into words. */
export function shiftDistance(hypothesis: readonly string[], reference: readonly string[]): number {
  if (reference.length === 0) return hypothesis.length;
  const numbers = new Map<string, number>();
  const number = (word: string): number => {
    const known = numbers.get(word) ?? numbers.size;
    numbers.set(word, known);
    return known;
  };
  const search = new ShiftSearch(
    Int32Array.from(hypothesis, number),
    Int32Array.from(reference, number),
  );
  return search.edits();
}

class ShiftSearch {
  /** Distances between the first i words of the hypothesis and j of the reference: [n + 1, m + 1]. */
  private readonly distances: Int32Array;
  /** The same of a hypothesis that is being tried. */
  private readonly trial: Int32Array;
  private readonly shifted: Int32Array;
  /** For each word of the reference the one of the hypothesis that it is aligned with. */
  private readonly alignment: Int32Array;
  /** How many of the words before position i are wrong: [n + 1] and [m + 1]. */
  private readonly wrongInHypothesis: Int32Array;
  private readonly wrongInReference: Int32Array;
  private readonly columns: number;
  private candidates = 0;

  constructor(
    private readonly hypothesis: Int32Array,
    private readonly reference: Int32Array,
  ) {
    const [n, m] = [hypothesis.length, reference.length];
    this.columns = m + 1;
    this.distances = new Int32Array((n + 1) * this.columns);
    this.trial = new Int32Array((n + 1) * this.columns);
    for (let j = 0; j <= m; j++) this.distances[j] = this.trial[j] = j;
    this.shifted = new Int32Array(n);
    this.alignment = new Int32Array(m);
    this.wrongInHypothesis = new Int32Array(n + 1);
    this.wrongInReference = new Int32Array(m + 1);
  }

  edits(): number {
    let shifts = 0;
    let distance = this.fill(this.distances, this.hypothesis, 0, unreachable);
    for (;;) {
      const shift = this.bestShift(distance);
      // What the last look would have gained is lost, as in Tercom.
      if (shift === undefined || this.candidates >= maxShiftCandidates) return shifts + distance;
      this.move(shift.start, shift.length, shift.target);
      this.hypothesis.set(this.shifted);
      distance = this.fill(this.distances, this.hypothesis, 0, unreachable);
      shifts++;
    }
  }

  /** The shift that lowers the distance most; undefined where none does. */
  private bestShift(distance: number): Shift | undefined {
    this.align();
    const { hypothesis, reference, alignment } = this;
    const [n, m] = [hypothesis.length, reference.length];
    let best: Shift | undefined;
    for (let start = 0; start < n; start++) {
      const last = Math.min(m - 1, start + maxShiftDistance);
      for (let at = Math.max(0, start - maxShiftDistance); at <= last; at++) {
        const longest = Math.min(maxShiftSize, n - start, m - at);
        for (let length = 1; length <= longest; length++) {
          if (hypothesis[start + length - 1] !== reference[at + length - 1]) break;
          if (!this.mayShift(start, at, length)) continue;
          let previous = -1;
          for (let offset = -1; offset < length; offset++) {
            const target = at + offset < 0 ? 0 : alignment[at + offset]! + 1;
            if (target === previous) continue;
            previous = target;
            this.candidates++;
            best = this.better(best, distance, start, length, target);
          }
          if (this.candidates >= maxShiftCandidates) return best;
        }
      }
    }
    return best;
  }

  /** Only what is wrong on both sides, and not onto itself. */
  private mayShift(start: number, at: number, length: number): boolean {
    const { wrongInHypothesis, wrongInReference } = this;
    const aligned = this.alignment[at]!;
    return (
      wrongInHypothesis[start + length] !== wrongInHypothesis[start] &&
      wrongInReference[at + length] !== wrongInReference[at] &&
      (aligned < start || aligned >= start + length)
    );
  }

  /**
   * The better of `best` and the shift given: the lower distance, then the longer block, then the
   * earlier one, then the earlier target.
   */
  private better(
    best: Shift | undefined,
    distance: number,
    start: number,
    length: number,
    target: number,
  ): Shift | undefined {
    const first = this.move(start, length, target);
    const { columns } = this;
    const row = first * columns;
    this.trial.set(this.distances.subarray(row, row + columns), row);
    const limit = best?.distance ?? distance - 1;
    const reached = this.fill(this.trial, this.shifted, first, limit);
    if (reached > limit) return best;
    const shift = { distance: reached, start, length, target };
    if (best === undefined || reached < best.distance) return shift;
    const preferred = length - best.length || best.start - start || best.target - target;
    return preferred > 0 ? shift : best;
  }

  /** Writes the shifted hypothesis; returns the first position that may differ. */
  private move(start: number, length: number, target: number): number {
    const { hypothesis, shifted } = this;
    const end = start + length;
    shifted.set(hypothesis);
    if (target < start) {
      shifted.set(hypothesis.subarray(start, end), target);
      shifted.set(hypothesis.subarray(target, start), target + length);
      return target;
    }
    // Behind the block, or within it: then it moves by as many words as lie before the target.
    const past = target > end ? target : Math.min(hypothesis.length, length + target);
    shifted.set(hypothesis.subarray(end, past), start);
    shifted.set(hypothesis.subarray(start, end), start + past - end);
    return start;
  }

  /**
   * Fills the rows behind `row` around the diagonal and returns the distance, or something above
   * `limit` as soon as it is certain that the distance is.
   */
  private fill(distances: Int32Array, words: Int32Array, row: number, limit: number): number {
    const { reference, columns } = this;
    const [n, m] = [words.length, reference.length];
    const ratio = n === 0 ? 1 : m / n;
    const width = beamWidth < ratio / 2 ? Math.ceil(ratio / 2 + beamWidth) : beamWidth;
    for (let i = row + 1; i <= n; i++) {
      const diagonal = Math.floor(i * ratio);
      const first = Math.max(0, diagonal - width);
      const end = i === n ? columns : Math.min(columns, diagonal + width);
      const at = i * columns;
      const above = at - columns;
      const word = words[i - 1]!;
      distances.fill(unreachable, at, at + first);
      distances.fill(unreachable, at + end, at + columns);
      let left = unreachable;
      let least = unreachable;
      for (let j = first; j < end; j++) {
        let distance = distances[above + j]! + 1;
        if (j > 0) {
          const replaced = distances[above + j - 1]! + (word === reference[j - 1] ? 0 : 1);
          if (replaced < distance) distance = replaced;
          if (left + 1 < distance) distance = left + 1;
        }
        distances[at + j] = left = distance;
        // At least the difference of what is left on either side is to come.
        const ahead = m - j - (n - i);
        const bound = distance + (ahead < 0 ? -ahead : ahead);
        if (bound < least) least = bound;
      }
      if (least > limit) return least;
    }
    return distances[n * columns + m]!;
  }

  /** Goes back through the distances: prefers equal and replaced, then deleted, then inserted. */
  private align(): void {
    const { distances, columns, hypothesis, reference, alignment } = this;
    const { wrongInHypothesis, wrongInReference } = this;
    let [i, j] = [hypothesis.length, reference.length];
    while (i > 0 || j > 0) {
      const distance = distances[i * columns + j]!;
      const wrong = i > 0 && j > 0 && hypothesis[i - 1] === reference[j - 1] ? 0 : 1;
      if (i > 0 && j > 0 && distances[(i - 1) * columns + j - 1]! + wrong === distance) {
        alignment[--j] = --i;
        wrongInHypothesis[i + 1] = wrongInReference[j + 1] = wrong;
      } else if (i > 0 && distances[(i - 1) * columns + j]! + 1 === distance) {
        wrongInHypothesis[i--] = 1;
      } else {
        alignment[--j] = i - 1;
        wrongInReference[j + 1] = 1;
      }
    }
    for (let k = 0; k < hypothesis.length; k++) wrongInHypothesis[k + 1]! += wrongInHypothesis[k]!;
    for (let k = 0; k < reference.length; k++) wrongInReference[k + 1]! += wrongInReference[k]!;
  }
}
