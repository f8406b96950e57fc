/** Subtitles in SubRip's and WebVTT's format. */
import { unspaced } from './unspaced';

/** What is said from one moment to another. Seconds. */
export interface TimedText {
  start: number;
  end: number;
  text: string;
}

/** How much text a subtitle shows at once, and for how long. */
export interface SubtitleOptions {
  /** Columns of a line at most, of which Chinese characters take two; 42 by default. */
  lineLength?: number;
  /** Lines at a time; 2 by default. */
  lines?: number;
  /** Seconds that a subtitle should stand at least; 1 by default. */
  minSeconds?: number;
}

interface Cue {
  start: number;
  end: number;
  lines: string[];
}

/** A SubRip file (.srt); empty where nothing is said. */
export function toSrt(texts: readonly TimedText[], options: SubtitleOptions = {}): string {
  return cuesOf(texts, options)
    .map(({ start, end, lines }, i) => {
      const times = `${timestamp(start, ',')} --> ${timestamp(end, ',')}`;
      return `${i + 1}\n${times}\n${lines.join('\n').replaceAll('-->', '->')}\n`;
    })
    .join('\n');
}

/** A WebVTT file (.vtt). */
export function toVtt(texts: readonly TimedText[], options: SubtitleOptions = {}): string {
  const cues = cuesOf(texts, options).map(({ start, end, lines }) => {
    const text = lines.join('\n').replaceAll('&', '&amp;').replaceAll('<', '&lt;');
    return `\n${timestamp(start, '.')} --> ${timestamp(end, '.')}\n${text.replaceAll('>', '&gt;')}\n`;
  });
  return `WEBVTT\n${cues.join('')}`;
}

/**
 * A text that does not fit `lines` becomes several subtitles, which share its time by their length:
 * when a word is said is not known. One that would stand shorter than `minSeconds` stays until then
 * or until the next. Beginnings stay where speech begins; none reaches into the next.
 */
function cuesOf(texts: readonly TimedText[], options: SubtitleOptions): Cue[] {
  const { lineLength = 42, lines = 2, minSeconds = 1 } = options;
  const said = texts.filter(({ text }) => text.trim() !== '');
  return said.flatMap(({ start, end, text }, i) => {
    const next = said[i + 1]?.start ?? Infinity;
    const until = Math.min(
      Math.max(Math.min(end, next), start + minSeconds),
      Math.max(next, start),
    );
    const words = wordsOf(text);
    const wanted = Math.ceil(wrap(words, lineLength).length / lines);
    // Rather more lines than subtitles that nobody can read in time.
    const count = Math.max(1, Math.min(wanted, Math.floor((until - start) / minSeconds)));
    const parts = divide(words, count, (part) => wrap(part, lineLength).length / lines);
    const total = parts.reduce((sum, part) => sum + columnsOf(part), 0);
    let at = start;
    return parts.map((part, j) => {
      const from = at;
      at = j + 1 === parts.length ? until : from + ((until - start) * columnsOf(part)) / total;
      return { start: from, end: at, lines: balanced(part, lineLength) };
    });
  });
}

/**
 * A word with the white space before it; in a script without spaces, a character with the
 * punctuation that follows.
 */
const word = new RegExp(`\\s*(?:[${unspaced}]\\p{P}*|[^\\s${unspaced}]+)`, 'gu');
const wide = new RegExp(`[${unspaced}\\u3000-\\u303f\\uff00-\\uff60]`, 'u');

function wordsOf(text: string): string[] {
  return (
    text
      .replace(/[\p{Cc}\s]+/gu, ' ')
      .trim()
      .match(word) ?? []
  );
}

function columnsOf(words: readonly string[]): number {
  let columns = 0;
  for (const character of words.join('').trim()) columns += wide.test(character) ? 2 : 1;
  return columns;
}

/** As few lines as possible. A word that is longer than a line has one to itself. */
function wrap(words: readonly string[], lineLength: number): string[] {
  const lines: string[][] = [];
  for (const word of words) {
    const last = lines.at(-1);
    if (last && columnsOf([...last, word]) <= lineLength) last.push(word);
    else lines.push([word]);
  }
  return lines.map((line) => line.join('').trim());
}

/** As many lines as {@link wrap} makes, as even as possible. */
function balanced(words: readonly string[], lineLength: number): string[] {
  const { length } = wrap(words, lineLength);
  let width = Math.ceil(columnsOf(words) / length);
  while (width < lineLength && wrap(words, width).length > length) width++;
  return wrap(words, width);
}

/**
 * `count` parts of about one length, the end of a sentence or clause preferred near the border.
 * @param fill how many subtitles some words fill
 */
function divide(
  words: readonly string[],
  count: number,
  fill: (words: readonly string[]) => number,
): string[][] {
  const parts: string[][] = [];
  let rest = [...words];
  for (let left = count; left > 1 && rest.length > 1; left--) {
    const aim = columnsOf(rest) / left;
    const costs = rest.slice(0, -1).map((word, i) => {
      const ends = /[.!?。！？]\p{P}*$/u.test(word) ? 0.4 : /[,;:，；：、]$/u.test(word) ? 0.25 : 0;
      const away = Math.abs(columnsOf(rest.slice(0, i + 1)) / aim - 1);
      const isFull = fill(rest.slice(0, i + 1)) > 1 || fill(rest.slice(i + 1)) > left - 1;
      return away - ends + (isFull ? 1 : 0);
    });
    const border = costs.indexOf(Math.min(...costs)) + 1;
    parts.push(rest.slice(0, border));
    rest = rest.slice(border);
  }
  return [...parts, rest];
}

function timestamp(seconds: number, point: string): string {
  const milliseconds = Math.round(seconds * 1000);
  const two = (value: number): string => String(Math.floor(value)).padStart(2, '0');
  const clock = [milliseconds / 3.6e6, (milliseconds / 6e4) % 60, (milliseconds / 1000) % 60];
  return `${clock.map(two).join(':')}${point}${String(milliseconds % 1000).padStart(3, '0')}`;
}
