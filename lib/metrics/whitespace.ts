/**
 * Python's idea of whitespace (`str.isspace`), on which sacreBLEU's scores depend. JavaScript's
 * `\s`, `trim` and `split` lack U+001C to U+001F and U+0085, and count U+FEFF, which Python does not.
 * For a regular expression's character class.
 */
export const space: string =
  '\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000';
const run = new RegExp(`[${space}]+`, 'u');
const leading = new RegExp(`^[${space}]+`, 'u');
const single = new RegExp(`^[${space}]$`, 'u');

/** Python's `str.split()`: the words between runs of whitespace, none of them empty. */
export function splitWords(text: string): string[] {
  return text.split(run).filter((word) => word !== '');
}

/** Python's `str.rstrip()`. */
export function stripEnd(text: string): string {
  // A loop, since /[…]+$/ backtracks in quadratic time on long runs inside a text.
  let end = text.length;
  while (end > 0 && single.test(text.charAt(end - 1))) end--;
  return text.slice(0, end);
}

/** Python's `str.strip()`. */
export function strip(text: string): string {
  return stripEnd(text).replace(leading, '');
}
