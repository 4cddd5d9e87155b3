"""Reading nodes of an `onnx.GraphProto`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onnx import NodeProto


def attributes(node: NodeProto) -> dict[str, Any]:
    """The attributes that a node says, by name; not those that it leaves to their defaults."""
    from onnx import helper

    return {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
