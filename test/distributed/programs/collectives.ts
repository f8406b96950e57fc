import { distributed, tensor } from '../../../lib/torch';

/** Each collective once, on tensors that tell the ranks apart. */
export async function main(): Promise<unknown> {
  const group = await distributed.initProcessGroupFromEnvironment({ timeoutSeconds: 60 });
  const { rank, size } = group;
  const results: Record<string, unknown> = { rank, size };
  for (const dtype of ['float32', 'float64', 'float16', 'bfloat16', 'int64', 'uint8'] as const) {
    const t = tensor([rank + 1, 10 * rank], { dtype });
    await distributed.allReduce(t);
    results[dtype] = t.to('float64').toArray();
  }
  for (const op of ['product', 'min', 'max'] as const) {
    const t = tensor([rank + 1, 10 - rank]);
    await distributed.allReduce(t, op);
    results[op] = t.toArray();
  }
  const given = tensor([rank, rank]);
  await distributed.broadcast(given, size - 1);
  results.broadcast = given.toArray();
  const gathered = await distributed.allGather(tensor([rank, 10 - rank]));
  results.gathered = gathered.map((t) => t.toArray());
  results.objects = await group.allGatherObject({ rank, text: 'ä'.repeat(rank) });
  // Several at a time keep their order.
  const many = Array.from({ length: 8 }, (_, i) => tensor([i * (rank + 1)]));
  await Promise.all(many.map((t) => group.allReduce(t)));
  results.many = many.map((t) => t.item());
  await distributed.barrier();
  distributed.destroyProcessGroup();
  return results;
}
