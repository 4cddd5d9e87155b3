"""ncnn, converted by pnnx. It knows no batches: patches go through one by one."""

from __future__ import annotations

import importlib.util
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ncnn
import numpy as np
from numpy.typing import NDArray

from bars.peer import Asked
from hsiedge.runtimes import Session, TensorSpec


class NcnnSession(Session):
    """One thread, its own default options otherwise."""

    provider = "CPU"
    runtime = f"ncnn {ncnn.__version__}"

    def __init__(self, asked: Asked) -> None:
        self._net = ncnn.Net()
        self._net.opt.num_threads = 1
        files = _files(asked)
        if self._net.load_param(str(files[0])) or self._net.load_model(str(files[1])):
            raise RuntimeError(f"ncnn does not load {files[0]}")
        self.inputs = [TensorSpec("counts", asked.shape, np.dtype(np.uint16))]

    def run(self, tensors: Sequence[NDArray[Any]]) -> NDArray[Any]:
        outputs = []
        for picture in tensors[0].astype(np.float32):
            extractor = self._net.create_extractor()
            extractor.input("in0", ncnn.Mat(picture))
            failed, output = extractor.extract("out0")
            if failed:
                raise RuntimeError(f"ncnn: extract failed ({failed})")
            outputs.append(np.array(output))
        return np.stack(outputs)


def prepare(asked: Asked) -> None:
    """pnnx, on the graph with float32 input."""
    parameters, weights = _files(asked)
    if parameters.exists() and weights.exists():
        return
    asked.prepared.mkdir(parents=True, exist_ok=True)
    shape = ",".join(map(str, (1, *asked.shape[1:])))
    source = parameters.with_suffix(".onnx")  # pnnx writes its files beside what it reads
    source.write_bytes(asked.floats.read_bytes())
    package = importlib.util.find_spec("pnnx")
    assert package is not None
    assert package.origin is not None
    converter = Path(package.origin).with_name("pnnx")  # the binary itself: the package around it imports torch
    command = [str(converter), source.name, f"inputshape=[{shape}]f32", "fp16=0"]
    done = subprocess.run(command, cwd=asked.prepared, capture_output=True, text=True, check=False, env=dict(os.environ))
    stem = source.stem.replace("-", "_")
    files = [asked.prepared / f"{stem}.ncnn.{suffix}" for suffix in ("param", "bin")]
    if not all(path.exists() for path in files):
        raise RuntimeError(f"pnnx gave no ncnn files (code {done.returncode}): {done.stderr.strip().splitlines()[-1:]}")
    for path, target in zip(files, (parameters, weights)):
        path.replace(target)


def _files(asked: Asked) -> tuple[Path, Path]:
    stem = f"{asked.path.stem}-{'x'.join(map(str, asked.shape[2:]))}"
    return asked.prepared / f"{stem}.param", asked.prepared / f"{stem}.bin"


open_session = NcnnSession
