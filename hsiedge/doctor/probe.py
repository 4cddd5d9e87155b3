"""Test of a runtime in a process of its own, since a broken one may kill it."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from hsiedge.benchmark.process import environment, signal_text

RUNTIMES = ("ort", "litert", "tflm", "native")
SECONDS = 120


def probe(runtime: str) -> dict[str, Any]:
    """Imports a runtime, in a process of its own, and has it run a shipped model.

    Returns:
        "version", "home" (folder), "providers", and "check": "equal", "different", or words on why it was not compared; of
        TFLite Micro "arena_bytes", too; or
        "missing" or "broken": the error of its import, or what ended it.
    """
    command = [sys.executable, "-m", "hsiedge.doctor.selftest", runtime]
    try:
        process = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=SECONDS, check=False, env=environment()
        )
    except subprocess.TimeoutExpired:
        return {"broken": f"it did not come back within {SECONDS} seconds"}
    last = (process.stdout.splitlines() or [""])[-1]
    try:
        reply: dict[str, Any] = json.loads(last)
    except ValueError:
        lines = process.stderr.strip().splitlines()
        last = signal_text(-process.returncode) if process.returncode < 0 else lines[-1] if lines else ""
        return {"broken": f"its process ended with code {process.returncode}: {last}"}
    return reply
