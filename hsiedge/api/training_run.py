"""The surroundings of training: its device, its log, and the state from which it goes on where it was killed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from hsiedge import files
from hsiedge.arguments import PathLike, path_of
from hsiedge.errors import MissingExtraError, needs_extra
from hsiedge.training import sleeping_threads

_LOG = logging.getLogger(__name__)


@contextmanager
def training_run(
    *,
    device: str = "cpu",
    state: PathLike | None = None,
    log: PathLike | None = None,
    say: Callable[[str], None] | None = None,
) -> Iterator[None]:
    """Has all that is trained inside the block use one device and one log, and go on where the same block was killed.

    A continued training ends with the same weights, to the bit. The state of other data, options, threads or versions is not
    used: a warning says so, and training starts anew. The state is removed once the block has ended well: save
    inside it what was trained.

    Args:
        device: "cpu", "cuda", or "auto": the GPU where there is one.
        state: file to keep the state in, at ends of epochs; its name gets the number of each fit ("m.resume-1").
        log: .csv for loss and validation accuracy of each epoch; a picture of both, .png, is written beside it at the end.
        say: takes lines on what is taken from a state, and on a picture that cannot be made; by default they are logged.

    Raises:
        OptionError: no such device, or a log that does not end in .csv.
        OutputError: state or log cannot be written.
        MissingExtraError: torch is not installed.
    """
    sleeping_threads()
    say = say or _LOG.info
    with needs_extra("training", "train"):
        from hsiedge.training.run import running
    places = [None if path is None else path_of(path, option) for path, option in ((state, "state"), (log, "log"))]
    with running(device, state=places[0], log=places[1], say=say) as run:
        yield
    if places[1] is None or not run.epochs:
        return
    picture = places[1].with_suffix(".png")
    try:
        with needs_extra(f"{picture}, a picture of the log,", "report"):
            from hsiedge.report.training_log import log_png
    except MissingExtraError as error:
        say(str(error))
        return
    files.write_bytes(picture, log_png(run.epochs))
