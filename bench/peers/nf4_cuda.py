"""The other side of cuda.ts: reads {"device", "coldBytes", "rounds", "milliseconds", "tasks"} as JSON,
does each task ("shape", "rows") with bitsandbytes' matmul_4bit in bfloat16, and prints the median
microseconds of a call. All calls on one matrix after the other are one captured graph where
bitsandbytes can be captured. Needs torch and bitsandbytes."""

import json
import statistics
import sys
import time

import bitsandbytes as bnb
import bitsandbytes.functional as F
import torch

settings = json.load(sys.stdin)
device = settings["device"]
on_gpu = device != "cpu"
eager = set()


def wait():
    if on_gpu:
        torch.cuda.synchronize()


def captured(run, what):
    """A function that does what `run` queues, as a graph where that is possible."""
    run()
    wait()
    if not on_gpu:
        return run
    try:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            run()
        return graph.replay
    except RuntimeError:
        wait()
        eager.add(what)
        return run


def time_of(task):
    out_features, in_features = task["shape"]
    weight = torch.randn(out_features, in_features, dtype=torch.bfloat16, device=device)
    packed, state = F.quantize_4bit(weight, quant_type="nf4", compress_statistics=True)
    count = -(-int(settings["coldBytes"]) // (out_features * in_features // 2))
    copies = [packed.clone() for _ in range(count)]
    x = torch.randn(task["rows"], in_features, dtype=torch.bfloat16, device=device)

    def run():
        for matrix in copies:
            bnb.matmul_4bit(x, matrix.t(), quant_state=state)

    queue = captured(run, task["rows"])

    def once(times):
        wait()
        start = time.perf_counter_ns()
        for _ in range(times):
            queue()
        wait()
        return (time.perf_counter_ns() - start) / 1e3 / (times * count)

    times = max(1, round(1e3 * settings["milliseconds"] / (once(2) * count)))
    return statistics.median(once(times) for _ in range(settings["rounds"]))


with torch.no_grad():
    result = {}
    for task in settings["tasks"]:
        result[" x ".join(map(str, [*task["shape"], task["rows"]]))] = time_of(task)
versions = f"bitsandbytes {bnb.__version__}, torch {torch.__version__}"
if eager:
    versions += f" (not captured: {sorted(eager)} rows)"
print(json.dumps({"versions": versions, "times": result}))
