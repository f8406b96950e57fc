"""The importance search as it was published (Moslem 2025), with transformers: each candidate is a
deep copy without a layer, which hears and translates one utterance after another. See
../parts/importance.ts."""

import copy
import json
import sys
import time
import wave
from pathlib import Path

import numpy
import sacrebleu
import torch
import transformers
from serve import serve

folder, corpus, clips, remove, threads = sys.argv[1:]
torch.set_num_threads(int(threads))
model = transformers.Qwen2AudioForConditionalGeneration.from_pretrained(
    folder, dtype=torch.float32
).eval()
processor = transformers.AutoProcessor.from_pretrained(folder)
corpus = Path(corpus)
with open(corpus / "dev.jsonl") as file:
    utterances = [json.loads(line) for line in file][: int(clips)]
chat = [
    {"role": "system", "content": "You are a professional translator."},
    {
        "role": "user",
        "content": [
            {"type": "audio", "audio_url": ""},
            {"type": "text", "text": "Translate the English speech into German:"},
        ],
    },
]
prompt = processor.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)


def audio(utterance):
    with wave.open(str(corpus / utterance["audio"])) as file:
        samples = numpy.frombuffer(file.readframes(file.getnframes()), numpy.int16)
    return samples.astype(numpy.float32) / 32768


@torch.inference_mode()
def score(candidate):
    hypotheses = []
    for utterance in utterances:
        inputs = processor(
            text=prompt, audio=audio(utterance), sampling_rate=16000, return_tensors="pt"
        )
        made = candidate.generate(**inputs, max_new_tokens=24, do_sample=False)
        text = processor.decode(made[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        hypotheses.append(text.strip())
    references = [utterance["translations"]["de"] for utterance in utterances]
    return sacrebleu.corpus_chrf(hypotheses, [references], word_order=2).score


def without(full, kept):
    candidate = copy.deepcopy(full)
    layers = candidate.model.language_model.layers
    candidate.model.language_model.layers = torch.nn.ModuleList(layers[i] for i in kept)
    for index, layer in enumerate(candidate.model.language_model.layers):
        layer.self_attn.layer_idx = index
    config = candidate.config.text_config
    config.num_hidden_layers = len(kept)
    config.layer_types = config.layer_types[: len(kept)]
    candidate.model.language_model.config.num_hidden_layers = len(kept)
    return candidate


def search():
    start = time.perf_counter()
    count = len(model.model.language_model.layers)
    kept, removed, scores = list(range(count)), [], []
    score(model)
    for _ in range(int(remove)):
        best = None
        for layer in kept:
            if layer in (0, count - 1):
                continue
            left = [i for i in kept if i != layer]
            value = score(without(model, left))
            scores.append(value)
            if best is None or value > best[0]:
                best = (value, layer)
        removed.append(best[1])
        kept.remove(best[1])
    ms = (time.perf_counter() - start) * 1000 / (len(scores) + 1)
    return {"ms": ms, "removed": removed, "scores": scores}


versions = f"torch {torch.__version__}, transformers {transformers.__version__}"
serve({"versions": versions}, search)
