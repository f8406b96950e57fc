"""Minimal vectors of LoRA with PEFT, and a check of an adapter that pare wrote.

    python test/oracle/lora.py
    python test/oracle/lora.py check ADAPTER   # against adapter-lora, on the tiny model

The first writes under test/oracle/vectors/lora/:
  vectors.json        outputs, gradients, merged weights of a small network; which names match
  base.safetensors    the network's weights
  adapter/            its adapter in PEFT's file format
"""

import json
import platform
import shutil
import sys
from pathlib import Path

import peft
import safetensors
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.tuners_utils import check_target_module_exists
from safetensors.torch import load_file, save_file

VECTORS = Path(__file__).parent / "vectors"
OUT = VECTORS / "lora"

NAMES = [
    "model.audio_tower.layers.0.self_attn.q_proj",
    "model.audio_tower.layers.11.fc1",
    "model.multi_modal_projector.linear",
    "model.language_model.layers.0.self_attn.q_proj",
    "model.language_model.layers.10.mlp.up_proj",
    "model.language_model.layers.1.mlp.gate_up_proj",
    "q_proj",
]
TARGETS = [
    ["q_proj"],
    ["self_attn.q_proj", "linear"],
    ["proj"],
    ["layers.0.self_attn.q_proj"],
    ["model.language_model.layers.10.mlp.up_proj"],
    ["up_proj", "fc1"],
    "q_proj",
    r".*\.q_proj",
    r"model\.language_model\..*(q|up)_proj",
    r"(?!model\.audio_tower).*_proj|.*linear",
    r".*layers\.1",
    r".*layers\.\d\..*",
]


class Network(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q_proj = torch.nn.Linear(6, 10)
        self.o_proj = torch.nn.Linear(10, 5, bias=False)
        self.lm_head = torch.nn.Linear(5, 7, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.lm_head(torch.tanh(self.o_proj(torch.tanh(self.q_proj(x)))))


def adapted(base: dict, dtype: torch.dtype = torch.float32) -> PeftModel:
    network = Network()
    network.load_state_dict(base)
    return PeftModel.from_pretrained(network.to(dtype), OUT / "adapter", is_trainable=True)


def main() -> None:
    torch.manual_seed(5)
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    network = Network()
    base = {name: value.clone() for name, value in network.state_dict().items()}
    save_file(base, OUT / "base.safetensors", metadata={"format": "pt"})
    config = LoraConfig(
        r=3, lora_alpha=5, use_rslora=True, target_modules=["q_proj", "o_proj"],
        init_lora_weights=False,
    )  # fmt: skip
    get_peft_model(network, config).save_pretrained(OUT / "adapter")
    (OUT / "adapter/README.md").unlink(missing_ok=True)
    path = OUT / "adapter/adapter_config.json"
    written = json.loads(path.read_text())
    written["target_modules"].sort()  # PEFT writes a set, in any order
    path.write_text(json.dumps(written, indent=2) + "\n")

    x = torch.randn(2, 4, 6)
    model = adapted(base)
    output = model(x)
    output.square().sum().backward()
    gradients = {n: p.grad.tolist() for n, p in model.named_parameters() if p.requires_grad}
    low = adapted(base, torch.bfloat16)
    assert {p.dtype for p in low.parameters() if p.requires_grad} == {torch.float32}
    with torch.no_grad():
        output_low = low(x.bfloat16())
        plain = model.get_base_model().q_proj.base_layer(x)
        assert not torch.allclose(plain, model.get_base_model().q_proj(x))
    scaling = model.get_base_model().q_proj.scaling["default"]
    merged = model.merge_and_unload().state_dict()
    matches = [
        [bool(check_target_module_exists(LoraConfig(target_modules=t), n)) for n in NAMES]
        for t in TARGETS
    ]
    vectors = {
        "madeBy": "test/oracle/lora.py",
        "versions": {
            "python": platform.python_version(),
            **{p.__name__: p.__version__ for p in (torch, peft, safetensors)},
        },
        "network": "lm_head(tanh(o_proj(tanh(q_proj(x))))), float32; adapter on q_proj, o_proj",
        "scaling": scaling,
        "x": x.tolist(),
        "output": output.tolist(),
        "outputBfloat16": output_low.float().tolist(),
        "gradients": gradients,
        "gradientsOf": "the sum of the squares of output",
        "merged": {name: value.tolist() for name, value in merged.items()},
        "names": NAMES,
        "targets": [{"targetModules": t, "matches": m} for t, m in zip(TARGETS, matches)],
    }
    (OUT / "vectors.json").write_text(json.dumps(vectors) + "\n")


def check(directory: Path) -> None:
    """PEFT reads the folder onto the tiny model and finds every tensor of adapter-lora in it."""
    import warnings

    from transformers import Qwen2AudioForConditionalGeneration

    warnings.simplefilter("error", UserWarning)  # PEFT only warns of missing and unexpected keys
    base = Qwen2AudioForConditionalGeneration.from_pretrained(
        VECTORS / "tiny-model", dtype=torch.float32
    )
    model = PeftModel.from_pretrained(base, directory)
    found = {n: p for n, p in model.named_parameters() if "lora_" in n}
    expected = load_file(VECTORS / "adapter-lora/adapter_model.safetensors")
    expected = {n.replace(".weight", ".default.weight"): p for n, p in expected.items()}
    assert found.keys() == expected.keys(), found.keys() ^ expected.keys()
    assert all(torch.equal(found[n], p) for n, p in expected.items())
    scales = {m.scaling["default"] for m in model.modules() if hasattr(m, "lora_A")}
    assert scales == {8 / 4**0.5}, scales
    print(f"PEFT {peft.__version__} reads {directory}: {len(found)} tensors, scaling {scales}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["check"]:
        check(Path(sys.argv[2]))
    else:
        main()
