"""The bar of 16 KiB: `hsiedge compress` over seeds, the student's test pixels beside the teacher's.

    python benchmarks/compress.py                 # Indian Pines, random 10 %, 5 seeds

Each seed draws its own split, trains the teacher (cnn2d, patch 13, five layers of 64), searches, and then counts the test
pixels of both once. Results go to benchmarks/results/compress-SCENE-SPLIT.json after each seed; seeds that are there already,
with the same budget, are not run again (--fresh does).
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

from hsiedge import files
from hsiedge.compression.budget import Budget, compress
from hsiedge.device.facts import device_facts
from hsiedge.evaluation import evaluate, split_for
from hsiedge.graphs.export.checkpoint import export
from hsiedge.progress import Progress, silent
from hsiedge.runtimes import load
from hsiedge.scenes.open import open_scene
from hsiedge.scenes.scene import Scene
from hsiedge.scenes.splits import draw
from hsiedge.training.checkpoint import load_checkpoint, save_checkpoint
from hsiedge.training.train import train

RESULTS = Path(__file__).parent / "results"


@contextmanager
def printed(title: str) -> Iterator[Progress]:
    """Progress, a line a stage."""
    print(f"  {title}", flush=True)
    yield silent


def run_seed(scene: Scene, split: str, seed: int, budget: Budget, folder: Path) -> dict[str, Any]:
    """One seed; teacher and student stay in `folder`, and a teacher that is there already is not trained again."""
    drawn, started = draw(split, scene, seed), time.perf_counter()
    path = folder / f"{scene.name}-cnn2d-{split}-s{seed}.safetensors"
    trained = not path.exists()
    if trained:
        save_checkpoint(path, train(scene, drawn, "cnn2d"))
    teacher = load_checkpoint(path)
    search = compress(teacher, scene, drawn, budget, printed, files.digest(path))
    seconds = time.perf_counter() - started
    student, whole = folder / f"{path.stem}-compressed.onnx", path.with_suffix(".onnx")
    files.write_bytes(student, search.nearest.model)
    export(teacher, scene, whole, files.digest(path))
    return {
        "seed": seed,
        "measured": date.today().isoformat(),
        "device": device_facts().cpu,
        "max_size": budget.size,
        "max_drop": budget.drop,
        "met": search.met,
        "seconds": round(seconds),
        "with_teacher": trained,
        "path": list(search.nearest.path),
        "bytes": student.stat().st_size,
        "validation": {"teacher": round(search.teacher, 3), "student": round(search.nearest.oa, 3)},
        "test": {"teacher": test_oa(whole, scene), "student": test_oa(student, scene)},
        "tried": [
            {"path": list(entry.path), "bytes": entry.size, "oa": round(entry.oa, 3), "loss": round(entry.loss, 4)}
            for entry in search.tried
        ],
    }


def test_oa(path: Path, scene: Scene) -> float:
    """OA on the test pixels, percent."""
    model = load(path)
    return round(evaluate(model.predict, scene, split_for(model.known, scene)).accuracy.oa, 3)


def summary(rows: list[dict[str, Any]]) -> str:
    """Mean and standard deviation over seeds."""
    means = {}
    lines = []
    for name in ("teacher", "student"):
        values = [row["test"][name] for row in rows]
        means[name] = statistics.mean(values)
        spread = statistics.stdev(values) if len(values) > 1 else float("nan")
        lines.append(f"{name}: test OA {means[name]:.2f} +- {spread:.2f} %   {values}")
    lines.append(f"student - teacher: {means['student'] - means['teacher']:+.2f} points")
    lines.append(f"bytes: {[row['bytes'] for row in rows]}; at most {max(row['seconds'] for row in rows)} s a seed")
    return "\n".join(lines)


def main() -> None:
    """Runs what is missing, and prints the summary."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scene", default="indian_pines")
    parser.add_argument("--split", default="random")
    parser.add_argument("--max-size", default="16KiB")
    parser.add_argument("--max-drop", type=float, default=Budget.drop)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--fresh", action="store_true")
    parser.add_argument("--keep", type=Path, help="folder for the models; left out, they are thrown away")
    arguments = parser.parse_args()
    budget = Budget(files.parse_size(arguments.max_size), arguments.max_drop)
    store = RESULTS / f"compress-{arguments.scene}-{arguments.split}.json"
    rows = [] if arguments.fresh or not store.exists() else json.loads(store.read_text())["seeds"]
    scene = open_scene(arguments.scene)
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for seed in arguments.seeds:
            if any((row["seed"], row["max_size"], row["max_drop"]) == (seed, budget.size, budget.drop) for row in rows):
                continue
            print(f"seed {seed}", flush=True)
            rows = [row for row in rows if row["seed"] != seed]
            rows.append(run_seed(scene, arguments.split, seed, budget, folder))
            print(json.dumps(rows[-1]), flush=True)
            data = {"device": device_facts().cpu, "seeds": sorted(rows, key=lambda row: row["seed"])}
            files.write_bytes(store, (json.dumps(data, indent=1) + "\n").encode())
    print(f"{arguments.scene}, {arguments.split} split, at most {budget.size} bytes, seeds {[row['seed'] for row in rows]}")
    print(summary(rows))


if __name__ == "__main__":
    main()
