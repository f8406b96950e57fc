/** A run of text, and whether the other text has it too. */
export interface DiffPart {
  readonly text: string;
  /** `same` in both; `changed` only here; `gap` (empty) where the other text has something more. */
  readonly kind: 'same' | 'changed' | 'gap';
}

/** Words, numbers, single Han characters, white space, single marks: a unit that fits any script. */
function tokens(text: string): string[] {
  return text.match(/\p{Script=Han}|(?:(?!\p{Script=Han})[\p{L}\p{M}])+|\p{N}+|\s+|./gsu) ?? [];
}

/**
 * `text` in parts, compared with `reference` by the longest common subsequence of their tokens.
 * The parts joined are `text`.
 */
export function diff(text: string, reference: string): DiffPart[] {
  const a = tokens(text);
  const b = tokens(reference);
  // common[i * width + j]: length of the longest common subsequence of a[i…] and b[j…].
  const width = b.length + 1;
  const common = new Uint32Array((a.length + 1) * width);
  const at = (i: number, j: number): number => common[i * width + j] ?? 0;
  for (let i = a.length - 1; i >= 0; i--) {
    for (let j = b.length - 1; j >= 0; j--) {
      common[i * width + j] =
        a[i] === b[j] ? at(i + 1, j + 1) + 1 : Math.max(at(i + 1, j), at(i, j + 1));
    }
  }
  const parts: { text: string; kind: DiffPart['kind'] }[] = [];
  let changed = '';
  let skipped = false;
  const flush = (): void => {
    if (changed) parts.push({ text: changed, kind: 'changed' });
    else if (skipped) parts.push({ text: '', kind: 'gap' });
    changed = '';
    skipped = false;
  };
  let i = 0;
  let j = 0;
  while (i < a.length || j < b.length) {
    const token = a[i];
    if (token !== undefined && token === b[j]) {
      flush();
      const last = parts.at(-1);
      if (last?.kind === 'same') last.text += token;
      else parts.push({ text: token, kind: 'same' });
      i++;
      j++;
    } else if (token !== undefined && (j === b.length || at(i + 1, j) >= at(i, j + 1))) {
      changed += token;
      i++;
    } else {
      skipped = true;
      j++;
    }
  }
  flush();
  return parts;
}
