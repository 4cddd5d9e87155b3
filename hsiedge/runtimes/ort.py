"""onnxruntime behind the protocol.

On processors where its 8-bit sums would overflow (`hsiedge.device.int8`) it is opened in its exact mode, so that the same file
gives the same labels everywhere.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from hsiedge.device import int8
from hsiedge.errors import CardError, ModelError
from hsiedge.runtimes.int8_weights import for_exact_mode, has_wide_weights, reaches_inward
from hsiedge.runtimes.model import Session, TensorSpec
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
_EXACT = ("session.x64quantprecision", "1")


class OrtSession(Session):
    """An ONNX or ORT file in onnxruntime.

    Args:
        path: the model file.
        threads: intra-operator threads; 0 leaves the choice to onnxruntime (one a physical core).
        profile: file prefix for onnxruntime's own profile, or None.
        provider: what runs the nodes, in its order: "cpu", "cuda", "tensorrt,cuda".
        fast_int8: leave out onnxruntime's exact mode where 8-bit sums overflow on this processor.

    Attributes:
        exact_mode: whether it is open in that mode. Where it was needed and cannot be had, a warning says so.
        overflows: whether 8-bit sums may overflow in it, so that labels differ from those of other processors.

    Raises:
        ModelError: onnxruntime does not load it.
        OptionError: a provider that is unknown, is not in this build, cannot be started, or leaves nodes to the CPU unasked.
    """

    runtime = f"onnxruntime {onnxruntime.__version__}"

    def __init__(
        self,
        path: Path,
        threads: int = 0,
        profile: Path | None = None,
        provider: str = "cpu",
        *,
        fast_int8: bool = False,
    ) -> None:
        self._path = path
        needed = int8.overflows_here() and path.suffix == ".onnx" and has_wide_weights(path)
        self.exact_mode = needed and not fast_int8 and self._open_exactly(threads, profile, provider)
        self.overflows = needed and not self.exact_mode
        if not self.exact_mode:
            self._open(path, _options(threads, profile), provider)
        if self.overflows and not fast_int8:
            warnings.warn(
                f"{path}: onnxruntime has no exact mode for it as it is, and 8-bit sums overflow on this processor: labels "
                f"may differ from those of others; hsiedge card {path} (with hsiedge[quantize]) writes it anew",
                stacklevel=3,
            )
        self.inputs = [
            TensorSpec(entry.name, tuple(size if isinstance(size, int) else None for size in entry.shape), _dtype(path, entry))
            for entry in self._session.get_inputs()
        ]
        self._output = self._session.get_outputs()[0].name

    def _open(self, source: Path | bytes, options: onnxruntime.SessionOptions, provider: str) -> None:
        providers = named(provider)
        if providers == [CPU]:
            self._session, self.provider = _open(self._path, options, source=source), CPU
            return
        prepare(options, providers)
        try:
            self._session = _open(self._path, options, providers, source)
        except ModelError:
            check_started(provider)
            raise
        self.provider = placed(self._path, provider, self._session)

    def _open_exactly(self, threads: int, profile: Path | None, provider: str) -> bool:
        """Opens it in exact mode, made ready for it where need be. False where it cannot be exact."""
        if reaches_inward(self._path):
            return False
        data, options = self._path.read_bytes(), _options(threads, profile)
        options.add_session_config_entry(*_EXACT)
        try:
            ready = for_exact_mode(data)
            self._open(self._path if ready is data else ready, options, provider)
        except (ModelError, ValueError):
            return False
        return True

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


def save_optimized(path: Path, target: Path, *, optimize: bool = True, exact: bool = False) -> None:
    """Writes an ONNX or ORT file in ORT format, as it is or optimized as far as every processor goes along.

    That is all of onnxruntime's optimizations but the NCHWc layout of float convolutions, which only x86 has kernels for.

    Args:
        exact: with weights as unsigned bytes, for processors where sums of signed ones overflow: such a file cannot be opened
            in onnxruntime's exact mode, but be made in it.

    Raises:
        ModelError: onnxruntime does not load it.
    """
    levels = onnxruntime.GraphOptimizationLevel
    options = _options(1)
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if optimize else levels.ORT_DISABLE_ALL
    options.optimized_model_filepath = str(target)
    options.add_session_config_entry("session.save_model_format", "ORT")
    if exact:
        options.add_session_config_entry(*_EXACT)
    _open(path, options, skipped=["NchwcTransformer"] if optimize else None)


def _options(threads: int, profile: Path | None = None) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    if profile is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(profile)
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    return options


def _open(
    path: Path,
    options: onnxruntime.SessionOptions,
    providers: Sequence[str] = (CPU,),
    source: Path | bytes | None = None,
    skipped: Sequence[str] | None = None,
) -> onnxruntime.InferenceSession:
    """A session of a file, or of the bytes `source` that were made of it; `skipped` are optimizers by name."""
    if not path.is_file():
        raise ModelError(f"{path}: a folder; a file is expected" if path.is_dir() else f"{path}: no such file")
    if path.suffix == ".onnx":
        check_whole(path)
    model = source if isinstance(source, bytes) else str(path)
    try:
        # Without enable_fallback=0 onnxruntime's Python takes the CPU where another provider fails, and goes on.
        return onnxruntime.InferenceSession(
            model, options, providers=configured(providers), disabled_optimizers=skipped, enable_fallback=0
        )
    except Exception as error:
        raise ModelError(f"{path}: onnxruntime {onnxruntime.__version__} does not load it: {_first_line(error)}") from error


def _dtype(path: Path, entry: Any) -> np.dtype[Any]:
    if entry.type not in _DTYPES:
        raise ModelError(f"{path}: its input {entry.name} is {entry.type}, which hsiedge cannot make")
    return np.dtype(_DTYPES[entry.type])


def _first_line(error: Exception) -> str:
    text = str(error).strip().split("\n")[0]
    return text if len(text) <= 200 else text[:200] + "..."
