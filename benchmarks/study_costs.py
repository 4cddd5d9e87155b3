"""Instructions per pixel of the study's nets on an emulated Cortex-A76: one count a shape, precision and kind of graph.

    python -m benchmarks.study_costs        # from the root of the checkout; takes what tests/arm takes

Weights do not change a count, so each shape in the stored study is trained for one epoch, exported and quantized, as a patch
graph and as a scene graph; what is counted, and how, is said in benchmarks/instructions.py. Counts that are stored are not
made again. They go to benchmarks/results/study_costs.json, and from there into each form of benchmarks/results/study.sqlite.
"""

from __future__ import annotations

import json
import tempfile
from datetime import date
from pathlib import Path

import onnxruntime

from benchmarks.instructions import per_pixel
from hsiedge import files
from hsiedge.graphs.export.checkpoint import export
from hsiedge.graphs.quantization.quantize import quantize
from hsiedge.graphs.scene_graph.build import scene_graph
from hsiedge.scenes.open import open_scene
from hsiedge.scenes.scene import Scene
from hsiedge.scenes.splits import draw
from hsiedge.study.config import parse_student
from hsiedge.study.store import Store
from hsiedge.training.fit import FitSettings
from hsiedge.training.train import train
from tests.arm.board import A76, Boards, boards

RESULTS = Path(__file__).parent / "results"
BATCH = 32
PRECISIONS = ("float32", "int8")
Counts = dict[str, dict[str, dict[str, list[int]]]]
"""By scene, shape and precision: instructions a pixel of the patch graph and of the scene graph."""


def graphs_of(scene: Scene, shape: str, folder: Path, seed: int = 0) -> dict[str, Path]:
    """Files of a net of a shape that was trained for an epoch, by what they are: "patch int8" and the like."""
    student = parse_student(shape)
    settings, split = FitSettings(epochs=1), draw("random", scene, seed)
    net = train(scene, split, student.net, student.patch, settings, widths=list(student.widths or ()))
    paths = {
        f"{kind} {precision}": folder / f"{kind}-{precision}.onnx" for kind in ("patch", "scene") for precision in PRECISIONS
    }
    export(net, scene, paths["patch float32"])
    scene_graph(paths["patch float32"], scene, paths["scene float32"])
    for kind in ("patch", "scene"):
        quantize(paths[f"{kind} float32"], scene, paths[f"{kind} int8"], max_drop=100)
    return paths


def counted(arm: Boards, scene: Scene, shape: str, seed: int = 0, batch: int = BATCH) -> dict[str, list[int]]:
    """Instructions a pixel of a shape's patch graph and scene graph, by precision."""
    with tempfile.TemporaryDirectory() as folder:
        paths = graphs_of(scene, shape, Path(folder), seed)
        for path in paths.values():
            (arm.work / path.name).write_bytes(path.read_bytes())
        counts = per_pixel(arm, A76, {name: (path.name, "all") for name, path in paths.items()}, batch)
    return {precision: [counts[f"{kind} {precision}"] for kind in ("patch", "scene")] for precision in PRECISIONS}


def stored_counts(path: Path = RESULTS / "study_costs.json") -> Counts:
    """The counts that were made before; none where onnxruntime was another."""
    data = json.loads(path.read_text()) if path.is_file() else {}
    counts: Counts = data.get("counts", {}) if data.get("onnxruntime") == onnxruntime.__version__ else {}
    return counts


def main() -> None:
    """Counts what is missing, and stores all counts with the forms that they are of."""
    with Store(RESULTS / "study.sqlite", make=False) as store:
        shapes = sorted({(row.cell.scene, row.shape) for row in store.rows() if row.shape})
        counts = stored_counts()
        missing = [(scene, shape) for scene, shape in shapes if shape not in counts.get(scene, {})]
        if missing:
            with tempfile.TemporaryDirectory() as name:
                work = Path(name) / "work"
                work.mkdir()
                arm = boards(work)
                for scene, shape in missing:
                    counts.setdefault(scene, {})[shape] = counted(arm, open_scene(scene), shape)
                    head = {"measured": date.today().isoformat(), "onnxruntime": onnxruntime.__version__, "core": A76.name}
                    data = {**head, "batch": BATCH, "counts": counts}
                    files.write_bytes(RESULTS / "study_costs.json", (json.dumps(data, indent=1) + "\n").encode())
                    print(scene, shape, counts[scene][shape], flush=True)
        for scene, shape in shapes:
            for precision in PRECISIONS:
                store.set_instructions(scene, shape, precision, counts[scene][shape][precision])


if __name__ == "__main__":
    main()
