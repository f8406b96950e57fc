const ones =
  'zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen'.split(
    ' ',
  );
const tens = 'twenty thirty forty fifty sixty seventy eighty ninety'.split(' ');
const irregularOrdinals: Record<string, string> = {
  one: 'first',
  two: 'second',
  three: 'third',
  five: 'fifth',
  eight: 'eighth',
  nine: 'ninth',
  twelve: 'twelfth',
};

/** Spells 0 to 999 as it is said, without hyphens: 47 is `forty seven`. */
export function cardinal(n: number): string {
  if (n < 20) return ones[n]!;
  if (n < 100) {
    const rest = n % 10;
    return tens[Math.floor(n / 10) - 2]! + (rest === 0 ? '' : ` ${ones[rest]!}`);
  }
  const rest = n % 100;
  return `${ones[Math.floor(n / 100)]!} hundred${rest === 0 ? '' : ` ${cardinal(rest)}`}`;
}

/** Spells a day of the month: 27 is `twenty seventh`. */
export function ordinal(n: number): string {
  const words = cardinal(n).split(' ');
  const last = words.pop()!;
  words.push(
    irregularOrdinals[last] ?? (last.endsWith('y') ? last.replace(/y$/, 'ieth') : `${last}th`),
  );
  return words.join(' ');
}

/** Spells a number with one decimal: 3.5 is `three point five`. */
export function decimal(n: number): string {
  const [whole, fraction] = n.toFixed(1).split('.');
  return `${cardinal(Number(whole))} point ${ones[Number(fraction)]!}`;
}
