"""Writes vectors/metrics.json: what sacreBLEU gives for segments that are easy to get wrong.

Run: python test/oracle/metrics.py   (needs: pip install sacrebleu numpy)
"""

import json
import platform
import random
import unicodedata
from pathlib import Path

import numpy as np
import sacrebleu
from sacrebleu.metrics import BLEU, CHRF, TER, lib_ter
from sacrebleu.metrics.bleu import _get_tokenizer
from sacrebleu.significance import PairedTest

# Each corpus: hypotheses, references, and a second system to compare with where there is one.
ENGLISH = [
    ("The cat sat on the mat.", "The cat is sitting on the mat."),
    ("It costs $1,234.50 (plus 7.5% tax), doesn't it?", "It costs $1,234.5 plus 7.5% tax, does it not?"),
    ("Call me at 10:30-11:30, e.g. on Mon.-Fri.", "Call me from 10:30 to 11:30, e.g. Mon-Fri."),
    ("&quot;A &amp; B&quot; &lt;tag&gt; &amp;lt; <skipped>end", "\"A & B\" <tag> <end"),
    ("state-of-the-art 3-D co-\noperation\nnow", "state-of-the-art 3D cooperation now"),
    ("Hello world", "HELLO WORLD"),
    ("a", "a"),
    ("b", "The"),
    ("", "Nothing was said."),
    ("   \t ", "Only white space."),
    ("(hi) [x] {y} 'z' ~ ^ _ | \\ ` \" ...!?", "(hi) [x] {y} 'z' ~ ^ _ | \\ ` \" …!?"),
]
GERMAN = [
    ("Am Dienstag, dem 3. März 2026, um 14:05 Uhr.", "Dienstag, 3. März 2026 um 14:05 Uhr"),
    ("Das kostet 1.234,56 € – überhaupt nicht viel!", "Das kostet 1.234,56 € und ist nicht viel."),
    ("„Größe“ und ‚Maß‘, so heißt es …", "„Größe“ und „Maß“ heißt es."),
    ("Die Straße ist 12,5 km lang.", "Die STRASSE ist 12,5 km lang."),
    ("ÄÖÜ äöü ß ẞ", "äöü ÄÖÜ ẞ ß"),
    ("Donaudampfschifffahrtsgesellschaftskapitän", "Donaudampfschifffahrtsgesellschaft"),
]
CHINESE = [
    ("今天是星期二，下午两点半。", "今天星期二，下午两点三十分。"),
    ("我们在2026年3月3日见面，好吗？", "我们2026年3月3日见面好吗？"),
    ("价格为￥1,234.50（含税）。", "价格是￥1,234.50元（含税）。"),
    ("“引号”和——破折号……以及《书名》", "“引号”与——破折号……和《书名》"),
    ("GPU 加速的Transformer模型 v2.0", "GPU加速的 Transformer 模型v2.0"),
    ("𠀀𠀁𪛖 扩展区乙", "𠀀𠀂𪛖扩展区乙"),
    ("龦龻龼 㐀䶵䶶 豈鶴", "龦龻 㐀䶵䶶 豈 鶴龼"),
    ("好", "好"),
    ("", "没有译文。"),
]
MIXED = [
    ("I ❤️ NY 😀👍🏽 → 100%", "I ❤ NY 😀👍 → 100 %"),
    ("👨‍👩‍👧‍👦 family 🇩🇪🇨🇳", "family 👨‍👩‍👧‍👦 🇩🇪🇨🇳."),
    ("😀", "😀"),
    ("😀.", "😀 ."),
    ("x\u00a0y\u2003z\u3000w\u0085v\u001cu\ufefft\u200bs", "x y z w v u t s"),
    ("\ufeffByte order mark", "Byte order mark"),
    ("İstanbul ΑΣ ΣΑΣ. ǅ Ⅷ", "i̇stanbul ας σας. ǆ ⅷ"),
    ("e\u0301 é n\u0303", "é e\u0301 ñ"),
    ("ひらがな カタカナ 한국어 ไทย", "ひらがなカタカナ 한국어ไทย"),
    ("٣٤.٥ ３．５ ½ 3.5.", "٣٤٫٥ ３.５ ½ 3,5."),
    ("a.b,c 1.b a.1 1,2.3 .5 5. ,5 5,", "a.b ,c 1. b a. 1 1,2.3 .5 5. , 5 5,"),
    ("word-1 1-word 1-2 -1 1- --", "word - 1 1 - word 1-2 - 1 1- -"),
    (" ".join(f"w{i % 17}" for i in range(300)), " ".join(f"w{i % 13}" for i in range(280))),
]
JAPANESE = [
    ("「猫」は、マットの上に座った。", "「猫」は マットの上に座っていました。"),
    ("㈱東京タワー ㋿ ㍿ 豈 ﹅ ⺀ ㇀ 㐀", "㈱ 東京 タワー ㋿㍿ 豈﹅⺀㇀㐀"),
    ("ひらがな", "ひらがな だけ"),
    ("＂引用＂：はい！（笑）；…", "＂引用＂ ： はい ！ ( 笑 )"),
]
SHIFTED = [
    ("the fish that he caught was big", "the big fish that he caught was"),
    ("b c d a e f", "a b c d e f"),
    ("x a b c y", "a b c x y"),
    ("the dog's tail isn't Jane's . John's", "John 's tail is n't the dog 's , Jane 's"),
    ("...", "?!"),
    ("word", "..."),
    ("it rose from ..3 to (,.5", "it rose from ..3 to (,.5"),
    (" ".join(f"w{i}" for i in range(70)), " ".join(f"w{(i + 60) % 70}" for i in range(70))),
]
SHORT = [("a b", "a b"), ("c", "c d"), ("e f g", "e f g")]
CORPORA = {
    "english": ENGLISH,
    "german": GERMAN,
    "chinese": CHINESE,
    "mixed": MIXED,
    "all": ENGLISH + GERMAN + CHINESE + MIXED,
    "japanese": JAPANESE,
    "shifted": SHIFTED,
    "short": SHORT,
    "no output": [("", "one two three"), ("", "four")],
    "no match": [("x y z", "one two three four five"), ("q", "eins")],
    "one segment": ENGLISH[:1],
}
BLEU_OPTIONS = [
    {"tokenize": tokenize, "lowercase": lowercase}
    for tokenize in ("13a", "zh", "intl", "char", "none")
    for lowercase in (False, True)
]
CHRF_OPTIONS = [
    {"wordOrder": 0, "lowercase": False},
    {"wordOrder": 2, "lowercase": False},
    {"wordOrder": 0, "lowercase": True},
    {"wordOrder": 2, "lowercase": True},
    {"wordOrder": 1, "charOrder": 4, "beta": 3},
    {"wordOrder": 0, "whitespace": True},
]
TER_OPTIONS = [
    {},
    {"normalized": True},
    {"noPunct": True},
    {"caseSensitive": True},
    {"normalized": True, "asianSupport": True},
    {"noPunct": True, "asianSupport": True},
    {"normalized": True, "noPunct": True, "asianSupport": True, "caseSensitive": True},
]


def ter_of(options):
    names = {"noPunct": "no_punct", "asianSupport": "asian_support", "caseSensitive": "case_sensitive"}
    return TER(**{names.get(key, key): value for key, value in options.items()})


def chrf_of(options):
    names = {"wordOrder": "word_order", "charOrder": "char_order"}
    return CHRF(**{names.get(key, key): value for key, value in options.items()})


METRICS = {
    "bleu": BLEU(),
    "chrf": CHRF(),
    "chrf++": CHRF(word_order=2),
    "ter": TER(),
}


def evaluate(metric, hyps, refs):
    score = metric.corpus_score(hyps, [refs])
    return {
        "name": score.name,
        "score": score.score,
        "signature": str(metric.get_signature()),
        "statistics": metric._extract_corpus_statistics(hyps, [refs]),
    }


def scores():
    out = []
    for corpus, pairs in CORPORA.items():
        hyps, refs = [p[0] for p in pairs], [p[1] for p in pairs]
        for options in BLEU_OPTIONS:
            metric = BLEU(**options)
            result = evaluate(metric, hyps, refs)
            score = metric.corpus_score(hyps, [refs])
            result |= {"precisions": score.precisions, "brevityPenalty": score.bp}
            out.append({"corpus": corpus, "metric": "bleu", "options": options, **result})
        for options in CHRF_OPTIONS:
            result = evaluate(chrf_of(options), hyps, refs)
            out.append({"corpus": corpus, "metric": "chrf", "options": options, **result})
        for options in TER_OPTIONS:
            result = evaluate(ter_of(options), hyps, refs)
            out.append({"corpus": corpus, "metric": "ter", "options": options, **result})
    return out


def several_references():
    """Two and three references a segment, then of different number; chrF ties and close lengths."""
    pairs = CORPORA["all"] + JAPANESE + SHIFTED
    rng = random.Random(11)
    pool = [word for pair in pairs for word in pair[1].split()[:12]]
    other = [" ".join(rng.sample(pool, rng.randint(1, 9))) for _ in pairs]
    hyps = [p[0] for p in pairs]
    first = [p[1] for p in pairs]
    second = [f"{h[1:]} {o}" if i % 2 else o for i, (h, o) in enumerate(zip(hyps, other))]
    third = [" ".join(reversed(r.split())) for r in first]
    sparse = [None if i % 3 == 0 else text for i, text in enumerate(second)]
    out = []
    for streams in ([first, second], [second, first, third], [first, sparse], [sparse, first, third]):
        by_segment = [[ref for ref in refs if ref is not None] for refs in zip(*streams)]
        for name, metric in METRICS.items():
            score = metric.corpus_score(hyps, streams)
            out.append({
                "references": by_segment, "metric": name, "score": score.score,
                "signature": str(metric.get_signature()),
                "statistics": metric._extract_corpus_statistics(hyps, streams),
            })
    # the same lists of references are written once
    lists = []
    for entry in out:
        if entry["references"] not in lists:
            lists.append(entry["references"])
        entry["references"] = lists.index(entry["references"])
    return {"hypotheses": hyps, "references": lists, "scores": out}


LIMITS = ("_MAX_SHIFT_SIZE", "_MAX_SHIFT_DIST", "_BEAM_WIDTH", "_MAX_SHIFT_CANDIDATES")


def shifted(rng):
    """A random sentence, and what blocks moved and words changed make of it."""
    kinds = rng.choice([3, 8, 20, 80])
    ref = [str(rng.randrange(kinds)) for _ in range(rng.choice([2, 5, 9, 14, 20, 30, 60, 130]))]
    hyp = list(ref)
    for _ in range(rng.randint(0, 4)):
        at, size = rng.randrange(len(hyp)), rng.randint(1, 14)
        block, rest = hyp[at:at + size], hyp[:at] + hyp[at + size:]
        to = rng.randint(0, len(rest))
        hyp = rest[:to] + block + rest[to:]
        hyp[rng.randrange(len(hyp))] = str(rng.randrange(kinds))
    if rng.random() < 0.3:
        hyp = hyp[rng.randrange(len(hyp)):] + [str(rng.randrange(kinds))] * rng.randint(0, 9)
    return hyp, ref


def edits_with(limit, change, hyp, ref):
    """The edits if one of the search's limits were another."""
    before = getattr(lib_ter, limit)
    setattr(lib_ter, limit, before + change)
    try:
        return lib_ter.translation_edit_rate(hyp, ref)[0]
    finally:
        setattr(lib_ter, limit, before)


def at_limit(limit, change, rng):
    """A pair that the change of one of the limits may decide about."""
    if limit == "_MAX_SHIFT_CANDIDATES":
        ref = [str(rng.randrange(5)) for _ in range(rng.randint(24, 32))]
        return rng.sample(ref, len(ref)), ref
    ref = [str(i) for i in range(100)]
    if limit == "_BEAM_WIDTH":
        drop = 24 if change < 0 else 25
        return ref[drop:] + ["x"] * drop, ref
    at = rng.randrange(20)
    size, by = (2, rng.randint(47, 52)) if limit == "_MAX_SHIFT_DIST" else (rng.randint(9, 12), 30)
    return ref[:at] + ref[at + size:at + size + by] + ref[at:at + size] + ref[at + size + by:], ref


def shifts():
    """Edits of random sentences; then of some that would have others were a limit another."""
    rng = random.Random(23)
    pairs = [shifted(rng) for _ in range(60)]
    for limit in LIMITS:
        for change in (-1, 1) if limit != "_MAX_SHIFT_CANDIDATES" else (-200, 10**6):
            while True:
                hyp, ref = at_limit(limit, change, rng)
                if edits_with(limit, change, hyp, ref) != lib_ter.translation_edit_rate(hyp, ref)[0]:
                    pairs.append((hyp, ref))
                    break
    short, long = ["a", "b"], [str(i % 50) for i in range(150)]
    pairs += [(short, long), (long, short), ([], long), (long, [])]
    return [
        {
            "hypothesis": " ".join(hyp), "reference": " ".join(ref),
            "edits": lib_ter.translation_edit_rate(hyp, ref)[0],
        }
        for hyp, ref in pairs
    ]


def tokens():
    """Random strings over an alphabet of edges, as each tokenizer cuts them."""
    edges = [
        0x0009, 0x000A, 0x000D, 0x001C, 0x001F, 0x0020, 0x0085, 0x00A0, 0x00B2, 0x0660, 0x1680,
        0x2000, 0x2001, 0x200B, 0x2014, 0x201C, 0x2028, 0x2A6D, 0x2A6E, 0x2E7F, 0x2E80, 0x2EFF,
        0x2F00, 0x2F81, 0x2FA1, 0x2FDF, 0x2FE0, 0x2FF0, 0x3000, 0x303F, 0x3040, 0x3100, 0x312F,
        0x3130, 0x31A0, 0x31BF, 0x31C0, 0x31EF, 0x31F0, 0x3200, 0x33FF, 0x3400, 0x4DB5, 0x4DB6,
        0x4DFF, 0x4E00, 0x9FA5, 0x9FBB, 0x9FBC, 0xF8FF, 0xF900, 0xFA2D, 0xFA2E, 0xFA30, 0xFA6A,
        0xFA6B, 0xFA70, 0xFAD9, 0xFADA, 0xFE0F, 0xFE10, 0xFE1F, 0xFE20, 0xFE30, 0xFE4F, 0xFE50,
        0xFEFF, 0xFF00, 0xFF0C, 0xFFEF, 0xFFF0, 0x1F600, 0x20000, 0x2A6D6, 0x2F800, 0x2FA1D,
        # punctuation, symbols and numbers for intl
        0x00A7, 0x00AB, 0x00B1, 0x00BD, 0x2013, 0x2032, 0x2160, 0x2460, 0x20AC, 0x2190, 0x066B, 0x1D7D9,
    ]
    pieces = [chr(c) for c in edges] + [chr(c) for c in range(0x21, 0x7F)]
    pieces += list("aB 0 9. , - 1 .") + ["&quot;", "&amp;", "&lt;", "&gt;", "<skipped>", "-\n"]
    rng = random.Random(7)
    texts = ["".join(rng.choices(pieces, k=rng.randint(1, 24))) for _ in range(150)]
    # every edge and every ASCII character between letters and between digits
    texts += ["a" + piece + "b1" + piece + "2" for piece in pieces[: len(edges) + 94]]
    names = ("13a", "zh", "intl", "char", "none")
    tokenizers = {name: _get_tokenizer(name)() for name in names}
    return [{"text": t} | {n: tokenizers[n](t).split() for n in names} for t in texts]


def scores_float64(metric, statistics, indices):
    """The metric on resamples in float64; sacreBLEU itself rounds to float32 on the way."""
    rows = np.array(statistics, dtype="float64")[indices]
    return [metric._compute_score_from_stats(row.sum(0).tolist()).score for row in rows]


def bootstrap():
    pairs = CORPORA["all"]
    refs = [p[1] for p in pairs]
    a = [p[0] for p in pairs]
    # another system: right in every third segment, one word lost in the others
    b = [r if i % 3 == 0 else " ".join(h.split()[1:]) for i, (h, r) in enumerate(zip(a, refs))]
    cases = []
    for name, options, metric in [
        ("bleu", {"tokenize": "13a"}, BLEU(tokenize="13a")),
        ("bleu", {"tokenize": "zh"}, BLEU(tokenize="zh")),
        ("chrf", {}, CHRF()),
        ("chrf++", {}, CHRF(word_order=2)),
        ("ter", {}, TER()),
    ]:
        samples = 400
        score = metric.corpus_score(a, [refs], n_bootstrap=samples)
        signature = str(metric.get_signature())
        statistics = metric._extract_corpus_statistics(a, [refs])
        indices = np.random.default_rng(12345).choice(len(a), size=(samples, len(a)), replace=True)
        exact = np.sort(scores_float64(metric, statistics, indices))
        _, results = PairedTest(
            [("a", a), ("b", b)], {name: metric}, [refs], test_type="bs", n_samples=samples
        )()
        (paired,) = [value for key, value in results.items() if key != "System"]
        cases.append({
            "metric": name, "options": options, "samples": samples, "seed": 12345,
            "signature": signature,
            "sacrebleu": {"mean": float(score._mean), "ci": float(score._ci)},
            "float64": {
                "mean": float(exact.mean()),
                "low": float(exact[samples // 40]),
                "high": float(exact[samples - samples // 40 - 1]),
                "low90": float(exact[samples // 20]),
                "high90": float(exact[samples - samples // 20 - 1]),
            },
            "paired": {
                "scoreA": paired[0].score, "scoreB": paired[1].score, "pValue": paired[1].p_value,
            },
        })
    return {"a": a, "b": b, "references": refs, "cases": cases}


def paired_tests():
    """p-values of systems that are close, with one reference and with two or one."""
    rng = random.Random(31)
    words = ["der", "Hund", "läuft", "heute", "3.", "10:30", "im", "Garten", "schnell", "."]
    refs = [" ".join(rng.choices(words, k=rng.randint(3, 12))) for _ in range(40)]

    def system():
        hyps = []
        for ref in refs:
            hyp = ref.split()
            for _ in range(rng.randint(0, 3)):
                hyp[rng.randrange(len(hyp))] = rng.choice(words)
            hyps.append(" ".join(hyp[rng.randint(0, 1):]))
        return hyps

    systems = {name: system() for name in ("baseline", "one", "two")}
    systems["copy"] = [s if i % 8 else "heute" for i, s in enumerate(systems["baseline"])]
    second = [" ".join(reversed(r.split())) if i % 2 else None for i, r in enumerate(refs)]
    cases = []
    for streams in ([refs], [refs, second]):
        for test, samples in (("bs", 500), ("ar", 2000)):
            signatures, results = PairedTest(
                list(systems.items()), METRICS, streams, test_type=test, n_samples=samples
            )()
            # by the names of the metrics, which sacreBLEU calls by those of their scores
            for name, key in zip(METRICS, [key for key in results if key != "System"]):
                cases.append({
                    "metric": name, "references": len(streams), "test": test, "samples": samples,
                    "signature": str(signatures[key]),
                    "scores": [result.score for result in results[key]],
                    "pValues": [result.p_value for result in results[key]],
                })
    by_segment = [[r] if s is None else [r, s] for r, s in zip(refs, second)]
    return {"systems": systems, "references": [refs, by_segment], "cases": cases}


def generator():
    """First draws, and a draw so late that with large bounds some before it were rejected."""
    def draws(seed, bound):
        values = np.random.default_rng(seed).choice(bound, size=40_000, replace=True).tolist()
        return {"seed": seed, "bound": bound, "values": values[:20], "last": values[-1]}

    return [
        draws(seed, bound)
        for seed in (0, 1, 12345, 2**32 - 1, 2**32, 2**53 - 1)
        for bound in (1, 2, 7, 200, 4096, 1_500_000)
    ]


def bits():
    """As approximate randomisation draws them; not a multiple of 32 in all."""
    return [
        {
            "seed": seed,
            "bits": "".join("01"[int(bit)] for bit in np.random.default_rng(seed).integers(
                2, size=(3, 71), dtype=bool).ravel()),
        }
        for seed in (1, 12345)
    ]


def main():
    vectors = {
        "versions": {
            "sacrebleu": sacrebleu.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
            "unicode": unicodedata.unidata_version,
        },
        "corpora": {
            name: {"hypotheses": [p[0] for p in pairs], "references": [p[1] for p in pairs]}
            for name, pairs in CORPORA.items()
        },
        "scores": scores(),
        "tokens": tokens(),
        "bootstrap": bootstrap(),
        "generator": generator(),
        "bits": bits(),
        "several": several_references(),
        "shifts": shifts(),
        "paired": paired_tests(),
    }
    path = Path(__file__).parent / "vectors" / "metrics.json"
    path.parent.mkdir(exist_ok=True)
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
