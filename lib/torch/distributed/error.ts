import { PareError } from '../../errors';

/** Several processes do not work together: one is missing, gone, or was told something else. */
export class DistributedError extends PareError {}

export const unreachable =
  'cannot be reached; check MASTER_ADDR and MASTER_PORT, and that rank 0 runs';

/** What c10d and Gloo say, and what it means. */
const reasons: [RegExp, string][] = [
  [
    /socket has timed out|failed to connect|Connection refused|timed out while trying to connect/i,
    unreachable,
  ],
  [
    /closed by peer|reset by peer|Broken pipe|recvBytes|sendBytes|Connection was likely closed|Socket closed|Remote end closed|failed to recv|got 0 bytes/i,
    'another rank is gone (its connection was closed)',
  ],
  [
    /timed? ?out|timeout/i,
    'another rank did not answer in time; it is gone, hangs, or the network between them is cut',
  ],
  [/abort/i, 'the process group was closed'],
];

/** An error of c10d in one line: what was done, why it failed, and what to do. */
export function distributedError(what: string, said: string): DistributedError {
  const cause = new Error(said);
  const listening =
    /cannot listen on [^:]*:\d*: .*|cannot find the address .*|there is no way to .*/;
  const own = listening.exec(said)?.[0];
  if (own !== undefined) return new DistributedError(`${what}: ${own}`, { cause });
  const reason = reasons.find(([pattern]) => pattern.test(said))?.[1];
  const told = reason ?? said.split('\n')[0]!.replace(/^\w+: /, '');
  return new DistributedError(`${what}: ${told}`, { cause });
}
