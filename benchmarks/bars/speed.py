"""Bars 1 to 3: whole scenes against patches, the student, and INT8 against float."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bars.models import Workshop, macs, pixel_bytes, scene_shape
from bars.results import Verdict
from bars.turns import ROUNDS, Contender, Timed, Turns, share_of_time, take, times_faster
from hsiedge.benchmark.measure import Plan, model_file
from hsiedge.benchmark.operators import profile
from hsiedge.evaluation import evaluate, split_for
from hsiedge.runtimes import load
from hsiedge.scenes.scene import Scene
from hsiedge.shipped import shipped

BATCHES = (1, 64, 256)
SCENE_TIMES = {"onnxruntime": 170, "litert": 300}
STUDENT_TIMES, HOPED = 600, 1000
MOST_LOST = 0.3  # points of OA
NETS = ("cnn1d", "cnn2d", "cnn3d", "hybridsn")
NETS_3D = ("cnn3d", "hybridsn")
EVERYWHERE, WHERE_IT_PAYS = 1.03, 0.45
STRIP = (16, 128)  # labels of a scene graph's run in bar 3: float 3-D nets take seconds for a whole scene
Bar = dict[str, Any]


def accuracy(path: Path, scene: Scene) -> float:
    """OA, percent, on the test pixels of the split in the Card."""
    model = load(path)
    return evaluate(model.predict, scene, split_for(model.known, scene)).accuracy.oa


def patches(name: str, path: Path, batches: Sequence[int] = BATCHES) -> list[Contender]:
    """A patch graph at each batch."""
    return [Contender(f"{name}, batch {batch}", path, batch) for batch in batches]


def whole(name: str, path: Path, rows: int, columns: int) -> Contender:
    """A scene graph on `rows` x `columns` labels."""
    return Contender(name, path, shape=scene_shape(path, rows, columns))


def scenes(workshop: Workshop, seconds: float, rounds: int = ROUNDS) -> Bar:
    """Bar 1: the scene graphs of the shipped net, INT8 on each runtime, against float patches on onnxruntime."""
    scene = workshop.scene
    height, width = scene.shape
    graphs = workshop.graphs(shipped(".onnx"))
    contenders = [
        *patches("patch float", graphs["patch float"]),
        *patches("patch int8", graphs["patch int8"]),
        *(whole(name, graphs[name], height, width) for name in ("scene float", "scene int8")),
    ]
    lite, reason = workshop.litert(graphs["scene float"], height, width)
    if lite is not None:
        contenders.append(whole("scene int8 litert", lite, height, width))
    turns = take(contenders, seconds, rounds)
    baseline = turns.best(_of("patch float", turns))
    rows = []
    for name, path in {**graphs, **({"scene int8 litert": lite} if lite else {})}.items():
        best = turns.best(_of(name, turns))
        row = {**best.row(), "name": name, "oa": accuracy(path, scene), "bytes": path.stat().st_size, "macs": macs(path)}
        rows.append({**row, **times_faster(best, baseline)})
    entry = {"rows": rows, "pixel_bytes": pixel_bytes(scene), "failed": turns.failed}
    return {**entry, **_load(turns), "verdicts": list(_scene_verdicts(rows, reason))}


def _of(name: str, turns: Turns) -> list[str]:
    """The contenders of one graph: itself, or itself at each batch."""
    return [entry for entry in turns.timed if entry.split(", batch ")[0] == name]


def _load(turns: Turns) -> dict[str, Any]:
    return {"other_cores": turns.load.cores, "stolen_cores": turns.load.stolen}


def _scene_verdicts(rows: Sequence[dict[str, Any]], reason: str) -> Iterator[dict[str, Any]]:
    by_name = {row["name"]: row for row in rows}
    loss = [by_name["patch float"]["oa"] - row["oa"] for row in rows]
    for runtime, name in (("onnxruntime", "scene int8"), ("litert", "scene int8 litert")):
        row, limit = by_name.get(name), SCENE_TIMES[runtime]
        title = f"INT8 scene graph on {runtime} against float patches, times"
        yield Verdict(title, row["times"] if row else None, ">=", limit, reason if row is None else "").to_json()
    yield Verdict("most test OA lost against float patches, points", max(loss), "<=", MOST_LOST).to_json()


def student(workshop: Workshop, seconds: float, limits: dict[str, Any]) -> Bar:
    """Bar 2: the student of 16 KiB, whole scenes in INT8, against its teacher's float patches; and where its time goes."""
    scene = workshop.scene
    height, width = scene.shape
    small = workshop.student()
    graphs = workshop.graphs(small)
    contenders = [*patches("teacher patch float", shipped(".onnx")), whole("scene int8", graphs["scene int8"], height, width)]
    lite, reason = workshop.litert(graphs["scene float"], height, width)
    if lite is not None:
        contenders.append(whole("scene int8 litert", lite, height, width))
    turns = take(contenders, seconds)
    baseline = turns.best(_of("teacher patch float", turns))
    files = {"teacher patch float": shipped(".onnx"), "scene int8": graphs["scene int8"]}
    files |= {"scene int8 litert": lite} if lite else {}
    rows = []
    for name, path in files.items():
        best = turns.best(_of(name, turns))
        row = {**best.row(), "name": name, "oa": accuracy(path, scene), "bytes": path.stat().st_size, "macs": macs(path)}
        rows.append({**row, **times_faster(best, baseline)})
    fastest = max(rows, key=lambda row: row["times"])
    title = "INT8 scene graph of the student against the teacher's float patches, times"
    verdict = Verdict(title, fastest["times"], ">=", STUDENT_TIMES, f"LiteRT is missing: {reason}" if lite is None else "")
    return {
        "rows": rows,
        "pixel_bytes": pixel_bytes(scene),
        "patch_bytes": graphs["patch int8"].stat().st_size,
        **_load(turns),
        "verdicts": [verdict.to_json()],
        "breakdown": _breakdown(graphs["scene int8"], scene, baseline, limits),
    }


def _breakdown(path: Path, scene: Scene, baseline: Timed, limits: dict[str, Any]) -> dict[str, Any]:
    """Milliseconds of a whole scene by node; what 1,000 times would allow, and what arithmetic and memory alone would take."""
    shape, pixels = scene_shape(path, *scene.shape), scene.shape[0] * scene.shape[1]
    operators = profile(model_file(path), 1, (1,), Plan(1, 0.2, 1, (shape,) if shape else (), 0))
    assert operators is not None
    return {
        "nodes": [
            {"node": entry.name, "operator": entry.operator, "ms": entry.ms, "share": entry.share}
            for entry in operators.by_node
        ],
        "outside_ms": operators.outside_ms,
        "run_ms": operators.run_ms,
        "allowed_ms": 1e3 / baseline.pixels_per_s * pixels / HOPED,
        "arithmetic_ms": macs(path) * pixels / limits["int8_gmac_s"] / 1e6,
        "reading_ms": pixels * pixel_bytes(scene) / limits["copy_gb_s"] / 1e6,
    }


def integers(workshop: Workshop, seconds: float, rounds: int = ROUNDS, nets: Sequence[str] = NETS) -> Bar:
    """Bar 3: INT8 against float, each net, patch by patch at batch 1 and 256, and as a scene graph."""
    rows = []
    for net in nets:
        graphs = workshop.untrained(net)
        for kind, batch in (("patch", 1), ("patch", 256), ("scene", 1)):
            pair = [_as(kind, precision, graphs[f"{kind} {precision}"], batch) for precision in ("float", "int8")]
            turns = take(pair, seconds, rounds)
            floating, integer = (turns.timed[contender.name] for contender in pair)
            limit = WHERE_IT_PAYS if kind == "scene" or net in NETS_3D else EVERYWHERE
            rows.append(
                {
                    "net": net,
                    "given": kind if kind == "scene" else f"patch, batch {batch}",
                    "float_ms": floating.row()["ms"],
                    "int8_ms": integer.row()["ms"],
                    "pixels_per_run": integer.pixels,
                    "int8_macs": macs(integer.contender.path),
                    **share_of_time(integer, floating),
                    "limit": limit,
                    **_load(turns),
                }
            )
    busy = max((row["other_cores"] or 0.0 for row in rows), default=0.0)
    entry = {"rows": rows, "pixel_bytes": pixel_bytes(workshop.scene), "strip": list(STRIP), "other_cores": busy}
    return {**entry, "verdicts": list(_integer_verdicts(rows))}


def _as(kind: str, precision: str, path: Path, batch: int) -> Contender:
    return whole(precision, path, *STRIP) if kind == "scene" else Contender(precision, path, batch)


def _integer_verdicts(rows: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for limit in (EVERYWHERE, WHERE_IT_PAYS):
        held = [row for row in rows if row["limit"] == limit]
        if not held:
            continue
        worst = max(held, key=lambda row: row["high"])
        where = "1-D and 2-D nets by patches" if limit == EVERYWHERE else "3-D nets, and scene graphs"
        title = f"INT8 over float time, {where}: the highest upper bound"
        yield Verdict(title, worst["high"], "<=", limit, f"{worst['net']}, {worst['given']}").to_json()
