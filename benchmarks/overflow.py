"""Labels that change where 8-bit sums overflow, on x86 without VNNI, unless onnxruntime is in its exact mode.

    python -m benchmarks.overflow [MODEL...]    # from the root of the checkout; INT8 scene graphs, by default the shipped one

Labels of Indian Pines, whole, on this machine where it has no VNNI, else on QEMU's Haswell (see tests/x86_without_vnni.py): in
exact mode and without, beside the labels of this machine.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hsiedge.device import int8
from hsiedge.runtimes import load
from hsiedge.scenes.open import open_scene
from hsiedge.shipped import shipped
from tests.x86_without_vnni import emulated

ROOT = Path(__file__).resolve().parents[1]


def labels(model: Path, fast: bool) -> NDArray[np.uint16]:
    """Of all pixels, one after the other."""
    scene = open_scene("indian_pines")
    return load(model, 1, fast_int8=fast).predict(scene, np.arange(scene.shape[0] * scene.shape[1]))


def labels_elsewhere(model: Path, fast: bool) -> NDArray[np.uint16]:
    """The same, on the emulated processor."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "labels.npy"
        flags = ["--fast-int8"] if fast else []
        command = emulated(sys.executable, "-m", "benchmarks.overflow", "--write", out, *flags, model.resolve())
        subprocess.run(command, check=True, cwd=ROOT, stderr=subprocess.DEVNULL)
        return np.load(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", type=Path, default=[shipped("-int8-scene.onnx")])
    parser.add_argument("--write", type=Path, help="write labels to this file, and nothing else")
    parser.add_argument("--fast-int8", action="store_true")
    asked = parser.parse_args()
    if asked.write is not None:
        np.save(asked.write, labels(asked.models[0], asked.fast_int8))
        return
    other_labels = labels if int8.overflows_here() else labels_elsewhere
    for model in asked.models:
        ours = labels(model, fast=False)
        for mode, fast in (("in exact mode", False), ("without it", True)):
            differ = int((other_labels(model, fast) != ours).sum())
            print(f"{model.name}, x86 without VNNI, {mode}: {differ} of {len(ours)} labels differ")


if __name__ == "__main__":
    main()
