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
  known = new Map<string, Language>();
  const letters = Array.from({ length: 26 }, (_, i) => String.fromCharCode(97 + i));
  for (const code of letters.flatMap((a) => letters.map((b) => a + b))) {
    const name = names.of(code);
    if (name === undefined) continue;
    known.set(code, { code, name });
    // Of two codes with one name (`no`, `nb`) the first stays.
    if (!known.has(name.toLowerCase())) known.set(name.toLowerCase(), { code, name });
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
