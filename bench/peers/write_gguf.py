"""Writes the text decoder of a checkpoint as a file of llama.cpp, all matrices in Q4_0:

    python write_gguf.py CHECKPOINT OUTPUT

The tokens' texts are made up: only their ids are used.
"""

import json
import sys
from pathlib import Path

import gguf
import numpy
import torch
from safetensors import safe_open

folder, output = map(Path, sys.argv[1:])
config = json.loads((folder / "config.json").read_text())["text_config"]
names = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}

writer = gguf.GGUFWriter(output, "qwen2")
writer.add_block_count(config["num_hidden_layers"])
writer.add_context_length(config["max_position_embeddings"])
writer.add_embedding_length(config["hidden_size"])
writer.add_feed_forward_length(config["intermediate_size"])
writer.add_head_count(config["num_attention_heads"])
writer.add_head_count_kv(config["num_key_value_heads"])
writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
writer.add_rope_freq_base(config["rope_theta"])
writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q4_0)
vocabulary = config["vocab_size"]
writer.add_tokenizer_model("gpt2")
writer.add_tokenizer_pre("qwen2")
writer.add_token_list([f"t{i}" for i in range(vocabulary)])
writer.add_token_types([gguf.TokenType.NORMAL] * (vocabulary - 1) + [gguf.TokenType.CONTROL])
writer.add_token_merges(["t 0"])
writer.add_eos_token_id(vocabulary - 1)
writer.add_bos_token_id(vocabulary - 1)

for file in sorted(folder.glob("*.safetensors")):
    with safe_open(file, "pt") as tensors:
        for key in tensors.keys():
            if not key.startswith("language_model."):
                continue
            name = key.removeprefix("language_model.")
            block = ""
            if name.startswith("model.layers."):
                _, _, number, name = name.split(".", 3)
                block = f"blk.{number}."
            module, kind = name.rsplit(".", 1)
            values = tensors.get_tensor(key).to(torch.float32).numpy()
            target = f"{block}{names[module]}.{kind}"
            if values.ndim == 1:
                writer.add_tensor(target, values.astype(numpy.float32))
            else:
                q4 = gguf.GGMLQuantizationType.Q4_0
                writer.add_tensor(target, gguf.quants.quantize(values, q4), raw_dtype=q4)
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()
