"""`hsiedge classify`."""

from __future__ import annotations

import math
import time
from contextlib import AbstractContextManager, nullcontext
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hsiedge.cli import console, groups, options

if TYPE_CHECKING:
    from hsiedge.mapping.stream import ClassificationStats, Classify, ClassifyOptions
    from hsiedge.runtimes import Model
    from hsiedge.scenes.io.cube import Cube
    from hsiedge.scenes.references import References

_MANY_OUTSIDE = 0.01


@groups.expanded
def classify_command(
    *,
    model: Annotated[
        Path, typer.Argument(help="ONNX or TFLite model. Scene graphs are fastest (hsiedge export --scene-graph).")
    ],
    cubes: Annotated[
        list[Path],
        typer.Argument(
            metavar="CUBE",
            help="Cubes to label: ENVI, GeoTIFF, NetCDF-4, HDF5 or .npy; .mat and .npz are read into memory as a whole.",
        ),
    ],
    output: Annotated[
        list[Path] | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE|FOLDER",
            help="Map to write of one cube: .tif, .hdr (ENVI), .png or .npy. May be repeated. Or a folder for a map of each "
            "cube, CUBE-map.FORMAT. Default: this folder.",
        ),
    ] = None,
    format_: Annotated[
        list[str] | None,
        typer.Option(
            "--format", metavar="NAME", help="Format of maps in a folder: npy, tif, hdr or png. May be repeated. Default: npy."
        ),
    ] = None,
    probabilities: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="File for the probabilities of all classes, float32: .tif, a band for each class; or .npy, (rows, columns, "
            "classes). Or a folder.",
        ),
    ] = None,
    reject: Annotated[
        float,
        typer.Option(
            metavar="SHARE",
            help="Threshold, 0 or more and below 1: a pixel whose likeliest class has a lower probability gets label 0, "
            "unknown.",
        ),
    ] = 0.0,
    memory: Annotated[
        str, typer.Option(metavar="SIZE", help="Memory for one strip of rows, approximately: 64MiB, 1GiB.")
    ] = "64MiB",
    runtime: options.RuntimeOption = None,
    provider: options.ProviderOption = None,
    fast_int8: options.FastInt8Option = False,
    net: options.NetFileOption = None,
    threads: Annotated[
        int,
        typer.Option(help="Number of threads; 0 leaves it to the runtime. With --scheduler: threads per block, 0 for one."),
    ] = 0,
    scheduler: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS", help="Dask scheduler, tcp://HOST:PORT. Its workers must see the cubes at the same paths."
        ),
    ] = None,
    references: groups.ReferenceOptions,
    cube_key: options.CubeKeyOption = None,
    units: options.UnitsOption = None,
    cube_reader: options.CubeReaderOption = None,
    map_writer: Annotated[
        str | None, typer.Option(metavar="FILE.py:NAME", help="Writer of your own for the maps. This Python file is run.")
    ] = None,
    json: options.JsonOption = None,
) -> None:
    """Labels every pixel of cubes, and writes maps.

    Cubes are read in strips, so memory does not grow with the length of a flight. Bands are matched by wavelength, if model and
    cube state them. Pixels without data get label 0.

    With --scheduler, the workers of a Dask cluster share the work. The labels are the same.
    """
    from hsiedge import files
    from hsiedge.cli import names
    from hsiedge.mapping.stream import ClassifyOptions
    from hsiedge.mapping.writers import WRITERS, check_places, check_suffix
    from hsiedge.runtimes import check_engine, check_is_model, engine_for_rows, load
    from hsiedge.scenes.io.reader import CUBE_READERS, check_file, open_cube

    if cube_reader is not None:
        CUBE_READERS.name_of(cube_reader)
    if map_writer is not None:
        WRITERS.name_of(map_writer)
    check_is_model(model, cubes)
    check_engine(runtime, model, provider)
    places = names.map_places(cubes, output or [], "map", format_ or [])
    likely = names.map_places(cubes, [probabilities], "probabilities", []) if probabilities is not None else [[]] * len(cubes)
    for path in chain(*places):
        check_suffix(path)
    for path in chain(*likely):
        check_suffix(path, probabilities=True)
    limit, known = files.parse_size(memory, "memory"), references.references
    asked = ClassifyOptions(reject, probabilities is not None, units)
    read = [model, *cubes, *filter(None, (references.dark, references.white))]
    written = [*chain(*places), *chain(*likely)]
    console.check_json(json, [*read, *written, net, cube_reader, map_writer])
    check_places(written, read)
    for cube in cubes:
        check_file(cube)
    engine = engine_for_rows(model, runtime, provider, fast_int8=fast_int8)
    loaded = load(model, threads, engine, provider, fast_int8=fast_int8, net=net)
    entries: list[dict[str, Any]] = []
    started = time.perf_counter()
    with _classifier(loaded, cubes, cube_key, asked, limit, threads, scheduler) as classified:
        for cube, paths, probable in zip(cubes, places, likely):
            with open_cube(cube, cube_key) as stored:
                source = _reflectance(stored, known, loaded, scheduler)
                if stored.whole:
                    console.say(f"{cube.name} is read as a whole: its format cannot be read by rows")
                console.warn([f"{cube.name}: {note}" for note in source.notes])
                entries.append(_write_maps(classified, source, loaded.known.class_names, paths, probable, reject))
    if len(cubes) > 1:
        pixels, seconds = sum(math.prod(entry["shape"]) for entry in entries), time.perf_counter() - started
        console.say(f"{len(cubes)} cubes: {pixels:,} pixels in {seconds:.2f} s: {pixels / seconds:,.0f} a second")
    if json is not None:
        ran = {"runtime": loaded.session.runtime, "provider": loaded.session.provider}
        result = {"schema": 1, "model": loaded.path.name, **ran, "warnings": loaded.warnings, "cubes": entries}
        console.write_json(result, json)
    console.warn(loaded.warnings)


def _reflectance(stored: Cube, references: References | str | None, model: Model, scheduler: str | None) -> Cube:
    """The cube as references make it reflectance. Raises OptionError where others would read it without them."""
    from hsiedge.errors import OptionError
    from hsiedge.scenes.references import with_references

    source = with_references(stored, references, model.known.scene.quantity or "counts")
    if scheduler is not None and source.read is not stored.read:
        raise OptionError("a cluster takes no dark and white references", option="scheduler")
    return source


def _classifier(
    model: Model, cubes: list[Path], key: str | None, asked: ClassifyOptions, memory: int, threads: int, scheduler: str | None
) -> AbstractContextManager[Classify]:
    """Function that classifies the cubes: in this process, or on a cluster."""
    from hsiedge.mapping.stream import classify_rows

    if scheduler is None:
        return nullcontext(lambda source, take, tick: classify_rows(model, source, take, asked, memory, tick))
    from hsiedge.mapping.dask import on_cluster

    return on_cluster(scheduler, model, cubes, key, asked, memory, threads)


def _write_maps(
    classified: Classify, source: Cube, classes: dict[int, str], places: list[Path], likely: list[Path], reject: float
) -> dict[str, Any]:
    """Classifies one cube, writes its maps and says what came out; gives the cube's part of the JSON.

    Args:
        classes: names of the labels by id.
        places, likely: of its label maps, and of its probabilities, one at most.
        reject: least probability of a label.
    """
    from hsiedge.mapping.writers import MapFacts, maps, not_kept

    facts = MapFacts(source.shape, classes, source.georeference)
    with (
        maps(places, next(iter(likely), None), facts) as take,
        console.progress(f"classifying {source.path.name}", math.prod(source.shape), "pixels") as tick,
    ):
        stats = classified(source, take, tick)
    written = [*places, *likely]
    _tell(stats, source, written, reject)
    for path in written:
        if lost := not_kept(path, source.georeference):
            console.say(f"{path.name} does not keep {' and '.join(lost)}")
    return _json(stats, source, written)


def _tell(stats: ClassificationStats, source: Cube, paths: list[Path], reject: float) -> None:
    height, width = source.shape
    pace = max(stats.seconds, 1e-9)
    text = f"{source.path.name}: {height} x {width} pixels in {stats.seconds:.2f} s: {stats.pixels / pace:,.0f} a second, "
    text += f"{height / pace:,.0f} rows a second"
    console.say(text)
    if stats.empty:
        console.say(f"{stats.empty:,} pixels without data are 0")
    if reject:
        console.say(f"{stats.unknown:,} pixels are 0, for no class is {reject:.0%} likely or more")
    if stats.outside is not None:
        share = f"{100 * stats.outside:.2g} % of values lie at or beyond the ends of the range that the model was calibrated on"
        console.say(f"warning: {share}; its labels are not to be trusted there" if stats.outside > _MANY_OUTSIDE else share)
    console.say("wrote " + ", ".join(str(path) for path in paths))


def _json(stats: ClassificationStats, source: Cube, paths: list[Path]) -> dict[str, Any]:
    return {
        "cube": source.path.name,
        "shape": list(source.shape),
        "seconds": stats.seconds,
        "pixels_per_s": stats.pixels / max(stats.seconds, 1e-9),
        "without_data": stats.empty,
        "rejected": stats.unknown,
        "outside_range": stats.outside,
        "rows_a_strip": stats.rows,
        "written": [str(path) for path in paths],
    }
