"""`hsiedge classify`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hsiedge.cli import console, options

if TYPE_CHECKING:
    from hsiedge.mapping.stream import Told
    from hsiedge.runtimes import Model
    from hsiedge.scenes.readers import RowSource

_MANY_OUTSIDE = 0.01


def classify_command(
    model: Annotated[Path, typer.Argument(help="An ONNX model; a scene graph is the fast one (hsiedge export --scene-graph).")],
    cube: Annotated[Path, typer.Argument(help="ENVI, GeoTIFF, NetCDF-4 or HDF5, .npy; or .mat, .npz, which are read at once.")],
    output: Annotated[
        list[Path] | None, typer.Option("--output", "-o", help="The map: .tif, .hdr (ENVI), .png or .npy; may be given again.")
    ] = None,
    probabilities: Annotated[
        Path | None, typer.Option(help="Write the probability of each class, too: .tif or .npy, float32.")
    ] = None,
    reject: Annotated[float, typer.Option(help="Pixels whose likeliest class is less likely than this are 0, unknown.")] = 0.0,
    memory: Annotated[str, typer.Option(help="What strips may take, more or less: 64MiB, 1GiB.")] = "64MiB",
    threads: Annotated[int, typer.Option(help="Threads; 0 leaves it to the runtime.")] = 0,
    cube_key: options.CubeKeyOption = None,
    json: options.JsonOption = None,
) -> None:
    """Labels every pixel of a cube, strip by strip: memory does not grow with the length of the flight.

    Bands are matched by wavelength where model and cube know theirs. Pixels without data get 0.
    """
    from hsiedge import files
    from hsiedge.mapping.stream import Asked, classify_rows
    from hsiedge.mapping.writers import check_suffix
    from hsiedge.runtimes import load
    from hsiedge.scenes.rows import open_rows

    paths = output or [Path(f"{cube.stem}-map.npy")]
    for path in paths:
        check_suffix(path)
    if probabilities is not None:
        check_suffix(probabilities, probabilities=True)
    limit = files.parse_size(memory)
    console.check_json(json)
    _check_places([*paths, *([probabilities] if probabilities else [])], [model, cube])
    loaded = load(model, threads)
    with open_rows(cube, cube_key) as source:
        if source.whole:
            console.say(f"{cube.name} is read at once: its format cannot be read by rows")
        with _written(loaded, source, paths, probabilities) as take, console.progress("classifying") as tick:
            told = classify_rows(loaded, source, take, Asked(reject, probabilities is not None), limit, tick)
        _tell(told, source, paths, reject)
    if json is not None:
        console.write_json(_json(told, loaded, source, paths), json)


def _check_places(outputs: list[Path], inputs: list[Path]) -> None:
    from hsiedge import files
    from hsiedge.errors import OutputError

    taken = {path.resolve() for path in inputs if path.exists()}
    for path in outputs:
        if path.resolve() in taken:
            raise OutputError(f"{path} is what is read; choose another place with -o")
        files.check_writable(path)


def _written(model: Model, source: RowSource, paths: list[Path], probabilities: Path | None) -> Any:
    """A context that yields what takes strips."""
    from contextlib import ExitStack, contextmanager

    from hsiedge.mapping.stream import Strip
    from hsiedge.mapping.writers import MapFacts, writer, writers

    classes = {entry.id: entry.name for entry in model.known.classes}

    @contextmanager
    def opened() -> Any:
        with ExitStack() as stack:
            label = stack.enter_context(writers(paths, MapFacts(source.shape, classes, source.georeference)))
            likely = None
            if probabilities is not None:
                facts = MapFacts(source.shape, classes, source.georeference, tuple(classes.values()))
                likely = stack.enter_context(writer(probabilities, facts))

            def take(strip: Strip) -> None:
                label(strip.labels)
                if likely is not None and strip.probabilities is not None:
                    likely(strip.probabilities)

            yield take

    return opened()


def _tell(told: Told, source: RowSource, paths: list[Path], reject: float) -> None:
    height, width = source.shape
    said = f"{height} x {width} pixels in {told.seconds:.2f} s: {told.pixels / max(told.seconds, 1e-9):,.0f} a second, "
    said += f"{height / max(told.seconds, 1e-9):,.0f} rows a second"
    console.say(said)
    if told.empty:
        console.say(f"{told.empty:,} pixels without data are 0")
    if reject:
        console.say(f"{told.unknown:,} pixels are 0, for no class is {reject:.0%} likely or more")
    if told.outside is not None:
        share = f"{100 * told.outside:.2g} % of values lie at or beyond the ends of the range that the model was calibrated on"
        console.say(f"warning: {share}; its labels are not to be trusted there" if told.outside > _MANY_OUTSIDE else share)
    console.say("wrote " + ", ".join(str(path) for path in paths))


def _json(told: Told, model: Model, source: RowSource, paths: list[Path]) -> dict[str, Any]:
    return {
        "schema": 1,
        "model": model.path.name,
        "cube": source.path.name,
        "runtime": model.session.runtime,
        "shape": list(source.shape),
        "seconds": told.seconds,
        "pixels_per_s": told.pixels / max(told.seconds, 1e-9),
        "without_data": told.empty,
        "rejected": told.unknown,
        "outside_range": told.outside,
        "rows_a_strip": told.rows,
        "written": [str(path) for path in paths],
    }
