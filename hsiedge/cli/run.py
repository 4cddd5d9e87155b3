"""`hsiedge run`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hsiedge.cli import console, options

if TYPE_CHECKING:
    from hsiedge.live.sinks import Event


@options.expanded
def run_command(
    *,
    model: Annotated[Path, typer.Argument(help="An ONNX or TFLite model; a scene graph is the fast one.")],
    source: Annotated[
        str,
        typer.Option(
            "--from",
            metavar="SOURCE",
            help="Lines to label: - (raw lines on stdin), tcp://HOST:PORT, tcp-listen://[HOST:]PORT, an ENVI file that grows, "
            "a folder in which captures appear, replay:CUBE@RATE, or FILE.py:NAME of your own.",
        ),
    ],
    output: Annotated[
        list[str] | None,
        typer.Option(
            "--output",
            "-o",
            help="Sink, may be given again: a map (.hdr grows and is valid at any moment; .tif, .png, .npy at the end), - for "
            "label lines on stdout, tcp://HOST:PORT, FILE.jsonl for events; a folder of maps where the source is one.",
        ),
    ] = None,
    columns: Annotated[int | None, typer.Option(help="Pixels of a raw line.")] = None,
    bands: Annotated[int | None, typer.Option(help="Bands of a raw line.")] = None,
    dtype: Annotated[str, typer.Option(help="NumPy dtype of raw lines, little-endian.")] = "uint16",
    interleave: Annotated[
        str, typer.Option(metavar="bil|bip", help="Order in a raw line: band after band (bil), or pixel after pixel (bip).")
    ] = "bil",
    idle: Annotated[
        str, typer.Option(help="Time without a line after which files have ended, and streams are given up.")
    ] = "10s",
    line_rate: Annotated[float | None, typer.Option(help="Lines a second of the camera's clock, to be compared with.")] = None,
    late: Annotated[
        str,
        typer.Option(metavar="wait|drop", help="Fate of lines that come while the buffer is full; dropped ones are no data."),
    ] = "wait",
    rows: Annotated[
        int | None,
        typer.Option(help="Lines that are labelled at a time; left out, 1 in the native engine and 16 in others."),
    ] = None,
    buffer: Annotated[str, typer.Option(help="Memory of lines that wait: 16MiB, 1GiB.")] = "16MiB",
    drift: Annotated[
        float, typer.Option(help="Share of values out of the calibrated range above which lines are marked.")
    ] = 0.01,
    watch: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CONDITION", help="Share of a class that is an event, as 'water > 20 % of 100 lines'; may be given again."
        ),
    ] = None,
    tile: Annotated[int | None, typer.Option(help="Side in pixels of tiles whose class shares are events.")] = None,
    page: Annotated[
        str | None,
        typer.Option(
            metavar="[HOST:]PORT",
            help="Place of a live page: for this machine alone, unless a host is named, which takes $HSIEDGE_PAGE_TOKEN.",
        ),
    ] = None,
    references: options.ReferenceOptions,
    cube_key: options.CubeKeyOption = None,
    units: options.UnitsOption = None,
    cube_reader: options.CubeReaderOption = None,
    runtime: options.RuntimeOption = None,
    provider: options.ProviderOption = None,
    fast_int8: options.FastInt8Option = False,
    net: options.NetFileOption = None,
    threads: Annotated[int, typer.Option(min=0, help="Threads; 0 leaves it to the runtime.")] = 0,
    json: options.JsonOption = None,
) -> None:
    """Labels the lines of a camera as they come: a map that grows, decisions, a summary at the end, or at Ctrl-C."""
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
    console.check_json(json)
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
