"""The bars of whole scenes at sensor speed: measures them, stores them, prints them. One thread, rows as stored to labels.

    python benchmarks/peers.py                  # all bars; models and the peers' environments are made where they are missing
    python benchmarks/peers.py --quick          # bars 1 and 3, under 50 s; nothing is stored
    python benchmarks/peers.py --bars 1 4       # some of them
    python benchmarks/peers.py --documents      # no measuring: fills docs/ from the stored results

1  the shipped net (cnn2d, patch 13, five layers of 64): INT8 scene graphs against float patches on onnxruntime, at the best
   of batch 1, 64 and 256; test accuracy of each
2  the student of 16 KiB, whole scenes, against its teacher's patches; and where its time goes
3  INT8 against float, four nets, patches at batch 1 and 256 and scene graphs: the upper bound of the paired time ratio
4  peers, each in its own environment, given the patch model, and given our scene graph
5  anonymous memory of a strip and of one a hundred times as long
6  line rates of real cameras, and how many times faster than real time we are
7  the native engine against onnxruntime and LiteRT, whole scenes and row by row, and its share of the instruction's peak
8  the student and liunet in exported C against onnxruntime, LiteRT, TFLite Micro, a public generator of C, and float

Contenders of a run take turns in rounds, in processes of their own on one core; ratios are paired by round. Results go to
benchmarks/results/peers.json, each bar with the device, the day and how busy other programs kept the cores. Those of another
processor go to a file beside it (--store benchmarks/results/peers-NAME.json), and into the documents' table of processors.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from bars import cameras, exported, limits, memory, native, results, speed, tables, versus
from bars.models import Workshop
from bars.turns import ROUNDS

from hsiedge.device.facts import device_facts
from hsiedge.scenes.open import open_scene
from hsiedge.shipped import shipped

CACHE = Path.home() / ".cache" / "hsiedge-peers"
BARS = (1, 2, 3, 4, 5, 6, 7, 8)
QUICK = (1, 3)
QUICK_SECONDS, QUICK_ROUNDS = 0.2, 4


def measure(bar: int, workshop: Workshop, seconds: float, rounds: int, cache: Path, core: dict[str, Any]) -> dict[str, Any]:
    """Entry of one bar; `core` are the limits of the core."""
    actions: dict[int, Callable[[], dict[str, Any]]] = {
        1: lambda: speed.scenes(workshop, seconds, rounds),
        2: lambda: speed.student(workshop, seconds, core),
        3: lambda: speed.integers(workshop, seconds, rounds),
        4: lambda: versus.measured(workshop, seconds, cache),
        5: lambda: strips(workshop),
        6: lambda: cameras.measured(workshop, seconds),
        7: lambda: native.measured(workshop, seconds),
        8: lambda: exported.measured(workshop, seconds, cache),
    }
    return actions[bar]()


def strips(workshop: Workshop) -> dict[str, Any]:
    """Bar 5."""
    model = workshop.graphs(shipped(".onnx"))["scene int8"]
    with tempfile.TemporaryDirectory(dir=workshop.folder) as folder:
        memory_use = memory.measured(model, Path(folder))
    return {**memory_use, "verdicts": memory.verdicts(memory_use)}


def main() -> None:
    """Measures what is asked for, prints it, and stores it unless it was quick."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bars", type=int, nargs="+", choices=BARS, default=list(BARS), metavar="N", help="1 to 8")
    parser.add_argument("--seconds", type=float, default=2.0, help="for each contender of a run, at least (default: 2)")
    parser.add_argument("--cache", type=Path, default=CACHE, help=f"models and environments (default: {CACHE})")
    parser.add_argument("--quick", action="store_true", help="bars 1 and 3, briefly, stored nowhere")
    parser.add_argument(
        "--store", type=Path, default=results.STORE, help="the results (default: benchmarks/results/peers.json)"
    )
    parser.add_argument("--documents", action="store_true", help="only fill docs/ from the results")
    arguments = parser.parse_args()
    if arguments.documents:
        import pages

        pages.main()
        return
    started = time.perf_counter()
    arguments.cache.mkdir(parents=True, exist_ok=True)
    workshop = Workshop.below(arguments.cache, open_scene("indian_pines"))
    facts = device_facts()
    seconds, rounds = (QUICK_SECONDS, QUICK_ROUNDS) if arguments.quick else (arguments.seconds, ROUNDS)
    core = limits.limits(facts, seconds)
    print(tables.device_line(asdict(facts), core))
    for bar in QUICK if arguments.quick else arguments.bars:
        entry = measure(bar, workshop, seconds, rounds, arguments.cache, core)
        whole = results.entry(entry, device_facts(), seconds, core)
        print(tables.terminal(bar, whole), flush=True)
        if not arguments.quick:
            results.store(bar, whole, arguments.store)
    print(f"{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
