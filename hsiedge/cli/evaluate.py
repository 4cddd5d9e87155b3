"""`hsiedge eval`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from hsiedge.cli import choose, console, groups, options


@groups.expanded
def eval_command(
    *,
    models: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="MODEL",
            help="ONNX or TFLite model, or those of all folds. Default: the newest in this folder, else the INT8 one that "
            "comes with hsiedge.",
        ),
    ] = None,
    scene: Annotated[
        str | None,
        typer.Option(
            "--scene", metavar="SCENE", help="Scene to evaluate on: a catalog name or a packed .npz. Default: the model's own."
        ),
    ] = None,
    scene_options: groups.SceneOptions,
    masks: groups.ModelSplitOptions,
    units: options.UnitsOption = None,
    runtime: options.RuntimeOption = None,
    provider: options.ProviderOption = None,
    fast_int8: options.FastInt8Option = False,
    net: options.NetFileOption = None,
    threads: Annotated[int, typer.Option(help="Number of threads; 0 leaves it to the runtime.")] = 0,
    json: options.JsonOption = None,
) -> None:
    """Measures the accuracy of a model: overall, per class, and its confusion matrix.

    Test pixels are those of the split in the model's Card. On a scene that it was not trained on, all labelled pixels count.
    """
    from hsiedge.api.model import Model, load
    from hsiedge.evaluation import Evaluation, pooled
    from hsiedge.report.terminal.model import accuracy_tables, fold_lines
    from hsiedge.runtimes import check_engine

    _check_models(models or ())
    paths = list(models) if models else [choose.any_model(runtime)]
    console.check_json(json, [*paths, scene, net, *scene_options.files, *masks.files])
    for model in models or (None,):
        check_engine(runtime, model, provider)

    def judged(model: Model) -> Evaluation:
        opened = scene_options.open_for(model.known, scene)
        with console.progress("evaluating") as tick:
            result = model.evaluate(opened, masks=masks.split_for(model.known, opened), units=units, progress=tick)
        if result.split is None:
            own = model.known.scene.sha256 == opened.sha256
            why = "the Card has no split, so training pixels may be among them (hsiedge card --split adds one)"
            console.say(f"all labelled pixels are counted: {why if own else f'the model never saw {opened.name}'}")
        return result

    evaluations: list[Evaluation] = []
    warnings: dict[str, None] = {}
    engines: dict[tuple[str, str], None] = {}
    for path in paths:  # one at a time: a fold's model is let go before the next is opened
        loaded = load(path, threads=threads, runtime=runtime, provider=provider, fast_int8=fast_int8, net=net)
        evaluations.append(judged(loaded))
        warnings |= dict.fromkeys(loaded.warnings)
        engines[loaded.session.runtime, loaded.session.provider] = None
    result = evaluations[0] if len(paths) == 1 else pooled(evaluations)
    name = ", ".join(path.name for path in paths)
    lines = fold_lines(evaluations) if len(paths) > 1 else []
    engine = {key: ", ".join(dict.fromkeys(entries)) for key, entries in zip(("runtime", "provider"), zip(*engines))}
    facts = {**result.to_json(name), **engine, "warnings": list(warnings)}
    console.show([*lines, *accuracy_tables(result, name)], facts, json)
    console.warn(list(warnings))


def _check_models(paths: Sequence[Path]) -> None:
    """Raises ModelError where the name of a scene stands among the models."""
    from hsiedge.errors import ModelError
    from hsiedge.scenes.catalog import CATALOG

    for path in paths:
        if str(path) in CATALOG and not path.exists():
            raise ModelError(f"{path}: a scene of the catalog, and no model", use={"scene": str(path)})
