"""Vectors for lib/audio, lib/text and lib/qwen2-audio/processor.ts, made with transformers.

Needs transformers, tokenizers, torch (CPU), scipy and numpy; run from the repository's root:

    python test/oracle/processor.py

It trains the test tokenizer with `BpeTrainer` of tokenizers, and writes

    vectors/processor/tokenizer/      the tokenizer, as transformers saves it
    vectors/processor/vectors.json    texts, ids, prompts, labels, versions
    vectors/processor/mel-*.f32       log-mel features, float32 [128, frames], up to the first
                                      constant frame (or the last frames of a full window)
    vectors/processor/audio-*.i16     the audio they are of, 16-bit integers at 16 kHz

A second part checks folders that `pare` wrote: `python test/oracle/processor.py check DIR` loads DIR
with AutoProcessor and prints the ids of the texts below as JSON.
"""

import json
import os
import sys

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import scipy
import tokenizers
import torch
import transformers
from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers, processors, trainers
from tokenizers.models import BPE
from transformers import AutoProcessor, Qwen2AudioProcessor, Qwen2Tokenizer, WhisperFeatureExtractor
from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

here = os.path.join(os.path.dirname(os.path.abspath(__file__)), "vectors", "processor")

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|AUDIO|>", "<|audio_bos|>", "<|audio_eos|>"]

CORPUS = [
    "Translate the English speech into German:",
    "Translate the English speech into Chinese:",
    "Transcribe the English speech:",
    "You are a professional translator.",
    "Audio 1:",
    "system user assistant",
    "on Tuesday, March 12, 2024 at 3:45 PM; it's what we'll say, they've said, I'm sure he'd agree",
    "Dienstag, 12. März 2024 um 15:45 Uhr; Übermorgen gibt es schöne große Äpfel für 3,50 €",
    "2024年3月12日星期二下午3:45，价格为人民币三百五十元。",
    "two hundred and fifty dollars, three hours and twelve minutes, twelve o'clock",
    "zweihundertfünfzig Dollar, drei Stunden und zwölf Minuten, zwölf Uhr",
    "二百五十美元，三小时十二分钟，十二点",
    "Monday Tuesday Wednesday Thursday Friday Saturday Sunday",
    "Montag Dienstag Mittwoch Donnerstag Freitag Samstag Sonntag",
    "星期一 星期二 星期三 星期四 星期五 星期六 星期日",
    "January February March April May June July August September October November December",
    "Januar Februar März April Mai Juni Juli August September Oktober November Dezember",
    "一月 二月 三月 四月 五月 六月 七月 八月 九月 十月 十一月 十二月",
]

TEXTS = [
    "",
    "a",
    " ",
    "\n",
    "Translate the English speech into German:",
    "Dienstag, 12. März 2024 um 15:45 Uhr",
    "Größenwahn über Öl, Straße, ÄÖÜß",
    "2024年3月12日星期二下午3:45",
    "今天天气很好，我们去公园吧！「你好」",
    "emoji 🙂👩‍👩‍👧‍👦🇩🇪 and ✂️ mixed 漢字kana かな",
    "digits 1234567890 3.14159 1,000,000 ١٢٣ Ⅷ ½",
    "  leading, trailing  and   inner   spaces  ",
    "tabs\tand\nnew\n\nlines\r\n \r\n  end \n",
    "it's IT'S we'll WE'LL they've I'm he'd d'accord 'sſ 'ſ x'S l'été",
    "cafe\u0301 vs caf\u00e9, A\u030angstro\u0308m, \u1112\u1161\u11ab",
    "no-break\u00a0space\u2003em\u3000ideographic\u200bzero",
    "code: if (x<y) { return x*y; } // ok?! #€$%&",
    "<|im_start|>user\nhi<|im_end|>\n<|endoftext|>",
    " <|im_end|> spaced <|im_end|>",
    "<|AUDIO|><|AUDIO|> <|audio_bos|>x<|audio_eos|>",
    "<|im_star|> is no token <|im_end",
    "عربي עברית हिन्दी ไทย 한국어 русский ελληνικά",
    "\u0000\u0001\ufffd control",
    "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𠮷野家",
]

PROMPTS = [
    dict(seconds=0.3, instruction="Translate the English speech into German:", target="Dienstag, 12. März 2024"),
    dict(seconds=1.0, instruction="Translate the English speech into Chinese:", target="2024年3月12日星期二"),
    dict(seconds=2.37, instruction="Transcribe the English speech:", target="on Tuesday"),
    dict(seconds=1.0, instruction="Transcribe the English speech:"),
    dict(seconds=0.3, system="You are terse. 🙂", instruction=" What? ", target="  leading and trailing \n"),
    dict(seconds=0.3, instruction="Line one\nline two", target="\nstarts on a new line"),
    dict(seconds=0.3, instruction="Translate the English speech into German:", target=""),
]


def train():
    tokenizer = Tokenizer(BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PRETOKENIZE_REGEX), behavior="isolated", invert=False),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    trainer = trainers.BpeTrainer(
        vocab_size=506,
        min_frequency=2,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=[],
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    fast = Qwen2Tokenizer(
        vocab=model["vocab"],
        merges=[tuple(pair) for pair in model["merges"]],
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=SPECIAL[1:],
    )
    return fast, model


def speechlike(seconds, seed):
    """A gliding harmonic tone with a pause and noise, seeded; float32 at 16 kHz."""
    random = np.random.default_rng(seed)
    n = int(round(seconds * 16000))
    t = np.arange(n) / 16000
    pitch = 120 + 40 * np.sin(2 * np.pi * 1.3 * t)
    phase = 2 * np.pi * np.cumsum(pitch) / 16000
    tone = sum(np.sin(k * phase) / k for k in range(1, 30))
    envelope = np.clip(np.sin(2 * np.pi * 2.1 * t), 0, 1)
    samples = 0.2 * tone * envelope + 0.003 * random.standard_normal(n)
    return (np.round(samples * 32768) / 32768).astype(np.float32)


def labels_of(processor, ids, question_ids):
    """-100 on everything but the assistant's tokens and <|im_end|>."""
    start = 0
    while start < len(question_ids) and ids[start] == question_ids[start]:
        start += 1
    end_id = processor.tokenizer.convert_tokens_to_ids("<|im_end|>")
    end = len(ids) - 1 - ids[::-1].index(end_id)
    return [token if start <= i <= end else -100 for i, token in enumerate(ids)]


def conversation(prompt):
    messages = [
        {"role": "system", "content": prompt.get("system", "You are a professional translator.")},
        {
            "role": "user",
            "content": [{"type": "audio", "audio": "speech.wav"}, {"type": "text", "text": prompt["instruction"]}],
        },
    ]
    if "target" in prompt:
        messages.append({"role": "assistant", "content": prompt["target"]})
    return messages


def processed(processor, prompt, audio):
    messages = conversation(prompt)
    texts = [processor.apply_chat_template(messages, add_generation_prompt="target" not in prompt, tokenize=False)]
    if "target" in prompt:
        texts.append(processor.apply_chat_template(messages[:2], add_generation_prompt=True, tokenize=False))
    outputs = [
        processor(text=text, audio=[audio], sampling_rate=16000, return_tensors="np") for text in texts
    ]
    ids = outputs[0]["input_ids"][0].tolist()
    record = dict(prompt, text=texts[0], inputIds=ids, frames=int(outputs[0]["feature_attention_mask"].sum()))
    if "target" in prompt:
        record["labels"] = labels_of(processor, ids, outputs[1]["input_ids"][0].tolist())
    return record


def first_constant(features):
    """The frame from which on all frames are one constant."""
    frame = features.shape[1]
    while frame > 0 and np.all(features[:, frame - 1] == features[0, -1]):
        frame -= 1
    return frame


def main():
    os.makedirs(here, exist_ok=True)
    tokenizer, model = train()
    extractor = WhisperFeatureExtractor(feature_size=128, return_attention_mask=True, chunk_length=30)
    processor = Qwen2AudioProcessor(feature_extractor=extractor, tokenizer=tokenizer)
    processor.save_pretrained(os.path.join(here, "tokenizer"))

    clips = {0.3: speechlike(0.3, 1), 1.0: speechlike(1.0, 2), 2.37: speechlike(2.37, 3)}
    # A window filled to the last sample as well: there the end is mirrored.
    small = WhisperFeatureExtractor(feature_size=128, return_attention_mask=True, chunk_length=1)
    mels = []
    for seconds, window, used in [(0.3, 30, extractor), (1.0, 30, extractor), (2.37, 30, extractor), (1.0, 1, small)]:
        output = used(clips[seconds], sampling_rate=16000, return_tensors="np", return_attention_mask=True)
        features = output["input_features"][0]
        windowFrames = features.shape[1]
        first, end = (windowFrames - 5, windowFrames) if window == 1 else (0, first_constant(features))
        name = f"mel-{seconds}-{window}.f32"
        np.ascontiguousarray(features[:, first:end], dtype="<f4").tofile(os.path.join(here, name))
        mels.append(
            dict(
                audio=f"audio-{seconds}.i16",
                mel=name,
                windowFrames=windowFrames,
                firstFrame=first,
                endFrame=end,
                validFrames=int(output["attention_mask"].sum()),
                floor=None if window == 1 else float(features[0, -1]),
            )
        )
    for seconds, audio in clips.items():
        (audio * 32768).astype("<i2").tofile(os.path.join(here, f"audio-{seconds}.i16"))
    # What frames beyond the audio hold, for lengths around the borders of frames and silence.
    edges = []
    for length, gain in [(1, 1), (159, 1), (160, 1), (161, 1), (320, 1), (321, 1), (1000, 1), (16000, 1), (16000, 0), (700, 1e-6)]:
        audio = (clips[2.37][2000 : 2000 + length] * gain).astype(np.float32)
        output = extractor(audio, sampling_rate=16000, return_tensors="np", return_attention_mask=True)
        features = output["input_features"][0]
        edges.append(
            dict(
                length=length,
                gain=gain,
                validFrames=int(output["attention_mask"].sum()),
                firstConstantFrame=first_constant(features),
                floor=float(features[0, -1]),
            )
        )

    ids = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in TEXTS]
    vectors = {
        "versions": {
            "transformers": transformers.__version__,
            "tokenizers": tokenizers.__version__,
            "torch": torch.__version__,
            "numpy": np.__version__,
            "scipy": scipy.__version__,
            "python": sys.version.split()[0],
        },
        "corpus": CORPUS,
        "merges": [list(pair) for pair in model["merges"]],
        "texts": [
            dict(
                text=text,
                ids=row,
                decoded=tokenizer.decode(row, skip_special_tokens=False),
                skipped=tokenizer.decode(row, skip_special_tokens=True),
            )
            for text, row in zip(TEXTS, ids)
        ],
        "mels": mels,
        "edges": edges,
        "prompts": [dict(processed(processor, p, clips[p["seconds"]])) for p in PROMPTS],
        "vocabSize": len(tokenizer),
        "eosTokenId": tokenizer.eos_token_id,
        "padTokenId": tokenizer.pad_token_id,
    }
    with open(os.path.join(here, "vectors.json"), "w", encoding="utf-8") as file:
        json.dump(vectors, file, ensure_ascii=False, indent=1)
        file.write("\n")


def check(folder):
    """Loads what `pare` wrote and compares with what it wrote beside it (expected.json)."""
    processor = AutoProcessor.from_pretrained(folder)
    with open(os.path.join(folder, "expected.json"), encoding="utf-8") as file:
        expected = json.load(file)
    auto = transformers.AutoTokenizer.from_pretrained(folder)
    wrong = 0
    for tokenizer in (processor.tokenizer, auto):
        for entry in expected["texts"]:
            ids = tokenizer(entry["text"], add_special_tokens=False)["input_ids"]
            wrong += ids != entry["ids"]
    prompts = 0
    for entry in expected["prompts"]:
        record = processed(processor, entry["prompt"], speechlike(entry["prompt"]["seconds"], 1))
        prompts += record["inputIds"] != entry["inputIds"]
    print(
        json.dumps(
            {
                "transformers": transformers.__version__,
                "processor": type(processor).__name__,
                "tokenizer": type(auto).__name__,
                "windowSamples": processor.feature_extractor.n_samples,
                "texts": len(expected["texts"]),
                "textsThatDiffer": wrong,
                "prompts": len(expected["prompts"]),
                "promptsThatDiffer": prompts,
            }
        )
    )
    sys.exit(1 if wrong + prompts else 0)


if __name__ == "__main__":
    check(sys.argv[2]) if sys.argv[1:2] == ["check"] else main()
