"""Two LoRA adapters on one tiny model, switched by PEFT.

    python test/oracle/model.py && python test/oracle/adapters.py

Writes under test/oracle/vectors/adapters/:
  everything/, attention/  adapters in PEFT's file format: other rank, alpha, scaling and targets
  vectors.json             greedy ids of the base alone, with each, with both, disabled, and after
                           one was deleted; over the float32 base and that of nf4_model.py
"""

import json
import shutil

import torch
import transformers
from peft import LoraConfig, PeftModel, get_peft_model

from model import VECTORS, greedy, versions, write_json
from nf4_model import in_nf4
from training import base

OUT = VECTORS / "adapters"
CONFIGS = {
    "everything": dict(r=3, lora_alpha=5, use_rslora=True, target_modules="all-linear"),
    "attention": dict(r=2, lora_alpha=7, target_modules=["q_proj", "v_proj", "lm_head"]),
}
ROWS = [0, 1, 2]
SEED, STD, LEAD = 29, 0.05, 0.002  # of B; the NF4 base alone has a lead of 0.0022


def save(name: str, seed: int) -> None:
    torch.manual_seed(seed)
    model = get_peft_model(base(), LoraConfig(**CONFIGS[name]), adapter_name=name)
    with torch.no_grad():
        for parameter_name, parameter in model.named_parameters():
            if "lora_B" in parameter_name:
                parameter.normal_(std=STD * (1 if name == "everything" else 3))
    model.peft_config[name].base_model_name_or_path = "tiny-model"
    model.save_pretrained(OUT, save_embedding_layers=False)  # in a folder of the adapter's name
    (OUT / "README.md").unlink(missing_ok=True)
    path = OUT / name / "adapter_config.json"
    config = json.loads(path.read_text())
    config["target_modules"] = sorted(config["target_modules"])  # PEFT writes a set, in any order
    path.write_text(json.dumps(config, indent=2) + "\n")


def switched(model) -> tuple[dict[str, list[list[int]]], float]:
    """Ids by what is in use, and the smallest lead of the best token over the second."""
    ids, leads = {}, []

    def note(key: str) -> None:
        ids[key], lead = greedy(adapted, ROWS)
        leads.append(lead)

    plain, lead = greedy(model, ROWS)
    leads.append(lead)
    adapted = PeftModel.from_pretrained(model, OUT / "everything", adapter_name="everything")
    note("everything")
    adapted.load_adapter(OUT / "attention", adapter_name="attention")
    note("stillEverything")  # loading does not choose
    adapted.set_adapter("attention")
    note("attention")
    adapted.base_model.set_adapter(["everything", "attention"])
    note("both")
    with adapted.disable_adapter():
        note("disabled")
    note("bothAgain")
    adapted.set_adapter("everything")
    adapted.delete_adapter("everything")
    # PEFT asks its first layer which adapter is next; that one has no other, so none would be.
    adapted.set_adapter("attention")
    note("afterDeletion")
    assert ids["disabled"] == plain and ids["bothAgain"] == ids["both"]
    assert ids["stillEverything"] == ids["everything"] and ids["afterDeletion"] == ids["attention"]
    return {"base": plain, **ids}, min(leads)


def main() -> None:
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    shutil.rmtree(OUT, ignore_errors=True)
    for offset, name in enumerate(CONFIGS):
        save(name, SEED + offset)
    report = {"madeBy": "test/oracle/adapters.py", "versions": versions(), "seed": SEED}
    for name, model in ("float32", base().eval()), ("nf4", in_nf4()[0]):
        ids, lead = switched(model)
        assert len({str(ids[k]) for k in ("base", *CONFIGS, "both")}) == 4, "an adapter changes nothing"
        assert lead > LEAD, f"a choice hangs on rounding ({lead}): take another SEED"
        report[name] = {"greedy": ids, "smallestLead": lead}
    write_json(OUT / "vectors.json", report)


if __name__ == "__main__":
    main()
