"""Memory of `hsiedge classify` on a strip and on one a hundred times as long: anonymous bytes, as the kernel tells them.

Cubes are ENVI, BIL, uint16, 200 bands, 1000 columns. The long one would take gigabytes to write, and what is in a pixel has no
say in memory: both files are sparse, and read as zeros.
"""

from __future__ import annotations

import math
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from bars.results import Verdict

GROWN, BEYOND = 1.05, 64
BANDS, COLUMNS, ROWS, TIMES = 200, 1000, 128, 100
IMPORTED = (
    "import numpy, rich.progress, typer.main, hsiedge.cli.app, hsiedge.cli.classify, hsiedge.mapping.stream, "
    "hsiedge.mapping.writers, hsiedge.runtimes.{}, hsiedge.scenes.io.reader, hsiedge.scenes.open, hsiedge.scenes.pack, "
    "hsiedge.scenes.references; typer.main.get_command(hsiedge.cli.app.app); "
    "import sys; print(flush=True); sys.stdin.read()"
)
_EVERY = 0.002


def measured(
    model: Path,
    folder: Path,
    rows: int = ROWS,
    times: int = TIMES,
    columns: int = COLUMNS,
    bands: int = BANDS,
    memory: str = "32MiB",
    runtime: str = "ort",
) -> dict[str, Any]:
    """Peaks in MiB: of the imported runtime alone, of the short strip and of the long one."""
    peaks = {"imported": _imported(runtime)}
    for name, height in (("short", rows), ("long", rows * times)):
        header = _cube(folder, (height, columns, bands))
        output = folder / f"{name}.npy"
        command = [
            "classify",
            str(model),
            str(header),
            "-o",
            str(output),
            "--memory",
            memory,
            "--threads",
            "1",
            "--runtime",
            runtime,
        ]
        peaks[name] = _peak([sys.executable, "-m", "hsiedge", *command])
        output.unlink()
        header.with_suffix(".raw").unlink()
    return {
        **{f"{name}_mib": value / (1 << 20) for name, value in peaks.items()},
        "grown": peaks["long"] / peaks["short"],
        "beyond_mib": (peaks["long"] - peaks["imported"]) / (1 << 20),
        "bands": bands,
        "columns": columns,
        "rows": rows,
        "times": times,
        "memory": memory,
    }


def verdicts(sizes: dict[str, Any]) -> list[dict[str, Any]]:
    """Bar 5."""
    longer = f"anonymous memory of a strip {sizes['times']} times as long, over that of the short one"
    beyond = f"MiB beyond the imported runtime, {sizes['bands']} bands x {sizes['columns']} columns"
    return [
        Verdict(longer, sizes["grown"], "<=", GROWN).to_json(),
        Verdict(beyond, sizes["beyond_mib"], "<=", BEYOND, f"--memory {sizes['memory']}").to_json(),
    ]


def _cube(folder: Path, shape: tuple[int, int, int]) -> Path:
    """An ENVI cube of zeros that takes no room on the disk."""
    with (folder / "strip.raw").open("wb") as file:
        file.truncate(2 * math.prod(shape))
    header = {"lines": shape[0], "samples": shape[1], "bands": shape[2], "interleave": "bil", "data type": 12, "byte order": 0}
    text = "".join(f"{key} = {value}\n" for key, value in {**header, "header offset": 0}.items())
    (folder / "strip.hdr").write_text(f"ENVI\n{text}")
    return folder / "strip.hdr"


def _imported(runtime: str) -> int:
    """Anonymous bytes of a process that has imported what `classify` does, and no more."""
    process = subprocess.Popen([sys.executable, "-c", IMPORTED.format(runtime)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        return _anonymous(process.pid)
    finally:
        process.communicate()


def _peak(command: list[str]) -> int:
    """The most anonymous bytes that a process had, looked at every other millisecond. Raises CalledProcessError."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    peak = 0
    while process.poll() is None:
        peak = max(peak, _anonymous(process.pid))
        time.sleep(_EVERY)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command, stderr=process.communicate()[1])
    process.communicate()
    return peak


def _anonymous(pid: int) -> int:
    try:
        line = re.search(r"^RssAnon:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    except OSError:
        return 0
    return int(line[1]) << 10 if line else 0
