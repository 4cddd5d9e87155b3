"""Whole scenes against patches: how many times faster, with the same labels. One thread, rows as stored to labels.

    python benchmarks/scenes.py                       # the shipped model
    python benchmarks/scenes.py FLOAT.onnx ...        # patch models with Cards, as hsiedge export writes them

The baseline is the float patch graph in onnxruntime, at the best of batch 1, 64 and 256. Beside it stand the INT8 patch graph
and the scene graphs, float and INT8, all in one run of `hsiedge bench`, where models take turns. Test pixels are counted
once a graph. Results go to benchmarks/results/scenes.json, a model each.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hsiedge import files
from hsiedge.bench import Report, bench
from hsiedge.evaluation import evaluate, split_for
from hsiedge.graphs.quantize import quantize
from hsiedge.graphs.scene_graph import scene_graph
from hsiedge.runtimes import load, require_card
from hsiedge.scenes.scene import Scene, open_scene
from hsiedge.shipped import shipped

RESULTS = Path(__file__).parent / "results" / "scenes.json"
BATCHES = (1, 64, 256)


def made_of(model: Path, scene: Scene, folder: Path) -> dict[str, Path]:
    """The four graphs of a float patch model, by what they are called in the results."""
    paths = {
        "patch float": model,
        "patch int8": folder / "patch-int8.onnx",
        "scene float": folder / "scene-float.onnx",
        "scene int8": folder / "scene-int8.onnx",
    }
    quantize(model, scene, paths["patch int8"])
    scene_graph(model, scene, paths["scene float"])
    quantize(paths["scene float"], scene, paths["scene int8"])
    return paths


def accuracy(path: Path, scene: Scene) -> float:
    """OA, percent, on the test pixels of the split in the Card."""
    model = load(path)
    return evaluate(model.predict, scene, split_for(model.known, scene)).accuracy.oa


def speeds(report: Report, paths: dict[str, Path]) -> dict[str, dict[str, Any]]:
    """Pixels a second of each graph, by batch for the patch graphs, with the warnings of the run."""
    found: dict[str, dict[str, Any]] = {name: {"pixels_per_s": {}, "warnings": []} for name in paths}
    for name, path in paths.items():
        for result in report.results:
            if result.path == str(path):
                label = str(result.batch) if result.kind == "patch" else "x".join(map(str, result.input_shape))
                found[name]["pixels_per_s"][label] = round(result.pixels_per_s)
                found[name]["warnings"] += result.warnings
                found[name]["memory_mib"] = result.memory_mib
    return found


def measured(model: Path, seconds: float) -> dict[str, Any]:
    """What is stored of one model."""
    card = require_card(model)
    scene = open_scene(card.scene.name)
    with tempfile.TemporaryDirectory() as name:
        paths = made_of(model, scene, Path(name))
        report = bench([str(path) for path in paths.values()], batches=BATCHES, threads=1, runs=20, seconds=seconds)
        graphs = speeds(report, paths)
        for graph, path in paths.items():
            made = require_card(path)
            assert made.net is not None
            graphs[graph] |= {"oa": accuracy(path, scene), "bytes": path.stat().st_size, "macs": made.net.macs_per_pixel}
    baseline = max(graphs["patch float"]["pixels_per_s"].values())
    for entry in graphs.values():
        entry["times"] = round(max(entry["pixels_per_s"].values()) / baseline, 2)
    return {"model": model.name, "device": asdict(report.device), "graphs": graphs}


def main() -> None:
    """Measures the models that are named, and stores what came of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", type=Path)
    parser.add_argument("--seconds", type=float, default=5.0)
    arguments = parser.parse_args()
    stored: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for model in arguments.models or [shipped(".onnx")]:
        stored[model.stem] = measured(model, arguments.seconds)
        files.write_bytes(RESULTS, (json.dumps(stored, indent=1, default=str) + "\n").encode())
        for graph, entry in stored[model.stem]["graphs"].items():
            best = max(entry["pixels_per_s"].values())
            print(f"{graph:12s} {best:>10,} pixels a second, {entry['times']:>7.2f} times, OA {entry['oa']:.2f} %")


if __name__ == "__main__":
    main()
