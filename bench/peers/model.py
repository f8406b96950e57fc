"""Loads the model of a contestant in Python, in bfloat16 or in 4 bits as QLoRA has it."""

import torch
import transformers


def load(folder, four_bits=True):
    return transformers.Qwen2AudioForConditionalGeneration.from_pretrained(
        folder,
        dtype=torch.bfloat16,
        quantization_config=transformers.BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16,
        )
        if four_bits
        else None,
    )
