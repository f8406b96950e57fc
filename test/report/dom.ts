import { dirname, join } from 'node:path';
import { transformFileSync } from '@swc/core';

/** What the tests need of the DOM; the compiler's own DOM types would leak into the library. */
export interface Element {
  readonly id: string;
  readonly textContent: string;
  readonly attributes: Iterable<{ readonly name: string; readonly value: string }>;
  getAttribute(name: string): string | null;
  querySelector(selector: string): Element | null;
  querySelectorAll(selector: string): ArrayLike<Element> & Iterable<Element>;
  closest(selector: string): Element | null;
}

export interface Document extends Element {
  readonly body: Element;
}

/**
 * linkedom's parser. Its CommonJS build requires packages that are ESM only, which jest does not
 * load under Node 20; its bundle for workers holds everything in one file, so that one is compiled.
 */
function load(): (source: string) => { document: Document } {
  const file = join(dirname(require.resolve('linkedom/package.json')), 'worker.js');
  const { code } = transformFileSync(file, {
    module: { type: 'commonjs' },
    jsc: { target: 'es2022' },
    swcrc: false,
  });
  const exports: { parseHTML?: (source: string) => { document: Document } } = {};
  new Function('exports', code)(exports);
  return exports.parseHTML!;
}

const parseHTML = load();

/** The document of an HTML text. */
export function parseDocument(source: string): Document {
  return parseHTML(source).document;
}
