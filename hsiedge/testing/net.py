"""The check of a net: what it must do to be trained, pruned, distilled, exported and quantized."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hsiedge import nets
from hsiedge.compression import channels
from hsiedge.errors import CheckError, HsiedgeError
from hsiedge.graphs.export.checkpoint import LOGIT_LIMIT, to_onnx
from hsiedge.nets.base import Net
from hsiedge.runtimes.ort import OrtSession
from hsiedge.scenes.preprocess import BandAffine
from hsiedge.training.classifier import Classifier
from hsiedge.training.fit import deterministic

_PATCHES = 8
_LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
_CLOSE = 1e-4  # of the range of the logits


@dataclass(frozen=True)
class _Subject:
    """A net under test, and what it is tested with: seeded patches `(n, bands, p, p)`, standardized, and class indices."""

    name: str
    build: Callable[..., Net]
    options: dict[str, Any]
    net: Net
    patches: Tensor
    targets: Tensor
    classes: int


def check_net(net: str, bands: int = 60, classes: int = 5, patch: int | None = None, **options: Any) -> None:
    """Checks that a net can take part in every command.

    Args:
        net: a name in the registry, or FILE.py:NAME.
        bands, classes, patch: what it is built for; the patch left out, its own.
        options: of its constructor.

    Raises:
        CheckError: the first thing that it does not do, in one line: members (`hsiedge.nets.base.Net`), logits `(N, classes)`,
            logits of a patch that depend on the patch alone, a gradient for each parameter, weights that can be stored and
            loaded, widths that it can be built with, channels that can be cut, ONNX with the same logits.
        OptionError: no such net, or one that cannot be built.
    """
    name = nets.NETS.name_of(net)
    patch = nets.spec(name).patch if patch is None else patch

    def build(**changes: Any) -> Net:
        torch.manual_seed(0)
        return nets.build(name, bands, classes, patch, **{**options, **changes})

    with _kept_seed():
        module = build().eval()
        generator = torch.Generator().manual_seed(0)
        patches = torch.randn(_PATCHES, bands, patch, patch, generator=generator)
        targets = torch.arange(_PATCHES) % classes
        subject = _Subject(name, build, options, module, patches, targets, classes)
        for check in (_members, _logits, _alone, _gradients, _weights, _widths, _onnx, _cut):
            try:
                check(subject)
            except HsiedgeError as error:
                raise CheckError(f"net {name}: {error}") from error
            except Exception as error:  # whatever its author's code raises
                reason = next(iter(str(error).strip().splitlines()), "")
                raise CheckError(f"net {name}: {_purpose(check)} fails ({type(error).__name__}: {reason[:200]})") from error


def _purpose(check: Callable[[_Subject], None]) -> str:
    return (check.__doc__ or "").splitlines()[0].rstrip(".")


def _members(subject: _Subject) -> None:
    """Looking at its members."""
    net = subject.net
    lacking = [name for name in ("features", "head", "classifier", "widths") if not hasattr(net, name)]
    if lacking:
        raise CheckError(f"it has no {', '.join(lacking)}; derive it from hsiedge.nets.base.Net, which tells what they are")
    if not isinstance(net.classifier, nn.Linear) or net.classifier.out_features != subject.classes:
        raise CheckError(f"its classifier must be the nn.Linear that makes the {subject.classes} logits")
    widths = net.widths
    if not isinstance(widths, tuple) or not widths or not all(isinstance(width, int) and width > 0 for width in widths):
        raise CheckError(f"its widths must be a tuple of whole numbers, the channels of its layers, not {widths!r}")


def _logits(subject: _Subject) -> None:
    """Running it on patches."""
    net, before = subject.net, subject.patches.clone()
    logits = _run(net, subject.patches)
    expected = (len(subject.patches), subject.classes)
    if not isinstance(logits, Tensor) or tuple(logits.shape) != expected or logits.dtype != torch.float32:
        shape = f"{logits.dtype} {tuple(logits.shape)}" if isinstance(logits, Tensor) else type(logits).__name__
        raise CheckError(f"it must give float32 logits {expected} of patches {tuple(subject.patches.shape)}, not {shape}")
    if not torch.isfinite(logits).all():
        raise CheckError("its logits are not finite on standardized spectra, as fresh from the constructor")
    if not torch.equal(before, subject.patches):
        raise CheckError("it changes the patches that it is given; it must leave its input as it is")
    if not torch.equal(logits, _run(net, subject.patches)):
        raise CheckError("in evaluation mode it gives other logits for the same patches; nothing may be random there")
    if not _close(logits, _run(lambda patches: net.head(net.features(patches)), subject.patches)):
        raise CheckError("its logits are not those of head(features(patches)), by which it is distilled")


def _alone(subject: _Subject) -> None:
    """Running it on one patch at a time."""
    together = _run(subject.net, subject.patches)
    alone = torch.cat([_run(subject.net, patch[None]) for patch in subject.patches])
    if not _close(together, alone):
        raise CheckError("the logits of a patch depend on the other patches of its batch; they must not in evaluation mode")


def _gradients(subject: _Subject) -> None:
    """Training it for a step, with algorithms that repeat to the bit."""
    states = [_trained_for_a_step(subject) for _ in range(2)]
    if any(not torch.equal(states[0][name], states[1][name]) for name in states[0]):
        raise CheckError(
            "built and trained twice from one seed it has other weights; torch's own generator must be its only one"
        )


def _trained_for_a_step(subject: _Subject) -> dict[str, Tensor]:
    net = subject.build().train()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    with deterministic():
        nn.functional.cross_entropy(net(subject.patches), subject.targets).backward()
        optimizer.step()
    idle = [name for name, parameter in net.named_parameters() if parameter.grad is None]
    if idle:
        raise CheckError(f"its parameters {', '.join(idle)} have no gradient; each must take part in the logits")
    infinite = [name for name, parameter in net.named_parameters() if not torch.isfinite(parameter).all()]
    if infinite:
        raise CheckError(f"one training step leaves {', '.join(infinite)} infinite or NaN")
    return net.state_dict()


def _weights(subject: _Subject) -> None:
    """Storing its weights, and loading them into a net that was built without memory."""
    from safetensors.torch import load, save

    state = load(save({name: tensor.contiguous() for name, tensor in subject.net.state_dict().items()}))
    with torch.device("meta"):
        empty = subject.build()
    empty.load_state_dict(state, assign=True)
    left = [name for name, tensor in [*empty.named_parameters(), *empty.named_buffers()] if tensor.is_meta]
    if left:
        raise CheckError(f"{', '.join(left)}: not in its state_dict, so that a checkpoint could not be loaded")
    if not torch.equal(_run(empty.eval(), subject.patches), _run(subject.net, subject.patches)):
        raise CheckError(
            "with its own weights loaded it gives other logits; all that it computes with must be in its state_dict"
        )


def _widths(subject: _Subject) -> None:
    """Building it with the option widths."""
    halved = tuple(max(1, width // 2) for width in subject.net.widths)
    for widths in (subject.net.widths, halved):
        built = subject.build(widths=list(widths)).widths
        if built != widths:
            raise CheckError(f"built with widths={widths} it tells of widths {built}; they must be the same")


def _cut(subject: _Subject) -> None:
    """Cutting half of its channels, and building it with those that are left."""
    cut = channels.cut(subject.net, subject.patches, subject.targets, 0.5, "l1", "layer")
    subject.build(widths=list(cut.net.widths)).load_state_dict(cut.net.state_dict())


def _onnx(subject: _Subject) -> None:
    """Exporting it to ONNX."""
    bands, patch = subject.patches.shape[1:3]
    affine = BandAffine(np.zeros(bands, np.float32), np.ones(bands, np.float32))
    model = to_onnx(Classifier(copy.deepcopy(subject.net), affine).eval(), bands, patch)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "exported.onnx"
        path.write_bytes(model.SerializeToString())
        session = OrtSession(path)
        logits = [
            torch.from_numpy(session.run([patches])) for patches in (subject.patches.numpy(), subject.patches[:3].numpy())
        ]
    expected = _run(subject.net, subject.patches)
    if not (_close(logits[0], expected) and _close(logits[1], expected[:3])):
        raise CheckError("its ONNX graph gives other logits than it does itself")
    known = {node.name for node in model.graph.node}
    nameless = [name for name, layer in subject.net.named_modules() if isinstance(layer, _LAYERS) and name not in known]
    if nameless:
        raise CheckError(
            f"in its ONNX graph {', '.join(nameless)} cannot be told; each layer must be run once, on its own weights"
        )


def _run(net: Callable[[Tensor], Tensor], patches: Tensor) -> Tensor:
    with torch.no_grad():
        return net(patches)


def _close(logits: Tensor, expected: Tensor) -> bool:
    limit = max(_CLOSE, LOGIT_LIMIT) * float(expected.max() - expected.min())
    return logits.shape == expected.shape and bool((logits - expected).abs().max() <= limit)


@contextmanager
def _kept_seed() -> Iterator[None]:
    """Leaves torch's generator as it was, whatever is drawn inside the block."""
    with torch.random.fork_rng(devices=[]):
        yield
