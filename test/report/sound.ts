const voidElements = new Set(['meta', 'br', 'img', 'link', 'hr', 'input']);

/** Names of tags that do not nest, with where; strict where a browser forgives. */
export function nestingErrors(source: string): string[] {
  const errors: string[] = [];
  const open: string[] = [];
  const body = source.replace(/<!doctype html>/, '').replace(/<style>[^]*?<\/style>/, '');
  const tag = /<(\/?)([a-zA-Z][a-zA-Z0-9-]*)((?:\s+[a-zA-Z][\w:-]*(?:="[^"<]*")?)*)\s*(\/?)>/g;
  for (const [, close, name = '', , selfClosed] of body.matchAll(tag)) {
    if (close) {
      const expected = open.pop();
      if (expected !== name) errors.push(`</${name}> closes <${expected}>`);
    } else if (!selfClosed && !voidElements.has(name)) {
      open.push(name);
    }
  }
  const rest = body.replace(tag, '');
  if (/[<>]/.test(rest)) errors.push(`stray bracket: ${/.{0,40}[<>].{0,40}/.exec(rest)?.[0]}`);
  return [...errors, ...open.map((name) => `<${name}> is not closed`)];
}

/** A document that nests, with no number that is none. */
export function expectSound(source: string): void {
  expect(nestingErrors(source)).toEqual([]);
  expect(source).not.toMatch(/NaN|Infinity|undefined|\[object/);
}
