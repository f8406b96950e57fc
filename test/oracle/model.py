"""Makes the tiny Qwen2-Audio checkpoint and its vectors with Hugging Face transformers.

    python test/oracle/model.py

Writes under test/oracle/vectors/:
  tiny-model/               config.json, generation_config.json, model.safetensors (public tensor names)
  model-vectors.safetensors encoder states, projector output, logits (float32)
  model-vectors.json        inputs, greedy token ids, versions, how everything was made

Every clip is left out of the files: `input_features` gives it by a formula of integers, so that
any language makes the same bits.
"""

import json
import platform
import re
from pathlib import Path

import bitsandbytes
import numpy
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import (
    BitsAndBytesConfig,
    GenerationConfig,
    Qwen2AudioConfig,
    Qwen2AudioForConditionalGeneration,
)

VECTORS = Path(__file__).parent / "vectors"
TINY_MODEL = VECTORS / "tiny-model"

MEL_BINS, SOURCE_POSITIONS = 128, 100
WINDOW = 2 * SOURCE_POSITIONS  # mel frames: 2 s
FRAMES = [200, 137, 45]  # real mel frames of the three clips
PADDING_VALUE = -0.8125
PAD, EOS, AUDIO, AUDIO_BOS, AUDIO_EOS = 0, [1, 2], 3, 4, 5
PROMPTS = [([17, 42], [99, 7]), ([21], [120, 33, 201, 64]), ([9, 77, 140, 18], [250])]
MAX_NEW_TOKENS = 12
REMOVED_LAYERS = [1, 3]
SEED, STD = 16, 0.2  # search(0.2) == 16; a larger STD makes rounding errors grow


def versions() -> dict[str, str]:
    import accelerate
    import peft
    import safetensors

    packages = [torch, transformers, peft, bitsandbytes, accelerate, safetensors, numpy]
    return {"python": platform.python_version(), **{p.__name__: p.__version__ for p in packages}}


def write_json(path: Path, value: object) -> None:
    """Indented, but a list of numbers on one line."""
    text = json.dumps(value, indent=2)
    number_list = r"\[\s*(?:[-+.\deE]+,\s*)*[-+.\deE]+\s*\]"
    path.write_text(re.sub(number_list, lambda m: re.sub(r"\s+", " ", m[0]), text) + "\n")


def frames_to_tokens(frames: int) -> int:
    return ((frames - 1) // 2 + 1 - 2) // 2 + 1


def input_features() -> torch.Tensor:
    """[3, 128, 200] float32; exact in any language: integers, one division, one subtraction."""
    clip = numpy.arange(3)[:, None, None]
    mel = numpy.arange(MEL_BINS)[None, :, None]
    frame = numpy.arange(WINDOW)[None, None, :]
    integer = 7919 * clip + 31 * mel * mel + 17 * (clip + 2) * mel * frame + 5 * frame * frame
    features = (integer % 2003) / 1001.5 - 1.0  # float64
    features = numpy.where(frame < numpy.array(FRAMES)[:, None, None], features, PADDING_VALUE)
    return torch.from_numpy(features.astype(numpy.float32))


def feature_attention_mask() -> torch.Tensor:
    return (torch.arange(WINDOW)[None, :] < torch.tensor(FRAMES)[:, None]).long()


def prompts() -> list[list[int]]:
    return [
        [*before, AUDIO_BOS, *[AUDIO] * frames_to_tokens(frames), AUDIO_EOS, *after]
        for frames, (before, after) in zip(FRAMES, PROMPTS)
    ]


def pad(sequences: list[list[int]], value: int, left: bool = True) -> torch.Tensor:
    longest = max(map(len, sequences))
    padding = [[value] * (longest - len(s)) for s in sequences]
    return torch.tensor([p + s if left else s + p for s, p in zip(sequences, padding)])


def attention_mask(sequences: list[list[int]], left: bool = True) -> torch.Tensor:
    return pad([[1] * len(s) for s in sequences], 0, left)


def build(seed: int, std: float) -> Qwen2AudioForConditionalGeneration:
    config = Qwen2AudioConfig(
        audio_config=dict(
            model_type="qwen2_audio_encoder",
            num_mel_bins=MEL_BINS,
            d_model=24,
            encoder_layers=2,
            encoder_attention_heads=4,
            encoder_ffn_dim=32,
            max_source_positions=SOURCE_POSITIONS,
        ),
        text_config=dict(
            model_type="qwen2",
            vocab_size=256,
            hidden_size=40,
            intermediate_size=48,
            num_hidden_layers=5,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=512,
            rms_norm_eps=1e-5,
            rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
            tie_word_embeddings=False,
            bos_token_id=1,
            eos_token_id=2,
            pad_token_id=PAD,
        ),
        audio_token_index=AUDIO,
        dtype="float32",
    )
    model = Qwen2AudioForConditionalGeneration(config).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if "norm" in name and name.endswith("weight"):
                parameter.copy_(1 + 0.1 * noise)
            elif name.endswith("bias"):
                parameter.copy_(0.1 * noise)
            elif "conv1" in name:
                parameter.copy_(0.1 * noise)
            elif "embed_tokens" in name or "multi_modal_projector" in name:
                parameter.copy_(noise)
            else:
                parameter.copy_(std * noise)
    model.generation_config = GenerationConfig(
        bos_token_id=1, eos_token_id=EOS, pad_token_id=PAD, do_sample=False
    )
    return model


def prune(model, removed=REMOVED_LAYERS):
    """The same model without some layers, rebuilt from renumbered tensors and a cut config."""
    config = Qwen2AudioConfig.from_dict(model.config.to_dict())
    count = config.text_config.num_hidden_layers
    kept = [i for i in range(count) if i not in removed]
    config.text_config.num_hidden_layers = len(kept)
    config.text_config.layer_types = [config.text_config.layer_types[i] for i in kept]
    pruned = Qwen2AudioForConditionalGeneration(config).eval()
    prefix = "model.language_model.layers."
    state = {}
    for name, tensor in model.state_dict().items():
        if name.startswith(prefix):
            layer, rest = name[len(prefix) :].split(".", 1)
            if int(layer) not in kept:
                continue
            name = f"{prefix}{kept.index(int(layer))}.{rest}"
        state[name] = tensor
    pruned.load_state_dict(state, strict=True)
    pruned.generation_config = model.generation_config
    return pruned


@torch.no_grad()
def forward(model, rows: list[int]):
    sequences = [prompts()[r] for r in rows]
    mask = attention_mask(sequences)
    return model(
        input_ids=pad(sequences, PAD),
        attention_mask=mask,
        position_ids=(mask.cumsum(-1) - 1).clamp(min=0),
        input_features=input_features()[rows],
        feature_attention_mask=feature_attention_mask()[rows],
    ).logits


@torch.no_grad()
def greedy(model, rows: list[int]) -> tuple[list[list[int]], float]:
    """New token ids of each row, end token included, padding cut; the smallest lead of the best
    token over the second at any step (a lead above 1e-3 makes the ids safe against rounding)."""
    sequences = [prompts()[r] for r in rows]
    out = model.generate(
        input_ids=pad(sequences, PAD),
        attention_mask=attention_mask(sequences),
        input_features=input_features()[rows],
        feature_attention_mask=feature_attention_mask()[rows],
        max_new_tokens=MAX_NEW_TOKENS,
        do_sample=False,
        return_dict_in_generate=True,
        output_logits=True,
    )
    ids, lead = [], float("inf")
    for row, new in enumerate(out.sequences[:, max(map(len, sequences)) :].tolist()):
        end = next((i + 1 for i, token in enumerate(new) if token in EOS), len(new))
        ids.append(new[:end])
        for step in range(end):
            best = out.logits[step][row].topk(2).values
            lead = min(lead, (best[0] - best[1]).item())
    return ids, lead


def greedy_without_cache(model, row: int) -> list[int]:
    """The same ids by the whole sequence again at every step: checks transformers' cache."""
    ids = list(prompts()[row])
    new: list[int] = []
    while len(new) < MAX_NEW_TOKENS and not (new and new[-1] in EOS):
        with torch.no_grad():
            logits = model(
                input_ids=torch.tensor([ids + new]),
                attention_mask=torch.ones(1, len(ids) + len(new), dtype=torch.long),
                input_features=input_features()[[row]],
                feature_attention_mask=feature_attention_mask()[[row]],
                use_cache=False,
            ).logits
        new.append(int(logits[0, -1].argmax()))
    return new


def acceptable(model) -> bool:
    """Varied output: no special token but the end, every row at least 5 different tokens, no two rows alike, all choices clear,
    of the whole model one or two rows end early; the same without the removed layers."""
    for name, candidate in ("full", model), ("pruned", prune(model)):
        ids, lead = greedy(candidate, [0, 1, 2])
        early = sum(row[-1] in EOS for row in ids)
        if any(token in (PAD, AUDIO, AUDIO_BOS, AUDIO_EOS) for row in ids for token in row):
            return False
        if lead < 0.005 or (name == "full" and early not in (1, 2)):
            return False
        if min(len(set(row)) for row in ids) < 5 or len({tuple(row[:3]) for row in ids}) < 3:
            return False
    return True


def search(std: float) -> int:
    """The first seed whose model is acceptable. SEED holds its answer."""
    return next(seed for seed in range(20000) if acceptable(build(seed, std)))


def quantized(directory: Path):
    """NF4 with double quantisation, blocks of 64, computing in float32.

    bitsandbytes repacks weights for AVX512-BF16 processors at the first call in evaluation: that
    path computes in bfloat16 and fails when in_features is no multiple of 64, so it is off."""
    model = Qwen2AudioForConditionalGeneration.from_pretrained(
        directory,
        dtype=torch.float32,
        quantization_config=BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.float32,
        ),
    ).eval()
    for module in model.modules():
        if isinstance(module, bitsandbytes.nn.Linear4bit):
            module.support_avx512bf16_for_cpu = False
    return model


def main() -> None:
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    model = build(SEED, STD)
    assert acceptable(model), "SEED and STD no longer give varied output: run search()"
    TINY_MODEL.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(TINY_MODEL)
    stored = load_file(TINY_MODEL / "model.safetensors")
    assert "language_model.model.layers.0.self_attn.q_proj.weight" in stored
    assert "language_model.lm_head.weight" in stored and "audio_tower.conv1.weight" in stored
    reloaded = Qwen2AudioForConditionalGeneration.from_pretrained(TINY_MODEL).eval()
    for (name, a), b in zip(model.state_dict().items(), reloaded.state_dict().values()):
        assert torch.equal(a, b), name
    model = reloaded

    tensors: dict[str, torch.Tensor] = {}
    features, mask = input_features(), feature_attention_mask()
    states: list[torch.Tensor] = []
    projected: list[torch.Tensor] = []
    tower, projector = model.model.audio_tower, model.model.multi_modal_projector
    hooks = [
        tower.register_forward_hook(lambda _m, _i, out: states.append(out.last_hidden_state)),
        projector.register_forward_hook(lambda _m, _i, out: projected.append(out)),
    ]
    logits = forward(model, [0, 1, 2])
    for hook in hooks:
        hook.remove()
    batch_error = 0.0
    for row, prompt in enumerate(prompts()):
        tokens = frames_to_tokens(FRAMES[row])
        tensors[f"encoder.last_hidden_state.{row}"] = states[0][row, :tokens].contiguous()
        tensors[f"projector.output.{row}"] = projected[0][row, :tokens].contiguous()
        tensors[f"logits.{row}"] = logits[row, -len(prompt) :].contiguous()
        single = forward(model, [row])[0]
        batch_error = max(batch_error, (single - tensors[f"logits.{row}"]).abs().max().item())

    report: dict[str, object] = {}
    checks = {"logitsBatchAgainstSingle": batch_error}
    variants = {"full": model, "pruned": prune(model), "nf4": quantized(TINY_MODEL)}
    for name, variant in variants.items():
        batch, lead = greedy(variant, [0, 1, 2])
        single = [greedy(variant, [row])[0][0] for row in range(3)]
        assert single == batch, f"{name}: batched and single greedy ids differ"
        if name != "nf4":
            assert [greedy_without_cache(variant, row) for row in range(3)] == single
        report[name] = {"greedySingle": single, "greedyBatch": batch, "smallestLead": lead}
        if name != "full":
            last = forward(variant, [0, 1, 2])[:, -1]
            tensors[f"{name}.lastLogits"] = last.contiguous()

    eager = Qwen2AudioForConditionalGeneration.from_pretrained(
        TINY_MODEL, attn_implementation="eager"
    ).eval()
    eager_logits = forward(eager, [0, 1, 2])
    checks["logitsEagerAgainstSdpa"] = max(
        (eager_logits[r, -len(p) :] - logits[r, -len(p) :]).abs().max().item()
        for r, p in enumerate(prompts())
    )

    save_file(tensors, VECTORS / "model-vectors.safetensors", metadata={"format": "pt"})
    metadata = {
        "madeBy": "test/oracle/model.py",
        "versions": versions(),
        "seed": SEED,
        "inputFeatures": {
            "shape": list(features.shape),
            "formula": "i = 7919*clip + 31*mel*mel + 17*(clip+2)*mel*frame + 5*frame*frame; "
            "x = float32((i mod 2003) / 1001.5 - 1), computed in float64; frames from "
            "frames[clip] on are paddingValue",
            "paddingValue": PADDING_VALUE,
            "frames": FRAMES,
            "audioTokens": [frames_to_tokens(f) for f in FRAMES],
            "sums": features.double().sum((1, 2)).tolist(),
        },
        "featureAttentionMaskSums": mask.sum(-1).tolist(),
        "padTokenId": PAD,
        "eosTokenIds": EOS,
        "audioTokenIndex": AUDIO,
        "prompts": prompts(),
        "padding": "left; position ids count the attention mask from 0",
        "attention": "sdpa, float32, one thread",
        "maxNewTokens": MAX_NEW_TOKENS,
        "tensors": {
            "encoder.last_hidden_state.ROW": "[audioTokens, d_model], after pooling and layer norm",
            "projector.output.ROW": "[audioTokens, hidden_size]",
            "logits.ROW": "[prompt length, vocab_size], all positions of the prompt, from the "
            "left-padded batch of three",
            "pruned.lastLogits": "[3, vocab_size], last position, without removedLayers",
            "nf4.lastLogits": "[3, vocab_size], last position, every linear layer but lm_head in "
            "NF4 (block size 64, double quantisation, float32 compute)",
        },
        "removedLayers": REMOVED_LAYERS,
        "greedy": report,
        "greedyNote": "new ids only, end token included; single and batched ids are equal, and "
        "(full, pruned) equal to decoding without a cache",
        "maxAbsoluteDifference": checks,
    }
    write_json(VECTORS / "model-vectors.json", metadata)
    print(json.dumps({**report, **checks}, indent=1))


if __name__ == "__main__":
    main()
