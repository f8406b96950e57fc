"""What do scores and paired tests cost beside sacreBLEU? Both sides take turns on the same corpus.

    npm run build && python bench/peers/metrics.py [ROUNDS]    (needs: pip install sacrebleu)

1000 segments of 8 to 44 words, their words changed, shifted and dropped; one process a side and
round, its start not counted. Scores and p-values of the two sides are compared, too.
"""

import json
import random
import statistics
import subprocess
import sys
import time
from pathlib import Path

from sacrebleu.metrics import BLEU, CHRF, TER
from sacrebleu.significance import PairedTest

ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 5
METRICS = {"bleu": BLEU, "chrf++": lambda: CHRF(word_order=2), "ter": TER}
TESTS = {"bootstrap": ("bs", 1000), "approximate-randomization": ("ar", 10_000)}

NODE = """
const m = require(process.argv[1]);
const { a, b, refs } = JSON.parse(require('fs').readFileSync(0, 'utf8'));
const timed = (action) => {
  const start = performance.now();
  return { result: action(), seconds: (performance.now() - start) / 1000 };
};
const out = {};
for (const name of ['bleu', 'chrf++', 'ter']) {
  const metric = m.createMetric(name);
  out[name] = timed(() => m.corpusScore(metric, a, refs).score);
}
const metric = m.createMetric('bleu');
out.bootstrap = timed(() => m.pairedBootstrap(metric, a, b, refs).pValue);
out['approximate-randomization'] = timed(
  () => m.pairedApproximateRandomization(metric, a, b, refs).pValue,
);
console.log(JSON.stringify(out));
"""


def corpus():
    rng = random.Random(5)
    words = ["".join(rng.choices("abcdefghijklmnoprstuvz", k=rng.randrange(2, 9))) for _ in range(3000)]
    weights = [1 / (i + 1) for i in range(len(words))]

    def system(ref, wrong):
        hyp = [rng.choices(words, weights)[0] if rng.random() < wrong else word for word in ref]
        for _ in range(rng.randrange(3)):
            at, size = rng.randrange(len(hyp)), rng.randrange(1, 5)
            block, rest = hyp[at : at + size], hyp[:at] + hyp[at + size :]
            to = rng.randrange(len(rest) + 1)
            hyp = rest[:to] + block + rest[to:]
        return " ".join(hyp[rng.randrange(2) :])

    refs = [rng.choices(words, weights, k=rng.randrange(8, 45)) for _ in range(1000)]
    a, b = ([system(ref, wrong) for ref in refs] for wrong in (0.3, 0.301))
    return {"a": a, "b": b, "refs": [" ".join(ref) for ref in refs]}


def timed(action):
    start = time.perf_counter()
    result = action()
    return {"result": result, "seconds": time.perf_counter() - start}


def sacrebleu(data):
    refs = [data["refs"]]
    out = {
        name: timed(lambda: metric().corpus_score(data["a"], refs).score)
        for name, metric in METRICS.items()
    }
    systems = [("a", data["a"]), ("b", data["b"])]
    for name, (test, samples) in TESTS.items():
        paired = lambda: PairedTest(systems, {"b": BLEU()}, refs, test_type=test, n_samples=samples)()
        out[name] = timed(lambda: paired()[1]["BLEU"][1].p_value)
    return out


def pare(text):
    dist = Path(__file__).resolve().parents[2] / "dist" / "metrics"
    run = subprocess.run(
        ["node", "-e", NODE, str(dist)], input=text, capture_output=True, text=True, check=True
    )
    return json.loads(run.stdout)


def main():
    data = corpus()
    text = json.dumps(data)
    rounds = [(pare(text), sacrebleu(data)) for _ in range(ROUNDS)]
    print("| 1000 segments | pare, s | sacreBLEU, s | times faster |")
    print("| --- | --- | --- | --- |")
    for name in rounds[0][0]:
        for ours, theirs in rounds:
            if abs(ours[name]["result"] - theirs[name]["result"]) > 1e-9:
                sys.exit(f"{name}: {ours[name]['result']} here, {theirs[name]['result']} there")
        ours, theirs = (statistics.median(r[side][name]["seconds"] for r in rounds) for side in (0, 1))
        print(f"| {name} | {ours:.3f} | {theirs:.3f} | {theirs / ours:.1f} |")


if __name__ == "__main__":
    main()
