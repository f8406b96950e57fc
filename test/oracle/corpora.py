"""Small corpora in Parquet, as Hugging Face's datasets and pyarrow write them, and what they read back.

    python test/oracle/corpora.py

Writes test/oracle/vectors/corpora: a folder each, and expected.json with the rows that
`datasets.load_dataset` gives (hashes of the sounds' bytes and, by soundfile, of their 16-bit samples).
Needs datasets, pyarrow and soundfile (libsndfile); decoding by datasets itself is not used.
"""

import hashlib
import io
import json
import platform
import shutil
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile
from datasets import Audio, Dataset, Features, Translation, Value, load_dataset
from datasets.table import InMemoryTable

datasets.disable_progress_bars()
HERE = Path(__file__).parent / "vectors" / "corpora"
FEATURES = Features(
    {
        "audio": Audio(sampling_rate=16000, decode=False),
        "translation": Translation(languages=["en", "de"]),
        "client_id": Value("string"),
        "count": Value("int32"),
    }
)


def sound(index: int) -> tuple[bytes, str]:
    """A tone of 0.05 to 0.2 s in 16 bits; every third a flac, every fourth at 8 kHz, in stereo."""
    rate, channels = (8000, 2) if index % 4 == 3 else (16000, 1)
    samples = int(rate * (0.05 + 0.01 * (index * 7 % 16)))
    t = np.arange(samples)
    wave = (8000 * np.sin(2 * np.pi * (200 + 50 * index) * t / rate)).astype(np.int16)
    kind = "flac" if index % 3 == 2 else "wav"
    file = io.BytesIO()
    soundfile.write(file, np.stack([wave, wave // 2][:channels], 1), rate, "PCM_16", format=kind)
    return file.getvalue(), f"clip-{index}.{kind}"


def row(index: int) -> dict:
    data, path = sound(index)
    translation = {"en": f"Number {index}, “so to speak”", "de": f"Nummer {index} – größer als ß"}
    return {
        "audio": {"bytes": data, "path": path},
        "translation": translation,
        "client_id": None if index == 5 else f"speaker-{index % 3}",
        "count": index,
    }


def table(indices: range) -> pa.Table:
    return pa.Table.from_pylist([row(i) for i in indices], schema=FEATURES.arrow_schema)


def shards(folder: str, split: str, parts: list[range], write) -> None:
    for number, part in enumerate(parts):
        name = f"{split}-{number:05d}-of-{len(parts):05d}.parquet"
        path = HERE / folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write(table(part), path)


def by_datasets(rows: pa.Table, path: Path) -> None:
    Dataset(InMemoryTable(rows)).to_parquet(path, batch_size=4)


def by_pyarrow(**options):
    return lambda rows, path: pq.write_table(rows, path, **options)


def described(rows: Dataset) -> list[dict]:
    """In the order that datasets gives them."""
    result = []
    for one in rows.cast_column("audio", Audio(decode=False)):
        audio = one.pop("audio")
        data = audio["bytes"] or Path(audio["path"]).read_bytes()
        samples, rate = soundfile.read(io.BytesIO(data), dtype="int16", always_2d=True)
        result.append(
            {
                **one,
                "file": Path(audio["path"]).name,
                "bytes": hashlib.sha256(data).hexdigest(),
                "rate": rate,
                "seconds": len(samples) / rate,
                # Channel after channel.
                "samples": hashlib.sha256(np.ascontiguousarray(samples.T).tobytes()).hexdigest(),
            }
        )
    return result


def main() -> None:
    shutil.rmtree(HERE, ignore_errors=True)
    # Page index, sounds not compressed, several row groups: datasets' own way.
    shards("datasets/data", "train", [range(0, 9), range(9, 14)], by_datasets)
    shards("datasets/data", "validation", [range(14, 17)], by_datasets)
    # Snappy, and a dictionary of all sounds of a row group, as older versions wrote.
    snappy = by_pyarrow(compression="snappy", row_group_size=4, use_dictionary=True)
    shards("snappy/data", "train", [range(0, 9), range(9, 14)], snappy)
    # Zstandard, pages of the second kind, each with a sound or two, no dictionary.
    zstd = by_pyarrow(
        compression="zstd",
        row_group_size=7,
        use_dictionary=False,
        data_page_version="2.0",
        data_page_size=4096,
        write_batch_size=1,
    )
    shards("zstd/data", "train", [range(0, 9), range(9, 14)], zstd)
    # A dictionary that becomes too large, so that a chunk has pages with and without.
    mixed = by_pyarrow(
        compression="zstd", dictionary_pagesize_limit=8000, data_page_size=4096, write_batch_size=1
    )
    shards("mixed/data", "train", [range(0, 14)], mixed)
    for codec in ["none", "gzip", "brotli", "lz4"]:
        shards(f"codecs/{codec}", codec, [range(3)], by_pyarrow(compression=codec))
    # Only paths, relative to the dataset, in a column of sounds and in one of text.
    clips = HERE / "paths" / "clips"
    clips.mkdir(parents=True)
    rows = [row(i) for i in range(4)]
    for one in rows:
        (clips / one["audio"]["path"]).write_bytes(one["audio"]["bytes"])
        one["audio"] = {"bytes": None, "path": f"clips/{one['audio']['path']}"}
    pq.write_table(
        pa.Table.from_pylist(rows, schema=FEATURES.arrow_schema), HERE / "paths" / "train.parquet"
    )
    plain = [
        {"path": one["audio"]["path"], "sentence": one["translation"]["en"], "duration": 0.5}
        | {"translation_de": one["translation"]["de"]}
        for one in rows
    ]
    pq.write_table(pa.Table.from_pylist(plain), HERE / "paths" / "test.parquet")

    expected = {}
    for name in ["datasets", "snappy", "zstd", "mixed"]:
        splits = load_dataset("parquet", data_dir=str(HERE / name / "data"))
        expected[name] = {split: described(rows) for split, rows in splits.items()}
    for codec in ["none", "gzip", "brotli", "lz4"]:
        path = HERE / "codecs" / codec
        splits = load_dataset("parquet", data_files=str(path / "*.parquet"))
        expected[f"codecs/{codec}"] = {codec: described(splits["train"])}
    pages = {
        str(path.relative_to(HERE)): pq.ParquetFile(path).metadata.num_row_groups
        for path in sorted(HERE.rglob("*.parquet"))
    }
    versions = {
        "python": platform.python_version(),
        "datasets": datasets.__version__,
        "pyarrow": pa.__version__,
        "soundfile": soundfile.__version__,
    }
    text = json.dumps({"versions": versions, "rowGroups": pages, "rows": expected}, indent=1)
    (HERE / "expected.json").write_text(text + "\n")


main()
