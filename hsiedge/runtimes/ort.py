"""onnxruntime behind the protocol."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from hsiedge.errors import CardError, ModelError
from hsiedge.runtimes.base import Session, TensorSpec
from hsiedge.runtimes.onnx_file import check_whole
from hsiedge.runtimes.providers import CPU, check_started, configured, named, placed, prepare

_DTYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(uint8)": np.uint8,
    "tensor(int8)": np.int8,
    "tensor(uint16)": np.uint16,
    "tensor(int16)": np.int16,
    "tensor(int32)": np.int32,
    "tensor(uint32)": np.uint32,
    "tensor(uint64)": np.uint64,
    "tensor(int64)": np.int64,
    "tensor(bool)": np.bool_,
}


class OrtSession(Session):
    """An ONNX or ORT file in onnxruntime.

    Args:
        path: the model file.
        threads: intra-operator threads; 0 leaves the choice to onnxruntime (one a physical core).
        profile: file prefix for onnxruntime's own profile, or None.
        provider: what runs the nodes, in its order: "cpu", "cuda", "tensorrt,cuda".

    Raises:
        ModelError: onnxruntime does not load it.
        OptionError: a provider that is unknown, is not in this build, cannot be started, or leaves nodes to the CPU unasked.
    """

    runtime = f"onnxruntime {onnxruntime.__version__}"

    def __init__(self, path: Path, threads: int = 0, profile: Path | None = None, provider: str = "cpu") -> None:
        options = _options(threads)
        if profile is not None:
            options.enable_profiling = True
            options.profile_file_prefix = str(profile)
        self._path = path
        providers = named(provider)
        if providers == [CPU]:
            self._session, self.provider = _open(path, options), CPU
        else:
            prepare(options, providers)
            try:
                self._session = _open(path, options, providers)
            except ModelError:
                check_started(provider)
                raise
            self.provider = placed(path, provider, self._session)
        self.inputs = [
            TensorSpec(entry.name, tuple(size if isinstance(size, int) else None for size in entry.shape), _dtype(path, entry))
            for entry in self._session.get_inputs()
        ]
        self._output = self._session.get_outputs()[0].name

    @property
    def metadata(self) -> dict[str, str]:
        """The file's own key-value metadata. Raises CardError where it is no text."""
        return _metadata(self._path, self._session)

    def run(self, tensors: Sequence[NDArray[Any]]) -> NDArray[Any]:
        """The first output. Raises ModelError where the tensors do not fit the graph."""
        feeds = {spec.name: tensor for spec, tensor in zip(self.inputs, tensors)}
        try:
            output: NDArray[Any] = self._session.run([self._output], feeds)[0]
        except Exception as error:  # onnxruntime raises classes that it does not export
            raise ModelError(f"onnxruntime could not run the model: {_first_line(error)}") from error
        return output

    def end_profiling(self) -> Path:
        """Closes the profile and tells where it lies."""
        return Path(self._session.end_profiling())


def read_metadata(path: Path) -> dict[str, str]:
    """The key-value metadata of an ORT file, its graph left unoptimized. Raises ModelError or CardError."""
    options = _options(1)
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return _metadata(path, _open(path, options))


def _metadata(path: Path, session: onnxruntime.InferenceSession) -> dict[str, str]:
    try:
        return dict(session.get_modelmeta().custom_metadata_map)
    except UnicodeDecodeError as error:
        raise CardError(f"{path}: its metadata is not text ({error})") from error


def _options(threads: int) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    return options


def _open(path: Path, options: onnxruntime.SessionOptions, providers: Sequence[str] = (CPU,)) -> onnxruntime.InferenceSession:
    if not path.is_file():
        raise ModelError(f"{path}: no such file")
    if path.suffix == ".onnx":
        check_whole(path)
    try:
        # Without enable_fallback=0 onnxruntime's Python takes the CPU where another provider fails, and goes on.
        return onnxruntime.InferenceSession(str(path), options, providers=configured(providers), enable_fallback=0)
    except Exception as error:
        raise ModelError(f"{path}: onnxruntime {onnxruntime.__version__} does not load it: {_first_line(error)}") from error


def _dtype(path: Path, entry: Any) -> np.dtype[Any]:
    if entry.type not in _DTYPES:
        raise ModelError(f"{path}: its input {entry.name} is {entry.type}, which hsiedge cannot make")
    return np.dtype(_DTYPES[entry.type])


def _first_line(error: Exception) -> str:
    text = str(error).strip().split("\n")[0]
    return text if len(text) <= 200 else text[:200] + "..."
