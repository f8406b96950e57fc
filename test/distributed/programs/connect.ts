import { distributed, tensor } from '../../../lib/torch';

/** Connects, says so, and calls all-reduce until it fails or the process is killed. */
export async function main(
  { timeoutSeconds, rounds }: { timeoutSeconds: number; rounds: number },
  say: (what: string) => void,
): Promise<number> {
  const group = await distributed.initProcessGroupFromEnvironment({ timeoutSeconds });
  say('connected');
  for (let round = 0; round < rounds; round++) {
    const t = tensor([1]);
    await group.allReduce(t);
    t.dispose();
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  return rounds;
}
