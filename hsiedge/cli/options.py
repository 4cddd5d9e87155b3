"""Options that several commands share, and what is made of them."""

from __future__ import annotations

import importlib.util
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from hsiedge.card import Card
    from hsiedge.scenes.scene import Scene
    from hsiedge.scenes.splits import Split

CubeOption = Annotated[
    Path | None, typer.Option("--cube", help="Your own cube: .mat, .npy, .npz, ENVI, .tif, or a folder of tiles.")
]
LabelsOption = Annotated[Path | None, typer.Option("--labels", help="Its label map or folder of tiles, 0 = unlabelled.")]
CubeKeyOption = Annotated[str | None, typer.Option("--cube-key", help="Variable of the cube in a .mat or .npz.")]
LabelsKeyOption = Annotated[str | None, typer.Option("--labels-key", help="Variable of the labels in a .mat or .npz.")]
DataDirOption = Annotated[
    Path | None, typer.Option("--data-dir", help="Look for scenes here first, then in $HSIEDGE_DATA and the user's cache.")
]
TrainMaskOption = Annotated[Path | None, typer.Option("--train-mask", help="Published split: map of the training pixels.")]
TestMaskOption = Annotated[Path | None, typer.Option("--test-mask", help="Published split: map of the test pixels.")]
JsonOption = Annotated[str | None, typer.Option("--json", metavar="FILE|-", help="Write the result as JSON; - is stdout.")]
SeedOption = Annotated[int, typer.Option("--seed", min=0, max=2**32 - 1, help="Of all that is drawn at random.")]
ToOption = Annotated[
    str | None,
    typer.Option(
        "--to",
        metavar="onnx|ort|tflite",
        help="onnx; ort, onnxruntime's own format, which small builds of it read; tflite for LiteRT. Left out, as -o ends.",
    ),
]
TileOption = Annotated[
    str | None,
    typer.Option(
        "--tile", metavar="ROWSxCOLUMNS", help="Pixels that a TFLite scene graph labels at a time: fixed in the file."
    ),
]
RuntimeOption = Annotated[
    str | None,
    typer.Option(
        "--runtime",
        metavar="ort|litert|openvino|torch",
        help="onnxruntime, LiteRT, OpenVINO, or PyTorch for a checkpoint; left out, onnxruntime, or LiteRT for .tflite.",
    ),
]
ProviderOption = Annotated[
    str | None,
    typer.Option(
        "--provider",
        metavar="cpu|xnnpack|cuda|tensorrt",
        help="What runs onnxruntime's nodes, or several with commas; a node that none of them takes is an error.",
    ),
]
FastInt8Option = Annotated[
    bool,
    typer.Option(
        "--fast-int8",
        help="On x86 without VNNI, where 8-bit sums overflow, do without the runtime's exact mode: faster; labels may change.",
    ),
]
OnOption = Annotated[
    str | None,
    typer.Option("--on", metavar="[USER@]HOST[:PORT]", help="Run on that machine instead, over your own ssh and its config."),
]
PythonOption = Annotated[str, typer.Option("--python", metavar="PATH", help="The interpreter over there (with --on).")]
WheelhouseOption = Annotated[
    Path | None,
    typer.Option("--wheelhouse", metavar="FOLDER", help="Wheels for a machine without internet (with --on), sent along."),
]
_KINDS = ("onnx", "ort", "tflite")


@dataclass(frozen=True)
class SceneOptions:
    """What the options say of a scene: a name or a cube, and the rest."""

    scene: str | None
    cube: Path | None
    labels: Path | None
    cube_key: str | None
    labels_key: str | None
    data_dir: Path | None

    def open(self) -> Scene:
        """The scene that the options name.

        Raises:
            OptionError: neither or both of a name and a cube.
        """
        from hsiedge.errors import OptionError
        from hsiedge.scenes.scene import open_scene

        if (self.scene is None) == (self.cube is None):
            raise OptionError(
                "name one scene of the catalog (hsiedge scenes list), or give your own with --cube FILE --labels FILE"
            )
        if self.cube is None:
            return open_named(str(self.scene), self.labels, self.cube_key, self.labels_key, self.data_dir)
        path = self.cube if self.cube.is_absolute() else f"./{self.cube}"
        return open_scene(path, self.labels, self.data_dir, self.cube_key, self.labels_key)

    def open_for(self, card: Card) -> Scene:
        """The scene that the options name; left out, the Card's own, by its name in the catalog. Raises SceneError."""
        from hsiedge.errors import SceneError
        from hsiedge.scenes.catalog import CATALOG

        if self.scene is not None or self.cube is not None:
            return self.open()
        name = card.scene.name
        if name not in CATALOG:
            raise SceneError(
                f"the model was made on {name}, which is not in the catalog; give it again with --cube and --labels"
            )
        return replace(self, scene=name).open()


def open_named(name: str, labels: Path | None, cube_key: str | None, labels_key: str | None, data_dir: Path | None) -> Scene:
    """A scene by its catalog name, downloaded from its publisher where it is not on this machine; or from a file."""
    from hsiedge.cli import console
    from hsiedge.errors import SceneError
    from hsiedge.scenes.scene import cache_dir, missing, open_scene

    entry = missing(name, data_dir) if labels is None else None
    if entry is not None:
        if importlib.util.find_spec("scipy") is None:
            raise SceneError(
                f"{entry.name} is not on this machine, and reading the published .mat needs: pip install 'hsiedge[mat]'; "
                f"or, on a workstation, hsiedge scenes pack {entry.name}, and name the .npz here"
            )
        from hsiedge.scenes.fetch import fetch

        folder = data_dir or cache_dir()
        console.say(f"{entry.name} is not on this machine: downloading it to {folder}")
        with console.progress(f"fetching {entry.name}") as tick:
            fetch(entry, folder, tick)
    return open_scene(name, labels, data_dir, cube_key, labels_key)


def open_masks(scene: Scene, train_mask: Path | None, test_mask: Path | None, seed: int) -> Split | None:
    """The split of two mask files; None where neither is given. Raises OptionError where only one is."""
    from hsiedge.errors import OptionError
    from hsiedge.scenes.io import arrays
    from hsiedge.scenes.splits import masks_split

    if train_mask is None and test_mask is None:
        return None
    if train_mask is None or test_mask is None:
        raise OptionError("--train-mask and --test-mask go together")
    return masks_split(scene, arrays.read(train_mask, ndim=2).array, arrays.read(test_mask, ndim=2).array, seed)


def parse_widths(text: str) -> tuple[int, ...]:
    """Widths like "64,64,32" as numbers. Raises OptionError."""
    from hsiedge.errors import OptionError

    try:
        widths = tuple(int(word) for word in text.split(","))
    except ValueError as error:
        raise OptionError(f"--widths {text}: whole numbers with commas between them are expected, as 64,64,32") from error
    if not all(1 <= width <= 4096 for width in widths):
        raise OptionError(f"--widths {text}: each must lie between 1 and 4096")
    return widths


def file_kind(to: str | None, output: Path | None) -> str:
    """What a model becomes: "onnx", "ort" or "tflite", by --to, else by the ending of the output. Raises OptionError."""
    from hsiedge.errors import OptionError

    ending = output.suffix.removeprefix(".") if output is not None else ""
    kind = to or (ending if ending in _KINDS else "onnx")
    if kind not in _KINDS:
        raise OptionError(f"--to {kind}: choose {', '.join(_KINDS)}")
    if to is not None and output is not None and ending != kind:
        raise OptionError(f"--to {kind} is written to a file that ends in .{kind}, not {output}")
    return kind


def parse_tile(text: str | None) -> tuple[int, int] | None:
    """Rows and columns like "32x145" as numbers. Raises OptionError."""
    from hsiedge.errors import OptionError

    if text is None:
        return None
    found = re.fullmatch(r"(\d{1,6})x(\d{1,6})", text)
    if found is None:
        raise OptionError(f"--tile {text}: ROWSxCOLUMNS is expected, as 32x145")
    rows, columns = int(found[1]), int(found[2])
    if min(rows, columns) < 1:
        raise OptionError(f"--tile {text}: at least one pixel is labelled at a time")
    return rows, columns
