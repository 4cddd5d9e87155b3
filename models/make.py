"""Makes the shipped models: Indian Pines, default net, random 10 %, seed 0, 60 epochs. Run it from anywhere:

    python models/make.py            # all models, of the checkpoint that lies here
    python models/make.py --fresh    # trains the checkpoint first

Test accuracy is counted once for each model and put into its Card; for patch graphs in ONNX, beside the mean over the seeds
that benchmarks/accuracy.py has stored.
"""

from __future__ import annotations

import argparse
import json
import statistics
from dataclasses import replace
from pathlib import Path

from hsiedge import files
from hsiedge.card import AccuracyFacts
from hsiedge.evaluation import evaluate, split_for
from hsiedge.graphs.artifact import Artifact, TfliteArtifact
from hsiedge.graphs.export.checkpoint import export
from hsiedge.graphs.onnx_io import read_onnx
from hsiedge.graphs.quantization.quantize import quantize
from hsiedge.graphs.scene_graph.build import scene_graph
from hsiedge.runtimes import load
from hsiedge.runtimes.tflite_file import graph_of
from hsiedge.scenes.open import open_scene
from hsiedge.scenes.scene import Scene
from hsiedge.scenes.splits import draw
from hsiedge.training.checkpoint import load_checkpoint, save_checkpoint
from hsiedge.training.fit import FitSettings
from hsiedge.training.train import train

FOLDER = Path(__file__).parent
STEM = "indian_pines-cnn2d-random-s0"
EPOCHS = 60  # twice the net's own: they are trained once, and used often
RESULTS = FOLDER.parent / "benchmarks" / "results" / "indian_pines-cnn2d-random-60epochs.json"


def record(path: Path, scene: Scene, precision: str = "") -> None:
    """Counts the test pixels and writes the figures into the file's Card."""
    model = load(path)
    card = model.known
    accuracy = evaluate(model.predict, scene, split_for(card, scene)).accuracy
    facts = [AccuracyFacts("test", accuracy.n, accuracy.oa, accuracy.aa, accuracy.kappa, "random", [0])]
    rows = json.loads(RESULTS.read_text())["seeds"] if precision and RESULTS.exists() else []
    if len(rows) > 1:
        oa, aa, kappa = (statistics.mean(row[precision][figure] for row in rows) for figure in ("oa", "aa", "kappa"))
        spread = [statistics.stdev(row[precision][figure] for row in rows) for figure in ("oa", "aa")]
        facts.append(AccuracyFacts("test", accuracy.n, oa, aa, kappa, "random", [row["seed"] for row in rows], *spread))
    artifact = TfliteArtifact(graph_of(path)) if path.suffix == ".tflite" else Artifact(read_onnx(path))
    artifact.write(path, replace(card, accuracy=facts))
    print(f"{path.name}  {path.stat().st_size:,} bytes, OA {accuracy.oa:.2f} %")


def main() -> None:
    """Checkpoint, float ONNX, INT8 of it and of its scene graph, for onnxruntime and for LiteRT."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fresh", action="store_true", help="train the checkpoint first")
    scene, checkpoint = open_scene("indian_pines"), FOLDER / f"{STEM}.safetensors"
    if parser.parse_args().fresh:
        save_checkpoint(checkpoint, train(scene, draw("random", scene, 0), settings=FitSettings(epochs=EPOCHS)))
    floating, whole = FOLDER / f"{STEM}.onnx", FOLDER / f"{STEM}-scene.onnx"
    export(load_checkpoint(checkpoint), scene, floating, files.digest(checkpoint))
    record(floating, scene, "float")
    scene_graph(floating, scene, whole)  # what INT8 ones are made of; it is soon made, and not shipped
    for source, kind in ((floating, "int8"), (whole, "int8-scene")):
        for suffix in (".onnx", ".tflite"):
            model = FOLDER / f"{STEM}-{kind}{suffix}"
            quantize(source, scene, model)
            record(model, scene, "int8" if model.name.endswith("-int8.onnx") else "")
    whole.unlink()


if __name__ == "__main__":
    main()
