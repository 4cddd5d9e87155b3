"""The demo: the main job on Indian Pines, end to end, in a folder of its own."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from rich.console import RenderableType

from hsiedge import files
from hsiedge.benchmark.runner import bench
from hsiedge.evaluation import Evaluation, evaluate, split_for
from hsiedge.graphs.export.checkpoint import export
from hsiedge.graphs.quantization.quantize import quantize
from hsiedge.mapping import classify
from hsiedge.progress import Progress
from hsiedge.report.html import render
from hsiedge.report.maps import comparison_png
from hsiedge.report.terminal.bench import bench_tables
from hsiedge.report.terminal.model import Shown, summary_tables
from hsiedge.runtimes import load
from hsiedge.scenes.scene import Scene, open_scene
from hsiedge.scenes.splits import draw
from hsiedge.training.checkpoint import save_checkpoint
from hsiedge.training.train import train

Watch = Callable[[str], AbstractContextManager[Progress]]
"""Shows a stage's progress to the user, by its title."""


def run_demo(folder: Path, seed: int, data_dir: Path | None, watch: Watch, say: Callable[[str], None]) -> list[RenderableType]:
    """Trains, exports, quantizes, evaluates, benches and maps; leaves models, figures (JSON), map.png and report.html.

    Returns:
        What is to be printed at the end.

    Raises:
        HsiedgeError: whatever a step raises; what earlier steps left stays.
    """
    files.check_writable(folder / "report.html")
    scene = open_scene("indian_pines", data_dir=data_dir)
    models = _make_models(scene, folder, seed, watch)
    shown = [_score(path, scene, folder, watch) for path in models]
    with watch("measuring float and INT8") as tick:
        report = bench(models, progress=tick)
    files.write_bytes(folder / "bench.json", (report.to_json() + "\n").encode())
    with watch("mapping the whole scene") as tick:
        labels = classify(load(models[-1]), scene.cube, tick, scene.nodata)
    accuracy = shown[-1].evaluation.accuracy
    picture = comparison_png(
        scene.labelled(),
        labels,
        scene.classes,
        ("Indian Pines, ground truth", f"INT8 model, {accuracy.oa:.2f} % of test pixels right"),
    )
    files.write_bytes(folder / "map.png", picture)
    page = render(
        "Indian Pines, from labelled scene to INT8 model",
        shown,
        report.to_dict(),
        picture,
        "The INT8 model's map beside the ground truth",
    )
    files.write_bytes(folder / "report.html", page.encode())
    say(f"{folder}: {', '.join(sorted(path.name for path in folder.iterdir()))}")
    return [*summary_tables(shown), *bench_tables(report)]


def _make_models(scene: Scene, folder: Path, seed: int, watch: Watch) -> list[Path]:
    """Checkpoint, float ONNX and INT8 ONNX; the paths of the latter two."""
    stem = f"indian_pines-cnn2d-random-s{seed}"
    checkpoint, floating, integer = (folder / f"{stem}{suffix}" for suffix in (".safetensors", ".onnx", "-int8.onnx"))
    with watch("training") as tick:
        trained = train(scene, draw("random", scene, seed), progress=tick)
    save_checkpoint(checkpoint, trained)
    with watch("exporting to ONNX, verified against PyTorch"):
        export(trained, scene, floating, files.digest(checkpoint))
    with watch("quantizing to INT8") as tick:
        quantize(floating, scene, integer, progress=tick)
    return [floating, integer]


def _score(path: Path, scene: Scene, folder: Path, watch: Watch) -> Shown:
    model = load(path)
    with watch(f"evaluating {model.known.precision}") as tick:
        result: Evaluation = evaluate(
            lambda where, pixels: model.predict(where, pixels, tick), scene, split_for(model.known, scene)
        )
    files.write_bytes(folder / f"{path.stem}.eval.json", (json.dumps(result.to_json(path.name), indent=2) + "\n").encode())
    return Shown(path.name, model.known, path.stat().st_size, result)
