"""Vectors of bitsandbytes' NF4 on the CPU, for test/nf4.

Run: python test/oracle/nf4.py (see requirements.txt). Writes vectors/nf4.json and
vectors/nf4.safetensors. Large inputs are not stored: `values` below and test/nf4/vectors.ts
compute the same numbers.
"""

import base64
import hashlib
import json
import os
import platform
from pathlib import Path

os.environ["TORCHDYNAMO_DISABLE"] = "1"  # bitsandbytes' plain code, not a compiled rewrite of it

import bitsandbytes as bnb
import bitsandbytes.backends.default.ops as generic
import bitsandbytes.functional as F
import numpy
import safetensors
import torch
from safetensors.torch import save_file

FOLDER = Path(__file__).parent / "vectors"
BLOCK_SIZES = [32, 64, 128, 256, 512, 1024, 2048, 4096]
DTYPES = [torch.float32, torch.bfloat16, torch.float16]


def values(count, seed, peak_every=0):
    """float32 in [-1, 1], bell-shaped, from integer arithmetic. With `peak_every`, that often a
    multiple of 1/256 above 1: the block's absmax then sum exactly, in whatever order a machine
    adds them, and the nested offset is the same everywhere."""
    i = numpy.arange(count, dtype=numpy.uint64)
    bits = ((i * 2654435761 + seed * 40503) & 0xFFFFFFFF).astype(numpy.uint64)
    bits = ((bits ^ (bits >> 15)) * 2246822519) & 0xFFFFFFFF
    bits = (bits ^ (bits >> 13)) >> 8
    u = bits.astype(numpy.float64) / 2**23 - 1
    result = u * u * u
    if peak_every:
        at = numpy.arange(0, count, peak_every)
        sign = numpy.where(at // peak_every % 3 == 1, -1, 1)
        result[at] = sign * (257 + at // peak_every * 37 % 700) / 256
    return torch.from_numpy(result.astype(numpy.float32))


def encode(tensor):
    flat = tensor.detach().contiguous().reshape(-1)
    return base64.b64encode(flat.view(torch.uint8).numpy().tobytes()).decode()


def digest(tensor):
    flat = tensor.detach().contiguous().reshape(-1)
    return hashlib.sha256(flat.view(torch.uint8).numpy().tobytes()).hexdigest()


def dequantize(packed, state):
    """bitsandbytes' generic code. Its AVX-512 code (0.50.2), which F.dequantize_4bit takes on such
    a CPU, counts blocks from each row's start and reads wrong absmax where the rows are not a
    multiple of the block size; and flushes subnormal bfloat16 to zero."""
    absmax = state.absmax
    if state.nested:
        absmax = F.dequantize_blockwise(absmax, state.state2) + state.offset
    return generic._dequantize_4bit_compute(
        packed.reshape(-1), absmax, state.code, state.blocksize, state.shape, state.dtype
    )


def name(dtype):
    return str(dtype).removeprefix("torch.")


def plain(dtype, block_size):
    count = 2 * block_size + 37
    packed, state = F.quantize_4bit(
        values(count, seed=block_size).to(dtype), blocksize=block_size, quant_type="nf4"
    )
    return {
        "dtype": name(dtype),
        "blockSize": block_size,
        "count": count,
        "seed": block_size,
        "packedShape": list(packed.shape),
        "packed": encode(packed),
        "absmax": encode(state.absmax),
        "dequantizedSha256": digest(dequantize(packed, state)),
    }


def nested(dtype, shape, block_size, peak_every):
    count = shape[0] * shape[1]
    weight = values(count, seed=count, peak_every=peak_every).to(dtype).reshape(shape)
    packed, state = F.quantize_4bit(
        weight, blocksize=block_size, quant_type="nf4", compress_statistics=True
    )
    entries = state.as_dict(packed=True)
    quant_state = bytes(entries.pop("quant_state.bitsandbytes__nf4").numpy()).decode()
    del entries["quant_map"], entries["nested_quant_map"]
    return {
        "dtype": name(dtype),
        "shape": shape,
        "blockSize": block_size,
        "seed": count,
        "peakEvery": peak_every,
        "exactMean": peak_every == block_size,
        "packedSha256": digest(packed),
        "quantState": quant_state,
        "entries": {key: encode(value) for key, value in entries.items()},
        "dequantizedSha256": digest(dequantize(packed, state)),
    }


def special():
    """Inputs where thresholds, roundings and empty blocks decide."""
    code = F.get_4bit_type("nf4", device="cpu")
    ties = ((code[1:] + code[:-1]) / 2).repeat_interleave(3)
    nudged = torch.nextafter(ties, torch.tensor([-2.0, 0.0, 2.0]).repeat(15))
    nudged[1::3] = ties[1::3]
    third = torch.full((64,), 1 / 3)
    cases = {
        "ties at absmax 1": torch.cat([torch.tensor([1.0]), nudged, -nudged[:18]]),
        "ties, ragged": torch.cat([torch.tensor([1.0]), nudged]),
        "ties at absmax 0.3": torch.cat([torch.tensor([1.0]), nudged, -nudged[:18]]) * 0.3,
        "codebook entries": torch.cat([code, -code, code / 3, -code / 7]),
        "zeros": torch.zeros(128),
        "zeros, ragged and odd": torch.zeros(67),
        "negative zeros": torch.full((64,), -0.0),
        "subnormal": torch.tensor([1e-39, -2e-39, 5e-40, 0.0] * 16),
        "subnormal, ragged": torch.tensor([1e-39, -2e-39, 5e-40]),
        "largest": torch.tensor([3.4028234e38, -3.4028234e38, 1e38, -1e37] * 16),
        "one large": torch.cat([torch.tensor([1e30]), values(63, seed=5)]),
        "one value": torch.tensor([-0.125]),
        "two values": torch.tensor([0.5, -2.0]),
        "constant": torch.cat([third, -third]),
    }
    result = []
    for title, source in cases.items():
        for dtype in DTYPES:
            cast = source.to(dtype)
            if not torch.isfinite(cast.float()).all():
                continue
            packed, state = F.quantize_4bit(cast, blocksize=64, quant_type="nf4")
            twice = F.quantize_4bit(cast, blocksize=64, quant_type="nf4", compress_statistics=True)
            entries = twice[1].as_dict(packed=True)
            result.append(
                {
                    "title": title,
                    "dtype": name(dtype),
                    "values": encode(source),
                    "packed": encode(packed),
                    "absmax": encode(state.absmax),
                    "dequantized": encode(dequantize(packed, state)),
                    "nestedCodes": encode(entries["absmax"]),
                    "nestedAbsmax": encode(entries["nested_absmax"]),
                    "quantState": bytes(
                        entries["quant_state.bitsandbytes__nf4"].numpy()
                    ).decode(),
                }
            )
    return result


def linear(dtype, batch, shape, with_bias):
    """bitsandbytes' own product and gradients, through its autograd function."""
    out_features, in_features = shape
    weight = values(out_features * in_features, seed=11, peak_every=64).to(dtype).reshape(shape)
    packed, state = F.quantize_4bit(
        weight, blocksize=64, quant_type="nf4", compress_statistics=True
    )
    x = values(batch * in_features, seed=12).to(dtype).reshape(batch, in_features)
    x.requires_grad_()
    bias = values(out_features, seed=13).to(dtype).requires_grad_() if with_bias else None
    gradient = values(batch * out_features, seed=14).to(dtype).reshape(batch, out_features)
    y = bnb.matmul_4bit(x, packed, state, bias=bias)
    y.backward(gradient)
    return {
        "dtype": name(dtype),
        "batch": batch,
        "shape": shape,
        "y": encode(y.float()),
        "xGrad": encode(x.grad.float()),
        "biasGrad": encode(bias.grad.float()) if with_bias else None,
    }


def checkpoint():
    """A module as transformers saves it, to be read back."""
    module = bnb.nn.Linear4bit(
        96, 40, bias=True, quant_type="nf4", compress_statistics=True, compute_dtype=torch.bfloat16
    )
    weight = values(40 * 96, seed=21, peak_every=64).to(torch.bfloat16).reshape(40, 96)
    module.weight = bnb.nn.Params4bit(
        weight, requires_grad=False, quant_type="nf4", compress_statistics=True, module=module
    )
    module.bias = torch.nn.Parameter(values(40, seed=22).to(torch.bfloat16))
    module = module.to("cpu")
    if module.weight.dtype != torch.uint8:
        raise SystemExit("bitsandbytes left the weight unquantised")
    state = {f"proj.{key}": value for key, value in module.state_dict().items()}
    save_file(state, FOLDER / "nf4.safetensors")
    return {
        "keys": list(state),
        "dequantizedSha256": digest(dequantize(module.weight.data, module.weight.quant_state)),
    }


def main():
    torch.manual_seed(0)
    vectors = {
        "versions": {
            "python": platform.python_version(),
            "bitsandbytes": bnb.__version__,
            "torch": torch.__version__,
            "safetensors": safetensors.__version__,
        },
        "codebook": encode(F.get_4bit_type("nf4", device="cpu")),
        "dynamicMap": encode(F.create_dynamic_map()),
        "plain": [plain(dtype, size) for dtype in DTYPES for size in BLOCK_SIZES],
        "nested": [
            nested(torch.float32, [130, 258], 64, 64),
            nested(torch.bfloat16, [64, 96], 64, 64),
            nested(torch.float16, [33, 95], 128, 128),
            nested(torch.float32, [7, 9], 64, 64),
            nested(torch.float32, [300, 61], 32, 0),
        ],
        "special": special(),
        "linear": [
            linear(dtype, batch, shape, with_bias)
            for dtype in DTYPES
            for batch, shape, with_bias in [
                (1, [24, 64], False),
                (3, [24, 64], True),
                (20, [24, 64], True),
                (2, [10, 37], False),
                (11, [10, 37], False),
            ]
        ],
        "checkpoint": checkpoint(),
    }
    text = json.dumps(vectors, indent=1) + "\n"
    (FOLDER / "nf4.json").write_text(text)
    print(len(text), "bytes")


if __name__ == "__main__":
    main()
