"""The tiny model in NF4 by the definition of the format: greedy ids, logits, QLoRA losses.

    python test/oracle/model.py && python test/oracle/training.py && python test/oracle/nf4_model.py

Writes test/oracle/vectors/nf4-model-vectors.json and .safetensors.

The `nf4` and `qlora` entries of model-vectors and training-vectors come from bitsandbytes' AVX-512
code. It (0.50.2) takes row r's first absmax at r * (in_features // 64) and so reads wrong ones
where in_features is a multiple of 16 and not of 64: of this model fc2 (32) and down_proj (48). Its
generic code does not, and Qwen2-Audio's own sizes (1280, 4096, 5120, 11008) are multiples of 64.
Here bitsandbytes quantises, its generic code dequantises, and plain linear layers
hold the result: training.py shows that these compute as Linear4bit does, to the last bit.
"""

import bitsandbytes
import bitsandbytes.backends.default.ops as generic
import bitsandbytes.functional as F
import torch
import transformers
from safetensors.torch import save_file

from model import EOS, TINY_MODEL, VECTORS, forward, greedy, quantized, versions, write_json
from training import base, train, with_adapter


def dequantize(packed: torch.Tensor, state) -> torch.Tensor:
    absmax = F.dequantize_blockwise(state.absmax, state.state2) + state.offset
    return generic._dequantize_4bit_compute(
        packed.reshape(-1), absmax, state.code, state.blocksize, state.shape, state.dtype
    )


def in_nf4():
    """The model with every linear layer but lm_head rounded to NF4, and the layers that
    bitsandbytes' processor code reads wrong."""
    model, wrong = base().eval(), []
    for name, module in quantized(TINY_MODEL).named_modules():
        if isinstance(module, bitsandbytes.nn.Linear4bit):
            packed, state = module.weight.data, module.weight.quant_state
            weight = dequantize(packed, state)
            if not torch.equal(weight, F.dequantize_4bit(packed, state)):
                wrong.append(name)
            model.get_submodule(name).weight.data.copy_(weight)
    return model, sorted(wrong)


def main() -> None:
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    model, wrong = in_nf4()
    batch, lead = greedy(model, [0, 1, 2])
    single = [greedy(model, [row])[0][0] for row in range(3)]
    assert single == batch, "batched and single greedy ids differ"
    assert lead > 1e-3, "a choice is too close to be safe against rounding"
    last = forward(model, [0, 1, 2])[:, -1].contiguous()
    save_file(
        {"nf4.lastLogits": last},
        VECTORS / "nf4-model-vectors.safetensors",
        metadata={"format": "pt"},
    )
    qlora = train(with_adapter(in_nf4()[0]), [[0, 1, 2]])
    write_json(
        VECTORS / "nf4-model-vectors.json",
        {
            "madeBy": "test/oracle/nf4_model.py",
            "versions": versions(),
            "base": "every linear layer but lm_head in NF4 by bitsandbytes (block size 64, double "
            "quantisation), dequantised by its generic code into plain linear layers, float32",
            "readWrongByAvx512Code": wrong,
            "eosTokenIds": EOS,
            "greedySingle": single,
            "greedyBatch": batch,
            "smallestLead": lead,
            "tensors": {"nf4.lastLogits": "[3, vocab_size], last position of the prompts"},
            "qlora": {**qlora, "initial": "adapter-initial", "settings": "training-vectors.json"},
        },
    )
    print({"greedy": batch, "lead": lead, "qlora": qlora, "readWrongByAvx512Code": wrong})


if __name__ == "__main__":
    main()
