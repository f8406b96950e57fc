"""200 steps of bitsandbytes' AdamW8bit on the CPU, with gradients that a formula gives.

    python test/oracle/adamw_8bit.py

Writes test/oracle/vectors/adamw-8bit.json: the maps, and of each parameter the states at the end
(SHA-256 of the codes, absmax) and every 13th value after steps 1, 10 and 200.

bitsandbytes' compiled CPU quantiser rounds a value to one of 65,536 steps before it looks for the
nearest entry of the map, its CUDA kernel and its own generic code do not. `nearest` is a run with
the generic code; `compiled` is the run as it is, of which the last values are kept.
"""

import hashlib
import json
import platform
from pathlib import Path

import bitsandbytes as bnb
import torch
from bitsandbytes.backends.cpu import ops

STEPS, KEPT = 200, (1, 10, 200)
SETTINGS = {"lr": 2e-3, "betas": (0.9, 0.995), "eps": 1e-8, "weight_decay": 0.01}
# A ragged last block, whole blocks in half precision, and one too small for 8 bits.
SHAPES = {"matrix": ([40, 131], "float32"), "half": ([64, 64], "bfloat16"), "bias": ([128], "float32")}


def start(count: int) -> torch.Tensor:
    i = torch.arange(count, dtype=torch.int64)
    return ((i * 37 + i * i * 11) % 513 - 256).float() / 256


def gradient(count: int, step: int) -> torch.Tensor:
    """Integers over powers of two: the same floats everywhere. Blocks differ by up to 2^11; each
    17th value is 0 throughout."""
    i = torch.arange(count, dtype=torch.int64)
    value = (i * i * 31 + i * 7 + step * step * 13 + i * step * 5) % 509 - 254
    scale = torch.pow(2.0, -8.0 - (i // 256 % 12))
    return value.float() * scale * (i % 17 != 0)


def sample(p: torch.Tensor) -> list[float]:
    return p.detach().double().flatten()[::13].tolist()


def run() -> dict:
    parameters = {
        name: torch.nn.Parameter(
            start(torch.Size(shape).numel()).reshape(shape).to(getattr(torch, dtype))
        )
        for name, (shape, dtype) in SHAPES.items()
    }
    optimizer = bnb.optim.AdamW8bit(parameters.values(), **SETTINGS)
    kept = {name: {} for name in parameters}
    for step in range(1, STEPS + 1):
        for name, p in parameters.items():
            p.grad = gradient(p.numel(), step).reshape(p.shape).to(p.dtype)
        optimizer.step()
        for name, p in parameters.items():
            if step in KEPT:
                kept[name][str(step)] = sample(p)
    result = {}
    for name, p in parameters.items():
        state = optimizer.state[p]
        result[name] = {"shape": list(p.shape), "dtype": SHAPES[name][1], "values": kept[name]}
        if state["state1"].dtype == torch.uint8:
            for part in ("state1", "state2"):
                codes = state[part].flatten().numpy().tobytes()
                result[name][part] = hashlib.sha256(codes).hexdigest()
            for part in ("absmax1", "absmax2"):
                result[name][part] = state[part].double().tolist()
    return result


def main() -> None:
    compiled = run()

    def generic(a, code, absmax_out, out, blocksize):
        codes, absmax = torch.ops.bitsandbytes.quantize_blockwise(a.double(), code, blocksize)
        out.copy_(codes)
        absmax_out.copy_(absmax)

    ops._quant_blockwise_fp32_direct = generic
    vectors = {
        "versions": {
            "python": platform.python_version(),
            "bitsandbytes": bnb.__version__,
            "torch": torch.__version__,
        },
        "settings": SETTINGS,
        "nearest": run(),
        "compiled": {name: r["values"][str(STEPS)] for name, r in compiled.items()},
    }
    path = Path(__file__).parent / "vectors" / "adamw-8bit.json"
    path.write_text(json.dumps(vectors) + "\n")


if __name__ == "__main__":
    main()
