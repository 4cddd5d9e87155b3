"""Three flights against the whole scene: Indian Pines cut into thirds in three forms, trained at the same pixels.

    python benchmarks/flights.py accuracy [--seeds 2]

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

from hsiedge import files
from hsiedge.evaluation import evaluate
from hsiedge.scenes.open import open_scene
from hsiedge.scenes.patches import batches
from hsiedge.scenes.scene import Scene
from hsiedge.training.checkpoint import Checkpoint
from hsiedge.training.classifier import predict_logits
from hsiedge.training.train import train
from tests.three_flights import write_flights

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


def store(name: str, result: dict[str, Any]) -> None:
    """Adds a result to the stored file."""
    stored = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    files.write_bytes(RESULTS, (json.dumps({**stored, name: result}, indent=1) + "\n").encode())


def main() -> None:
    """Measures what is named, and stores it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=["accuracy"])
    parser.add_argument("--seeds", type=int, default=2)
    arguments = parser.parse_args()
    store("accuracy", accuracy(arguments.seeds))


if __name__ == "__main__":
    main()
