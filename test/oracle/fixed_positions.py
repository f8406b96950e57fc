"""The losses of full fine-tuning with the audio tower's positions fixed.

    python test/oracle/fixed_positions.py

Writes test/oracle/vectors/fixed-positions-vectors.json.

Qwen2AudioEncoder freezes embed_positions when it is built. `from_pretrained` of transformers 5.23
makes new parameters, which are trainable again: so the `full` runs of training.py train positions.
This run freezes them as the class means it.
"""

import torch
import transformers

from model import VECTORS, versions, write_json
from training import base, train


def main() -> None:
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    model = base()
    positions = model.model.audio_tower.embed_positions.weight
    assert positions.requires_grad, "from_pretrained keeps positions frozen: training.py will do"
    positions.requires_grad_(False)
    write_json(
        VECTORS / "fixed-positions-vectors.json",
        {
            "madeBy": "test/oracle/fixed_positions.py",
            "versions": versions(),
            "settings": "training-vectors.json",
            "full": train(model, [[0, 1, 2]]),
        },
    )


if __name__ == "__main__":
    main()
