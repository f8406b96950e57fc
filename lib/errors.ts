/**
 * The base of every error that `pare` raises on purpose. The message is one line that says what
 * went wrong, where (file, tensor, key) and what to do about it. What lies beneath (an exception of
 * libtorch, an errno) is kept under `cause`.
 *
 * Rooms define their own subclasses beside the code that throws them.
 */
export class PareError extends Error {
  constructor(message: string, options?: { cause?: unknown }) {
    super(message.replace(/\s*\n\s*/g, ' '), options);
    this.name = new.target.name;
  }
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
