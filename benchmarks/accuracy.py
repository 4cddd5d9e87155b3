"""Accuracy over seeds, float and INT8: what docs/benchmarks/accuracy.md says.

    python benchmarks/accuracy.py                             # the default net, 5 seeds, random 10 %
    python benchmarks/accuracy.py --split blocks
    python benchmarks/accuracy.py --epochs 60                 # for twice as long: how the shipped models were trained
    python benchmarks/accuracy.py --net cnn3d --seeds 1

Each seed draws its own split, trains, exports, quantizes and counts the test pixels once. Results go to
benchmarks/results/SCENE-NET-SPLIT.json after each seed, or SCENE-NET-SPLIT-60epochs.json where the net does not take its own
number of epochs; seeds that are there already, with as many epochs and of this version, are not run again (--fresh does).
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Any

import torch

from hsiedge import __version__, files
from hsiedge.device.facts import device_facts
from hsiedge.evaluation import evaluate, split_for
from hsiedge.graphs.export.checkpoint import export
from hsiedge.graphs.quantization.quantize import quantize
from hsiedge.nets import spec
from hsiedge.runtimes import load
from hsiedge.scenes.open import open_scene
from hsiedge.scenes.scene import Scene
from hsiedge.scenes.splits import draw
from hsiedge.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from hsiedge.training.fit import FitSettings
from hsiedge.training.train import train

RESULTS = Path(__file__).parent / "results"


def run_seed(scene: Scene, net: str, split: str, seed: int, epochs: int, folder: Path) -> dict[str, Any]:
    """One seed, end to end; the models stay in `folder`, and a checkpoint that is there already is not trained again."""
    paths = {name: folder / f"{scene.name}-{net}-{split}-s{seed}{name}" for name in (".safetensors", ".onnx", "-int8.onnx")}
    checkpoint, result = trained(scene, net, split, seed, epochs, paths[".safetensors"])
    export(checkpoint, scene, paths[".onnx"], files.digest(paths[".safetensors"]))
    card = quantize(paths[".onnx"], scene, paths["-int8.onnx"])
    result |= {"hsiedge": __version__, "measured": date.today().isoformat(), "device": device_facts().cpu}
    for name in (".onnx", "-int8.onnx"):
        model = load(paths[name])
        evaluation = evaluate(model.predict, scene, split_for(model.known, scene))
        accuracy = evaluation.accuracy
        result["int8" if "int8" in name else "float"] = {
            "n": accuracy.n,
            "oa": round(accuracy.oa, 3),
            "aa": round(accuracy.aa, 3),
            "kappa": round(accuracy.kappa, 3),
            "bytes": paths[name].stat().st_size,
        }
        assert evaluation.split is not None
        result["split"] = evaluation.split.digest
    assert card.quantization is not None
    result["float_layers"] = card.quantization.float_layers
    return result


def trained(scene: Scene, net: str, split: str, seed: int, epochs: int, path: Path) -> tuple[Checkpoint, dict[str, Any]]:
    """The checkpoint, from `path` where it lies there beside the facts of its training, else trained now."""
    wanted = {"seed": seed, "epochs": epochs, "threads": torch.get_num_threads()}
    facts = path.with_suffix(".json")
    if path.exists() and facts.exists():
        stored = json.loads(facts.read_text())
        if wanted.items() <= stored.items():
            return load_checkpoint(path), stored
    started = time.perf_counter()
    checkpoint = train(scene, draw(split, scene, seed), net, settings=FitSettings(epochs=epochs))
    wanted["train_seconds"] = round(time.perf_counter() - started)
    save_checkpoint(path, checkpoint)
    facts.write_text(json.dumps(wanted))
    return checkpoint, wanted


def summary(rows: list[dict[str, Any]]) -> str:
    """Mean and standard deviation over seeds."""
    lines = []
    for precision in ("float", "int8"):
        for figure in ("oa", "aa", "kappa"):
            values = [row[precision][figure] for row in rows]
            spread = statistics.stdev(values) if len(values) > 1 else float("nan")
            lines.append(f"{precision:5} {figure.upper():5} {statistics.mean(values):6.2f} +- {spread:.2f} %   {values}")
    drops = [row["float"]["oa"] - row["int8"]["oa"] for row in rows]
    lines.append(f"OA lost to INT8: mean {statistics.mean(drops):.3f}, most {max(drops):.3f} points")
    lines.append(f"INT8 file: {rows[0]['int8']['bytes'] / rows[0]['float']['bytes']:.3f} of float")
    lines.append(f"training: at most {max(row['train_seconds'] for row in rows):.0f} s a seed, {rows[0]['threads']} threads")
    return "\n".join(lines)


def main() -> None:
    """Runs what is missing, and prints the summary."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scene", default="indian_pines")
    parser.add_argument("--net", default="cnn2d")
    parser.add_argument("--split", default="random")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, help="left out, the net's own")
    parser.add_argument("--fresh", action="store_true")
    parser.add_argument("--keep", type=Path, help="folder for the models; left out, they are thrown away")
    arguments = parser.parse_args()
    own = spec(arguments.net).epochs
    epochs = arguments.epochs or own
    title = f"{arguments.scene}-{arguments.net}-{arguments.split}" + ("" if epochs == own else f"-{epochs}epochs")
    store = RESULTS / f"{title}.json"
    rows = [] if arguments.fresh or not store.exists() else json.loads(store.read_text())["seeds"]
    scene = open_scene(arguments.scene)
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for seed in range(arguments.seeds):
            if any((row["seed"], row["epochs"], row["hsiedge"]) == (seed, epochs, __version__) for row in rows):
                continue
            rows = [row for row in rows if row["seed"] != seed]
            rows.append(run_seed(scene, arguments.net, arguments.split, seed, epochs, folder))
            print(rows[-1], flush=True)
            data = {"device": device_facts().cpu, "seeds": sorted(rows, key=lambda row: row["seed"])}
            files.write_bytes(store, (json.dumps(data, indent=1) + "\n").encode())
    print(f"{title}, {epochs} epochs, seeds {[row['seed'] for row in rows]}")
    print(summary(rows))


if __name__ == "__main__":
    main()
