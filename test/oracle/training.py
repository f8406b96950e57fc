"""Losses of five training steps of the tiny model with PyTorch, PEFT and bitsandbytes.

    python test/oracle/model.py && python test/oracle/training.py

Writes under test/oracle/vectors/:
  training-vectors.json   batch, schedule, and per run: losses, gradient norms, last loss
  adapter-initial/        LoRA adapter before the first step (PEFT's file format, B = 0)
  adapter-lora/           the same after five steps on the float32 base
  adapter-qlora/          the same after five steps on the NF4 base
"""

import json
import math
import shutil
from pathlib import Path

import bitsandbytes
import peft
import torch
import transformers
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import Qwen2AudioForConditionalGeneration

from model import (
    PAD,
    TINY_MODEL,
    VECTORS,
    attention_mask,
    feature_attention_mask,
    input_features,
    pad,
    prompts,
    quantized,
    versions,
    write_json,
)

TARGETS = [[31, 222, 90, 17, 1], [64, 65, 1], [205, 11, 11, 180, 93, 47, 128, 1]]
STEPS, LEARNING_RATE, WEIGHT_DECAY, MAX_GRAD_NORM = 5, 1e-3, 0.001, 1.0
BETAS, EPS = (0.9, 0.999), 1e-8
ADAPTER_INITIAL = VECTORS / "adapter-initial"


def cosine(step: int) -> float:
    """Learning rate of the step, from 0; as get_cosine_schedule_with_warmup without warm-up."""
    return LEARNING_RATE * 0.5 * (1 + math.cos(math.pi * step / STEPS))


def summed_loss(model, rows: list[int], left: bool = True) -> torch.Tensor:
    """Cross-entropy summed over the target tokens of the rows; labels are -100 on the prompt."""
    sequences = [prompts()[r] + TARGETS[r] for r in rows]
    labels = pad([[-100] * len(prompts()[r]) + TARGETS[r] for r in rows], -100, left)
    mask = attention_mask(sequences, left)
    output = model(
        input_ids=pad(sequences, PAD, left),
        attention_mask=mask,
        position_ids=(mask.cumsum(-1) - 1).clamp(min=0),
        input_features=input_features()[rows],
        feature_attention_mask=feature_attention_mask()[rows],
        labels=labels,
        use_cache=False,
    )
    logits = output.logits[:, :-1].reshape(-1, output.logits.shape[-1])
    total = torch.nn.functional.cross_entropy(
        logits, labels[:, 1:].reshape(-1), ignore_index=-100, reduction="sum"
    )
    count = int((labels[:, 1:] != -100).sum())
    assert torch.allclose(output.loss, total / count, rtol=1e-6), "not the loss of transformers"
    return total


def train(model, micro_batches: list[list[int]], decay_all: bool = True, left: bool = True):
    """Every step sees all rows. The gradient of a step is that of (sum over its target tokens) /
    (number of its target tokens), however the rows are split."""
    model.train()
    trainable = {n: p for n, p in model.named_parameters() if p.requires_grad}
    decayed = {n for n in trainable if decay_all or not ("norm" in n or n.endswith("bias"))}
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for n, p in trainable.items() if n in decayed]},
            {"params": [p for n, p in trainable.items() if n not in decayed], "weight_decay": 0.0},
        ],
        lr=LEARNING_RATE,
        betas=BETAS,
        eps=EPS,
        weight_decay=WEIGHT_DECAY,
        foreach=False,
    )
    tokens = sum(len(TARGETS[r]) for rows in micro_batches for r in rows)
    losses, norms = [], []
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = cosine(step)
        optimizer.zero_grad(set_to_none=True)
        total = 0.0
        for rows in micro_batches:
            loss = summed_loss(model, rows, left) / tokens
            loss.backward()
            total += loss.item()
        norms.append(float(torch.nn.utils.clip_grad_norm_(trainable.values(), MAX_GRAD_NORM)))
        losses.append(total)
        optimizer.step()
    with torch.no_grad():
        after = sum(summed_loss(model, rows, left).item() for rows in micro_batches) / tokens
    return {"losses": losses, "gradientNorms": norms, "lossAfter": after}


def relative(a: dict, b: dict) -> float:
    pairs = zip([*a["losses"], a["lossAfter"]], [*b["losses"], b["lossAfter"]])
    return max(abs(x - y) / abs(y) for x, y in pairs)


def base():
    return Qwen2AudioForConditionalGeneration.from_pretrained(TINY_MODEL, dtype=torch.float32)


def linear_modules(model) -> list[str]:
    """Names of all linear layers but lm_head, as in memory (transformers 5)."""
    kinds = (torch.nn.Linear, bitsandbytes.nn.Linear4bit)
    return sorted(
        n for n, m in model.named_modules() if isinstance(m, kinds) and not n.endswith("lm_head")
    )


def adapted_modules(model: PeftModel) -> list[str]:
    prefix = "base_model.model."
    return sorted(n[len(prefix) :] for n, m in model.named_modules() if hasattr(m, "lora_A"))


def save_adapter(model: PeftModel, directory: Path) -> None:
    shutil.rmtree(directory, ignore_errors=True)
    model.peft_config["default"].base_model_name_or_path = "tiny-model"
    model.save_pretrained(directory, save_embedding_layers=False)
    (directory / "README.md").unlink(missing_ok=True)
    path = directory / "adapter_config.json"
    config = json.loads(path.read_text())
    config["target_modules"].sort()  # PEFT writes a set, in any order
    path.write_text(json.dumps(config, indent=2) + "\n")


def initial_adapter() -> list[str]:
    torch.manual_seed(1)
    model = base()
    expected = linear_modules(model)
    config = LoraConfig(
        r=4,
        lora_alpha=8,
        use_rslora=True,
        lora_dropout=0.0,
        bias="none",
        target_modules="all-linear",
    )
    adapted = get_peft_model(model, config)
    assert adapted_modules(adapted) == expected, "all-linear is not: all linear layers but lm_head"
    save_adapter(adapted, ADAPTER_INITIAL)
    return expected


def with_adapter(model) -> PeftModel:
    adapted = PeftModel.from_pretrained(model, ADAPTER_INITIAL, is_trainable=True)
    assert adapted_modules(adapted) == linear_modules(base())
    trainable = [n for n, p in adapted.named_parameters() if p.requires_grad]
    assert trainable and all("lora_" in n for n in trainable)
    return adapted


def main() -> None:
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    everything = [[0, 1, 2]]

    model = base()
    frozen = [n for n, p in model.named_parameters() if not p.requires_grad]
    full = train(model, everything)
    accumulated = train(base(), [[0, 1], [2]])
    checks = {
        "fullAccumulatedAgainstWhole": relative(accumulated, full),
        "fullWithoutDecayOfNormsAndBiases": relative(train(base(), everything, False), full),
        "fullRightPadded": relative(train(base(), everything, left=False), full),
    }
    l2 = {n: p.detach().double().norm().item() for n, p in model.named_parameters()}

    modules = initial_adapter()
    adapted = with_adapter(base())
    scaling = {m.scaling["default"] for m in adapted.modules() if hasattr(m, "lora_A")}
    lora = train(adapted, everything)
    save_adapter(adapted, VECTORS / "adapter-lora")
    lora_accumulated = train(with_adapter(base()), [[0, 1], [2]])
    checks["loraAccumulatedAgainstWhole"] = relative(lora_accumulated, lora)

    nf4 = with_adapter(quantized(TINY_MODEL))
    four_bit = [m for m in nf4.modules() if isinstance(m, bitsandbytes.nn.Linear4bit)]
    assert len(four_bit) == len(modules)
    qlora = train(nf4, everything)
    save_adapter(nf4, VECTORS / "adapter-qlora")

    # The same with plain linear layers that hold the dequantised weights: bitsandbytes' processor
    # code then adds nothing of its own, and an implementation may compute either way.
    emulated = base()
    for name, module in quantized(TINY_MODEL).named_modules():
        if isinstance(module, bitsandbytes.nn.Linear4bit):
            weight = bitsandbytes.functional.dequantize_4bit(
                module.weight.data, module.weight.quant_state
            )
            emulated.get_submodule(name).weight.data.copy_(weight)
    checks["qloraDequantisedAgainstBitsandbytes"] = relative(
        train(with_adapter(emulated), everything), qlora
    )

    write_json(
        VECTORS / "training-vectors.json",
        {
            "madeBy": "test/oracle/training.py",
            "versions": versions(),
            "model": "tiny-model, float32, train mode (every dropout is 0), one thread, sdpa",
            "batch": "clips and prompts of model-vectors.json, each prompt followed by its target; "
            "left-padded, position ids count the attention mask from 0; the same batch each step",
            "targets": TARGETS,
            "labels": "-100 on prompt and padding, the target's ids elsewhere (end token included); "
            "logits at t are scored against labels at t + 1",
            "loss": "cross-entropy summed over the target tokens of the step / their number (16), "
            "also when the step has several micro-batches",
            "optimizer": {
                "name": "torch.optim.AdamW (decoupled decay: p *= 1 - lr * weightDecay, first)",
                "betas": BETAS,
                "eps": EPS,
                "weightDecay": WEIGHT_DECAY,
                "decayed": "every trainable parameter, norms and biases too",
            },
            "schedule": "lr(step) = learningRate / 2 * (1 + cos(pi * step / steps)), step from 0",
            "learningRates": [cosine(s) for s in range(STEPS)],
            "clipping": "clip_grad_norm_ over all trainable parameters together: gradients *= "
            "min(1, maxGradNorm / (norm + 1e-6))",
            "maxGradNorm": MAX_GRAD_NORM,
            "fields": "losses[i]: before update i; gradientNorms[i]: before clipping; lossAfter: "
            "after the last update",
            "full": {
                **full,
                "frozen": frozen,
                "note": "embed_positions is frozen; row padTokenId of embed_tokens has gradient 0 "
                "(padding_idx), weight decay still shrinks it",
                "finalNorms": l2,
            },
            "fullAccumulated": {**accumulated, "microBatches": [[0, 1], [2]]},
            "lora": {
                **lora,
                "r": 4,
                "loraAlpha": 8,
                "useRslora": True,
                "scaling": scaling.pop(),
                "initial": "adapter-initial",
                "final": "adapter-lora",
                "modules": modules,
            },
            "qlora": {
                **qlora,
                "initial": "adapter-initial",
                "final": "adapter-qlora",
                "base": "the modules of lora in NF4 made by bitsandbytes on the processor: block "
                "size 64, double quantisation, float32 compute; trained with bitsandbytes' own "
                "Linear4bit, nothing emulated",
            },
            "maxRelativeDifference": checks,
        },
    )
    print({"full": full, "lora": lora, "qlora": qlora, **checks})


if __name__ == "__main__":
    main()
