"""Lines of PyTorch code that the nodes of an ONNX graph were made of, where its exporter kept them.

The dynamo exporter keeps a node's stack in its metadata, the older one in its `doc_string` where it is told to be verbose. The
files that they name are not opened: the line is told as it stands there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING

from hsiedge.words import shown

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

STACK = "pkg.torch.onnx.stack_trace"
_FRAME = re.compile(r'^\s*File "([^"\n]+)", line (\d+)[^\n]*(?:\n(?!\s*File ")\s*([^\n]*))?', re.MULTILINE)
_DOC_FRAME = re.compile(r"^([^\n()]+)\((\d+)\): \S+$", re.MULTILINE)
_LONGEST = 100  # characters of a line that is shown


def code_lines(model: ModelProto) -> dict[str, str]:
    """The user's own line behind each node that has one, by the node's name: "net.py, line 6: y = torch.cumsum(x, 1)"."""
    lines = {node.name: _line(node) for node in model.graph.node if node.name}
    return {name: line for name, line in lines.items() if line}


def line_in(text: str, lines: Mapping[str, str]) -> str:
    """The line behind the first node that a text names; "" where it names none that has one."""
    words = (word.strip("'\":.,;()") for word in text.split())
    return next((lines[word] for word in words if word in lines), "")


def _line(node: NodeProto) -> str:
    stack = next((entry.value for entry in node.metadata_props if entry.key == STACK), "")
    frames = [match.groups("") for match in _FRAME.finditer(stack)][::-1]  # the innermost first, as the other exporter has them
    frames += [(*match.groups(), "") for match in _DOC_FRAME.finditer(node.doc_string)]
    for path, number, code in frames:
        parts = PureWindowsPath(path).parts if "\\" in path else PurePosixPath(path).parts
        if not {"torch", "torchvision"} & {*parts}:  # what the user called, and not what torch did then
            return shown(f"{parts[-1]}, line {number}{f': {code}' if code else ''}", _LONGEST)
    return ""
