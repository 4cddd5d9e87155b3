"""The demo: the main job on Indian Pines, end to end, in a folder of its own."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

from rich.console import RenderableType
from rich.markup import escape

from hsiedge import files
from hsiedge.api.checkpoint import train
from hsiedge.api.model import Model
from hsiedge.api.scene import open_scene
from hsiedge.benchmark.runner import bench
from hsiedge.cli.flags import flag
from hsiedge.live.replay import Player
from hsiedge.live.runner import run
from hsiedge.progress import Progress
from hsiedge.report.html import render
from hsiedge.report.maps import comparison_png
from hsiedge.report.terminal.bench import bench_tables
from hsiedge.report.terminal.model import Shown, summary_tables
from hsiedge.scenes.scene import Scene

_LIVE_SECONDS = 3.0
Watch = Callable[[str], AbstractContextManager[Progress]]
"""Shows a stage's progress to the user, by its title."""


def run_demo(folder: Path, seed: int, data_dir: Path | None, watch: Watch, say: Callable[[str], None]) -> list[RenderableType]:
    """Trains, exports, quantizes, evaluates, benches, maps and runs; leaves models, figures (JSON), pictures and report.html.

    Returns:
        What is to be printed at the end.

    Raises:
        HsiedgeError: whatever a step raises; what earlier steps left stays.
    """
    files.check_writable(folder / "report.html")
    scene = open_scene("indian_pines", data_dir=data_dir)
    models = _make_models(scene, folder, seed, watch)
    shown = [_score(model, folder, watch) for model in models]
    with watch("measuring float and INT8") as tick:
        report = bench(models, progress=tick)
    files.write_bytes(folder / "bench.json", (report.to_json() + "\n").encode())
    with watch("mapping the whole scene") as tick:
        labels = models[-1].classify(scene, progress=tick).labels
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
    with watch("the same lines as from a camera, for three seconds"):
        live = run(
            models[-1],
            Player(replace(scene.as_cube(), path=Path(scene.name)), scene.shape[0] / _LIVE_SECONDS),
            [folder / name for name in ("live.hdr", "live.png", "live.jsonl")],
            watch="Woods > 20 % of 20 lines",
        )
    files.write_bytes(folder / "live.json", (json.dumps(live.to_json(), indent=2) + "\n").encode())
    say(f"{folder}: {', '.join(sorted(path.name for path in folder.iterdir()))}")
    return [*summary_tables(shown), *bench_tables(report, spell=flag), *map(escape, live.text())]


def _make_models(scene: Scene, folder: Path, seed: int, watch: Watch) -> list[Model]:
    """The float and the INT8 model; the checkpoint beside them."""
    stem = f"indian_pines-cnn2d-random-s{seed}"
    checkpoint, floating, integer = (folder / f"{stem}{suffix}" for suffix in (".safetensors", ".onnx", "-int8.onnx"))
    with watch("training") as tick:
        trained = train(scene, scene.split(seed=seed), progress=tick).save(checkpoint)
    with watch("exporting to ONNX, verified against PyTorch"):
        model = trained.export(floating)
    with watch("quantizing to INT8") as tick:
        return [model, model.quantize(path=integer, progress=tick)]


def _score(model: Model, folder: Path, watch: Watch) -> Shown:
    with watch(f"evaluating {model.known.precision}") as tick:
        result = model.evaluate(progress=tick)
    text = json.dumps(result.to_json(model.path.name), indent=2) + "\n"
    files.write_bytes(folder / f"{model.path.stem}.eval.json", text.encode())
    return Shown(model.path.name, model.known, model.path.stat().st_size, result)
