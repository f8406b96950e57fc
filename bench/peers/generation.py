"""Greedy generation with transformers and bitsandbytes; see ../generation.ts."""

import sys
import time

import bitsandbytes
import torch
import transformers
from model import load
from serve import serve

folder, mode, threads = sys.argv[1:]
torch.set_num_threads(int(threads))
model = load(folder, mode == "nf4").eval()


@torch.inference_mode()
def answer(prompt, batch, newTokens):
    ids = torch.tensor([[token + i for token in prompt] for i in range(batch)])

    def run(tokens):
        start = time.perf_counter()
        made = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=tokens,
            min_new_tokens=tokens,
            do_sample=False,
        )
        assert made.shape[1] == ids.shape[1] + tokens
        return (time.perf_counter() - start) * 1000

    first, every = run(1), run(newTokens)
    return {"ms": (every - first) / (newTokens - 1), "firstMs": first}


versions = ", ".join(f"{m.__name__} {m.__version__}" for m in (torch, transformers, bitsandbytes))
serve({"versions": versions}, answer)
