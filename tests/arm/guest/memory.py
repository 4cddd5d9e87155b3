"""Peak memory of `hsiedge classify MODEL CUBE`, of the emulated process and not of QEMU: python3 memory.py MODEL WARM CUBE

Prints MiB: at most so much was resident in the process at once, its libraries included.

The kernel's high-water mark counts QEMU too: its own memory, and the code that it has translated. Both only grow. So a small
cube, WARM, is classified first, which translates nearly all that will run; then the mark is reset, and what is QEMU's own at
that moment is taken from the mark that the large cube leaves. What the first cube has left behind counts: the figure errs
on the high side.
"""

from __future__ import annotations

import contextlib
import re
import sys
from pathlib import Path

from hsiedge.cli.main import main as hsiedge

SELF = Path("/proc/self")


def of_qemu() -> float:
    """MiB resident that are not of the emulated process, whose mappings /proc/self/maps tells under emulation."""
    ours = [tuple(int(end, 16) for end in line.split()[0].split("-")) for line in (SELF / "maps").read_text().splitlines()]
    total, counts = 0, False
    for line in (SELF / "smaps").read_text().splitlines():
        if bounds := re.match("([0-9a-f]+)-([0-9a-f]+) ", line):
            first, end = int(bounds[1], 16), int(bounds[2], 16)
            counts = not any(start < end and first < stop for start, stop in ours)
        elif line.startswith("Rss:") and counts:
            total += int(line.split()[1])
    return total / 1024


def peak() -> float:
    peak = re.search(r"VmHWM:\s+(\d+) kB", (SELF / "status").read_text())
    assert peak is not None
    return int(peak[1]) / 1024


def classify(model: str, cube: str) -> None:
    sys.argv = ["hsiedge", "classify", model, cube, "--output", "map.npy", "--threads", "1"]
    with contextlib.suppress(SystemExit):  # it ends by one, whose code says how; what it has written says so as well
        hsiedge()
    Path("map.npy").rename("classified.npy")


def main() -> None:
    model, warm, cube = sys.argv[1:]
    classify(model, warm)
    own = of_qemu()
    (SELF / "clear_refs").write_text("5")
    classify(model, cube)
    assert of_qemu() >= own, "QEMU has given memory back: its share at the peak is not known"
    print(peak() - own)


if __name__ == "__main__":
    main()
