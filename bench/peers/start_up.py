"""Imports transformers' model and, where a folder is given, loads a checkpoint; prints a line."""

import sys

import torch
from transformers import Qwen2AudioForConditionalGeneration

model = None
if len(sys.argv) > 1:
    model = Qwen2AudioForConditionalGeneration.from_pretrained(sys.argv[1], dtype=torch.bfloat16)
print(torch.__version__, model.num_parameters() if model else "")
