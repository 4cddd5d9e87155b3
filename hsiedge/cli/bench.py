"""`hsiedge bench`, and `compare` of its results."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from hsiedge.cli import choose, console, groups, options, remote
from hsiedge.cli.flags import flag


@groups.expanded
def bench_command(
    context: typer.Context,
    models: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="MODEL",
            help="ONNX or TFLite models. Default: the newest float and INT8 ones in this folder, else those that come with "
            "hsiedge.",
        ),
    ] = None,
    runtime: Annotated[
        str | None,
        typer.Option(
            "--runtime",
            metavar="ENGINE",
            help="Inference engine: ort (onnxruntime), native (hsiedge's own), litert, tflm (TFLite Micro), openvino, or torch "
            "for a checkpoint; all measures each that takes the file, compares labels, and recommends one. Default: by the "
            "kind of file.",
        ),
    ] = None,
    provider: options.ProviderOption = None,
    fast_int8: options.FastInt8Option = False,
    net: options.NetFileOption = None,
    batch: Annotated[list[int], typer.Option(metavar="PIXELS", help="Pixels per run. May be repeated.")] = [1, 256],  # noqa: B006
    threads: Annotated[int, typer.Option(help="Number of threads; 0 means one per physical core.")] = 0,
    runs: Annotated[int, typer.Option(help="Least number of runs per model and batch.")] = 20,
    seconds: Annotated[float, typer.Option(metavar="SECONDS", help="Least time per model and batch, in seconds.")] = 2.0,
    duration: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Time of a sustained run after the others, per model: 90s, 10m, 1h. Default: none."),
    ] = None,
    ops: Annotated[bool, typer.Option("--ops", help="Profile each operator, too.")] = False,
    shape: Annotated[
        list[str], typer.Option(metavar="SHAPE", help="Input shape of a model without a Card: 1,200,13,13 or NAME=1,200,13,13.")
    ] = [],  # noqa: B006
    seed: options.SeedOption = 0,
    on: options.OnOption = None,
    python: options.PythonOption = remote.PYTHON,
    wheelhouse: options.WheelhouseOption = None,
    json: options.JsonOption = None,
) -> None:
    """Measures latency, throughput and memory of models, here or on another machine over ssh.

    Every time covers the way from rows in the sensor's dtype to labels.
    """
    from hsiedge.benchmark.runner import ALL, bench
    from hsiedge.errors import OptionError
    from hsiedge.report.terminal.bench import bench_tables

    lasting = parse_duration(duration) if duration is not None else None
    host = remote.host_of(on, python, wheelhouse)
    chosen = models or choose.bench_models(runtime if runtime != ALL else None)
    console.check_json(json, [*chosen, net])
    if host is not None:
        if net is not None:
            raise OptionError("a net of your own is measured on this machine alone: export the checkpoint", option="net")
        report = remote.bench(host, chosen, context)
    else:
        with console.progress("measuring") as progress:
            report = bench(
                chosen,
                runtime=runtime,
                provider=provider,
                fast_int8=fast_int8,
                net=net,
                batches=batch,
                threads=threads,
                runs=runs,
                seconds=seconds,
                duration=lasting,
                ops=ops,
                shapes=shape,
                seed=seed,
                progress=progress,
            )
    console.show(bench_tables(report, console.stdout().width, flag), report.to_dict(), json)
    if report.interrupted:
        console.say("hsiedge: interrupted: the sustained runs end early, what was measured is above")
        raise typer.Exit(130)


@groups.expanded
def compare_command(
    results: Annotated[
        list[Path],
        typer.Argument(metavar="RESULT", help="Files of hsiedge bench --json, two or more. The first is the reference."),
    ],
    json: options.JsonOption = None,
) -> None:
    """Compares results of bench, from several devices, or from several runs on one."""
    from hsiedge.benchmark.across_devices import compare_devices
    from hsiedge.report.terminal.compare import compare_tables

    console.check_json(json, results)
    comparison = compare_devices(results)
    console.show(compare_tables(comparison, flag), comparison.to_dict(), json)


def parse_duration(text: str, option: str = "duration") -> float:
    """Seconds of "90", "90s", "10m" or "1.5h". Raises OptionError."""
    from hsiedge.errors import OptionError

    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text)
    if match is None or float(match[1]) == 0:
        raise OptionError("not a time; write it as 90s, 10m or 1h", option=option, value=text)
    return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]]
