"""Opsets: those of PyTorch since 2018 are converted to ours."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hsiedge.errors import ModelError
from hsiedge.graphs.onnx_io import MAX_OPSET

if TYPE_CHECKING:
    from onnx import ModelProto

OPSET = 18
"""Opset that passes work in; graphs of 18 to 21 stay what they are."""


def to_our_opset(model: ModelProto) -> tuple[ModelProto, list[str]]:
    """The graph in an opset from 18 to 21, by ONNX's own converter, and a line that tells it.

    Raises:
        ModelError: an operator that the converter does not convert.
    """
    import onnx

    version = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)
    if OPSET <= version <= MAX_OPSET:
        return model, []
    wanted = OPSET if version < OPSET else MAX_OPSET
    try:
        converted = onnx.version_converter.convert_version(model, wanted)
    except Exception as error:  # the converter's own, of several types
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"opset {version} cannot be converted to {wanted}: {reason}; export it with opset {OPSET}") from error
    return converted, [f"opset {version} becomes {wanted}"]
