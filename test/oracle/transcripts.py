"""Writes vectors/transcripts.json: what Whisper's normalisers and jiwer give for transcripts.

Run: python test/oracle/transcripts.py
Needs: pip install jiwer==4.0.0 regex more-itertools && pip install --no-deps openai-whisper==20250625
(Whisper's normalisers are loaded apart from the rest of the package, which would want torch.)
"""

import hashlib
import importlib.metadata
import json
import platform
import random
import sys
import unicodedata
from pathlib import Path

import jiwer

WHISPER = importlib.metadata.distribution("openai-whisper")
sys.path.insert(0, str(WHISPER.locate_file("whisper")))
from normalizers import BasicTextNormalizer, EnglishTextNormalizer  # noqa: E402
from normalizers.english import EnglishNumberNormalizer  # noqa: E402

ENGLISH = [
    "Let's say it's twenty-five thousand three hundred and sixty-one dollars.",
    "I'm a won't, can't, shouldn't person; he'd been here, she's gone, they'd done it. Y'all!",
    "Mr. and Mrs. Park, Dr. Who, St. Louis, Prof. Xavier, Gen. Lee, Sen. Rep. Jr. Sr.",
    "Hmm, uh, um, mm... that's [inaudible] the (laughs) colour of the theatre <noise>.",
    "the 1960s, the 274th and the 32nd, twenty-first, nineties, twenties, two thousandths",
    "one oh one, nine one one, double oh seven, triple five, one two three four",
    "two and a half million, three and a half, a dog and a half, and a half",
    "minus five, plus twenty percent, fifty per cent, negative point five, positive thinking",
    "$2 and 7 cents; five dollars and ten cents; £3.50; 20 euros; $0.07; 1,000,000.50",
    "one, ones, first, second, third, fifth, ninth, nineth, twelfth, eighteenth, zeroth, hundredth",
    "three point one four one five nine, 192.168.0.1, ten point, point taken, 10. 5",
    "o zero oh, o'clock, four o'clock, oh my, thirty thousand million, six sixes, twenty twenty",
    "Ünïcödé œuvre Straße Łódź ﬁne ½ ² １２ ٣٤ ٣.٥ ℡ ⅷ İstanbul ΑΣ",
    "a1b2c3 4th 4 th 5 s 1 st 1st 1s 100 $100 %5 5% . ¢ $ $x 3.x",
    "organise, analysed, favourite neighbours, travelling, grey, aluminium, flyer / flier",
    "ten hundred thousand, zero hundred, 2.5 million, 2.55 hundred, 1.2.3 thousand, 5 hundredths",
    "",
    "   ",
    "...",
]
OTHER = [
    "Grüße aus „Łódź“ – 3,5 °C (heute)! [Musik] Straße",
    "今天是星期二，下午两点半。（笑）《书名》",
    "ひらがな、カタカナ。한국어 テスト！ ไทย กำ हिन्दी",
    "e\u0301 é \ufb01ne Æon ᴭ 👨‍👩‍👧 I ❤️ NY\u2028x\u00a0y\u200bz",
    "<a [b) (c] d> ((e)) () [] f",
]


def pieces():
    words = sorted(EnglishNumberNormalizer().words)
    words += "1 2 10 100 2.5 $3 £20 ¢7 0.5 1,000 10. 3rd 5th 1960s $0.07 €2 % 50% -3 +4".split()
    words += "a the x colour organise Mr. St can't it's he'd I'm uh [noise] (laughs) œuvre".split()
    words += ["and a half", "½", "٣٤", "１２", "...", ".", ",", "café", "2nd", "12 th", "ΑΣ", "\u0301"]
    return words


def texts():
    rng = random.Random(3)
    words = pieces()
    random_texts = [
        rng.choice([" ", " ", "  ", "-", ", "]).join(rng.choices(words, k=rng.randint(1, 8)))
        for _ in range(500)
    ]
    return ENGLISH + OTHER + random_texts


def normalized():
    english = EnglishTextNormalizer()
    basic = BasicTextNormalizer()
    others = {
        "removeDiacritics": BasicTextNormalizer(remove_diacritics=True),
        "splitLetters": BasicTextNormalizer(split_letters=True),
    }
    rows = []
    for i, text in enumerate(texts()):
        row = {"text": text, "english": english(text), "basic": basic(text)}
        if i < len(ENGLISH + OTHER):
            row |= {name: normalizer(text) for name, normalizer in others.items()}
        rows.append(row)
    return rows


def spellings():
    """The table itself is too long to be written twice: its hash."""
    table = EnglishTextNormalizer().standardize_spellings.mapping
    lines = [f"{key}:{value}\n" for key, value in sorted(table.items()) if " " not in key]
    return {"count": len(lines), "sha256": hashlib.sha256("".join(lines).encode()).hexdigest()}


def counts(output):
    return [output.hits, output.substitutions, output.deletions, output.insertions]


def rates():
    rng = random.Random(8)
    words = ["a", "b", "ab", "der", "Hund", "läuft", "好。", "x-y", "😀"]
    pairs = [
        ("the cat sat on the mat", "the cat is sitting on a mat"),
        ("one", ""), ("a b c", "d e f g"), ("a", "a"), ("今天星期二", "今天是星期一"),
    ]
    for _ in range(150):
        kinds = words[: rng.choice([3, 9])]
        pairs.append((
            " ".join(rng.choices(kinds, k=rng.randint(1, 14))),
            " ".join(rng.choices(kinds, k=rng.randint(0, 14))),
        ))
    rows = [
        {
            "reference": reference, "hypothesis": hypothesis,
            "words": counts(jiwer.process_words(reference, hypothesis)),
            "characters": counts(jiwer.process_characters(reference, hypothesis)),
        }
        for reference, hypothesis in pairs
    ]
    references, hypotheses = [p[0] for p in pairs], [p[1] for p in pairs]
    corpus = {"wer": jiwer.wer(references, hypotheses), "cer": jiwer.cer(references, hypotheses)}
    return {"corpus": corpus, "segments": rows}


def main():
    versions = {name: importlib.metadata.version(name) for name in ("openai-whisper", "jiwer", "RapidFuzz")}
    versions |= {"python": platform.python_version(), "unicode": unicodedata.unidata_version}
    vectors = {
        "versions": versions, "spellings": spellings(), "rates": rates(), "normalized": normalized(),
    }
    path = Path(__file__).parent / "vectors" / "transcripts.json"
    # one entry a line: differences can be read
    lines = []
    for key, value in vectors.items():
        if isinstance(value, list):
            rows = ",\n".join(json.dumps(row, ensure_ascii=False) for row in value)
            lines.append(f"{json.dumps(key)}: [\n{rows}\n]")
        else:
            lines.append(f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}")
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    print(f"{path.name}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
