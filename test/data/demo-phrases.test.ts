import { allPhrases, demoPrompts, demoTexts, type Phrase } from '../../lib/data/demo';
import { cardinal, decimal, ordinal } from '../../lib/data/demo/english';

const phrases = allPhrases();
const find = (text: string): Phrase => {
  const found = phrases.find((phrase) => phrase.text === text);
  if (!found) throw new Error(`no phrase '${text}'`);
  return found;
};
const unit = (language: string, n: number, name: string): string =>
  new Intl.NumberFormat(language, { style: 'unit', unit: name, unitDisplay: 'long' }).format(n);

describe('numbers in words', () => {
  it.each([
    [0, 'zero'],
    [13, 'thirteen'],
    [20, 'twenty'],
    [47, 'forty seven'],
    [100, 'one hundred'],
    [950, 'nine hundred fifty'],
  ])('says %d as %s', (n, words) => expect(cardinal(n)).toBe(words));

  it.each([
    [1, 'first'],
    [5, 'fifth'],
    [12, 'twelfth'],
    [14, 'fourteenth'],
    [20, 'twentieth'],
    [22, 'twenty second'],
    [30, 'thirtieth'],
  ])('says day %d as %s', (n, words) => expect(ordinal(n)).toBe(words));

  it('says one decimal', () => expect(decimal(13.7)).toBe('thirteen point seven'));
});

describe('the phrases', () => {
  it.each([
    ['Tuesday at sixteen thirty', 'Dienstag um 16:30 Uhr', '星期二16:30'],
    ['Tuesday at four in the afternoon', 'Dienstag um 16 Uhr', '星期二16时'],
    ['March third', '3. März', '3月3日'],
    ['Sunday March third', 'Sonntag, 3. März', '3月3日星期日'],
    ['twelve hours and five minutes', '12 Stunden und 5 Minuten', '12小时5分钟'],
    ['seventeen days', '17 Tage', '17天'],
    ['in five weeks', 'in 5 Wochen', '5周后'],
    ['five days ago', 'vor 5 Tagen', '5天前'],
    ['four euros fifty', '4,50 Euro', '4.50欧元'],
    ['forty seven pounds', '47 Britische Pfund', '47英镑'],
    ['three point five liters', '3,5 Liter', '3.5升'],
    ['twenty degrees', '20 Grad', '20度'],
  ])('%s is %s and %s', (text, de, zh) => expect(find(text).translations).toEqual({ de, zh }));

  it('agree with Intl where Intl alone decides', () => {
    for (const [text, n, name] of [
      ['ninety eight kilometers', 98, 'kilometer'],
      ['nineteen point one percent', 19.1, 'percent'],
      ['sixty seconds', 60, 'second'],
    ] as const) {
      expect(find(text).translations).toEqual({ de: unit('de', n, name), zh: unit('zh', n, name) });
    }
    for (const language of ['de', 'zh'] as const) {
      const date = new Date(Date.UTC(2021, 8, 27));
      expect(find('Monday September twenty seventh').translations[language]).toBe(
        new Intl.DateTimeFormat(language, {
          weekday: 'long',
          month: 'long',
          day: 'numeric',
          timeZone: 'UTC',
        }).format(date),
      );
      expect(find('twenty one months ago').translations[language]).toBe(
        new Intl.RelativeTimeFormat(language).format(-21, 'month'),
      );
      expect(find('ten francs seventy five').translations[language]).toBe(
        new Intl.NumberFormat(language, {
          style: 'currency',
          currency: 'CHF',
          currencyDisplay: 'name',
        }).format(10.75),
      );
    }
  });

  it('each have one translation, so that exact match is fair', () => {
    expect(new Set(phrases.map((phrase) => phrase.text)).size).toBe(phrases.length);
    for (const { text, translations } of phrases) {
      expect(text.trim()).toBe(text);
      expect(translations.de.trim()).not.toBe('');
      expect(translations.zh.trim()).not.toBe('');
    }
  });

  it('keep to a small vocabulary without digits', () => {
    const words = new Set(phrases.flatMap((phrase) => phrase.text.split(' ')));
    expect(words.size).toBeLessThanOrEqual(130);
    for (const word of words) expect(word).toMatch(/^[A-Za-z]+$/);
  });
});

describe('demoTexts', () => {
  it('has prompts and training phrases of all three languages, each once', () => {
    const texts = demoTexts();
    expect(new Set(texts).size).toBe(texts.length);
    expect(texts).toContain(demoPrompts.translate.de);
    const known = new Set(phrases.flatMap((p) => [p.text, p.translations.de, p.translations.zh]));
    expect(texts.filter((text) => known.has(text)).length).toBe(texts.length - 4);
    // The combinations held out for dev and test stay out.
    expect(phrases.filter((phrase) => !texts.includes(phrase.text)).length).toBeGreaterThan(500);
  });
});
