/** Scripts that are written without spaces between words, as a part of a character class. */
export const unspaced = '\\p{Script=Han}\\p{Script=Hiragana}\\p{Script=Katakana}';
