"""Event files of TensorBoard.

    python test/oracle/tensorboard_events.py             # makes vectors/tensorboard.json
    python test/oracle/tensorboard_events.py read DIR    # the scalars that TensorBoard reads there

Needs tensorboard 2.21.0 alone.
"""

import base64
import io
import json
import sys
from pathlib import Path

import tensorboard
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter


class Kept(io.BytesIO):
    def close(self):
        pass


def record(event):
    file = Kept()
    writer = RecordWriter(file)
    writer.write(event.SerializeToString())
    writer.flush()
    return base64.b64encode(file.getvalue()).decode()


def make():
    wall = 1764000000.25
    steps = [
        (1, {"loss": 5.25}),
        (127, {"loss": 0.1, "learningRate": 1e-5, "gradNorm": 123456.789}),
        (128, {"größe": -1.0}),
        (300, {f"metric {i}": i / 7 for i in range(20)}),
        (2**40 + 5, {"peakMemory": 2.5e10}),
        (2, {}),
    ]
    vectors = [{"step": None, "scalars": None, "record": record(Event(wall_time=wall, file_version="brain.Event:2"))}]
    for step, scalars in steps:
        values = [Summary.Value(tag=tag, simple_value=value) for tag, value in scalars.items()]
        event = Event(wall_time=wall, step=step, summary=Summary(value=values))
        vectors.append({"step": step, "scalars": scalars, "record": record(event)})
    out = Path(__file__).parent / "vectors" / "tensorboard.json"
    content = {"versions": {"tensorboard": tensorboard.__version__}, "wallTime": wall, "events": vectors}
    out.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def read(directory):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    accumulator = EventAccumulator(directory)
    accumulator.Reload()
    tags = accumulator.Tags()["scalars"]
    print(json.dumps({tag: [[e.step, e.value] for e in accumulator.Scalars(tag)] for tag in tags}))


if __name__ == "__main__":
    read(sys.argv[2]) if sys.argv[1:2] == ["read"] else make()
