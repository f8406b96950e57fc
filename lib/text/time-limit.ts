/** Work that a file from elsewhere decides on: its patterns and loops may have no end. */
import { createContext, Script } from 'node:vm';
import { PareError } from '../errors';

/** Work did not come to its end in time. The message says no more than that. */
export class TimeLimitError extends PareError {}

/** What a template or a tokenizer is given, which needs some milliseconds. */
export const patienceSeconds = 5;

// A script with a time limit ends everything that is called in it, a regular expression, too.
const context = createContext({});
const script = new Script('work()');

/**
 * Does work that does not wait for anything, and that can be begun again: where the process was stopped,
 * or had little of the processors (all its threads together), it is given twice the time.
 * @returns what it returns
 * @throws TimeLimitError where it takes longer, and what it throws
 */
export function withinSeconds<T>(seconds: number, work: () => T): T {
  let result: { value: T } | undefined;
  context.work = () => {
    result = { value: work() };
  };
  try {
    for (let limit = seconds; result === undefined; limit *= 2) {
      const before = process.cpuUsage();
      try {
        script.runInContext(context, { timeout: Math.ceil(1000 * limit) });
      } catch (cause) {
        if ((cause as NodeJS.ErrnoException | undefined)?.code !== 'ERR_SCRIPT_EXECUTION_TIMEOUT') {
          throw cause;
        }
        const { user, system } = process.cpuUsage(before);
        if ((user + system) / 1e6 < 0.9 * seconds) continue;
        throw new TimeLimitError(`it does not come to an end in ${Math.ceil(seconds)} s`, {
          cause,
        });
      }
    }
  } finally {
    context.work = undefined;
  }
  return result.value;
}
