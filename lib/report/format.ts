import type { Interval, MetricName } from './types';

/** Stands where a number is missing. */
export const missing = '–';

/** The metrics in the order of the tables; all are 0 to 100, shares of the segments have a unit. */
export const metrics: readonly { name: MetricName; label: string; unit: '' | '%' }[] = [
  { name: 'bleu', label: 'BLEU', unit: '' },
  { name: 'chrf', label: 'chrF', unit: '' },
  { name: 'chrf++', label: 'chrF++', unit: '' },
  { name: 'exact_match', label: 'Exact match', unit: '%' },
];

type Maybe = number | null | undefined;

/** `value * scale` to `digits` digits after the point; a dash for what is not a finite number. */
export function fixed(value: Maybe, digits: number, scale: number = 1): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return missing;
  const text = (value * scale).toFixed(digits);
  return /^-0(\.0*)?$/.test(text) ? text.slice(1) : text;
}

/** `3,412,345` */
export function integer(value: Maybe): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return missing;
  return Math.round(value).toLocaleString('en-US');
}

/** Decimal units, three digits: `16.8 GB`. */
export function bytes(value: Maybe): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return missing;
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let amount = value;
  let unit = 0;
  while (amount >= 999.5 && unit < units.length - 1) {
    amount /= 1000;
    unit++;
  }
  if (unit === 0) return `${Math.round(amount)} B`;
  return `${amount.toFixed(amount < 9.995 ? 2 : amount < 99.95 ? 1 : 0)} ${units[unit]}`;
}

/** A fraction as `97.1 %`. */
export function percent(fraction: Maybe): string {
  const text = fixed(fraction, 1, 100);
  return text === missing ? missing : `${text} %`;
}

/** `[90.1, 95.2]`, or nothing where there is no interval. */
export function interval(bounds: Interval | null | undefined, scale: number = 1): string {
  if (!bounds) return '';
  return `[${fixed(bounds.low, 1, scale)}, ${fixed(bounds.high, 1, scale)}]`;
}

/** `p = 0.031`, `p < 0.001`, or nothing. */
export function pValue(p: number | null | undefined): string {
  if (p === null || p === undefined || !Number.isFinite(p)) return '';
  return p < 0.001 ? 'p < 0.001' : `p = ${p.toFixed(3)}`;
}

/** A part of a whole as a fraction, or null where it means nothing. */
export function ratio(part: Maybe, whole: Maybe): number | null {
  return part === null || part === undefined || !whole ? null : part / whole;
}

/** `42 s`, `3 min 07 s`, `2 h 05 min`. */
export function duration(seconds: Maybe): string {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return missing;
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  const pad = (n: number): string => String(n).padStart(2, '0');
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${pad(whole % 60)} s`;
  const minutes = Math.round(whole / 60);
  return `${Math.floor(minutes / 60)} h ${pad(minutes % 60)} min`;
}
