/**
 * Patterns of paths as Hugging Face's datasets has them: `*` within a folder's name, `**` across
 * folders, `?`, `[0-9]` and `[!a]`. In time that grows by the product of the lengths, whatever the
 * pattern: it comes from elsewhere, and a regular expression of it may take for ever.
 */
export function matchesGlob(pattern: string, path: string): boolean {
  // After each part: whether it may end before character i of the path.
  let ends = new Array<boolean>(path.length + 1).fill(false);
  ends[0] = true;
  for (const part of partsOf(pattern.replace(/^\.\//, ''))) ends = part(ends, path);
  return ends[path.length]!;
}

type Part = (before: readonly boolean[], path: string) => boolean[];

function* partsOf(pattern: string): Iterable<Part> {
  for (let at = 0; at < pattern.length;) {
    if (pattern.startsWith('**/', at)) {
      yield folders;
      at += 3;
    } else if (pattern.startsWith('**', at)) {
      yield run(() => true);
      at += 2;
    } else if (pattern[at] === '*') {
      yield run((character) => character !== '/');
      at++;
    } else if (pattern[at] === '?') {
      yield one((character) => character !== '/');
      at++;
    } else {
      const [, not, set] = /^\[([!^]?)(.[^\]]*)\]/.exec(pattern.slice(at, at + 256)) ?? [];
      if (set === undefined) {
        const literal = pattern[at]!;
        yield one((character) => character === literal);
        at++;
      } else {
        yield one((character) => character !== '/' && isIn(set, character) !== (not !== ''));
        at += set.length + not!.length + 2;
      }
    }
  }
}

/** A character. */
function one(fits: (character: string) => boolean): Part {
  return (before, path) => before.map((_, i) => i > 0 && before[i - 1]! && fits(path[i - 1]!));
}

/** Any number of characters. */
function run(fits: (character: string) => boolean): Part {
  return (before, path) => {
    let isInside = false;
    return before.map((begins, i) => {
      isInside = begins || (i > 0 && isInside && fits(path[i - 1]!));
      return isInside;
    });
  };
}

/** Any number of folders. */
const folders: Part = (before, path) => {
  let hasBegun = false;
  return before.map((begins, i) => {
    const ends = begins || (i > 0 && hasBegun && path[i - 1] === '/');
    hasBegun ||= begins;
    return ends;
  });
};

/** Whether it is one of `a-z0-9_`. */
function isIn(set: string, character: string): boolean {
  for (let i = 0; i < set.length; i++) {
    const isRange = set[i + 1] === '-' && i + 2 < set.length;
    const last = isRange ? set[i + 2]! : set[i]!;
    if (set[i]! <= character && character <= last) return true;
    if (isRange) i += 2;
  }
  return false;
}
