"""Makes generation-vectors.json: beam search and logits processors of Hugging Face transformers.

    python test/oracle/generation.py

The model and the prompts are those of model.py (run that first). Every case of beam search is run
as a left-padded batch and row by row, in float32 and in float64; a case of which the four do not
give the same ids hangs on rounding and is refused.
"""

import itertools
import json

import torch
import transformers
from model import (
    AUDIO,
    EOS,
    PAD,
    TINY_MODEL,
    VECTORS,
    attention_mask,
    feature_attention_mask,
    input_features,
    pad,
    prompts,
    versions,
    write_json,
)
from transformers import LogitsProcessorList, Qwen2AudioForConditionalGeneration
from transformers.generation.logits_process import (
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

ROWS = [0, 1, 2]


@torch.no_grad()
def run(model, rows, eos, **options):
    """New ids [row][sequence], end token included, padding cut; scores [row][sequence], if any."""
    sequences = [prompts()[r] for r in rows]
    out = model.generate(
        input_ids=pad(sequences, PAD),
        attention_mask=attention_mask(sequences),
        input_features=input_features()[rows].to(model.dtype),
        feature_attention_mask=feature_attention_mask()[rows],
        eos_token_id=eos,
        do_sample=False,
        return_dict_in_generate=True,
        output_scores=True,
        **options,
    )
    new = out.sequences[:, max(map(len, sequences)) :].tolist()
    ends = [next((i + 1 for i, t in enumerate(ids) if t in eos), len(ids)) for ids in new]
    ids = [sequence[:end] for sequence, end in zip(new, ends)]
    count = options.get("num_return_sequences", 1)
    grouped = [ids[i : i + count] for i in range(0, len(ids), count)]
    if options.get("num_beams", 1) == 1:
        return grouped, None
    scores = [float(f"{score:.6g}") for score in out.sequences_scores.tolist()]
    return grouped, [scores[i : i + count] for i in range(0, len(scores), count)]


def vector(models, eos, **options):
    """A case's answer, or None where it hangs on rounding."""
    batch, scores = run(models[0], ROWS, eos, **options)
    for model in models:
        if run(model, ROWS, eos, **options)[0] != batch:
            return None
        if [run(model, [row], eos, **options)[0][0] for row in ROWS] != batch:
            return None
    answer = {"eosTokenIds": eos, "options": options, "ids": batch}
    return answer if scores is None else {**answer, "scores": scores}


def frequent_ends(model, count):
    """Tokens that many hypotheses have: as end tokens they end sequences of many lengths."""
    ids, _ = run(model, ROWS, EOS, num_beams=4, num_return_sequences=4, max_new_tokens=16)
    tokens = [token for row in ids for sequence in row for token in sequence[1:]]
    ranked = sorted(set(tokens) - {*EOS, PAD, AUDIO}, key=lambda t: (-tokens.count(t), t))
    return ranked[:count]


def beam_cases(models):
    ends = frequent_ends(models[0], 12)
    several = [*EOS, *ends[1::3]]
    grid = itertools.product(
        [EOS, [ends[0]], several, ends],
        [2, 4],
        [-1.0, 0.0, 0.6, 1.0, 2.0],
        [False, True, "never"],
    )
    cases = []
    for i, (eos, beams, penalty, stopping) in enumerate(grid):
        options = dict(
            num_beams=beams,
            length_penalty=penalty,
            early_stopping=stopping,
            num_return_sequences=beams if i % 2 else 1,
            max_new_tokens=[5, 12, 20][i % 3],
        )
        cases.append(vector(models, eos, **options))
    for eos, more in itertools.product(
        [EOS, several],
        [
            dict(repetition_penalty=1.4),
            dict(no_repeat_ngram_size=2),
            dict(repetition_penalty=0.8, no_repeat_ngram_size=3, length_penalty=1.5),
        ],
    ):
        common = dict(num_beams=4, num_return_sequences=2, max_new_tokens=16)
        cases.append(vector(models, eos, **common, **more))
        more = {key: value for key, value in more.items() if key != "length_penalty"}
        cases.append(vector(models, eos, max_new_tokens=16, **more))
    for many in [1, 3, 8]:
        cases.append(vector(models, several, num_beams=many, max_new_tokens=12))
    kept = [case for case in cases if case is not None]
    assert len(kept) > 0.8 * len(cases), f"{len(cases) - len(kept)} of {len(cases)} hang on rounding"
    print(f"{len(kept)} of {len(cases)} cases")
    return kept


def processor_cases():
    generator = torch.Generator().manual_seed(3)
    vocabulary, lengths = 40, [9, 6, 12]
    scores = (torch.randn(3, vocabulary, generator=generator) * 192).round() / 64
    scores[1, 5] = scores[1, 6] = scores[1].max()  # a tie
    ids = [torch.randint(1, 6, (n,), generator=generator).tolist() for n in lengths]
    lists = {
        "repetitionPenalty": (
            dict(repetitionPenalty=1.3),
            [RepetitionPenaltyLogitsProcessor(1.3)],
        ),
        "noRepeatNgramSize": (dict(noRepeatNgramSize=2), [NoRepeatNGramLogitsProcessor(2)]),
        "unigrams": (dict(noRepeatNgramSize=1), [NoRepeatNGramLogitsProcessor(1)]),
        "trigrams": (dict(noRepeatNgramSize=3), [NoRepeatNGramLogitsProcessor(3)]),
        "temperature": (dict(temperature=0.7, topK=0), [TemperatureLogitsWarper(0.7)]),
        "topK": (dict(topK=5), [TopKLogitsWarper(5)]),
        "topKOfAll": (dict(topK=1000), [TopKLogitsWarper(1000)]),
        "topP": (dict(topP=0.8, topK=0), [TopPLogitsWarper(0.8)]),
        "topPOfOne": (dict(topP=0.01, topK=0), [TopPLogitsWarper(0.01)]),
        "all": (
            dict(repetitionPenalty=1.2, noRepeatNgramSize=2, temperature=0.8, topK=12, topP=0.9),
            [
                RepetitionPenaltyLogitsProcessor(1.2),
                NoRepeatNGramLogitsProcessor(2),
                TemperatureLogitsWarper(0.8),
                TopKLogitsWarper(12),
                TopPLogitsWarper(0.9),
            ],
        ),
    }
    cases = []
    for name, (options, processors) in lists.items():
        # Row by row: transformers' n-grams count the padding of a batch as text.
        processed = LogitsProcessorList(processors)
        out = [
            processed(torch.tensor([row]), scores[[i]].clone())[0] for i, row in enumerate(ids)
        ]
        rows = [[None if v == float("-inf") else float(f"{v:.8g}") for v in r.tolist()] for r in out]
        cases.append({"name": name, "options": options, "scores": rows})
    return {"sequences": ids, "scores": scores.tolist(), "cases": cases}


def main() -> None:
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    single = Qwen2AudioForConditionalGeneration.from_pretrained(TINY_MODEL).eval()
    double = Qwen2AudioForConditionalGeneration.from_pretrained(TINY_MODEL).eval().double()
    write_json(
        VECTORS / "generation-vectors.json",
        {
            "madeBy": "test/oracle/generation.py",
            "versions": versions(),
            "note": "new ids only, [row][sequence], the end token included; null is -inf",
            "generate": beam_cases([single, double]),
            "processors": processor_cases(),
        },
    )


if __name__ == "__main__":
    main()
