"""Factories of anyone's nets: which of their parameters take bands, classes and patch, and what their modules take and give."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import nn

from hsiedge.errors import ModelError, OptionError
from hsiedge.graphs.normalize.layout import Layout, known_layouts
from hsiedge.registry import run_file

Argument = int | float | bool | str
_NAMES = {
    "bands": ("bands", "n_bands", "nb_bands", "num_bands", "band", "n_channels", "num_channels", "in_channels",
              "input_channels", "in_chans", "in_chan", "channels", "channels_band", "input_dim"),
    "classes": ("classes", "n_classes", "nb_classes", "num_classes", "num_class", "class_num", "classes_num", "n_class"),
    "patch": ("patch", "patch_size", "patchsize", "window_size", "windowsize", "window", "img_size", "image_size",
              "input_size", "spatial_size"),
}  # fmt: skip
"""Names of parameters that take a size, as published nets call them."""
_SURE = (*_NAMES["classes"], "bands", "n_bands", "nb_bands", "num_bands", "band", "in_channels", "input_channels", "in_chans",
         "patch", "patch_size", "patchsize", "img_size", "image_size")  # fmt: skip
"""Names that are given a size even where the parameter has a default; the others may mean something else there."""


def module_of(
    source: str, sizes: Mapping[str, int], arguments: Mapping[str, Argument], say: Callable[[str], None]
) -> nn.Module:
    """The module that a factory gives.

    Args:
        source: FILE.py:NAME; the file is run.
        sizes: bands, classes and patch.
        arguments: what its parameters are given beside the sizes, or instead.
        say: takes a line on each size that went to a parameter of another name.

    Raises:
        ModelError: no such factory, one that fails, or that gives something else.
        OptionError: an argument that is no parameter of it, or a parameter without a value.
    """
    place, _, name = source.rpartition(":")
    path = Path(place)
    try:
        factory = getattr(run_file(path)[0], name, None)
    except OptionError as error:
        raise ModelError(str(error)) from error
    if not callable(factory):
        raise ModelError(f"{path}: has no function or class {name}")
    filled = _arguments(source, inspect.signature(factory), sizes, arguments, say)
    try:
        module = factory(**filled)
    except Exception as error:
        words = ", ".join(f"{key}={value}" for key, value in filled.items())
        raise ModelError(f"{source}({words}): fails ({type(error).__name__}: {first_line(error)})") from error
    if not isinstance(module, nn.Module):
        raise ModelError(f"{source}: gives {type(module).__name__}, an nn.Module was expected")
    return module.eval()


def _arguments(
    source: str,
    signature: inspect.Signature,
    sizes: Mapping[str, int],
    arguments: Mapping[str, Argument],
    say: Callable[[str], None],
) -> dict[str, Argument]:
    named = {
        name: parameter
        for name, parameter in signature.parameters.items()
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    }
    takes_any = any(parameter.kind == parameter.VAR_KEYWORD for parameter in signature.parameters.values())
    unknown = [name for name in arguments if name not in named and not takes_any]
    if unknown:
        raise OptionError(f"{source}: has no parameter {unknown[0]}; it has {', '.join(named) or 'none'}")
    filled: dict[str, Argument] = dict(arguments)
    for size, names in _NAMES.items():
        for name in names:
            parameter = named.get(name)
            if parameter is None or name in filled or not _is_size(name, parameter):
                continue
            filled[name] = sizes[size]
            if name != size:
                say(
                    f"{name}={sizes[size]} is its number of {size}" if size != "patch" else f"{name}={sizes[size]} is its patch"
                )
    missing = [name for name, parameter in named.items() if parameter.default is parameter.empty and name not in filled]
    if missing:
        reason = f"{source}: needs {', '.join(missing)} beside bands, classes and patch"
        raise OptionError(reason, use={"arg": f"{missing[0]}=VALUE"})
    return filled


def _is_size(name: str, parameter: inspect.Parameter) -> bool:
    """Tells a parameter that takes a size: one of a sure name, unless its default of 1 says that a cube is one channel."""
    if parameter.default is parameter.empty:
        return True
    return name in _SURE and parameter.default != 1


class AsPatches(nn.Module):
    """A net of any known layout as one that takes `(N, bands, p, p)` and gives `(N, classes)`.

    Attributes:
        place: of the logits among its outputs; None where it has one.
    """

    def __init__(self, net: nn.Module, layout: Layout, place: int | None, classes: int) -> None:
        super().__init__()
        self.net, self.layout, self.place, self.classes = net, layout, place, classes

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        """Logits `(N, classes)` of patches `(N, bands, p, p)`."""
        values = patches.permute(self.layout.order)
        for axis in sorted(self.layout.squeezed, reverse=True):
            values = values.squeeze(axis)
        for axis in self.layout.unsqueezed:
            values = values.unsqueeze(axis)
        output = self.net(values)
        logits: torch.Tensor = output if self.place is None else output[self.place]
        return logits.reshape(-1, self.classes)


def as_patches(source: str, net: nn.Module, patches: torch.Tensor, classes: int, say: Callable[[str], None]) -> AsPatches:
    """The first known layout in which a net runs on patches and gives one number a class.

    Raises:
        ModelError: there is none; the first of the layouts is told, and what came of it.
    """
    reasons: list[str] = []
    for layout in known_layouts(patches.shape[2]):
        wrapped = AsPatches(net, layout, None, classes)
        shape = tuple(layout(patches[:1].numpy()).shape)
        try:
            with torch.no_grad():
                output = net(torch.from_numpy(layout(patches.numpy())))
        except Exception as error:
            reasons.append(f"does not take {(len(patches), *shape[1:])} ({first_line(error)})")
            continue
        places = [place for place, entry in enumerate(_outputs(output)) if _is_logits(entry, len(patches), classes)]
        if len(places) != 1:
            reasons.append(f"gives {_shapes(output)} for {len(patches)} patches, ({len(patches)}, {classes}) was expected")
            continue
        if layout.order != (0, 1, 2, 3) or layout.squeezed or layout.unsqueezed:
            say(f"it takes {layout.text}: what makes this of patches stands in front")
        candidates = [other for other in known_layouts(patches.shape[2]) if other.text != layout.text]
        if others := [other.text for other in candidates if _runs(net, other, patches, classes)]:
            say(f"it runs on {' and '.join(others)}, too: compare with the code that it was trained by")
        if not isinstance(output, torch.Tensor):
            wrapped.place = places[0]
            say(f"of its {len(_outputs(output))} outputs the one of {classes} classes counts, number {places[0] + 1}")
        return wrapped
    nearest = next((reason for reason in reasons if reason.startswith("gives")), reasons[0])
    raise ModelError(f"{source}: {nearest}; {len(reasons)} layouts were tried")


def _runs(net: nn.Module, layout: Layout, patches: torch.Tensor, classes: int) -> bool:
    try:
        with torch.no_grad():
            output = net(torch.from_numpy(layout(patches.numpy())))
    except Exception:
        return False
    return sum(_is_logits(entry, len(patches), classes) for entry in _outputs(output)) == 1


def _outputs(output: object) -> Sequence[object]:
    return output if isinstance(output, (tuple, list)) else [output]


def _is_logits(output: object, count: int, classes: int) -> bool:
    if not isinstance(output, torch.Tensor) or not output.is_floating_point():
        return False
    return tuple(output.shape[:2]) == (count, classes) and output.numel() == count * classes


def _shapes(output: object) -> str:
    names = [str(tuple(e.shape)) if isinstance(e, torch.Tensor) else type(e).__name__ for e in _outputs(output)]
    return " and ".join(names)


def first_line(error: Exception) -> str:
    """The first line of an error's text, shortened; its type where it has none."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:200]
