"""Checks interop.py on checkpoints made here, without `pare`.

    python test/oracle/interop_selftest.py

Builds a tiny model with the test tokenizer of vectors/processor as float32, bfloat16, NF4 and NF4
with an adapter; decodes without a cache (another path than generate's) for the expected ids;
interop.py must accept those, and refuse a changed id, a changed text and a checkpoint that lacks a
tensor.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import wave
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy
import torch
import transformers
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import (
    AutoTokenizer,
    GenerationConfig,
    Qwen2AudioConfig,
    Qwen2AudioForConditionalGeneration,
    Qwen2AudioProcessor,
    WhisperFeatureExtractor,
)

import interop
from model import VECTORS, quantized

LIMIT = 10


def build(directory: Path) -> Qwen2AudioProcessor:
    tokenizer = AutoTokenizer.from_pretrained(VECTORS / "processor" / "tokenizer")
    extractor = WhisperFeatureExtractor(feature_size=128, chunk_length=2, return_attention_mask=True)
    processor = Qwen2AudioProcessor(feature_extractor=extractor, tokenizer=tokenizer)
    processor.save_pretrained(directory)
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    config = Qwen2AudioConfig(
        audio_config=dict(
            model_type="qwen2_audio_encoder",
            d_model=64,
            encoder_layers=2,
            encoder_attention_heads=4,
            encoder_ffn_dim=64,
            max_source_positions=100,
        ),
        text_config=dict(
            model_type="qwen2",
            vocab_size=len(tokenizer),
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=4,
            num_attention_heads=4,
            num_key_value_heads=4,
            max_position_embeddings=512,
            rms_norm_eps=1e-5,
            eos_token_id=end,
        ),
        audio_token_index=tokenizer.convert_tokens_to_ids("<|AUDIO|>"),
    )
    torch.manual_seed(3)
    model = Qwen2AudioForConditionalGeneration(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.2)
    model.generation_config = GenerationConfig(eos_token_id=[end])
    model.save_pretrained(directory)
    return processor


def write_wavs(directory: Path) -> list[Path]:
    files = []
    for index, seconds in enumerate((0.7, 1.31, 2.0)):
        time = numpy.arange(int(seconds * 16000)) / 16000
        sound = 0.4 * numpy.sin(2 * numpy.pi * (200 + 150 * index) * time * (1 + time))
        files.append(directory / f"{index}.wav")
        with wave.open(str(files[-1]), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(16000)
            file.writeframes((sound * 32767).astype("<i2").tobytes())
    return files


@torch.no_grad()
def expected(model, processor, file: Path, end: int) -> dict:
    text = processor.apply_chat_template(
        interop.conversation("Translate the English speech into German:"),
        add_generation_prompt=True,
        tokenize=False,
    )
    inputs = processor(
        text=text, audio=[interop.read_wav(file)], sampling_rate=16000, return_tensors="pt"
    )
    ids = inputs.pop("input_ids")
    inputs.pop("attention_mask")
    new: list[int] = []
    while len(new) < LIMIT and end not in new:
        whole = torch.cat([ids, torch.tensor([new], dtype=ids.dtype)], 1)
        logits = model(
            input_ids=whole, attention_mask=torch.ones_like(whole), use_cache=False, **inputs
        ).logits
        new.append(int(logits[0, -1].argmax()))
    text = processor.tokenizer.decode(new, skip_special_tokens=True).strip()
    return {"file": str(file), "text": text, "tokenIds": new, "seconds": 0}


def run(checkpoint: Path, records: list[dict], *options: str) -> tuple[int, str]:
    path = checkpoint.parent / "translations.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in records))
    command = [sys.executable, interop.__file__, checkpoint, path, "--max-new-tokens", LIMIT, *options]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    return done.returncode, done.stderr + done.stdout


def main() -> None:
    transformers.logging.set_verbosity_error()
    root = Path(tempfile.mkdtemp(prefix="pare-interop-"))
    processor = build(root / "float32")
    end = processor.tokenizer.convert_tokens_to_ids("<|im_end|>")
    files = write_wavs(root)

    load = lambda name: interop.load(root / name, None, None)
    load("float32").to(torch.bfloat16).save_pretrained(root / "bfloat16")
    quantized(root / "float32").save_pretrained(root / "nf4")
    for name in ("bfloat16", "nf4"):
        processor.save_pretrained(root / name)
    torch.manual_seed(4)
    adapted = get_peft_model(
        load("nf4"), LoraConfig(r=4, lora_alpha=8, use_rslora=True, target_modules="all-linear")
    )
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.05)
    adapted.save_pretrained(root / "adapter", save_embedding_layers=False)

    seen = []
    for name, adapter in ("float32", None), ("bfloat16", None), ("nf4", None), ("nf4", "adapter"):
        options = ["--adapter", root / adapter] if adapter else []
        model = interop.load(root / name, root / adapter if adapter else None, None)
        records = [expected(model, processor, file, end) for file in files]
        seen.append(str([r["tokenIds"] for r in records]))
        for batch in (1, 3) if name == "float32" else (1,):
            code, output = run(root / name, records, *options, "--batch-size", str(batch))
            print(name, adapter or "", f"batch {batch}:", output.strip().splitlines()[-1])
            assert code == 0, output
    assert len(set(seen[2:])) == 2, "the adapter changed nothing"

    changed = [dict(r, tokenIds=list(r["tokenIds"])) for r in records]
    changed[1]["tokenIds"][2] += 1
    code, output = run(root / "nf4", changed, *options)
    assert code == 1 and "2 of 3 identical" in output and "at step 2" in output, output
    code, output = run(root / "nf4", [dict(records[0], text="other")], *options)
    assert code == 1 and "DIFFERENT text" in output, output
    tensors = load_file(root / "float32" / "model.safetensors")
    del tensors["language_model.model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, root / "float32" / "model.safetensors", metadata={"format": "pt"})
    code, output = run(root / "float32", records)
    assert code == 1 and "missing_keys" in output, output
    shutil.rmtree(root)
    print("interop.py accepts what is right and refuses what is wrong")


if __name__ == "__main__":
    main()
