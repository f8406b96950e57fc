import { cardinal, decimal, ordinal } from './english';

/** The languages that the demo translates into. */
export const targetLanguages = ['de', 'zh'] as const;
export type TargetLanguage = (typeof targetLanguages)[number];
type Language = 'en' | TargetLanguage;

/** What kind of thing a phrase says; the splits keep the mix of kinds the same. */
export type PhraseKind = 'hour' | 'time' | 'date' | 'duration' | 'relative' | 'money' | 'measure';

/**
 * A phrase as spoken, its references, and its group: the combination that it makes (weekday with
 * hour, month with day, number with unit), which lies whole in one split.
 */
export interface Phrase {
  kind: PhraseKind;
  text: string;
  translations: Record<TargetLanguage, string>;
  group: string;
}

/** ICU writes no-break and narrow spaces in places that move between its versions. */
const plain = (text: string): string => text.replace(/\s+/g, ' ').trim();

/** 2024 began on a Monday and has a 29 February; UTC keeps the machine's time zone out. */
const utc = (month: number, day: number, hour = 0, minute = 0): Date =>
  new Date(Date.UTC(2024, month - 1, day, hour, minute));
const formatters = new Map<string, Intl.DateTimeFormat>();
function formatDate(lang: Language, date: Date, options: Intl.DateTimeFormatOptions): string {
  const key = lang + JSON.stringify(options);
  const known =
    formatters.get(key) ?? new Intl.DateTimeFormat(lang, { ...options, timeZone: 'UTC' });
  formatters.set(key, known);
  return plain(known.format(date));
}
const numberFormatters = new Map<string, Intl.NumberFormat>();
function formatNumber(lang: Language, n: number, options: Intl.NumberFormatOptions): string {
  const key = lang + JSON.stringify(options);
  const known = numberFormatters.get(key) ?? new Intl.NumberFormat(lang, options);
  numberFormatters.set(key, known);
  return plain(known.format(n));
}
const formatUnit = (lang: Language, n: number, unit: string): string =>
  formatNumber(lang, n, { style: 'unit', unit, unitDisplay: 'long' });

const both = (write: (lang: TargetLanguage) => string): Record<TargetLanguage, string> => ({
  de: write('de'),
  zh: write('zh'),
});
const range = (from: number, to: number, step = 1): number[] =>
  Array.from({ length: Math.floor((to - from) / step) + 1 }, (_, i) => from + i * step);

/** CLDR's English name of a unit, with the number left out: `kilometers`. */
const unitName = (n: number, unit: string): string =>
  formatUnit('en', n, unit).replace(/^[\d.]+ /, '');

/** How CLDR's day periods are said in English; the hour is that of the 24-hour clock. */
function dayPeriod(hour: number): string {
  return hour < 12 ? 'in the morning' : hour < 18 ? 'in the afternoon' : 'in the evening';
}

/** `Tuesday at sixteen thirty`, `Tuesday at four in the afternoon`. Group: weekday with hour. */
function* times(): Generator<Phrase> {
  for (const weekday of range(1, 7)) {
    for (const hour of range(6, 23)) {
      const day = formatDate('en', utc(1, weekday), { weekday: 'long' });
      const group = `time:${day}-${hour}`;
      if (hour !== 12) {
        yield {
          kind: 'hour',
          group,
          text: `${day} at ${cardinal(hour % 12)} ${dayPeriod(hour)}`,
          translations: {
            de: `${formatDate('de', utc(1, weekday), { weekday: 'long' })} um ${formatDate('de', utc(1, weekday, hour), { hour: 'numeric' })}`,
            zh: `${formatDate('zh', utc(1, weekday), { weekday: 'long' })}${formatDate('zh', utc(1, weekday, hour), { hour: 'numeric' })}`,
          },
        };
      }
      for (const minute of [10, 15, 20, 30, 40, 45, 50]) {
        const date = utc(1, weekday, hour, minute);
        const clock = { hour: 'numeric', minute: '2-digit', hourCycle: 'h23' } as const;
        yield {
          kind: 'time',
          group,
          text: `${day} at ${cardinal(hour)} ${cardinal(minute)}`,
          translations: {
            de: `${formatDate('de', date, { weekday: 'long' })} um ${formatDate('de', date, clock)} Uhr`,
            zh: `${formatDate('zh', date, { weekday: 'long' })}${formatDate('zh', date, clock)}`,
          },
        };
      }
    }
  }
}

/** `March fifth`, `Tuesday March fifth`. Group: month with day. */
function* dates(): Generator<Phrase> {
  for (const month of range(1, 12)) {
    for (const day of range(1, new Date(Date.UTC(2024, month, 0)).getUTCDate())) {
      const date = utc(month, day);
      const said = `${formatDate('en', date, { month: 'long' })} ${ordinal(day)}`;
      const group = `date:${month}-${day}`;
      const short = { month: 'long', day: 'numeric' } as const;
      yield {
        kind: 'date',
        group,
        text: said,
        translations: both((l) => formatDate(l, date, short)),
      };
      const weekdays = new Set<number>();
      // In a cycle of 28 years every date falls on every weekday.
      for (let year = 2000; year < 2028; year++) {
        const then = new Date(Date.UTC(year, month - 1, day));
        if (then.getUTCDate() !== day || weekdays.has(then.getUTCDay())) continue;
        weekdays.add(then.getUTCDay());
        yield {
          kind: 'date',
          group,
          text: `${formatDate('en', then, { weekday: 'long' })} ${said}`,
          translations: both((l) => formatDate(l, then, { weekday: 'long', ...short })),
        };
      }
    }
  }
}

/** `seventeen days`, `five hours and ten minutes`. Group: number with unit, hours with minutes. */
function* durations(): Generator<Phrase> {
  for (const unit of ['second', 'minute', 'hour', 'day', 'week', 'month', 'year']) {
    for (const n of range(2, 60)) {
      yield {
        kind: 'duration',
        group: `duration:${n}-${unit}`,
        text: `${cardinal(n)} ${unitName(n, unit)}`,
        translations: both((l) => formatUnit(l, n, unit)),
      };
    }
  }
  for (const hours of range(2, 12)) {
    for (const minutes of range(5, 55, 5)) {
      const parts = (l: Language): string[] => [
        formatUnit(l, hours, 'hour'),
        formatUnit(l, minutes, 'minute'),
      ];
      yield {
        kind: 'duration',
        group: `duration:${hours}h-${minutes}min`,
        text: `${cardinal(hours)} ${unitName(hours, 'hour')} and ${cardinal(minutes)} ${unitName(minutes, 'minute')}`,
        translations: {
          de: new Intl.ListFormat('de', { type: 'conjunction' }).format(parts('de')),
          zh: new Intl.ListFormat('zh', { type: 'unit' }).format(parts('zh')),
        },
      };
    }
  }
}

/** `in five days`, `five days ago`. Group: number with unit and direction. */
function* relatives(): Generator<Phrase> {
  for (const unit of ['minute', 'hour', 'day', 'week', 'month', 'year'] as const) {
    for (const n of range(2, 30)) {
      for (const sign of [1, -1]) {
        const said = `${cardinal(n)} ${unitName(n, unit)}`;
        yield {
          kind: 'relative',
          group: `relative:${sign * n}-${unit}`,
          text: sign > 0 ? `in ${said}` : `${said} ago`,
          translations: both((l) =>
            plain(new Intl.RelativeTimeFormat(l, { numeric: 'always' }).format(sign * n, unit)),
          ),
        };
      }
    }
  }
}

/** How the currencies are said for short; CLDR's own names open with the country. */
const currencies = { EUR: 'euro', USD: 'dollar', GBP: 'pound', CHF: 'franc' } as const;

/** `forty seven pounds`, `four euros fifty`. Group: amount with currency, whole with cents. */
function* amounts(): Generator<Phrase> {
  for (const [currency, name] of Object.entries(currencies)) {
    const write = (n: number): Record<TargetLanguage, string> =>
      both((l) =>
        formatNumber(l, n, {
          style: 'currency',
          currency,
          currencyDisplay: 'name',
          minimumFractionDigits: Number.isInteger(n) ? 0 : 2,
        }),
      );
    for (const n of [...range(2, 99), ...range(100, 950, 50)]) {
      yield {
        kind: 'money',
        group: `money:${n}-${name}`,
        text: `${cardinal(n)} ${name}s`,
        translations: write(n),
      };
    }
    for (const whole of range(2, 20)) {
      for (const cents of [...range(10, 90, 10), 25, 75]) {
        yield {
          kind: 'money',
          group: `money:${whole}.${cents}`,
          text: `${cardinal(whole)} ${name}s ${cardinal(cents)}`,
          translations: write(whole + cents / 100),
        };
      }
    }
  }
}

/** `twenty kilometers`, `three point five liters`. Group: number with unit. */
function* measures(): Generator<Phrase> {
  const units = ['kilometer', 'meter', 'kilogram', 'gram', 'liter', 'percent', 'degree', 'mile'];
  const numbers = [...range(2, 99), ...range(100, 950, 50), ...range(11, 209).map((n) => n / 10)];
  for (const unit of units) {
    for (const n of new Set(numbers)) {
      if (!Number.isInteger(n) && n > 20) continue;
      yield {
        kind: 'measure',
        group: `measure:${n}-${unit}`,
        text: `${Number.isInteger(n) ? cardinal(n) : decimal(n)} ${unitName(n, unit)}`,
        translations: both((l) => formatUnit(l, n, unit)),
      };
    }
  }
}

/** Every phrase that the demo can say, in a fixed order; no text occurs twice. */
export function allPhrases(): Phrase[] {
  return [...times(), ...dates(), ...durations(), ...relatives(), ...amounts(), ...measures()];
}
