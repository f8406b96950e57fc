/** Languages by their English name, as prompts have it, or their two-letter code. */
export interface Language {
  /** ISO 639-1. */
  code: string;
  /** English, from CLDR. */
  name: string;
}

let known: Map<string, Language> | undefined;

/** By code and by name, in lower case; CLDR tells the names of all two-letter codes. */
function languages(): Map<string, Language> {
  if (known !== undefined) return known;
  const names = new Intl.DisplayNames('en', { type: 'language', fallback: 'none' });
  const letters = Array.from({ length: 26 }, (_, i) => String.fromCharCode(97 + i));
  const all = letters
    .flatMap((a) => letters.map((b) => a + b))
    .map((code) => ({ code, name: names.of(code) ?? '' }))
    .filter(({ name }) => name !== '');
  known = new Map(all.map((language) => [language.code, language]));
  // A name's code is one that is in use if there is one: `mo`, too, is called Romanian.
  const inUse = all.filter(({ code }) => Intl.getCanonicalLocales(code)[0] === code);
  for (const language of [...inUse, ...all]) {
    const name = language.name.toLowerCase();
    // Of two in use (`ak`, `tw`) the first stays.
    if (!known.has(name)) known.set(name, language);
  }
  return known;
}

/** A language by code or English name in any case; undefined if there is none. */
export function findLanguage(text: string): Language | undefined {
  // A corpus may say `zh-CN`; the prompt names the language alone.
  return languages().get(
    text
      .trim()
      .toLowerCase()
      .replace(/^([a-z]{2})[-_].+$/, '$1'),
  );
}

/**
 * Which of a corpus' languages is meant: by the very code that the corpus has, such as `zh-CN`, or by
 * name or two-letter code, if they tell it from the others.
 */
export function findTarget(text: string, targets: readonly string[]): string | undefined {
  if (targets.includes(text)) return text;
  const language = findLanguage(text);
  if (language === undefined || targets.includes(language.code)) return language?.code;
  const [only, another] = targets.filter((target) => findLanguage(target)?.name === language.name);
  return another === undefined ? only : undefined;
}
