"""Makes the shipped models: Indian Pines, default net, random 10 %, seed 0. Run it from anywhere: python models/make.py

Test accuracy is counted once for each ONNX and put into its Card, beside the mean over the seeds that
benchmarks/accuracy.py has stored.
"""

from __future__ import annotations

import json
import statistics
from dataclasses import replace
from pathlib import Path

from hsiedge import files
from hsiedge.card import AccuracyFacts
from hsiedge.evaluation import evaluate, split_for
from hsiedge.graphs.export import export
from hsiedge.graphs.files import read_onnx, write_onnx
from hsiedge.graphs.quantize import quantize
from hsiedge.runtimes import load
from hsiedge.scenes.scene import Scene, open_scene
from hsiedge.scenes.splits import draw
from hsiedge.training.checkpoint import save_checkpoint
from hsiedge.training.train import train

FOLDER = Path(__file__).parent
STEM = "indian_pines-cnn2d-random-s0"
RESULTS = FOLDER.parent / "benchmarks" / "results" / "indian_pines-cnn2d-random.json"


def record(path: Path, scene: Scene, precision: str) -> None:
    """Counts the test pixels and writes the figures into the file's Card."""
    model = load(path)
    card = model.known
    found = evaluate(model.predict, scene, split_for(card, scene)).accuracy
    facts = [AccuracyFacts("test", found.n, found.oa, found.aa, found.kappa, "random", [0])]
    rows = json.loads(RESULTS.read_text())["seeds"] if RESULTS.exists() else []
    if len(rows) > 1:
        oa, aa, kappa = (statistics.mean(row[precision][figure] for row in rows) for figure in ("oa", "aa", "kappa"))
        spread = [statistics.stdev(row[precision][figure] for row in rows) for figure in ("oa", "aa")]
        facts.append(AccuracyFacts("test", found.n, oa, aa, kappa, "random", [row["seed"] for row in rows], *spread))
    write_onnx(path, read_onnx(path), replace(card, accuracy=facts))


def main() -> None:
    """Checkpoint, float ONNX, INT8 ONNX."""
    scene = open_scene("indian_pines")
    checkpoint, floating, integer = (FOLDER / f"{STEM}{suffix}" for suffix in (".safetensors", ".onnx", "-int8.onnx"))
    trained = train(scene, draw("random", scene, 0))
    save_checkpoint(checkpoint, trained)
    export(trained, scene, floating, files.digest(checkpoint))
    record(floating, scene, "float")
    quantize(floating, scene, integer)
    record(integer, scene, "int8")
    for path in (checkpoint, floating, integer):
        print(f"{path.name}  {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
