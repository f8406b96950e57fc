"""Writes vectors/safetensors.safetensors: every dtype, a scalar, an empty tensor and names that
JSON must escape, as the reference implementation stores them; and vectors/safetensors.json, its
values. With a path as argument, reads that file (written by TypeScript) and prints it, which shows
that the reference accepts it.

Run: python test/oracle/safetensors_file.py [FILE]   (needs: pip install safetensors torch numpy)
"""

import json
import sys
from pathlib import Path

import safetensors
import torch
from safetensors import safe_open
from safetensors.torch import save_file

VECTORS = Path(__file__).parent / "vectors"


def tensors():
    values = torch.arange(6).reshape(2, 3)
    return {
        "f32": values.to(torch.float32) / 4 - 0.5,
        "bf16": (values.to(torch.float32) / 3).to(torch.bfloat16),
        "f16": (values.to(torch.float32) / 3).to(torch.float16),
        "f64": values.to(torch.float64) / 3,
        "i64": values * 2**40 - 7,
        "i32": (values - 3).to(torch.int32),
        "u8": (values * 50).to(torch.uint8),
        "bool": values % 2 == 0,
        "scalar": torch.tensor(3.25),
        "empty": torch.zeros(0, 4),
        '层 "a"\\b\n': torch.tensor([1.0]),
        "7": torch.tensor([7], dtype=torch.int32),
        "__proto__": torch.tensor([2], dtype=torch.uint8),
    }


def read(path):
    with safe_open(path, "pt") as file:
        result = {"metadata": file.metadata(), "tensors": {}}
        for name in file.keys():
            tensor = file.get_tensor(name)
            result["tensors"][name] = {
                "dtype": str(tensor.dtype).removeprefix("torch."),
                "shape": list(tensor.shape),
                "values": tensor.double().flatten().tolist(),
            }
    return result


def main():
    if len(sys.argv) > 1:
        print(json.dumps(read(sys.argv[1]), ensure_ascii=False, sort_keys=True))
        return
    path = VECTORS / "safetensors.safetensors"
    save_file(tensors(), path, metadata={"format": "pt", "note": "ä"})
    versions = {"safetensors": safetensors.__version__, "torch": torch.__version__}
    text = json.dumps({"versions": versions, **read(path)}, ensure_ascii=False, indent=1)
    (VECTORS / "safetensors.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
