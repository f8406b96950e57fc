import { backward, distributed, scope, tensor, type Tensor } from '../../../lib/torch';

/** Per step: which parameters each rank uses, and how often (0: not at all). */
const plan: ((rank: number) => [number, number, number])[] = [
  () => [1, 1, 1],
  () => [1, 1, 1],
  // More often than before: what was sent too early is sent again.
  () => [1, 1, 3],
  () => [1, 1, 3],
  (rank) => [1, rank === 0 ? 0 : 1, 3],
  () => [1, 0, 3],
];

/** Gradients and buckets sent during backward, per step, of three parameters in buckets of their own. */
export async function main(): Promise<unknown> {
  const group = await distributed.initProcessGroupFromEnvironment({ timeoutSeconds: 60 });
  const { rank } = group;
  const parameters = [1, 2, 3].map((value) => tensor([value, value], { requiresGrad: true }));
  const reducer = new distributed.GradientReducer(group, parameters, {
    ...{ bucketBytes: 8, firstBucketBytes: 8 },
  });
  const steps = [];
  for (const uses of plan) {
    reducer.arm();
    // Backward passes one after the other, as gradient checkpointing makes them.
    for (const round of [0, 1, 2]) {
      scope(() => {
        const terms = parameters
          .filter((_, i) => uses(rank)[i]! > round)
          .map((p): Tensor => p.mul((rank + 1) * 10 ** round).sum());
        if (terms.length > 0) backward(terms.reduce((a, b) => a.add(b)));
      });
    }
    await reducer.finish();
    const gradients = parameters.map(({ grad }) => grad?.toArray() ?? null);
    steps.push({ gradients, overlapped: reducer.overlapped });
    for (const parameter of parameters) parameter.grad = undefined;
  }
  reducer.close();
  return steps;
}
