"""Groups of options that several commands share: of a scene, a split, a run of training; and what is made of them.

A command has a group as one parameter, and `expanded` takes it apart for typer:

    @app.command()
    @expanded
    def train(scene_options: SceneOptions, ...): ...        # --cube, --labels, --cube-key, ...
"""

from __future__ import annotations

import copy
import functools
import importlib.util
import inspect
import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, get_args, get_origin, get_type_hints

import typer
from typer.models import ArgumentInfo, OptionInfo

from hsiedge.cli import console, options
from hsiedge.cli.flags import flag

if TYPE_CHECKING:
    from typing_extensions import Self

    from hsiedge.card import Card
    from hsiedge.scenes.references import References
    from hsiedge.scenes.scene import Scene
    from hsiedge.scenes.splits import Split

_METAVARS = {bool: "", int: "N", float: "X", str: "NAME", Path: "FILE"}


@dataclass(frozen=True)
class ReferenceOptions:
    """Options of dark and white references."""

    heading: ClassVar[str] = "Dark and white references"
    dark: Annotated[
        Path | None, typer.Option("--dark", help="Dark reference: a cube taken with the shutter closed. Needs --white.")
    ] = None
    white: Annotated[
        Path | None,
        typer.Option(
            "--white", help="White reference: a cube of a white panel. Raw counts are turned into reflectance. Needs --dark."
        ),
    ] = None
    panel: Annotated[
        float, typer.Option("--panel", metavar="SHARE", help="Reflectance of the white panel; 1 reflects all light.")
    ] = 1.0
    raw: Annotated[
        bool, typer.Option("--raw", help="Keep raw counts, even if DARKREF_ and WHITEREF_ files lie beside the cube.")
    ] = False

    @property
    def files(self) -> list[Path | str | None]:
        """Files that are read."""
        return [self.dark, self.white]

    @property
    def references(self) -> References | str | None:
        """References that are named; "beside" for those that lie beside the cube; None for none. Raises OptionError."""
        from hsiedge.errors import OptionError
        from hsiedge.scenes.references import BESIDE, References

        if (self.dark is None) != (self.white is None):
            raise OptionError("dark and white reference go together", use={"dark": "FILE", "white": "FILE"})
        if self.dark is None or self.white is None:
            if self.panel != 1.0:
                raise OptionError("needs a white reference", option="panel", use={"white": "FILE"})
            return None if self.raw else BESIDE
        if self.raw:
            raise OptionError("cannot be used together with dark and white references", option="raw")
        return References(self.dark, self.white, self.panel)


@dataclass(frozen=True)
class FileOptions(ReferenceOptions):
    """Options of a scene's files beside the cube."""

    heading: ClassVar[str] = "Cube and labels"
    labels: Annotated[
        list[Path] | None,
        typer.Option(
            "--labels",
            help="Labels of the cube: a map, a folder of tiles, or polygons. 0 means unlabelled. For several cubes, repeat it "
            "in their order.",
        ),
    ] = None
    cube_key: options.CubeKeyOption = None
    labels_key: Annotated[
        str | None,
        typer.Option(
            "--labels-key",
            metavar="NAME",
            help="Variable that holds the labels in such a file, or layer of the polygons. Default: the only one with two "
            "dimensions.",
        ),
    ] = None
    class_field: Annotated[
        str | None, typer.Option("--class-field", metavar="NAME", help="Attribute of the polygons that holds the class name.")
    ] = None
    class_names: Annotated[
        str | None,
        typer.Option(
            "--class-names",
            metavar="NAME,...|FILE",
            help="Names of the classes, for labels that hold ids alone: with commas, those of the ids 1, 2, 3, ...; or a text "
            "file of id,name lines.",
        ),
    ] = None
    align: Annotated[
        bool,
        typer.Option(
            "--align", help="Resample the labels onto the cube's grid by nearest neighbour, if their grid is another one."
        ),
    ] = False
    cube_reader: options.CubeReaderOption = None
    labels_reader: Annotated[
        str | None,
        typer.Option(
            "--labels-reader", metavar="FILE.py:NAME", help="Reader of your own for the labels. This Python file is run."
        ),
    ] = None
    data_dir: options.DataDirOption = None

    @property
    def files(self) -> list[Path | str | None]:
        """Files that are read, but for the cube's; readers as FILE.py:NAME."""
        return [*super().files, *(self.labels or ()), self.class_names, self.cube_reader, self.labels_reader]

    def load_readers(self) -> None:
        """Makes readers of the user's own known to this process. Raises OptionError where one cannot be loaded."""
        from hsiedge.scenes.io.reader import CUBE_READERS, LABEL_READERS

        for readers, text in ((CUBE_READERS, self.cube_reader), (LABEL_READERS, self.labels_reader)):
            if text is not None:
                readers.name_of(text)

    def open_named(self, names: Sequence[str], classes: dict[int, str] | None = None) -> Scene:
        """A scene by its catalog name, downloaded from its publisher where it is not on this machine; or from a file.

        Several are flights, joined into one scene, with a label map each.

        Raises:
            OptionError: labels for another number of flights; names that are none of the labels' classes.
        """
        from hsiedge.errors import OptionError

        self.load_readers()
        labels: Sequence[Path | None] = self.labels or [None for _ in names]
        if len(labels) != len(names):
            raise OptionError(f"one for each cube was expected: {len(names)}, not {len(labels)}", option="labels")
        opened = [
            open_named(name, place, self.cube_key, self.labels_key, self.data_dir, **self._meaning)
            for name, place in zip(names, labels)
        ]
        if self.class_names is not None:
            from hsiedge.scenes.classes import name_classes

            opened = name_classes(opened, options.class_names(self.class_names))
        if len(opened) == 1:
            return opened[0]
        from hsiedge.scenes.flights import join_flights

        return join_flights(opened, classes=classes)

    @property
    def _meaning(self) -> dict[str, Any]:
        return {"class_field": self.class_field, "align": self.align, "references": self.references}

    def counting(self, card: Card) -> Self:
        """The options for a model: what lies beside the cube is of use only to one of reflectance."""
        return self if self.dark is not None or card.scene.quantity == "reflectance" else replace(self, raw=True)


@dataclass(frozen=True)
class SceneOptions(FileOptions):
    """Options of a scene: a cube of one's own, in the place of a name, and its files."""

    heading: ClassVar[str] = "Cube and labels"
    cube: Annotated[
        list[Path] | None,
        typer.Option(
            "--cube",
            help="Cube of your own, in the place of a catalog scene: ENVI, GeoTIFF, NetCDF, HDF5, .mat, .npy or .npz; a folder"
            " of tiles; or a list of flights, flights.toml. Repeat it for several flights.",
        ),
    ] = None

    @property
    def files(self) -> list[Path | str | None]:
        """Files that are read; readers as FILE.py:NAME."""
        return [*super().files, *(self.cube or ())]

    def open(self, names: str | Sequence[str] | None = None, classes: dict[int, str] | None = None) -> Scene:
        """The scene that a name or the options name; several are flights.

        Args:
            classes: ids that classes of flights are to have.

        Raises:
            OptionError: neither or both of names and cubes.
        """
        from hsiedge.errors import OptionError

        chosen = [names] if isinstance(names, str) else list(names or ())
        if bool(chosen) == bool(self.cube):
            raise OptionError(
                "name one scene of the catalog (hsiedge scenes list), or give your own with --cube FILE --labels FILE"
            )
        places = [str(cube if cube.is_absolute() else f"./{cube}") for cube in self.cube or ()]
        return self.open_named(chosen or places, classes)

    def again(self, names: Sequence[str] = ()) -> str:
        """The options of a scene that is not in the catalog, as the next command takes them, each after a blank; else ""."""
        cubes = [*(Path(name) for name in names if Path(name).suffix), *(self.cube or ())]
        values = [(field.name, getattr(self, field.name), field.default) for field in fields(self) if field.name != "cube"]
        named = [("cube", cubes), *((name, value) for name, value, default in values if value != default)]
        words = [(name, each) for name, value in named for each in (value if isinstance(value, list) else [value])]
        return (
            "".join(f" {flag(name, '' if each is True else shlex.quote(str(each)))}" for name, each in words) if cubes else ""
        )

    def open_for(self, card: Card, name: str | None = None) -> Scene:
        """The scene that `name` or the options name; left out, the Card's own, by its name in the catalog.

        Raises:
            SceneError: the Card's scene is not in the catalog.
        """
        from hsiedge.errors import SceneError
        from hsiedge.scenes.catalog import CATALOG

        if name is not None or self.cube:
            return self.counting(card).open(name, card.class_names)
        if card.scene.name not in CATALOG:
            raise SceneError(
                f"the model was made on {card.scene.name}, which is not in the catalog; give it again with --cube and --labels"
            )
        return self.open(card.scene.name)


@dataclass(frozen=True)
class MaskOptions:
    """Options of a split that is given as two maps."""

    heading: ClassVar[str] = "Split"
    train_mask: Annotated[
        Path | None, typer.Option("--train-mask", help="Map of training pixels: those that are not 0. Needs --test-mask.")
    ] = None
    test_mask: Annotated[
        Path | None, typer.Option("--test-mask", help="Map of test pixels: those that are not 0. Needs --train-mask.")
    ] = None
    mask_labels: Annotated[
        bool,
        typer.Option("--mask-labels", help="Class ids come from the two masks, in the place of the scene's labels."),
    ] = False

    @property
    def named(self) -> bool:
        """Whether there is a mask."""
        return self.train_mask is not None or self.test_mask is not None

    @property
    def files(self) -> list[Path | str | None]:
        """Files that are read."""
        return [self.train_mask, self.test_mask]

    @property
    def maps(self) -> dict[str, Any]:
        """Arguments of `Scene.split` for them."""
        return {"train_mask": self.train_mask, "test_mask": self.test_mask, "mask_labels": self.mask_labels}

    def split(self, scene: Scene, seed: int) -> Split | None:
        """The split of the two mask files; None where neither is given. Raises OptionError where only one is."""
        return scene.split(**self.maps, seed=seed) if self.named or self.mask_labels else None


@dataclass(frozen=True)
class ModelSplitOptions(MaskOptions):
    """Options of the split of a model, as far as its Card does not tell of it."""

    heading: ClassVar[str] = "Split"
    split_file: Annotated[
        str | None,
        typer.Option(
            "--split",
            metavar="FILE.py:NAME",
            help="Published split of the model, if it is one of your own. This Python file is run.",
        ),
    ] = None

    def split_for(self, card: Card, scene: Scene) -> Split | None:
        """The split of the two mask files, with the seed of the split in a Card; None where neither is given."""
        if self.split_file is not None:
            from hsiedge.errors import OptionError
            from hsiedge.scenes.splits import PUBLISHED

            if ".py:" not in self.split_file and self.split_file not in PUBLISHED:
                reason = "FILE.py:NAME is expected, a published split of your own; any other one is told by the model's Card"
                raise OptionError(reason, option="split", value=self.split_file)
            PUBLISHED.name_of(self.split_file)
        return self.split(scene, card.split.seed if card.split else 0)


@dataclass(frozen=True)
class SplitOptions(MaskOptions):
    """Options of a split that is drawn."""

    heading: ClassVar[str] = "Split"
    kind: Annotated[
        str | None,
        typer.Option(
            "--split",
            metavar="NAME",
            help="Split into training, validation and test pixels: random; blocks, test pixels far from training pixels; "
            "lists, those that a mosaic comes with; flights, whole flights are tested; hong or paoletti, used in papers; "
            "or FILE.py:NAME, a published one of your own. Default: random, or flights if flights have roles.",
        ),
    ] = None
    train_fraction: Annotated[
        float,
        typer.Option(
            "--train-fraction",
            metavar="SHARE",
            help="Share of each class to train on, between 0 and 0.66. Half as many pixels validate, the rest are tested.",
        ),
    ] = 0.1
    guard: Annotated[
        int | None,
        typer.Option(
            "--guard",
            metavar="PIXELS",
            help="Least distance of test pixels from training pixels, in pixels (for blocks). Default: 6.",
        ),
    ] = None
    folds: Annotated[
        int | None,
        typer.Option(
            "--folds",
            metavar="K",
            help="Folds of a cross-validation over blocks. K nets are trained, and each part of the scene is tested once.",
        ),
    ] = None
    fold: Annotated[
        int | None, typer.Option("--fold", metavar="I", help="Fold to train, from 1 to K. Default: all of them.")
    ] = None

    hold_out: Annotated[
        list[str] | None,
        typer.Option("--hold-out", metavar="FLIGHT", help="Flight to test on as a whole, by name. May be repeated."),
    ] = None

    def draw(self, scene: Scene, seed: int) -> list[Split]:
        """The split that the options name; with folds, one for each.

        Raises:
            OptionError: as `Scene.split`; a fold without folds, or no such flight.
        """
        scene = scene.hold_out(*self.hold_out) if self.hold_out else scene
        drawn = {"train": self.train_fraction, "seed": seed, "guard": self.guard, **self.maps}
        if self.folds is None or self.fold is not None:
            return [scene.split(self.kind, **drawn, folds=self.folds, fold=self.fold)]
        return [scene.split(self.kind, **drawn, folds=self.folds, fold=fold + 1) for fold in range(max(1, self.folds))]

    def draw_one(self, scene: Scene, seed: int) -> Split:
        """The split that the options name. Raises OptionError where they name several folds."""
        from hsiedge.errors import OptionError

        if self.folds is not None and self.fold is None:
            raise OptionError("compress takes one split, not several folds", use={"fold": "I"})
        return self.draw(scene, seed)[0]


@dataclass(frozen=True)
class RunOptions:
    """Options of a run of training."""

    device: options.DeviceOption = "cpu"
    log: Annotated[
        Path | None,
        typer.Option(
            "--log",
            metavar="FILE.csv",
            help="File for the loss and validation accuracy of each epoch. A plot of them, FILE.png, is written at the end.",
        ),
    ] = None

    @contextmanager
    def running(self, output: Path) -> Iterator[None]:
        """Trains what the block trains; killed, the same command goes on from the state that it keeps beside `output`."""
        from hsiedge.api.training_run import training_run

        state = output.with_name(f"{output.name}.resume")
        try:
            with training_run(device=self.device, state=state, log=self.log, say=console.say):
                yield
        except BaseException:
            if state.with_name(f"{state.name}-1").exists():
                console.say(f"what was trained so far is kept in {state}-*; the same command goes on from there")
            raise


def expanded(command: Callable[..., None]) -> Callable[..., None]:
    """The command, each parameter that is a group of options in its place taken apart into them.

    A group is a dataclass whose fields are annotated as options; its own fields come before those that it inherits, of its
    bases in their order.
    """
    signature = inspect.signature(command, eval_str=True)
    groups: dict[str, Any] = {}
    parameters: list[inspect.Parameter] = []
    for parameter in signature.parameters.values():
        group = parameter.annotation
        if not is_dataclass(group):
            parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=_shown(group, parameter.name)))
            continue
        groups[parameter.name] = group
        hints, places = get_type_hints(group, include_extras=True), _places(groups[parameter.name])
        for entry in sorted(fields(group), key=lambda field: places[field.name]):
            parameters.append(
                inspect.Parameter(
                    entry.name,
                    inspect.Parameter.KEYWORD_ONLY,
                    default=entry.default,
                    annotation=_shown(hints[entry.name], entry.name, _heading(groups[parameter.name], entry.name)),
                )
            )

    @functools.wraps(command)
    def run(**values: Any) -> None:
        for name, group in groups.items():
            values[name] = group(**{entry.name: values.pop(entry.name) for entry in fields(group)})
        command(**values)

    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {}
    run.__doc__ = re.sub(r"(?<!\n)\n(?!\n)", " ", inspect.cleandoc(command.__doc__ or ""))  # help wraps paragraphs itself
    return run


def _places(group: type[Any]) -> dict[str, int]:
    """Place of the class that declares each option, among a group and its bases."""
    return {
        name: place for place, kind in reversed([*enumerate(group.__mro__)]) for name in vars(kind).get("__annotations__", {})
    }


def _heading(group: type[Any], name: str) -> str | None:
    """Title over an option in a command's help: that of the class which declares it."""
    return next((vars(kind).get("heading") for kind in group.__mro__ if name in vars(kind).get("__annotations__", {})), None)


def _shown(hint: Any, name: str, heading: str | None = None) -> Any:
    """The annotation of a parameter, as help shows it: under a title, with a word for its value; any other as it is."""
    if get_origin(hint) is not Annotated or not isinstance(hint.__metadata__[0], (OptionInfo, ArgumentInfo)):
        return hint
    kind, option = hint.__origin__, copy.copy(hint.__metadata__[0])
    while get_args(kind):  # Path of list[Path] | None
        kind = get_args(kind)[0]
    word = name.upper() if isinstance(option, ArgumentInfo) else _METAVARS.get(kind)
    option.metavar = option.metavar if option.metavar is not None else word
    option.rich_help_panel = heading or option.rich_help_panel
    return Annotated[hint.__origin__, option]


def open_named(
    name: str,
    labels: Path | None,
    cube_key: str | None,
    labels_key: str | None,
    data_dir: Path | None,
    **meaning: Any,
) -> Scene:
    """A scene by its catalog name, downloaded from its publisher where it is not on this machine; or from a file."""
    from hsiedge.errors import SceneError
    from hsiedge.scenes.open import cache_dir, missing, open_scene

    entry = missing(name, data_dir) if labels is None else None
    if entry is not None:
        if importlib.util.find_spec("scipy") is None:
            raise SceneError(
                f"{entry.name} is not on this machine, and reading the published .mat needs: pip install 'hsiedge[mat]'; "
                f"or, on a workstation, hsiedge scenes pack {entry.name}, and name the .npz here"
            )
        from hsiedge.scenes.fetch import fetch

        folder = data_dir or cache_dir()
        carried = " (without internet: pip install tensorly, which carries it)" if entry.name == "indian_pines" else ""
        console.say(f"{entry.name} is not on this machine: downloading it to {folder}{carried}")
        with console.progress(f"fetching {entry.name}") as tick:
            fetch(entry, folder, tick)
    return open_scene(name, labels, data_dir, cube_key, labels_key, **meaning)
