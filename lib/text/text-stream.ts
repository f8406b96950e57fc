import type { Tokenizer } from './tokenizer';

/**
 * The text of ids that come one after the other, in pieces that never split a character. Together
 * the pieces are the text of all ids, special tokens left out, trimmed.
 */
export class TextStream {
  readonly #ids: number[] = [];
  /** How much of the text has been given away. */
  #given = 0;

  constructor(readonly tokenizer: Tokenizer) {}

  /** What the text has more with this id; often empty, as white space waits for what follows it. */
  push(id: number): string {
    this.#ids.push(id);
    // A character of which bytes are missing is decoded to U+FFFD.
    return this.#rest(this.#text().replace(/[\s\uFFFD]+$/u, ''));
  }

  /** What is left when no id comes any more. */
  end(): string {
    return this.#rest(this.#text().trimEnd());
  }

  #text(): string {
    return this.tokenizer.decode(this.#ids, { skipSpecialTokens: true }).trimStart();
  }

  #rest(text: string): string {
    const rest = text.slice(this.#given);
    this.#given = Math.max(this.#given, text.length);
    return rest;
  }
}
