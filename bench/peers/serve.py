"""The loop of a contestant in Python: a line of JSON in, a line of JSON out."""

import json
import re
import sys


def serve(ready, answer):
    print(json.dumps(ready), flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(**json.loads(line))), flush=True)


def reset_peak():
    """From now on, the peak of resident memory counts from what is resident now."""
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")


def peak_megabytes():
    """Peak resident memory in MB, from the kernel."""
    with open("/proc/self/status") as file:
        return int(re.search(r"^VmHWM:\s+(\d+) kB", file.read(), re.M)[1]) / 1000
