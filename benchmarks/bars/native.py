"""Bar 7: the native engine against onnxruntime and LiteRT, from rows as stored to labels: whole scenes, and rows as they come.

Besides the student and cnn2d, a whole scene in each net that the engine labels unasked: `hsiedge.runtimes.NATIVE_FIRST`.
A share of the peak is the multiply-accumulates of the net over those of the kernel set's own instruction, run alone in a loop.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from bars import memory, older
from bars.limits import instruction_peak, worth_of_two
from bars.models import Workshop, macs, pixel_bytes, scene_shape
from bars.results import Verdict
from bars.turns import ROUNDS, Contender, Timed, one_core, take, times_faster
from hsiedge.native.library import kernel_sets
from hsiedge.runtimes import NATIVE_FIRST
from hsiedge.shipped import shipped

UNTRAINED = sorted({net for nets in NATIVE_FIRST.values() for net in nets} - {"cnn2d", "dscnn"})
ASKED = {
    ("student", "whole"): 3,
    ("student", "16"): 4,
    ("student", "1"): 15,
    ("cnn2d", "whole"): 1,
    ("cnn2d", "1"): 4,
    **{(net, "whole"): 1 for net in UNTRAINED},
}
NEWER = ("avx512vnni", "avxvnni")  # kernel sets of processors that can do as if they had AVX2 alone
ON_AVX2 = "cnn2d on AVX2, a whole scene: native against the better of the others, times"
MOST_MIB = 8
TWICE, WIDE = 1.8, 640  # times as fast with two threads; columns of the row that they share, a camera's
BRIEFLY = 0.25  # of the seconds of a round: more rounds, the best of which counts
SHARES = {"cnn2d": 0.7, "student": 0.4}
Bar = dict[str, Any]


def measured(workshop: Workshop, seconds: float) -> Bar:
    """Each net at each push: the native engine, and the better of the others in the same run; two threads beside one."""
    height, width = workshop.scene.shape[:2]
    kernels = kernel_sets()[0]
    with one_core():
        peak = instruction_peak(seconds)
    nets = {"student": workshop.graphs(workshop.student()), "cnn2d": workshop.graphs(shipped(".onnx"))}
    pushes = [(name, push, workshop, nets[name]) for name in nets for push in ("whole", "16", "1")]
    pushes += [(name, "whole", workshop.small(), workshop.untrained(name)) for name in UNTRAINED]
    entry: Bar = {"rows": [], "kernels": kernels, "peak_gmac_s": peak, "pixel_bytes": pixel_bytes(workshop.scene), "failed": {}}
    busy, stolen, asked = 0.0, 0.0, list[Verdict]()
    for name, push, shop, graphs in pushes:
        rows = height if push == "whole" else int(push)
        turns = take(contenders(shop, graphs, (rows, width)), seconds)
        entry["failed"].update({f"{name} {push} {key}": reason for key, reason in turns.failed.items()})
        busy, stolen = max(busy, turns.load.cores), max(stolen, turns.load.stolen)
        others = [key for key in turns.timed if key != "native"]
        row = row_of(turns.timed["native"], turns.best(others), macs(graphs["scene int8"]), peak)
        entry["rows"].append({"net": name, "push": push, **row, "others": [turns.timed[key].row() for key in others]})
        asked += verdicts(name, push, row)
    if kernels in NEWER:
        entry["avx2"] = [on_avx2(name, workshop, graphs, (height, width), seconds) for name, graphs in nets.items()]
        asked += [Verdict(ON_AVX2, row["times"], ">=", 1) for row in entry["avx2"] if row["net"] == "cnn2d"]
    with tempfile.TemporaryDirectory(dir=workshop.folder) as folder:
        entry["memory"] = memory.measured(nets["student"]["scene int8"], Path(folder), memory="64MiB", runtime="native")
    entry["threads"] = [two_threads(name, graphs["scene int8"], height, BRIEFLY * seconds) for name, graphs in nets.items()]
    title = f"native in two threads against one, {WIDE} columns, best rounds, times"
    asked += [Verdict(f"{row['net']}: {title}", row["best"], ">=", TWICE) for row in entry["threads"]]
    beyond = "MiB of classify beyond the imported engine, student, 200 bands x 1000 columns"
    asked.append(Verdict(beyond, entry["memory"]["beyond_mib"], "<=", MOST_MIB))
    return {**entry, "other_cores": busy, "stolen_cores": stolen, "verdicts": [verdict.to_json() for verdict in asked]}


def contenders(workshop: Workshop, graphs: dict[str, Path], pixels: tuple[int, int]) -> list[Contender]:
    """The INT8 scene graph in each runtime that takes it, `pixels` (rows, columns) at a time."""
    rows, columns = pixels
    path = graphs["scene int8"]
    shape = scene_shape(path, rows, columns)
    entries = [Contender(name, path, shape=shape, runtime=name) for name in ("native", "ort")]
    lite, _ = workshop.litert(graphs["scene float"], rows, columns)
    return entries if lite is None else [*entries, Contender("litert", lite, shape=scene_shape(lite, rows, columns))]


def on_avx2(name: str, workshop: Workshop, graphs: dict[str, Path], pixels: tuple[int, int], seconds: float) -> dict[str, Any]:
    """One net, a whole scene, in each runtime as it is on a processor without AVX-512 and VNNI."""
    variables = older.variables(workshop.folder.parent)
    turns = take(
        [replace(one, program=older.PROGRAM, variables=variables) for one in contenders(workshop, graphs, pixels)], seconds
    )
    native, best = turns.timed["native"], turns.best([key for key in turns.timed if key != "native"])
    load = {"other_cores": turns.load.cores, "stolen_cores": turns.load.stolen}
    others = [turns.timed[key].row() for key in turns.timed if key != "native"]
    return {"net": name, "against": best.contender.name, **native.row(), **times_faster(native, best), **load, "others": others}


def two_threads(name: str, path: Path, rows: int, seconds: float) -> dict[str, Any]:
    """One net in two threads beside one, in the same run: `rows` rows at once, so wide that a thread's halo is small.

    `best` compares the best rounds of both: whatever else this machine, or its host, does takes a core from two threads, seldom
    from one. The paired rounds' interval shows how much was taken, `control` whether the two threads had a core each.
    """
    shape = scene_shape(path, rows, WIDE)
    one, two = (Contender(f"{threads}", path, shape=shape, runtime="native", threads=threads) for threads in (1, 2))
    control = worth_of_two()
    turns = take([one, two], seconds, 2 * ROUNDS)
    best = float(turns.timed["1"].per_pixel.min() / turns.timed["2"].per_pixel.min())
    load = {"other_cores": turns.load.cores, "stolen_cores": turns.load.stolen}
    times = times_faster(turns.timed["2"], turns.timed["1"])
    return {"net": name, "columns": WIDE, "control": control, "best": best, **times, **load}


def row_of(native: Timed, best: Timed, each: int, peak: float) -> dict[str, Any]:
    """What is stored of one net at one push."""
    speed = native.pixels_per_s * each / 1e9
    return {
        **native.row(),
        "us_a_pixel": 1e6 / native.pixels_per_s,
        "against": best.contender.name,
        "macs": each,
        "share": speed / peak,
        **times_faster(native, best),
    }


def verdicts(net: str, push: str, row: dict[str, Any]) -> list[Verdict]:
    """What was asked of this net at this push."""
    asked = []
    if (net, push) in ASKED:
        title = f"{net}, {push} rows a push" if push != "whole" else f"{net}, a whole scene"
        what = f"{title}: native against the better of the others, times"
        asked.append(Verdict(what, row["times"], ">=", ASKED[net, push], f"{row['low']:.2f} to {row['high']:.2f}"))
    if push == "whole" and net in SHARES:
        asked.append(Verdict(f"{net}: share of the instruction's peak", row["share"], ">=", SHARES[net]))
    return asked
