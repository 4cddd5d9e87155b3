"""Model: a model file, opened by a runtime, with what can be done with it; and `load`, which opens one."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from hsiedge import evaluation, files, notebook, runtimes
from hsiedge.api.label_map import LabelMap, classified
from hsiedge.api.resolve import SceneLike, check_recipe, check_split, scene_for
from hsiedge.arguments import PathLike, number, path_of, whole_number
from hsiedge.errors import needs_extra
from hsiedge.evaluation import Evaluation
from hsiedge.mapping.stream import MEMORY
from hsiedge.progress import Progress, silent
from hsiedge.scenes.references import BESIDE, ReferencesLike
from hsiedge.scenes.scene import Scene
from hsiedge.scenes.splits import Split

if TYPE_CHECKING:
    from hsiedge.benchmark.results import Report
    from hsiedge.card import Card
    from hsiedge.graphs.quantization.recipes import Recipe


@dataclass(frozen=True, repr=False, eq=False)
class Model(runtimes.Model):
    """Model file, opened and ready: its Card, its labels, and what can be made of it. `load` opens one.

    Methods that make another file write it once it has passed its check, and give it opened. A model stands wherever a path
    can.

    Attributes:
        own_scene: the scene that it was made on, where that happened in this program; methods take it unless given another.
            None of a file that was opened: then the Card's scene is looked for in the catalog.
    """

    own_scene: Scene | None = field(default=None)

    @classmethod
    def of(cls, opened: runtimes.Model, own_scene: Scene | None = None) -> Model:
        """The model that a runtime has opened."""
        return cls(**{entry.name: getattr(opened, entry.name) for entry in fields(runtimes.Model)}, own_scene=own_scene)

    def to_scene_graph(
        self,
        path: PathLike | None = None,
        *,
        scene: SceneLike | None = None,
        approximate: bool = False,
        accept_labels: float = 90.0,
    ) -> Model:
        """Makes one graph for whole scenes of a float patch graph, checked against it.

        Args:
            path: .onnx to write; by default NAME-scene.onnx beside this one.
            scene: any that fits the model; both graphs are compared on it. Labels are not read.
            approximate: let a net that looks at the border of its patches see what lies around them instead: dense to its end,
                and not the same. Left out, what has no dense equivalent runs pixel by pixel, and is.
            accept_labels: percent of the labels that an approximation has to keep.

        Raises:
            ModelError: not a float patch graph; or, to be approximated, one with a node that has no equivalent, which is named.
            CheckError: labels differ, or logits by more than 1e-4 of their range; an approximation that keeps fewer labels.
            MissingExtraError: onnx-ir is not installed.
            OutputError: `path` cannot be written.
        """
        from hsiedge.graphs.scene_graph.build import scene_graph

        output = self._output(path, "-scene")
        scene = scene_for(self.known, scene, self.own_scene)
        scene_graph(self.path, scene, output, approximate, accept_labels)
        return self._made(output, scene)

    def quantize(
        self,
        scene: SceneLike | None = None,
        path: PathLike | None = None,
        *,
        recipe: str | Recipe = "default",
        patches: int = 1000,
        max_drop: float = 0.5,
        seed: int = 0,
        explain: bool = False,
        masks: Split | None = None,
        tile: tuple[int, int] | None = None,
        units: str | None = None,
        progress: Progress = silent,
    ) -> Model:
        """Quantizes a float model on real patches, once validation pixels have judged it.

        Args:
            scene: that calibrates and judges; on another than the model's own, labels are not looked at.
            path: .onnx, .ort (onnxruntime's own format) or .tflite to write; by default NAME-int8.onnx beside this one.
            recipe: name of a recipe, FILE.py:NAME, a TOML file, or a Recipe.
            patches: largest number of patches to calibrate on.
            max_drop: points of OA that may be lost; layers go back to float until it holds, and a .tflite, whose integers go
                all through, as a whole to float16.
            seed: seed of random choices.
            explain: put each layer's signal-to-noise ratio into the Card.
            masks: the split, for a model whose split came from mask files.
            tile: pixels `(height, width)` that a TFLite scene graph labels at a time; by default rows as wide as the scene, or
                as many as a block has.
            units: as for `classify`.
            progress: called with the share done, 0 to 1.

        Raises:
            OptionError: an unknown recipe, no patches, a negative drop; what TFLite has not; a tile for any other graph;
                float16 for ORT format.
            ModelError: quantized already, or it does not fit the scene.
            SplitError: the scene's labels are not those of the model's split.
            CheckError: too much would be lost, or the result fails its own verification; nothing was written.
            OutputError: `path` cannot be written.
            MissingExtraError: onnx (or TensorFlow, for .tflite) is not installed.
        """
        number(max_drop, "max_drop")
        whole_number(patches, "patches")
        whole_number(seed, "seed")
        output = self._output(path, "-int8")
        scene = scene_for(self.known, scene, self.own_scene, units)
        quantize = _quantize()
        check_recipe(recipe)
        quantize(self.path, scene, output, recipe, patches, max_drop, seed, explain, masks, tile, progress=progress)
        return self._made(output, scene)

    def to_tflite(
        self, path: PathLike | None = None, *, scene: SceneLike | None = None, tile: tuple[int, int] | None = None
    ) -> Model:
        """Converts a float ONNX model to a float32 TFLite file for LiteRT, checked against it.

        Args:
            path: .tflite to write; by default NAME.tflite beside this one.
            scene: any that fits the model; both files are compared on it. Labels are not read.
            tile: pixels `(height, width)` that a scene graph labels at a time; by default rows as wide as the scene.

        Raises:
            ModelError: no float graph, one that does not fit the scene, or an operator that is not converted.
            CheckError: labels differ, or logits by more than 1e-4 of their range. Nothing was written then.
            OptionError: a tile for a patch graph, or one without pixels.
            OutputError: `path` cannot be written.
            MissingExtraError: TensorFlow is not installed.
        """
        with needs_extra("making TFLite files", "tflite"):
            from hsiedge.graphs.tflite.convert import tflite
        output = self._output(path, "", ".tflite")
        scene = scene_for(self.known, scene, self.own_scene)
        tflite(self.path, scene, output, tile)
        return self._made(output, scene)

    def to_ort(self, path: PathLike | None = None, *, scene: SceneLike | None = None) -> Model:
        """Writes an ONNX model in onnxruntime's own format, checked against it.

        Args:
            path: .ort to write; by default NAME.ort beside this one.
            scene: any that fits the model; both files are compared on it. Labels are not read.

        Raises:
            ModelError: no ONNX file, one that does not fit the scene, or that onnxruntime does not convert.
            CheckError: labels or logits differ.
            OutputError: `path` cannot be written.
        """
        from hsiedge.graphs.export.ort import ort_file

        output = self._output(path, "", ".ort")
        scene = scene_for(self.known, scene, self.own_scene)
        ort_file(self.path, scene, output)
        return self._made(output, scene)

    def to_c(
        self, path: PathLike | None = None, *, scene: SceneLike | None = None, target: str = "generic", name: str | None = None
    ) -> Card:
        """Writes an INT8 scene graph as C99: one file without a dependency, a header, and a test with rows in and labels out.

        It is compiled and run first, on this machine, and where its compiler and emulator are here for its target, too.

        Args:
            path: .c to write, with NAME.h and NAME_test.c beside it; by default NAME.c beside this one.
            scene: any that fits the model; both are compared on its rows. Labels are not read.
            target: processor whose kernels and layout it has: "generic", "cortex-m4", ... (`hsiedge.graphs.c.targets.TARGETS`).
            name: prefix of the C functions, an identifier; by default the file's name.

        Returns:
            The Card in the file: its last step says what flash, RAM and stack it takes, and what was run.

        Raises:
            OptionError: no such target, a name that is none, or no compiler here.
            ModelError: no INT8 scene graph, a node that the native engine does not compute, or it does not fit the scene.
            CheckError: a label or an integer of any tensor differs from onnxruntime's. Nothing was written then.
            OutputError: `path` cannot be written.
            MissingExtraError: onnx is not installed.
        """
        with needs_extra("exporting C", "quantize"):
            from hsiedge.graphs.c.export import c_files
        scene = scene_for(self.known, scene, self.own_scene)
        return c_files(self.path, scene, self._output(path, "", ".c"), target=target, name=name)

    def evaluate(
        self,
        scene: SceneLike | None = None,
        *,
        masks: Split | None = None,
        units: str | None = None,
        progress: Progress = silent,
    ) -> Evaluation:
        """Measures its accuracy on the test pixels of its split; on a scene it was not trained on, on all labelled pixels.

        Classes of such a scene are the model's of the same names, whatever their ids are.

        Args:
            masks: the split, for a model whose split came from mask files.
            units: as for `classify`.

        Raises:
            ModelError: the scene does not fit the model.
            SplitError: the scene's labels are not those of the model's split.
            SceneError: the scene has no labels, or is not found.
        """
        scene = evaluation.joined_by_name(self.known, scene_for(self.known, scene, self.own_scene, units, held_out=True))
        if masks is not None:
            check_split(masks)
        self.check_fits(scene)
        split = evaluation.split_for(self.known, scene, masks)
        names = self.known.class_names
        return evaluation.evaluate(lambda where, pixels: self.predict(where, pixels, progress), scene, split, names=names)

    def classify(
        self,
        cube: SceneLike | NDArray[Any],
        *,
        reject: float = 0.0,
        probabilities: bool = False,
        memory: int | str = MEMORY,
        cube_key: str | None = None,
        units: str | None = None,
        references: ReferencesLike = BESIDE,
        progress: Progress = silent,
    ) -> LabelMap:
        """Labels every pixel of a cube, strip by strip; pixels without data get 0.

        Args:
            cube: file that can be read by rows (ENVI, GeoTIFF, NetCDF-4, HDF5, .npy), Scene, name of the catalog, or array
                `(height, width, bands)` in the stored dtype.
            reject: pixels whose likeliest class is less likely than this get 0.
            probabilities: keep those of each class, too.
            memory: bytes that strips may take, more or less, or a text as "64MiB"; the map itself comes on top.
            cube_key: variable in a .mat, .npz or HDF5 file with more than one cube.
            units: "stored" where stored values are to be taken as they are, "physical" where what they mean is; by default cube
                and Card must tell.
            references: dark and white reference of a file of raw counts; by default those that lie beside it, where the model
                takes reflectance; None for none.

        Raises:
            ModelError: the cube's bands, units or dtype do not fit the model.
            SceneError: no cube, or one that cannot be read.
            OptionError: a probability that is none, too little memory, or an argument of another type.
        """
        number(reject, "reject")
        size = files.parse_size(memory, "memory") if isinstance(memory, str) else whole_number(memory, "memory")
        return classified(self, cube, reject, probabilities, size, cube_key, units, references, progress)

    def bench(self, **options: Any) -> Report:
        """Measures it on this machine, in the runtime that opened it; options are those of `hsiedge.bench`."""
        from hsiedge.benchmark.runner import bench

        opened: dict[str, Any] = {name: getattr(self, name) for name in ("runtime", "provider", "fast_int8", "net")}
        return bench([self.path], **{**opened, **options})

    def _repr_html_(self) -> str:
        facts = self.card.summary() if self.card is not None else {"Card": "none"}
        facts |= {"runtime": self.session.runtime, "bytes": f"{self.path.stat().st_size:,}" if self.path.is_file() else "gone"}
        return notebook.facts_html(facts, str(self.path))

    def _output(self, path: PathLike | None, mark: str, suffix: str = ".onnx") -> Path:
        if path is None:
            return self.path.with_name(f"{self.path.stem}{mark}{suffix}")
        place = path_of(path, "path")
        files.check_writable(place, [self.path])
        return place

    def _made(self, path: Path, scene: Scene) -> Model:
        return Model.of(runtimes.load(path), scene)


def _quantize() -> Any:
    with needs_extra("quantizing", "quantize"):
        from hsiedge.graphs.quantization.quantize import quantize
    return quantize


def model_of(value: PathLike | runtimes.Model, option: str = "model") -> Model:
    """The model that an argument names, opened. Raises OptionError for another type, and as `load`."""
    if isinstance(value, Model):
        return value
    if isinstance(value, runtimes.Model):
        return Model.of(value)
    return Model.of(runtimes.load(path_of(value, option)))


def load(
    path: PathLike,
    *,
    threads: int = 0,
    runtime: str | None = None,
    provider: str | None = None,
    fast_int8: bool = False,
    net: str | None = None,
) -> Model:
    """Opens a model file in an inference engine, and reads its Card.

    Args:
        path: ONNX, ORT or TFLite; a checkpoint where the runtime is "torch".
        threads: intra-operator threads; 0 leaves the choice to the engine.
        runtime: one of `hsiedge.runtimes.ENGINES`, or FILE.py:NAME of a file of your own with an `Engine`; None for
            onnxruntime, or LiteRT where the file is TFLite.
        provider: onnxruntime's, in its order with commas: "cpu", "cuda", "tensorrt,cuda"; None for the CPU. A node that none
            of them takes is an error.
        fast_int8: where 8-bit sums overflow on this processor, in onnxruntime and OpenVINO, do without their exact mode:
            faster, and labels may differ from those of other processors.
        net: FILE.py:NAME of a checkpoint's net, where it is your own and was not named before in this program; the file is run.

    Raises:
        ModelError: not a model file, or the engine does not load it.
        CardError: it carries a Card that cannot be read.
        OptionError: no such engine, or not for this file; a provider that is missing or leaves nodes to the CPU; `fast_int8`
            of an engine without exact mode, `net` of one that runs no checkpoint; a net that cannot be loaded; an argument of
            another type.
        MissingExtraError: the engine is not installed.
    """
    place = path_of(path, "path")
    whole_number(threads, "threads")
    return Model.of(runtimes.load(place, threads, runtime, provider, fast_int8=fast_int8, net=net))
