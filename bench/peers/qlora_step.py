"""One QLoRA step after another with transformers, PEFT and bitsandbytes; see ../qlora-step.ts."""

import json
import sys
import time

import bitsandbytes
import peft
import torch
import transformers
from model import load
from serve import peak_megabytes, reset_peak, serve

folder, example_file, checkpointed, threads = sys.argv[1:]
torch.set_num_threads(int(threads))
torch.manual_seed(1)
model = load(folder)
model.requires_grad_(False)
if checkpointed == "checkpointed":
    model.gradient_checkpointing_enable({"use_reentrant": False})
    model.enable_input_require_grads()
config = peft.LoraConfig(
    r=64, lora_alpha=128, use_rslora=True, lora_dropout=0.0, target_modules="all-linear"
)
model = peft.get_peft_model(model, config)
model.config.use_cache = False
model.train()
trained = [p for p in model.parameters() if p.requires_grad]
optimizer = torch.optim.AdamW(trained, lr=1e-5, weight_decay=0, fused=True)

with open(example_file) as file:
    example = json.load(file)
input_ids = torch.tensor([example["inputIds"]])
labels = torch.tensor([example["labels"]])
frames = example["frames"]
features = torch.tensor(example["mel"]).view(1, 128, frames)
mask = torch.ones(1, frames, dtype=torch.long)
first = True


def step():
    global first
    start = time.perf_counter()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = model(
            input_ids=input_ids,
            attention_mask=torch.ones_like(input_ids),
            input_features=features,
            feature_attention_mask=mask,
            labels=labels,
        ).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(trained, 1.0)
    optimizer.step()
    optimizer.zero_grad()
    ms = (time.perf_counter() - start) * 1000
    if first:
        reset_peak()
    first = False
    return {"ms": ms, "megabytes": peak_megabytes(), "loss": loss.item()}


versions = ", ".join(f"{m.__name__} {m.__version__}" for m in (torch, transformers, peft, bitsandbytes))
serve({"versions": versions, "trainable": sum(p.numel() for p in trained)}, step)
