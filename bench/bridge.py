"""The other side of bridge.ts: for each line with a number n, adds two tiny tensors n times and
prints the nanoseconds an addition took."""

import sys
import time

import torch

a, b = torch.ones(4), torch.ones(4)
print(torch.__version__, flush=True)
for line in sys.stdin:
    n = int(line)
    start = time.perf_counter_ns()
    for _ in range(n):
        a + b
    print((time.perf_counter_ns() - start) / n, flush=True)
