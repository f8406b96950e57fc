/**
 * Spoken English numbers as digits, as Whisper's `EnglishNumberNormalizer` writes them: `two hundred
 * and five` is `205`, `twenty dollars` is `$20`, `one oh one` is `101`. Its oddities are kept, since
 * word error rates depend on them: `ninth` is not known, but `nineth` is.
 */
import { space, splitWords, strip } from './whitespace';

const zeros = new Set(['o', 'oh', 'zero']);

const ones = new Map(
  [
    ...['one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine', 'ten', 'eleven'],
    ...[
      'twelve',
      'thirteen',
      'fourteen',
      'fifteen',
      'sixteen',
      'seventeen',
      'eighteen',
      'nineteen',
    ],
  ].map((name, i) => [name, BigInt(i + 1)]),
);

const tens = new Map(
  ['twenty', 'thirty', 'forty', 'fifty', 'sixty', 'seventy', 'eighty', 'ninety'].map((name, i) => [
    name,
    BigInt(10 * (i + 2)),
  ]),
);

const multipliers = new Map([
  ['hundred', 100n],
  ...[
    ...['thousand', 'million', 'billion', 'trillion', 'quadrillion', 'quintillion', 'sextillion'],
    ...['septillion', 'octillion', 'nonillion', 'decillion'],
  ].map((name, i): [string, bigint] => [name, 1000n ** BigInt(i + 1)]),
]);

type Suffixed = Map<string, { number: bigint; suffix: string }>;

function suffixed(
  numbers: Map<string, bigint>,
  plural: (name: string) => string,
  ordinal: (name: string) => string,
): Suffixed {
  const result: Suffixed = new Map();
  for (const [name, number] of numbers) result.set(plural(name), { number, suffix: 's' });
  for (const [name, number] of numbers) result.set(ordinal(name), { number, suffix: 'th' });
  return result;
}

const irregular: Record<string, string> = { five: 'fifth', twelve: 'twelfth' };
const onesSuffixed = suffixed(
  ones,
  (name) => (name === 'six' ? 'sixes' : `${name}s`),
  (name) => irregular[name] ?? name + (name.endsWith('t') ? 'h' : 'th'),
);
for (const name of ['oneth', 'twoth', 'threeth']) onesSuffixed.delete(name);
onesSuffixed.set('zeroth', { number: 0n, suffix: 'th' });
onesSuffixed.set('first', { number: 1n, suffix: 'st' });
onesSuffixed.set('second', { number: 2n, suffix: 'nd' });
onesSuffixed.set('third', { number: 3n, suffix: 'rd' });
const tensSuffixed = suffixed(
  tens,
  (name) => name.replace('y', 'ies'),
  (name) => name.replace('y', 'ieth'),
);
const multipliersSuffixed = suffixed(
  multipliers,
  (name) => `${name}s`,
  (name) => `${name}th`,
);

/** Signs that stand before their number. */
const signs = new Map([
  ['minus', '-'],
  ['negative', '-'],
  ['plus', '+'],
  ['positive', '+'],
]);
/** Currencies, spoken behind their number and written before it. */
const currencies = new Map(
  ['pound £', 'euro €', 'dollar $', 'cent ¢'].flatMap((entry) => {
    const [name, sign] = entry.split(' ') as [string, string];
    return [
      [name, sign],
      [`${name}s`, sign],
    ] as [string, string][];
  }),
);
const specials = new Set(['and', 'double', 'triple', 'point']);

const tables: readonly { has(word: string): boolean }[] = [
  ...[zeros, ones, onesSuffixed, tens, tensSuffixed, multipliers, multipliersSuffixed],
  ...[signs, currencies, new Set(['per', 'percent']), specials],
];
const isNumberWord = (word: string | undefined): boolean =>
  word !== undefined && tables.some((table) => table.has(word));
const isDigitWord = (word: string | undefined): boolean =>
  word !== undefined && (zeros.has(word) || ones.has(word) || tens.has(word));

const prefixes = '-+£€$¢';
const numeral = /^\p{Nd}+(?:\.\p{Nd}+)?$/u;
const isNumeral = (word: string | undefined): boolean => word !== undefined && numeral.test(word);

/** The value of a decimal digit of any script; their blocks of ten follow on what is no digit. */
function digitValue(digit: string): number {
  const code = digit.codePointAt(0)!;
  let start = code;
  while (/\p{Nd}/u.test(String.fromCodePoint(start - 1))) start--;
  return (code - start) % 10;
}

/** `text` times `factor` where that is a whole number; undefined where `text` is no number. */
function times(text: string, factor: bigint): bigint | undefined {
  const match = /^(?=\p{Nd}|\.\p{Nd})(\p{Nd}*)(?:\.(\p{Nd}*))?$/u.exec(text);
  if (match === null) return undefined;
  const [, whole = '', decimals = ''] = match;
  const digits = Array.from(whole + decimals, digitValue).join('');
  const scaled = BigInt(digits) * factor;
  const denominator = 10n ** BigInt(Array.from(decimals).length);
  return scaled % denominator === 0n ? scaled / denominator : undefined;
}

/** What has been read of a number: whole, or digits as they come (`101`, `3.`). */
type Value = bigint | string;

/** Python's `str(value or '')`. */
const digitsOf = (value: Value | undefined): string => (value ? String(value) : '');

/** Reads words one after the other; what is complete goes into `written`. */
class NumberReader {
  private readonly written: string[] = [];
  private value: Value | undefined;
  private prefix = '';

  constructor(private readonly words: readonly string[]) {}

  read(): string[] {
    for (let i = 0; i < this.words.length; i++) {
      if (this.word(this.words[i]!, this.words[i - 1], this.words[i + 1])) i++;
    }
    this.flush();
    return this.written;
  }

  /** Reads a word; true where the next one has been read with it. */
  private word(word: string, previous: string | undefined, next: string | undefined): boolean {
    const bare = prefixes.includes(word[0]!) ? word.slice(1) : word;
    if (isNumeral(bare)) this.numeral(word, bare);
    else if (zeros.has(word)) this.value = `${digitsOf(this.value)}0`;
    else if (ones.has(word)) this.value = this.withOnes(ones.get(word)!, previous);
    else if (onesSuffixed.has(word)) {
      const { number, suffix } = onesSuffixed.get(word)!;
      this.write(this.withOnes(number, previous) + suffix);
    } else if (tens.has(word)) this.value = this.withTens(tens.get(word)!);
    else if (tensSuffixed.has(word)) {
      const { number, suffix } = tensSuffixed.get(word)!;
      this.write(this.withTens(number) + suffix);
    } else if (multipliers.has(word)) this.value = this.multiplied(multipliers.get(word)!);
    else if (multipliersSuffixed.has(word)) {
      const { number, suffix } = multipliersSuffixed.get(word)!;
      this.write(this.multiplied(number) + suffix);
    } else if (signs.has(word)) {
      this.flush();
      if (isNumberWord(next) || isNumeral(next)) this.prefix = signs.get(word)!;
      else this.write(word);
    } else if (currencies.has(word) && this.value !== undefined) {
      this.prefix = currencies.get(word)!;
      this.flush();
    } else if (word === 'percent' && this.value !== undefined) this.write(`${this.value}%`);
    else if (word === 'per' && this.value !== undefined && next === 'cent') {
      this.write(`${this.value}%`);
      return true;
    } else if (specials.has(word) && (isNumberWord(next) || isNumeral(next))) {
      return this.special(word, previous, next!);
    } else {
      this.flush();
      this.write(word);
    }
    return false;
  }

  private numeral(word: string, bare: string): void {
    if (typeof this.value === 'string' && this.value.endsWith('.')) {
      this.value += word;
      return;
    }
    this.flush();
    if (bare !== word) this.prefix = word[0]!;
    this.value = times(bare, 1n) ?? bare;
  }

  private withOnes(number: bigint, previous: string | undefined): Value {
    const { value } = this;
    if (value === undefined) return number;
    if (typeof value === 'string' || (previous !== undefined && ones.has(previous))) {
      const digits = String(value);
      const inPlaceOfZero = previous !== undefined && tens.has(previous) && number < 10n;
      return (inPlaceOfZero ? digits.slice(0, -1) : digits) + number;
    }
    return value % (number < 10n ? 10n : 100n) === 0n ? value + number : `${value}${number}`;
  }

  private withTens(number: bigint): Value {
    const { value } = this;
    if (value === undefined) return number;
    const fits = typeof value === 'bigint' && value % 100n === 0n;
    return fits ? value + number : `${value}${number}`;
  }

  private multiplied(multiplier: bigint): bigint {
    const { value } = this;
    if (value === undefined) return multiplier;
    if (typeof value === 'bigint') return value - (value % 1000n) + (value % 1000n) * multiplier;
    const product = times(value, multiplier);
    if (product !== undefined) return product;
    this.flush();
    return multiplier;
  }

  /** `and`, `double`, `triple` or `point` before what may be a number. */
  private special(word: string, previous: string | undefined, next: string): boolean {
    if (word === 'point') {
      if (isDigitWord(next) || isNumeral(next)) this.value = `${digitsOf(this.value)}.`;
      return false;
    }
    if (word === 'and') {
      if (previous !== undefined && multipliers.has(previous)) return false;
    } else if (ones.has(next) || zeros.has(next)) {
      const repeated = String(ones.get(next) ?? 0).repeat(word === 'double' ? 2 : 3);
      this.value = digitsOf(this.value) + repeated;
      return true;
    }
    this.flush();
    this.write(word);
    return false;
  }

  private flush(): void {
    if (this.value !== undefined) this.write(String(this.value));
  }

  private write(text: string): void {
    this.written.push(this.prefix + text);
    this.prefix = '';
    this.value = undefined;
  }
}

/** What Python's `\w` matches. */
export const wordCharacter = '[\\p{L}\\p{N}_]';
const andAHalf = new RegExp(
  `(?<!${wordCharacter})and[${space}]+a[${space}]+half(?!${wordCharacter})`,
  'gu',
);
const spacedSuffix = new RegExp(`([0-9])[${space}]+(st|nd|rd|th|s)(?!${wordCharacter})`, 'gu');
const cents = new RegExp(`([€£$])([0-9]+) (?:and )?¢([0-9]{1,2})(?!${wordCharacter})`, 'gu');
const onlyCents = new RegExp(`[€£$]0.([0-9]{1,2})(?!${wordCharacter})`, 'gu');
const numeralOne = new RegExp(`(?<!${wordCharacter})1(s?)(?!${wordCharacter})`, 'gu');

/** `three and a half` is `three point five`; letters and digits are set apart, but for `2nd`. */
function prepare(text: string): string {
  const parts = text.split(andAHalf);
  const kept = parts.flatMap((part, i) => {
    if (strip(part) === '') return [];
    if (i === parts.length - 1) return [part];
    const last = splitWords(part).at(-1)!;
    const isNumber = isDigitWord(last) || multipliers.has(last);
    return [part, isNumber ? 'point five' : 'and a half'];
  });
  return kept
    .join(' ')
    .replace(/([a-z])([0-9])/gu, '$1 $2')
    .replace(/([0-9])([a-z])/gu, '$1 $2')
    .replace(spacedSuffix, '$1$2');
}

/** `$2 and ¢7` is `$2.07`, `$0.50` is `¢50`, and 1 is written `one`. */
function finish(text: string): string {
  return text
    .replace(cents, (_, sign: string, whole: string, part: string) => {
      return `${sign}${whole}.${part.padStart(2, '0')}`;
    })
    .replace(onlyCents, (_, part: string) => `¢${Number(part)}`)
    .replace(numeralOne, 'one$1');
}

/** Writes the numbers of a text in lower case, without punctuation, in digits. */
export function standardizeNumbers(text: string): string {
  return finish(new NumberReader(splitWords(prepare(text))).read().join(' '));
}
