"""Single options that several commands share, and what is made of their text; groups of them are in groups.py."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import typer


def _check_seed(value: int) -> int:
    if not 0 <= value < 2**32:  # a range of typer's own would stand in the middle of help's columns
        raise typer.BadParameter("a whole number from 0 to 4294967295 is expected")
    return value


DataDirOption = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        metavar="FOLDER",
        help="Folder to search first for scenes of the catalog. $HSIEDGE_DATA and the user's cache come after it.",
    ),
]
CubeReaderOption = Annotated[
    str | None,
    typer.Option("--cube-reader", metavar="FILE.py:NAME", help="Reader of your own for the cube. This Python file is run."),
]
CubeKeyOption = Annotated[
    str | None,
    typer.Option(
        "--cube-key",
        metavar="NAME",
        help="Variable that holds the cube, in a .mat, .npz, NetCDF or HDF5 file. Default: the only one with three dimensions.",
    ),
]
UnitsOption = Annotated[
    str | None,
    typer.Option(
        "--units",
        metavar="stored|physical",
        help="Units of the cube's values, where cube and model do not both state them. stored: the numbers in the file are"
        " in the model's units. physical: they are after the file's scale and offset.",
    ),
]
JsonOption = Annotated[
    str | None, typer.Option("--json", metavar="FILE|-", help="File for the result as JSON, or - for stdout.")
]
SeedOption = Annotated[int, typer.Option("--seed", callback=_check_seed, help="Seed of every random choice.")]
DeviceOption = Annotated[
    str, typer.Option("--device", metavar="auto|cpu|cuda", help="Device to train on. auto takes the GPU if there is one.")
]
NetFileOption = Annotated[
    str | None,
    typer.Option(
        "--net", metavar="FILE.py:NAME", help="Net of the checkpoint, if it is one of your own. This Python file is run."
    ),
]
ToOption = Annotated[
    str | None,
    typer.Option(
        "--to",
        metavar="onnx|ort|tflite|c",
        help="Format to write: onnx; ort, for reduced builds of onnxruntime; tflite, for LiteRT; c, C99 source of an INT8 "
        "scene graph, for computers without Python. Default: by the ending of -o, else onnx.",
    ),
]
TileOption = Annotated[
    str | None,
    typer.Option(
        "--tile", metavar="ROWSxCOLUMNS", help="Pixels that a TFLite scene graph labels per call. The file fixes them."
    ),
]
TargetOption = Annotated[
    str | None,
    typer.Option(
        "--target",
        metavar="NAME",
        help="Processor that the C file is written for: generic, cortex-m4, cortex-m7, cortex-m55, cortex-a9, cortex-a53, "
        "cortex-a72, cortex-a76, x86-64-v3, riscv64 or powerpc.",
    ),
]
RuntimeOption = Annotated[
    str | None,
    typer.Option(
        "--runtime",
        metavar="ENGINE",
        help="Inference engine: ort (onnxruntime), native (hsiedge's own), litert, tflm (TFLite Micro), openvino, or torch "
        "for a checkpoint. Default: by the kind of file.",
    ),
]
ProviderOption = Annotated[
    str | None,
    typer.Option(
        "--provider",
        metavar="NAME,...",
        help="Execution providers of onnxruntime, with commas: cpu, xnnpack, cuda, tensorrt. A node that none of them can run "
        "is an error. Default: cpu.",
    ),
]
FastInt8Option = Annotated[
    bool,
    typer.Option(
        "--fast-int8",
        help="Faster INT8 on x86 processors without VNNI. Their 8-bit sums may overflow, so labels may differ.",
    ),
]
OnOption = Annotated[
    str | None,
    typer.Option(
        "--on", metavar="[USER@]HOST[:PORT]", help="Another machine to run on, over ssh. Your ssh config and keys are used."
    ),
]
PythonOption = Annotated[str, typer.Option("--python", metavar="PATH", help="Python interpreter on the machine of --on.")]
WheelhouseOption = Annotated[
    Path | None,
    typer.Option(
        "--wheelhouse", metavar="FOLDER", help="Folder of wheels to send to the machine of --on, if it has no internet."
    ),
]
_KINDS = ("onnx", "ort", "tflite", "c")


def widths_of(text: str | None) -> dict[str, Any]:
    """A net's option `widths`, of text like "64,64,32"; none where there is no text. Raises OptionError."""
    from hsiedge.errors import OptionError

    if text is None:
        return {}
    try:
        widths = tuple(int(word) for word in text.split(","))
    except ValueError as error:
        raise OptionError(f"--widths {text}: whole numbers with commas between them are expected, as 64,64,32") from error
    if not all(1 <= width <= 4096 for width in widths):
        raise OptionError(f"--widths {text}: each must lie between 1 and 4096")
    return {"widths": widths}


def class_names(text: str) -> list[str] | Path:
    """Names of classes, of text like "corn,oats": those of the ids 1, 2, ..., or the path of a file of them."""
    path = Path(text)
    return path if path.suffix.lower() in (".csv", ".tsv", ".txt") or path.is_file() else text.split(",")


def file_kind(to: str | None, output: Path | None) -> str:
    """Kind of file to make: "onnx", "ort", "tflite" or "c", by --to, else by the ending of the output. Raises OptionError."""
    from hsiedge.errors import OptionError

    ending = output.suffix.removeprefix(".") if output is not None else ""
    if to is None and output is not None and ending not in _KINDS:
        raise OptionError("a model is written as .onnx, .ort, .tflite or .c", option="output", value=str(output))
    kind = to or ending or "onnx"
    if kind not in _KINDS:
        raise OptionError(f"--to {kind}: choose {', '.join(_KINDS)}")
    if to is not None and output is not None and ending != kind:
        raise OptionError(f"--to {kind} is written to a file that ends in .{kind}, not {output}")
    return kind


def check_c(kind: str, target: str | None) -> None:
    """Raises OptionError where a target is named for another kind of file than C, or is none that there is."""
    from hsiedge.errors import OptionError
    from hsiedge.graphs.c.targets import find_target

    if target is not None and kind != "c":
        raise OptionError(f"--target {target} needs --to c: it is the processor for C source")
    if target is not None:
        find_target(target)


def parse_tile(text: str | None) -> tuple[int, int] | None:
    """Rows and columns like "32x145" as numbers. Raises OptionError."""
    from hsiedge.errors import OptionError

    if text is None:
        return None
    sizes = re.fullmatch(r"(\d{1,6})x(\d{1,6})", text)
    if sizes is None:
        raise OptionError(f"--tile {text}: ROWSxCOLUMNS is expected, as 32x145")
    rows, columns = int(sizes[1]), int(sizes[2])
    if min(rows, columns) < 1:
        raise OptionError(f"--tile {text}: at least one pixel is labelled at a time")
    return rows, columns
