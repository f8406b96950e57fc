"""The other side of ../parts/bridge.ts: adds two tiny tensors and answers with the milliseconds an
addition took."""

import time

import torch
from serve import serve

a, b = torch.ones(4), torch.ones(4)


def run(additions):
    start = time.perf_counter_ns()
    for _ in range(additions):
        a + b
    return {"ms": (time.perf_counter_ns() - start) / additions / 1e6}


serve({"versions": f"torch {torch.__version__}"}, run)
