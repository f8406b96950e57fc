/** Rows of a batch: an example each, or a clip each with all that is asked about it. */
import type { Example } from './batch';

export interface Row {
  mel: Example['mel'];
  /** What all branches read first, then the tokens of each branch. */
  inputIds: readonly number[];
  /** Where each branch begins; it goes on to the next one's begin. None: the row is one text. */
  branches: readonly number[];
  /** The state at `at` predicts `id`. */
  targets: readonly { at: number; id: number }[];
}

export function rowOf({ mel, inputIds, labels = [] }: Example): Row {
  return { mel, inputIds, branches: [], targets: targetsOf(labels, 1, (t) => t - 1) };
}

/**
 * Examples about one clip as one row: what they have in common (system prompt, audio tokens, often
 * most of a row) stands and is computed once, and each goes on from there without seeing the
 * others. Loss and gradients are those of separate rows. Only text without targets is shared.
 */
export function sharedRows(examples: readonly Example[]): Row[] {
  const byClip = new Map<Example['mel'], Example[]>();
  for (const example of examples) {
    const group = byClip.get(example.mel);
    if (group === undefined) byClip.set(example.mel, [example]);
    else group.push(example);
  }
  return Array.from(byClip.values(), (group) =>
    group.length === 1 ? rowOf(group[0]!) : merged(group),
  );
}

function merged(group: readonly Example[]): Row {
  const shared = commonPrefix(group);
  const inputIds = group[0]!.inputIds.slice(0, shared);
  const branches: number[] = [];
  const targets: { at: number; id: number }[] = [];
  for (const { inputIds: ids, labels = [] } of group) {
    const begin = inputIds.length;
    branches.push(begin);
    inputIds.push(...ids.slice(shared));
    // The first token of a branch is predicted by the last that is shared.
    const before = (t: number): number => (t === shared ? shared - 1 : begin + t - shared - 1);
    targets.push(...targetsOf(labels, shared, before));
  }
  return { mel: group[0]!.mel, inputIds, branches, targets };
}

/** Tokens that all have in common, up to the first that one of them learns. */
function commonPrefix(group: readonly Example[]): number {
  const first = group[0]!.inputIds;
  let length = 0;
  const common = ({ inputIds, labels }: Example): boolean =>
    inputIds[length] === first[length] && (labels?.[length] ?? -100) === -100;
  // One token at least is left to each branch.
  const longest = Math.min(...group.map(({ inputIds }) => inputIds.length)) - 1;
  while (length < longest && group.every(common)) length++;
  return length;
}

function targetsOf(
  labels: readonly number[],
  from: number,
  stateBefore: (t: number) => number,
): { at: number; id: number }[] {
  const targets: { at: number; id: number }[] = [];
  for (let t = Math.max(from, 1); t < labels.length; t++) {
    const id = labels[t]!;
    if (id !== -100) targets.push({ at: stateBefore(t), id });
  }
  return targets;
}

/** Positions of a row's tokens: each branch counts on from what is shared. */
export function positionsOf({ inputIds, branches }: Row): number[] {
  const shared = branches[0] ?? inputIds.length;
  let begin = 0;
  return inputIds.map((_, t) => {
    if (branches.includes(t)) begin = t;
    return t < shared ? t : shared + t - begin;
  });
}

/** Calls `visible(query, from, to)` for every stretch of positions that a query of the row sees. */
export function eachVisible(
  { inputIds, branches }: Row,
  visible: (query: number, from: number, to: number) => void,
): void {
  const shared = branches[0] ?? inputIds.length;
  let begin = 0;
  for (let query = 0; query < inputIds.length; query++) {
    if (branches.includes(query)) begin = query;
    if (begin > 0) visible(query, 0, shared);
    visible(query, begin, query + 1);
  }
}
