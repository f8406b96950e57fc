import * as fc from 'fast-check';
import { diff } from '../../lib/report/diff';
import { bytes, duration, fixed, integer, pValue, percent } from '../../lib/report/format';
import { escapeText, html } from '../../lib/report/markup';
import { linear, nice, ticks } from '../../lib/report/scale';
import { chooseExamples } from '../../lib/report/select';
import type { TranslationExample } from '../../lib/report';

describe('diff', () => {
  test('marks words that differ, characters in Chinese, and gaps', () => {
    expect(diff('20 Kilometer pro Stunde', '12 Kilometer pro Stunde')).toEqual([
      { text: '20', kind: 'changed' },
      { text: ' Kilometer pro Stunde', kind: 'same' },
    ]);
    expect(diff('每小时20公里', '每小时12公里')).toEqual([
      { text: '每小时', kind: 'same' },
      { text: '20', kind: 'changed' },
      { text: '公里', kind: 'same' },
    ]);
    expect(diff('周后', '3周后')).toEqual([
      { text: '', kind: 'gap' },
      { text: '周后', kind: 'same' },
    ]);
    expect(diff('am 3.', 'am 3. Mai').at(-1)).toEqual({ text: '', kind: 'gap' });
    expect(diff('', '')).toEqual([]);
  });

  test('the parts are the text, and what is the same comes in order in both', () => {
    const texts = fc.array(fc.constantFrom('am', ' ', '3', '.', '月', '日', 'ü', '💶', '\n'));
    fc.assert(
      fc.property(texts, texts, (a, b) => {
        const [text, reference] = [a.join(''), b.join('')];
        const parts = diff(text, reference);
        expect(parts.map((part) => part.text).join('')).toBe(text);
        let rest = reference;
        for (const part of parts.filter(({ kind }) => kind === 'same')) {
          for (const character of part.text) {
            expect(rest).toContain(character);
            rest = rest.slice(rest.indexOf(character) + character.length);
          }
        }
        expect(parts.every(({ kind }) => kind === 'same')).toBe(text === reference);
      }),
      { seed: 2 },
    );
  });
});

describe('format', () => {
  test('numbers', () => {
    expect([0, 999, 1000, 7_390_464, 16_794_189_824, 999_999_999].map((n) => bytes(n))).toEqual([
      '0 B',
      '999 B',
      '1.00 kB',
      '7.39 MB',
      '16.8 GB',
      '1.00 GB',
    ]);
    expect([0.04, 9.96, 59.6, 3599.7, 7200, 12_412.5].map((n) => duration(n))).toEqual([
      '0.0 s',
      '10 s',
      '1 min 00 s',
      '1 h 00 min',
      '2 h 00 min',
      '3 h 27 min',
    ]);
    expect(integer(8_397_094_912)).toBe('8,397,094,912');
    expect(percent(0.97049)).toBe('97.0 %');
    expect(fixed(-0.001, 1)).toBe('0.0');
    expect([0.0004, 0.0312, null].map(pValue)).toEqual(['p < 0.001', 'p = 0.031', '']);
    expect([fixed(NaN, 1), integer(null), bytes(undefined), percent(Infinity)]).toEqual(
      Array(4).fill('–'),
    );
  });
});

describe('markup', () => {
  test('values are escaped once, markup is not escaped again', () => {
    expect(escapeText(`<a href="x">'&`)).toBe('&lt;a href=&quot;x&quot;&gt;&#39;&amp;');
    const inner = html`<b>${'<'}</b>`;
    expect(html`<p>${[inner, null, false, 0, 'x']}</p>`.text).toBe('<p><b>&lt;</b>0x</p>');
  });
});

describe('scale', () => {
  test('round ticks within the domain', () => {
    expect(ticks(0, 100, 5)).toEqual([0, 20, 40, 60, 80, 100]);
    expect(ticks(0.05, 0.31, 5)).toEqual([0.05, 0.1, 0.15, 0.2, 0.25, 0.3]);
    expect(ticks(3, 3, 5)).toEqual([3]);
    expect(nice(23.4, 98.1, 5)).toEqual([20, 100]);
    expect(nice(5, 5, 5)).toEqual([4.5, 5.5]);
    expect(linear(2, 2, 0, 10)(2)).toBe(5);
  });
});

describe('examples', () => {
  const example = (id: number, teacher: string, student: string): TranslationExample => ({
    id: String(id),
    language: 'de',
    testSet: 'test',
    source: 's',
    reference: 'r',
    teacher,
    student,
  });
  const chosen = (examples: TranslationExample[], limit: number): string =>
    chooseExamples(examples, limit)
      .map(({ id }) => id)
      .join(' ');

  test('those that differ are preferred, and room is left for those that agree', () => {
    const right = Array.from({ length: 10 }, (_, i) => example(i, 'r', 'r'));
    const differ = Array.from({ length: 10 }, (_, i) => example(10 + i, 'r', 'x'));
    expect(chosen([...right, ...differ], 8)).toBe('0 1 10 11 12 13 14 15');
    expect(chosen([...right, ...differ.slice(0, 2)], 4)).toBe('0 1 10 11');
    expect(chosen(differ, 4)).toBe('10 11 12 13');
    expect(chosen([...right, example(99, 'x', 'x')], 4)).toBe('0 1 2 99');
    expect(chosen([], 4)).toBe('');
  });
});
