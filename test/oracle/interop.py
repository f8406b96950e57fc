"""Does transformers translate with a checkpoint that `pare` wrote exactly as `pare` does?

    pare translate --model DIR --to German --max-new-tokens 64 --json *.wav > translations.jsonl
    python test/oracle/interop.py DIR translations.jsonl --to German --max-new-tokens 64

DIR is any folder that from_pretrained loads: float32, bfloat16, NF4 with its
quantization_config; `--adapter DIR` puts a PEFT adapter on it. The JSON lines hold at least
`file` (16 kHz mono 16-bit wav, relative to the working directory) and `tokenIds` (new ids; the end
token may be there or not), and `text`, which is compared too if present. Prints a line per file;
exits with 1 unless all token ids and texts are identical, and, before any generation, unless
every tensor of the checkpoint was found and used.
"""

import argparse
import json
import os
import sys
import wave
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import bitsandbytes
import numpy
import peft
import torch
import transformers
from transformers import AutoProcessor, GenerationConfig, Qwen2AudioForConditionalGeneration

SYSTEM = "You are a professional translator."


def load(directory: Path, adapter: Path | None, dtype: str | None):
    model, report = Qwen2AudioForConditionalGeneration.from_pretrained(
        directory, dtype=getattr(torch, dtype) if dtype else "auto", output_loading_info=True
    )
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if report[kind]:
            sys.exit(f"{directory}: {kind}: {sorted(report[kind])[:8]}")
    if adapter:
        check_adapter_keys(model, adapter)
        model = peft.PeftModel.from_pretrained(model, adapter)
    for module in model.modules():
        if isinstance(module, bitsandbytes.nn.Linear4bit):
            # In evaluation bitsandbytes repacks weights for AVX512-BF16 processors: that path
            # computes in bfloat16 and fails when in_features is no multiple of 64.
            module.support_avx512bf16_for_cpu = False
    return model.eval()


def check_adapter_keys(model, adapter: Path) -> None:
    """PEFT only warns when an adapter's tensors do not reach their modules."""
    from safetensors import safe_open

    with safe_open(adapter / "adapter_model.safetensors", "pt") as file:
        names = set(file.keys())
    modules = {name for name, _ in model.named_modules()}
    strays = [n for n in names if n.split(".lora_")[0].removeprefix("base_model.model.") not in modules]
    if strays:
        sys.exit(f"{adapter}: tensors of no module: {sorted(strays)[:8]}")


def read_wav(path: Path) -> numpy.ndarray:
    with wave.open(str(path)) as file:
        if (file.getframerate(), file.getnchannels(), file.getsampwidth()) != (16000, 1, 2):
            sys.exit(f"{path}: not 16 kHz mono 16-bit; convert it first")
        samples = numpy.frombuffer(file.readframes(file.getnframes()), "<i2")
    return samples.astype(numpy.float32) / 32768


def conversation(instruction: str) -> list[dict]:
    audio = {"type": "audio", "audio": "speech.wav"}
    return [
        {"role": "system", "content": SYSTEM},
        {"role": "user", "content": [audio, {"type": "text", "text": instruction}]},
    ]


def end_ids(model, directory: Path) -> list[int]:
    """eos_token_id of generation_config.json, else of config.json's text_config."""
    ids = model.generation_config.eos_token_id or model.config.text_config.eos_token_id
    if ids is None:
        sys.exit(f"{directory}: no eos_token_id in generation_config.json or config.json")
    return ids if isinstance(ids, list) else [ids]


@torch.no_grad()
def translate(model, processor, files: list[Path], instruction: str, limit: int, ends: list[int]):
    """Greedy new ids of every file (one left-padded batch), and the logits of every step."""
    processor.tokenizer.padding_side = "left"
    text = processor.apply_chat_template(
        conversation(instruction), add_generation_prompt=True, tokenize=False
    )
    inputs = processor(
        text=[text] * len(files),
        audio=[read_wav(file) for file in files],
        sampling_rate=16000,
        padding=True,
        return_tensors="pt",
    ).to(model.device)
    pad = processor.tokenizer.pad_token_id
    output = model.generate(
        **inputs,
        generation_config=GenerationConfig(
            max_new_tokens=limit,
            do_sample=False,
            eos_token_id=ends,
            pad_token_id=ends[0] if pad is None else pad,
        ),
        return_dict_in_generate=True,
        output_logits=True,
    )
    new = output.sequences[:, inputs["input_ids"].shape[1] :].tolist()
    return [cut(ids, ends) for ids in new], torch.stack(output.logits, 1).float()


def cut(ids: list[int], ends: list[int]) -> list[int]:
    """Up to the first end token, without it."""
    return next((ids[:i] for i, token in enumerate(ids) if token in ends), ids)


def difference(ours: list[int], theirs: list[int], logits: torch.Tensor, ends: list[int]) -> str:
    """Where the ids part, and by how much transformers preferred its own choice."""
    step = next(
        (i for i, (a, b) in enumerate(zip(ours, theirs)) if a != b), min(len(ours), len(theirs))
    )
    mine = ours[step] if step < len(ours) else ends[0]
    other = theirs[step] if step < len(theirs) else ends[0]
    if step >= len(logits):
        return f"at step {step}: pare went on past the limit with {mine}"
    lead = (logits[step, other] - logits[step, mine]).item()
    return f"at step {step}: transformers {other}, pare {mine}, lead of the former {lead:.3g}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("translations", type=Path, help="output of pare translate --json")
    parser.add_argument("--adapter", type=Path)
    parser.add_argument("--to", default="German")
    parser.add_argument("--instruction", help="instead of 'Translate the English speech into TO:'")
    parser.add_argument("--max-new-tokens", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--dtype", choices=["float32", "bfloat16", "float16"])
    options = parser.parse_args()
    transformers.logging.set_verbosity_error()

    records = [json.loads(line) for line in options.translations.read_text().splitlines() if line]
    if not records:
        sys.exit(f"{options.translations}: no translations to compare")
    model = load(options.checkpoint, options.adapter, options.dtype)
    processor = AutoProcessor.from_pretrained(options.checkpoint)
    ends = end_ids(model, options.checkpoint)
    instruction = options.instruction or f"Translate the English speech into {options.to}:"

    same = 0
    for start in range(0, len(records), options.batch_size):
        batch = records[start : start + options.batch_size]
        files = [Path(r["file"]) for r in batch]
        ids, logits = translate(
            model, processor, files, instruction, options.max_new_tokens, ends
        )
        for record, theirs, row in zip(batch, ids, logits):
            ours = cut(record["tokenIds"], ends)
            text = processor.tokenizer.decode(theirs, skip_special_tokens=True).strip()
            if ours != theirs:
                verdict = "DIFFERENT ids, " + difference(ours, theirs, row, ends)
            elif "text" in record and record["text"].strip() != text:
                verdict = f"DIFFERENT text: transformers {text!r}, pare {record['text']!r}"
            else:
                verdict = f"identical ({len(theirs)} ids)"
                same += 1
            print(f"{record['file']}: {verdict}")
    packages = [torch, transformers, peft, bitsandbytes]
    print(f"{same} of {len(records)} identical;", *(f"{p.__name__} {p.__version__}" for p in packages))
    return 0 if same == len(records) else 1


if __name__ == "__main__":
    sys.exit(main())
