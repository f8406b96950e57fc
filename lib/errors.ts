/**
 * The base of every error that `pare` raises on purpose. The message is one line that says what
 * went wrong, where (file, tensor, key) and what to do about it. What lies beneath (an exception of
 * libtorch, an errno) is kept under `cause`.
 *
 * Rooms define their own subclasses beside the code that throws them.
 */
export class PareError extends Error {
  constructor(message: string, options?: { cause?: unknown }) {
    super(oneLine(message), options);
    this.name = new.target.name;
  }
}

const longest = 2000;

/**
 * What a damaged or hostile file puts into a message must neither fill a screen nor move a
 * terminal's cursor. What to do stands at the end, which stays.
 */
function oneLine(message: string): string {
  const line = message
    .replace(/\s*[\n\r\u2028\u2029]\s*/g, ' ')
    .replace(/\p{Cc}/gu, (c) => `\\u${c.codePointAt(0)!.toString(16).padStart(4, '0')}`);
  return line.length <= longest ? line : `${line.slice(0, 1600)} … ${line.slice(-397)}`;
}

/** A value of a file as a message can show it: short, whatever it is. */
export function shown(value: unknown): string {
  if (value === undefined) return 'missing';
  if (typeof value === 'number') return String(value);
  let text: string;
  try {
    text = JSON.stringify(value);
  } catch {
    return 'nested too deep to show'; // JSON.parse reads what JSON.stringify cannot write.
  }
  return text.length > 200 ? `${text.slice(0, 200)}…` : text;
}

/** The error, with the file's name in front of a message that lacks it. */
export function named(file: string, error: unknown): unknown {
  if (error instanceof PareError && !error.message.includes(file)) {
    error.message = `${file}: ${error.message}`;
  }
  return error;
}

/** Where a warning goes that no listener was given for. */
export function warn(message: string): void {
  process.emitWarning(message, 'PareWarning');
}
