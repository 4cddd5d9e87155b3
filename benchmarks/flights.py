"""Three flights against the whole scene: Indian Pines cut into thirds in three forms, trained at the same pixels.

    python benchmarks/flights.py accuracy [--seeds 3]
    python benchmarks/flights.py steps              # of training: patches from a file beside patches from memory
    python benchmarks/flights.py memory             # of training on 3.1 GB of cubes, sparse files

stores benchmarks/results/flights.json. Each seed trains the default net on the whole scene and on the flights, which differ in
nothing but the patches at the cuts: there the whole scene goes on, and a flight is reflected.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hsiedge import files, nets
from hsiedge.evaluation import evaluate
from hsiedge.scenes.open import open_scene
from hsiedge.scenes.patches import batches
from hsiedge.scenes.preprocess import fit_affine
from hsiedge.scenes.scene import Scene
from hsiedge.training import patch_image
from hsiedge.training.checkpoint import Checkpoint
from hsiedge.training.classifier import predict_logits
from hsiedge.training.conditioning import condition, principal
from hsiedge.training.fit import FitSettings, fit
from hsiedge.training.train import train
from tests.three_flights import train_sparse_flights, write_flights, write_sparse_flights

RESULTS = Path(__file__).parent / "results" / "flights.json"


def accuracy(seeds: int) -> dict[str, Any]:
    """Test OA of the default net on the whole scene and on its three flights, at the same pixels."""
    whole = open_scene("indian_pines")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        flights = open_scene(write_flights(whole, Path(folder)))
        for seed in range(seeds):
            row: dict[str, Any] = {"seed": seed}
            for name, scene in (("whole", whole), ("flights", flights)):
                split, start = scene.split("random", seed=seed), time.perf_counter()
                checkpoint = train(scene, split)
                row |= {name: round(_oa(checkpoint, scene, seed), 2), f"{name}_seconds": round(time.perf_counter() - start)}
                assert row.setdefault("split", split.digest) == split.digest
            rows.append(row)
            print(json.dumps(row), flush=True)
    return {
        "seeds": rows,
        **{f"mean_{name}": round(float(np.mean([row[name] for row in rows])), 2) for name in ("whole", "flights")},
    }


def _oa(checkpoint: Checkpoint, scene: Scene, seed: int) -> float:
    ids = np.array([entry.id for entry in checkpoint.card.classes], np.uint16)

    def predict(where: Scene, pixels: np.ndarray) -> np.ndarray:
        pieces = batches(where.cube, pixels, checkpoint.card.patch)
        return np.concatenate([ids[predict_logits(checkpoint.classifier, patches).argmax(1).numpy()] for _, patches in pieces])

    return evaluate(predict, scene, scene.split("random", seed=seed)).oa


def steps(rounds: int = 6, batches_a_round: int = 20) -> dict[str, Any]:
    """Time of a training step of the default net on 1 GB of counts, by turns with patches from memory and from a file.

    The least of all rounds, of the clock and of all threads: the machine may have other work. All rows of the file have been
    made before; it lies in the page cache, as it does where there is memory for it.
    """
    dice = np.random.default_rng(0)
    cube = dice.integers(1000, 6000, (1250, 2000, 200), np.uint16)
    pixels = np.sort(dice.choice(cube.shape[0] * cube.shape[1], 64 * batches_a_round, replace=False))
    targets = dice.integers(0, 16, len(pixels))
    spectra = cube.reshape(-1, 200)[pixels]
    affine = fit_affine(spectra)
    axes = principal(affine(spectra))
    images = {}
    for name, held in (("memory", 1 << 40), ("file", 0)):
        patch_image.HELD = held
        images[name] = patch_image.PatchImage(cube, 13, lambda stored: affine(stored) @ axes.numpy().T, len(axes))
        images[name].patches(torch.from_numpy(pixels))  # makes the rows
    least = {name: [float("inf")] * 2 for name in images}
    for _ in range(rounds):
        for name, image in images.items():
            net = nets.build("cnn2d", 200, 16, 13)
            condition(net, axes)
            start = time.perf_counter(), time.process_time()
            fit(net, image, pixels, targets, FitSettings(epochs=1), 0)
            taken = time.perf_counter() - start[0], time.process_time() - start[1]
            least[name] = [min(old, new / batches_a_round * 1000) for old, new in zip(least[name], taken)]
            print(name, [round(value, 1) for value in least[name]], flush=True)
    figures = {f"{name}_ms": round(wall, 2) for name, (wall, _) in least.items()}
    figures |= {f"{name}_cpu_ms": round(cpu, 2) for name, (_, cpu) in least.items()}
    ratios = {
        kind: round(least["file"][place] / least["memory"][place], 3) for place, kind in enumerate(("ratio", "cpu_ratio"))
    }
    return {**figures, **ratios, "threads": torch.get_num_threads(), "net": "cnn2d", "patch": 13, "channels": len(axes)}


def memory() -> dict[str, Any]:
    """Peak memory of training on two flights of sparse files."""
    with tempfile.TemporaryDirectory() as folder:
        write_sparse_flights(Path(folder))
        start = time.perf_counter()
        size, oa, peak = train_sparse_flights(Path(folder))
    return {"bytes": size, "peak_mib": peak >> 10, "validation_oa": oa, "seconds": round(time.perf_counter() - start)}


def store(name: str, result: dict[str, Any]) -> None:
    """Adds a result to the stored file."""
    stored = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    files.write_bytes(RESULTS, (json.dumps({**stored, name: result}, indent=1) + "\n").encode())


def main() -> None:
    """Measures what is named, and stores it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=["accuracy", "steps", "memory"])
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    measures = {"accuracy": lambda: accuracy(arguments.seeds), "steps": steps, "memory": memory}
    store(arguments.what, measures[arguments.what]())


if __name__ == "__main__":
    main()
