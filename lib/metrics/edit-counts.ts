/** What a hypothesis did to its reference. */
export interface EditCounts {
  hits: number;
  substitutions: number;
  deletions: number;
  insertions: number;
}

const deletion = 1;
const insertion = 2;

/**
 * The fewest edits that make `hypothesis` of `reference`, by kind. Where several are the fewest, the
 * one is counted that RapidFuzz, on which jiwer stands, finds: equal ends aside, from the end
 * backwards it prefers to delete, then to insert.
 */
export function editCounts(
  reference: readonly string[],
  hypothesis: readonly string[],
): EditCounts {
  const shorter = Math.min(reference.length, hypothesis.length);
  let start = 0;
  while (start < shorter && reference[start] === hypothesis[start]) start++;
  let end = 0;
  while (end < shorter - start && reference.at(-1 - end) === hypothesis.at(-1 - end)) end++;
  const counts = middleCounts(
    reference.slice(start, reference.length - end),
    hypothesis.slice(start, hypothesis.length - end),
  );
  counts.hits += start + end;
  return counts;
}

function middleCounts(reference: readonly string[], hypothesis: readonly string[]): EditCounts {
  const [n, m] = [reference.length, hypothesis.length];
  const counts = { hits: 0, substitutions: 0, deletions: 0, insertions: 0 };
  const flags = compare(reference, hypothesis);
  let [i, j] = [n, m];
  while (i > 0 && j > 0) {
    if (flags[j * (n + 1) + i]! & deletion) {
      counts.deletions++;
      i--;
    } else if (j > 1 && flags[(j - 1) * (n + 1) + i]! & insertion) {
      counts.insertions++;
      j--;
    } else {
      i--;
      j--;
      if (reference[i] === hypothesis[j]) counts.hits++;
      else counts.substitutions++;
    }
  }
  counts.deletions += i;
  counts.insertions += j;
  return counts;
}

/**
 * For the first j of the hypothesis and i of the reference, [m + 1, n + 1]: whether one more of the
 * reference costs one more edit (`deletion`) or one less (`insertion`). A byte a pair: a transcript
 * of 10,000 words takes 100 MB.
 */
function compare(reference: readonly string[], hypothesis: readonly string[]): Uint8Array {
  const [n, m] = [reference.length, hypothesis.length];
  const flags = new Uint8Array((m + 1) * (n + 1));
  let above = Int32Array.from({ length: n + 1 }, (_, i) => i);
  let row = new Int32Array(n + 1);
  for (let j = 1; j <= m; j++) {
    const unit = hypothesis[j - 1];
    row[0] = j;
    for (let i = 1; i <= n; i++) {
      const replaced = above[i - 1]! + (reference[i - 1] === unit ? 0 : 1);
      const distance = Math.min(replaced, above[i]! + 1, row[i - 1]! + 1);
      row[i] = distance;
      const step = distance - row[i - 1]!;
      flags[j * (n + 1) + i] = step > 0 ? deletion : step < 0 ? insertion : 0;
    }
    [above, row] = [row, above];
  }
  return flags;
}
