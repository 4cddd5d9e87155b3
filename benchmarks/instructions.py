"""Instructions per classified pixel on the cores of a Raspberry Pi 4 and 5, counted by QEMU. They repeat, as no time does.

    python -m benchmarks.instructions       # from the root of the checkout; takes what tests/arm takes

The shipped net, from rows as stored to labels, one thread. What one more pixel costs is the slope between N and 2 N pixels: a
batch of 256 patches run once and twice; a strip of a scene, 145 pixels wide, of 8 rows and of 16. So what is done once a run is
left out, and of scene graphs the rows above and below the strip.

The native engine is counted with the shipped INT8 scene graph and the student's: rows in one push, one by one, and one by one
through LineClassifier; those of the student also seven times as wide, for what Python does around a push is the same for any.

Results go to benchmarks/results/instructions.json; tests/arm/test_arm_instructions.py counts again, with fewer patches.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from hsiedge import files
from hsiedge.graphs.quantization.quantize import quantize
from hsiedge.graphs.scene_graph.build import scene_graph
from hsiedge.runtimes import require_card
from hsiedge.scenes.open import open_scene
from hsiedge.scenes.scene import Scene
from hsiedge.shipped import shipped
from tests.arm.board import ROOT, Boards, Core, boards, on_each
from tests.arm.guest.native import ROWS as NATIVE_ROWS

RESULTS = Path(__file__).parent / "results" / "instructions.json"
BATCH, WIDTH, ROWS = 256, 145, 8
STRIP = 40  # rows that the native engine gets
FAST, BASELINE = "scene int8", "patch float"
NATIVE = {"student": ROOT / "tests" / "native" / "data" / "student-int8-scene.onnx", "cnn2d": shipped("-int8-scene.onnx")}
PUSHES = ("one push", "row by row", "LineClassifier")
"""How rows come to the native engine, in the order of tests/arm/guest/native.py's marks."""


def graph_paths(model: Path, folder: Path) -> dict[str, Path]:
    """Paths of the four graphs of a float patch model, by what they are called in the results."""
    kinds = ("patch int8", "scene float", FAST)
    return {"patch float": model, **{kind: folder / f"{kind.replace(' ', '-')}.onnx" for kind in kinds}}


def make_graphs(model: Path, scene: Scene, folder: Path) -> dict[str, Path]:
    """Makes the graphs of a float patch model; their paths, the model's own among them."""
    paths = graph_paths(model, folder)
    quantize(model, scene, paths["patch int8"])
    scene_graph(model, scene, paths["scene float"])
    quantize(paths["scene float"], scene, paths[FAST])
    return paths


def per_pixel(arm: Boards, core: Core, jobs: Mapping[str, tuple[str, str]], batch: int = BATCH) -> dict[str, int]:
    """Instructions a pixel of each job, (model, part) as tests/arm/guest/instructions.py knows them: files in /work."""
    sizes, pixels = {}, {}
    for name, (model, _) in jobs.items():
        scene = require_card(arm.work / model).kind == "scene"
        sizes[name] = f"{ROWS}x{WIDTH},{2 * ROWS}x{WIDTH}" if scene else str(batch)
        pixels[name] = ROWS * WIDTH if scene else batch
    words = [f"{model}:{part}:{sizes[name]}" for name, (model, part) in jobs.items()]
    counts = iter([count for mark, count in arm.counted(core, "instructions.py", *words) if mark])
    return {name: round((-next(counts) + next(counts)) / pixels[name]) for name in jobs}


def beginnings(model: Path, folder: Path) -> dict[str, Path]:
    """The graph up to each of its integer tensors, by the layer that makes it: files in `folder`."""
    graph = onnx.load(model).graph
    makers = {name: node for node in graph.node for name in node.output}
    graphs = {}
    for node in graph.node:
        if node.op_type == "QuantizeLinear":
            name = makers[node.input[0]].name
            graphs[name] = folder / f"until-{name}.onnx"
            onnx.utils.extract_model(str(model), str(graphs[name]), [graph.input[0].name], [node.output[0]], check_model=False)
    return graphs


def counted(arm: Boards, core: Core, graphs: Mapping[str, Path], batch: int = BATCH) -> dict[str, Any]:
    """All figures of one core: of each graph, and of the INT8 scene graph also where they go."""
    jobs = {name: (path.name, "all") for name, path in graphs.items()}
    fast = graphs[FAST].name
    parts = {"input step": (fast, "prepare"), "graph": (fast, "session")}
    layers = {name: (fast, path.name) for name, path in beginnings(graphs[FAST], arm.work).items()}
    counts = per_pixel(arm, core, {**jobs, **parts, **layers}, batch)
    where, before = {"input step": counts["input step"]}, 0
    for name in layers:
        where[name] = counts[name] - before
        before = counts[name]
    where["average over the patch"] = counts["graph"] - before
    where["halo and labels"] = counts[FAST] - counts["input step"] - counts["graph"]
    totals = {name: counts[name] for name in graphs}
    return {"per pixel": totals, "times fewer": round(totals[BASELINE] / totals[FAST], 1), f"of {FAST}": where}


def native_counted(arm: Boards, strip: NDArray[np.uint16], nets: Sequence[str] = tuple(NATIVE)) -> dict[str, Any]:
    """Instructions a pixel of the native engine, by core, net and push; what it answers lies in /work/native-CORE.npz.

    Args:
        strip: rows `(n, columns, bands)`, n of 3 radii of each net and 1 + 2 * NATIVE_ROWS at least.
    """
    np.save(arm.work / "strip.npy", strip)
    for net in nets:
        (arm.work / f"{net}.onnx").write_bytes(NATIVE[net].read_bytes())

    def job(core: Core) -> dict[str, Any]:
        words = ["strip.npy", f"native-{core.name}.npz", *(f"{net}.onnx" for net in nets)]
        counts = iter([count for mark, count in arm.counted(core, "native.py", *words) if mark])
        return {net: {push: round(next(counts) / NATIVE_ROWS / strip.shape[1]) for push in PUSHES} for net in nets}

    return on_each(job)


def laid_out(arm: Boards, graphs: Mapping[str, Path]) -> None:
    """Puts the graphs where the boards see them."""
    for path in graphs.values():
        (arm.work / path.name).write_bytes(path.read_bytes())


def graphs_counted(arm: Boards, scene: Scene, folder: Path, batch: int) -> dict[str, Any]:
    """All of the results but the native engine's: graphs of the shipped net in onnxruntime."""
    graphs = make_graphs(shipped(".onnx"), scene, folder)
    laid_out(arm, graphs)
    cards = {kind: require_card(path) for kind, path in graphs.items()}
    macs = {kind: card.net.macs_per_pixel for kind, card in cards.items() if card.net is not None}
    head = {"onnxruntime": onnxruntime.__version__, "model": shipped(".onnx").name, "batch": batch, "macs per pixel": macs}
    return {**head, "cores": on_each(lambda core: counted(arm, core, graphs, batch))}


def main() -> None:
    """Counts on both cores, and stores what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=BATCH, help="patches a run")
    parser.add_argument("--native", action="store_true", help="count the native engine alone, and keep the other counts")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder, work = Path(name) / "graphs", Path(name) / "work"
        folder.mkdir()
        work.mkdir()
        scene, arm = open_scene("indian_pines"), boards(work)
        stored = json.loads(RESULTS.read_text()) if options.native else graphs_counted(arm, scene, folder, options.batch)
        strip = np.ascontiguousarray(scene.cube[:STRIP])
        native, wide = native_counted(arm, strip), native_counted(arm, np.tile(strip, (1, 7, 1)), ["student"])
    for core, entry in stored["cores"].items():
        entry["native"] = {**native[core], f"student, {7 * WIDTH} columns": wide[core]["student"]}
    files.write_bytes(RESULTS, (json.dumps(stored, indent=1) + "\n").encode())
    for core, entry in stored["cores"].items():
        print(f"{core}: {entry['times fewer']} times fewer, {entry['per pixel']}")
        print(f"  {FAST}: {entry[f'of {FAST}']}")
        print(f"  native: {entry['native']}")


if __name__ == "__main__":
    main()
