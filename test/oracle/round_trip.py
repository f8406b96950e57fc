"""Reads checkpoints that `pare` wrote and writes some for it, with the token ids of each.

    python test/oracle/round_trip.py job.json result.json

test/interop drives it. job.json has `read`, a list of {name, inputs, checkpoint, adapter}, and
`write`, a list of {name, inputs, checkpoint, directory, removed, adapterStd}: of each of the latter's
checkpoints it saves in `directory` what save_pretrained, bitsandbytes and PEFT make of it (plain,
pruned of the layers `removed`, nf4, a random adapter, merged, requantized). `inputs` is `vectors` (the prompts of model.py; the checkpoint needs no
tokenizer) or `clips` (the wav files `clips`, asked for each of `languages`, `maxNewTokens` at most).

result.json has `read`, {name: ids or error}, and `written`, a list of {name, inputs, checkpoint,
adapter, ids}, read back from disk; ids are without end tokens.
"""

import json
import os
import sys
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import bitsandbytes
import torch
import transformers
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoProcessor, BitsAndBytesConfig, Qwen2AudioForConditionalGeneration

import interop
from model import greedy, prune, versions
from nf4_model import dequantize

KERNEL_WIDTH = 64


def load(checkpoint: Path, adapter: Path | None = None):
    """In the dtypes of the file."""
    model = interop.load(checkpoint, None, None)
    read_exactly(model)
    if adapter:
        interop.check_adapter_keys(model, adapter)
        model = PeftModel.from_pretrained(model, adapter)
    return model.eval()


def in_float32(model):
    """Computes in float32, from weights as they are stored: files are what is compared, and in
    bfloat16 a near tie may fall either way."""
    for module in model.modules():
        if isinstance(module, bitsandbytes.nn.Linear4bit):
            module.compute_dtype = module.weight.quant_state.dtype = torch.float32
        for parameter in module.parameters(recurse=False):
            if parameter.is_floating_point():  # 4-bit weights are bytes
                parameter.data = parameter.data.float()
    return model


def read_exactly(model) -> None:
    """Plain layers for 4-bit ones whose width bitsandbytes' AVX-512 code reads wrongly: see
    nf4_model.py. The tiny model has such."""
    for name, module in list(model.named_modules()):
        if not isinstance(module, bitsandbytes.nn.Linear4bit) or module.in_features % KERNEL_WIDTH == 0:
            continue
        weight = dequantize(module.weight.data, module.weight.quant_state)
        plain = torch.nn.Linear(*weight.shape[::-1], bias=module.bias is not None, dtype=weight.dtype)
        plain.weight.data.copy_(weight)
        if module.bias is not None:
            plain.bias.data.copy_(module.bias.data)
        model.set_submodule(name, plain)


def answers(job: dict, inputs: str, checkpoint: Path, adapter: Path | None) -> list[list[int]]:
    model = in_float32(load(checkpoint, adapter))
    ends = interop.end_ids(model, checkpoint)
    if inputs == "vectors":
        return [interop.cut(greedy(model, [row])[0][0], ends) for row in range(3)]
    processor = AutoProcessor.from_pretrained(checkpoint)
    return [
        interop.translate(
            model, processor, [Path(clip)],
            f"Translate the English speech into {language}:", job["maxNewTokens"], ends,
        )[0][0]
        for language in job["languages"]
        for clip in job["clips"]
    ]  # fmt: skip


def read(job: dict) -> dict:
    result = {}
    for one in job["read"]:
        adapter = Path(one["adapter"]) if one.get("adapter") else None
        try:
            result[one["name"]] = answers(job, one["inputs"], Path(one["checkpoint"]), adapter)
        except (Exception, SystemExit) as error:  # interop.load exits for tensors left over
            result[one["name"]] = f"{type(error).__name__}: {error}"
    return result


def in_four_bits(checkpoint: Path):
    dtype = load(checkpoint).dtype
    config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )
    return Qwen2AudioForConditionalGeneration.from_pretrained(
        checkpoint, dtype=dtype, quantization_config=config
    ).eval()


def save_adapter(checkpoint: Path, directory: Path, std: float) -> None:
    torch.manual_seed(3)
    config = LoraConfig(r=4, lora_alpha=8, use_rslora=True, target_modules="all-linear")
    model = get_peft_model(load(checkpoint), config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=std)
    model.save_pretrained(directory, save_embedding_layers=False)


def write(base: dict) -> list[tuple[str, Path, Path | None]]:
    """Names, checkpoints and adapters of what was saved."""
    checkpoint, directory = Path(base["checkpoint"]), Path(base["directory"])
    adapter = directory / "adapter"
    plain = load(checkpoint)
    pruned = prune(plain, base["removed"]).to(plain.dtype)
    saved = {"plain": plain, "pruned": pruned, "nf4": in_four_bits(checkpoint)}
    save_adapter(checkpoint, adapter, base["adapterStd"])
    saved["merged"] = PeftModel.from_pretrained(load(checkpoint), adapter).merge_and_unload()
    four_bits = in_four_bits(checkpoint)
    saved["requantized"] = PeftModel.from_pretrained(four_bits, adapter).merge_and_unload()
    has_processor = (checkpoint / "tokenizer.json").exists()
    for name, model in saved.items():
        model.save_pretrained(directory / name)
        if has_processor:
            AutoProcessor.from_pretrained(checkpoint).save_pretrained(directory / name)
    adapted = [(f"{base} with adapter", directory / base, adapter) for base in ("plain", "nf4")]
    return [*((name, directory / name, None) for name in saved), *adapted]


def main() -> None:
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    job = json.loads(Path(sys.argv[1]).read_text())
    result = {"versions": versions(), "read": read(job), "written": []}
    for base in job["write"]:
        for name, checkpoint, adapter in write(base):
            ids = answers(job, base["inputs"], checkpoint, adapter)
            result["written"].append(
                {
                    "name": f"{base['name']} {name}",
                    "inputs": base["inputs"],
                    "checkpoint": str(checkpoint),
                    "adapter": str(adapter) if adapter else None,
                    "ids": ids,
                }
            )
    Path(sys.argv[2]).write_text(json.dumps(result))


if __name__ == "__main__":
    main()
