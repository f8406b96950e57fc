import { PareError } from '../../lib/errors';

/** How a damaged file is met: it is used, or refused with the line that is told. */
export type Outcome = 'used' | string;

/**
 * Uses a damaged file. What is thrown has to be an error of ours, in one line of bearable length,
 * that names the file or its folder and has nothing in it that moves a terminal's cursor.
 * @param where what the message has to contain
 */
export async function outcome(where: string, use: () => unknown): Promise<Outcome> {
  try {
    await use();
    return 'used';
  } catch (error) {
    if (!(error instanceof PareError)) throw error;
    const { message } = error;
    // Compared as a whole, so that a failure shows the message.
    const faults = [
      /[\p{Cc}\u2028\u2029]/u.test(message) && 'more than a line',
      message.length > 2500 && 'too long',
      !message.includes(where) && `does not name ${where}`,
      /\[object|Cannot read prop|is not (a function|iterable)/.test(message) && 'of a program',
      'polluted' in {} && 'prototype polluted',
    ].filter((fault) => fault !== false);
    expect({ message: message.slice(0, 3000), faults }).toEqual({ message, faults: [] });
    return message;
  }
}
