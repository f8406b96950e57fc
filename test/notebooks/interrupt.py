"""Runs a cell, interrupts the kernel once the cell shows something, and prints what became of both."""
import json
import sys
import time

from jupyter_client import KernelManager

MINUTES = 5

manager = KernelManager(kernel_name="tslab")
manager.start_kernel()
client = manager.client()
client.start_channels()
client.wait_for_ready(timeout=60 * MINUTES)


def messages(until):
    """What the kernel publishes, until a message is one that is waited for."""
    end = time.monotonic() + 60 * MINUTES
    while time.monotonic() < end and manager.is_alive():
        try:
            message = client.get_iopub_msg(timeout=1)
        except Exception:  # queue.Empty
            continue
        yield message
        if until(message):
            return


def html(message):
    return message["content"].get("data", {}).get("text/html", "")


shown = []
client.execute(open(sys.argv[1], encoding="utf-8").read())
for message in messages(lambda message: "interrupted" in html(message)):
    if html(message):
        if not shown:
            manager.interrupt_kernel()
        shown.append(html(message))

# After an error tslab refuses what comes in the next fifth of a second.
time.sleep(1)
after = ""
client.execute("console.log(6 * 7)")
for message in messages(lambda message: after != ""):
    if message["msg_type"] == "stream" and message["content"]["name"] == "stdout":
        after += message["content"]["text"].strip()

print(json.dumps({"alive": manager.is_alive(), "shown": shown, "after": after}))
manager.shutdown_kernel(now=True)
