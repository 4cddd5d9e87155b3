"""`hsiedge run`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hsiedge.cli import console, groups, options

if TYPE_CHECKING:
    from hsiedge.live.sinks import Event


@groups.expanded
def run_command(
    *,
    model: Annotated[
        Path, typer.Argument(help="ONNX or TFLite model. Scene graphs are fastest (hsiedge export --scene-graph).")
    ],
    source: Annotated[
        str,
        typer.Option(
            "--from",
            metavar="SOURCE",
            help="Source of lines: - for raw lines on stdin; tcp://HOST:PORT; tcp-listen://[HOST:]PORT; an ENVI file that "
            "grows; a folder to which captures are added; replay:CUBE@RATE, a file at RATE lines a second; or "
            "FILE.py:NAME, a source of your own.",
        ),
    ],
    output: Annotated[
        list[str] | None,
        typer.Option(
            "--output",
            "-o",
            metavar="SINK",
            help="Output, may be repeated: a map (.hdr grows with each line; .tif, .png and .npy are written at the end); - "
            "for lines of labels on stdout; tcp://HOST:PORT; FILE.jsonl for events. A folder, if the source is one.",
        ),
    ] = None,
    columns: Annotated[int | None, typer.Option(metavar="PIXELS", help="Pixels in a raw line.")] = None,
    bands: Annotated[int | None, typer.Option(help="Bands in a raw line.")] = None,
    dtype: Annotated[
        str, typer.Option(metavar="DTYPE", help="NumPy dtype of the values in raw lines, little-endian.")
    ] = "uint16",
    interleave: Annotated[
        str, typer.Option(metavar="bil|bip", help="Order of values in a raw line: by band (bil) or by pixel (bip).")
    ] = "bil",
    idle: Annotated[
        str, typer.Option(metavar="TIME", help="Time without a new line after which the source counts as ended: 10s, 5m.")
    ] = "10s",
    line_rate: Annotated[
        float | None,
        typer.Option(
            metavar="RATE", help="Lines per second that the camera delivers. The summary compares the rate reached with it."
        ),
    ] = None,
    late: Annotated[
        str,
        typer.Option(
            metavar="wait|drop", help="Policy while the buffer is full: wait, or drop lines, which are then no data in the map."
        ),
    ] = "wait",
    rows: Annotated[
        int | None,
        typer.Option(metavar="LINES", help="Lines to label per call. Default: 1 in the native engine, else 16."),
    ] = None,
    buffer: Annotated[
        str, typer.Option(metavar="SIZE", help="Memory for lines that wait to be labelled: 16MiB, 1GiB.")
    ] = "16MiB",
    drift: Annotated[
        float,
        typer.Option(
            metavar="SHARE", help="Share of values outside the calibrated range, 0 to 1, above which a line is marked as drift."
        ),
    ] = 0.01,
    watch: Annotated[
        list[str] | None,
        typer.Option(metavar="CONDITION", help="Event to report, as 'water > 20 % of 100 lines'. May be repeated."),
    ] = None,
    tile: Annotated[
        int | None,
        typer.Option(
            metavar="PIXELS", help="Side in pixels of square tiles. The class shares of each tile are reported as an event."
        ),
    ] = None,
    page: Annotated[
        str | None,
        typer.Option(
            metavar="[HOST:]PORT",
            help="Port of a live page for the browser, on this machine only. With a host, other machines may open it; set "
            "$HSIEDGE_PAGE_TOKEN.",
        ),
    ] = None,
    references: groups.ReferenceOptions,
    cube_key: options.CubeKeyOption = None,
    units: options.UnitsOption = None,
    cube_reader: options.CubeReaderOption = None,
    runtime: options.RuntimeOption = None,
    provider: options.ProviderOption = None,
    fast_int8: options.FastInt8Option = False,
    net: options.NetFileOption = None,
    threads: Annotated[int, typer.Option(help="Number of threads; 0 leaves it to the runtime.")] = 0,
    json: options.JsonOption = None,
) -> None:
    """Labels the lines of a camera as they come.

    A map grows with each line, and events are reported. A summary follows at the end, or at Ctrl-C.
    """
    from hsiedge.cli.bench import parse_duration
    from hsiedge.errors import OptionError, SourceError
    from hsiedge.live.runner import run
    from hsiedge.live.summary import RunSummary
    from hsiedge.live.watch import event_line
    from hsiedge.runtimes import check_engine, engine_for_rows, load
    from hsiedge.scenes.io.reader import CUBE_READERS

    if cube_reader is not None:
        CUBE_READERS.name_of(cube_reader)
    check_engine(runtime, model, provider)
    console.check_json(json, [model, net, cube_reader, *references.files, *_source_files(source), *_sink_files(output or ())])
    if json == "-" and "-" in (output or ()):
        raise OptionError("stdout holds the labels, or the summary: write one of them to a file", option="json", value="-")
    seconds, known = parse_duration(idle, "idle"), references.references

    quiet = any(text.endswith(".jsonl") for text in output or ())  # tiles are many, and are in the file

    def tell(event: Event) -> None:
        if event["event"] != "tile" or not quiet:
            console.say(event_line(event))

    def show(summary: RunSummary) -> None:
        for line in summary.text():
            console.say(line)
        if json is not None:
            console.write_json(summary.to_json(), json)
        console.warn(summary.warnings)

    engine = engine_for_rows(model, runtime, provider, fast_int8=fast_int8)
    try:
        summary = run(
            load(model, threads, engine, provider, fast_int8=fast_int8, net=net),
            source,
            output or (),
            columns=columns,
            bands=bands,
            dtype=dtype,
            interleave=interleave,
            idle=seconds,
            line_rate=line_rate,
            cube_key=cube_key,
            references=known,
            units=units,
            late=late,
            rows=rows,
            buffer=buffer,
            drift=drift,
            watch=watch or (),
            tile=tile,
            page=page,
            page_token=os.environ.get("HSIEDGE_PAGE_TOKEN"),
            on_event=tell,
            on_page=lambda address: console.say(f"the live page is at {address}"),
        )
    except SourceError as error:
        if error.summary is not None:
            show(error.summary)
        raise
    show(summary)


def _source_files(source: str) -> list[str]:
    """The file that a source names, of a replay without its rate."""
    return [source.removeprefix("replay:").rpartition("@")[0] if source.startswith("replay:") else source]


def _sink_files(outputs: Sequence[str]) -> list[Path]:
    """Files that sinks write, and the maps of drift beside them."""
    from hsiedge.live.sinks import drift_place

    places = [Path(text) for text in outputs if text != "-" and not text.startswith("tcp://")]
    return [*places, *(drift_place(place) for place in places if place.suffix)]
