"""The other side of ../parts/bitsandbytes.ts: for each line {"op", "shape", "rows", "dtype", "calls"} does that
with bitsandbytes, as its nn.Linear4bit does in inference, and answers with the milliseconds a call took.
Matrices are taken in turn, more of them than a cache holds."""

import sys
import time

import bitsandbytes as bnb
import bitsandbytes.functional as F
import torch
from serve import serve

torch.set_num_threads(int(sys.argv[1]))
COLD_BYTES = 192e6
layers, dense = {}, {}


def layers_of(shape, dtype):
    key = (tuple(shape), dtype)
    if key not in layers:
        out_features, in_features = shape
        count = max(2, int(-(-COLD_BYTES // (out_features * in_features / 2))))
        weight = torch.randn(out_features, in_features, dtype=dtype)
        made = []
        for _ in range(count):
            layer = bnb.nn.Linear4bit(
                in_features, out_features, bias=False, compute_dtype=dtype, quant_type="nf4"
            )
            layer.weight = bnb.nn.Params4bit(weight, requires_grad=False, quant_type="nf4")
            made.append(layer.to("cpu").eval())
        layers.clear()  # one shape at a time
        layers[key] = made
    return layers[key]


def run(op, shape, rows, dtype, calls):
    dtype = getattr(torch, dtype)
    if op == "linear":
        made = layers_of(shape, dtype)
        x = torch.randn(rows, shape[1], dtype=dtype)
        for layer in made:  # each repacks its weight when it is first called
            layer(x)
        start = time.perf_counter_ns()
        for i in range(calls):
            made[i % len(made)](x)
    else:
        weight = torch.randn(*shape, dtype=dtype)
        packed, state = F.quantize_4bit(weight, quant_type="nf4", compress_statistics=True)
        start = time.perf_counter_ns()
        for _ in range(calls):
            if op == "quantize":
                F.quantize_4bit(weight, quant_type="nf4", compress_statistics=True)
            else:
                F.dequantize_4bit(packed, state)
    return {"ms": (time.perf_counter_ns() - start) / calls / 1e6}


versions = f"bitsandbytes {bnb.__version__}, torch {torch.__version__}"
with torch.no_grad():
    serve({"versions": versions}, run)
