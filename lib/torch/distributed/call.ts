import { ok, type Callback } from '../binding';
import { DistributedError, distributedError } from './error';

/**
 * A native call that calls back, as a promise that ends in bounded time: where a link is cut, the
 * system may tell nothing for a quarter of an hour.
 * @param seconds how long to wait; what comes later is dropped
 * @param late what it means that nothing came
 * @throws DistributedError that begins with `what`
 */
export function called<T>(
  what: string,
  seconds: number,
  start: (callback: Callback<T>) => true | undefined,
  late: string = `no answer within ${seconds} s; another rank is gone, or the network between ` +
    'them is cut',
): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    const timer = setTimeout(() => {
      reject(new DistributedError(`${what}: ${late}`));
    }, 1000 * seconds);
    try {
      ok(
        start((error, value) => {
          clearTimeout(timer);
          if (error === undefined) resolve(value);
          else reject(distributedError(what, error));
        }),
      );
    } catch (error) {
      clearTimeout(timer);
      reject(distributedError(what, (error as Error).message));
    }
  });
}
