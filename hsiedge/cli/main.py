"""`hsiedge`: what becomes of errors and signals. The commands are imported last, for an interruption of that is no error."""

from __future__ import annotations

import atexit
import faulthandler
import logging
import os
import signal
import sys
import tempfile
import traceback
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from types import FrameType
from typing import Any

from hsiedge import files
from hsiedge.cli import console, flags
from hsiedge.errors import HsiedgeError, OutputError
from hsiedge.words import shown

_REASON = 300  # characters of an unexpected error's own text
_VERBOSE, _TRACEBACK = ("-v", "--verbose"), "--traceback"
_ALLOW_MODIFIED = "--allow-modified"
_EVERYWHERE = (*_VERBOSE, _TRACEBACK, _ALLOW_MODIFIED)  # options that may stand anywhere on the line
_INTERRUPTED = 130
_STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main() -> None:
    """Runs the command line, and exits.

    An error is one line on stderr and exit code 2, or 1 where it is a fault of ours; a signal that stops the command is 128 and
    its number: Ctrl-C 130, SIGTERM 143.
    """
    with suppress(AttributeError, OSError, RuntimeError, ValueError):  # no stderr, or none that is a file
        faulthandler.enable()  # an illegal instruction, or a fault in a library, says in which module it was
    stopped: list[int] = []
    hook = sys.unraisablehook
    stops = [number for number in _STOPS if signal.getsignal(number) is not signal.SIG_IGN]  # as nohup has it
    _handle(stops, signal.SIG_DFL)  # as long as there is nothing to tidy up
    try:
        from hsiedge.cli.app import app

        def stop(number: int, _: FrameType | None) -> None:
            stopped.append(number)
            _handle({*stops} - {signal.SIGINT}, signal.SIG_IGN)
            raise KeyboardInterrupt

        _handle(stops, stop)
        if _TRACEBACK not in sys.argv[1:]:
            sys.unraisablehook = _ignore  # as where rasterio cannot decode what GDAL says of a damaged file
        status = _run(app, stopped)
    except KeyboardInterrupt:
        status = _INTERRUPTED
    _handle(stops, signal.SIG_DFL)
    sys.unraisablehook = hook
    if status == _INTERRUPTED:
        status = 128 + next(iter(stopped), signal.SIGINT)
        console.say("stopped; nothing was left half-written")
    if stopped and stopped[0] != signal.SIGINT and status == 128 + stopped[0]:
        # CPython ends by SIGINT, whatever the exit code, once an interruption has gone through exec of a text, as dataclasses
        # are made (Python/pythonrun.c, unhandled_keyboard_interrupt): SIGTERM is not to look like Ctrl-C.
        atexit._run_exitfuncs()
        os._exit(status)
    sys.exit(status)


def _ignore(unraisable: sys.UnraisableHookArgs) -> None:
    """Says nothing of an exception in a library's callback, which Python would print with its traceback, and go on."""


def _handle(numbers: Iterable[signal.Signals], handler: Any) -> None:
    for number in numbers:
        signal.signal(number, handler)


def _run(app: Any, stopped: Sequence[int]) -> int:
    """Runs the command; its exit code. Raises KeyboardInterrupt, also where a library made another error of it."""
    from typer import Abort, BadParameter

    usage_error: Any = BadParameter.__mro__[2]  # ClickException, which typer carries inside itself and does not export
    arguments = [word for word in sys.argv[1:] if word not in _EVERYWHERE]
    verbose = any(word in _VERBOSE for word in sys.argv[1:])
    sys.stdout, sys.stderr = sys.stdout or open(os.devnull, "w"), sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    if _ALLOW_MODIFIED in sys.argv[1:]:
        os.environ["HSIEDGE_ALLOW_MODIFIED"] = "1"  # for processes that measure, too
    logging.lastResort = None  # what libraries log, GDAL among them, is not for the user
    warnings.showwarning = console.show_warning
    warnings.simplefilter("default" if verbose else "ignore")
    warnings.filterwarnings("always", module="hsiedge")
    try:
        with _own_temporary_folder(), console.logging_to_stderr(logging.INFO) if verbose else nullcontext():
            status = app(arguments or ["--help"], standalone_mode=False)
            sys.stdout.flush()
    except Abort as error:
        raise KeyboardInterrupt from error
    except usage_error as error:
        if error.format_message():  # without one, the help has been printed
            command = " ".join(["hsiedge", *(word for word in arguments[:1] if not word.startswith("-"))])
            console.fail(f"{error.format_message()} (see {error.ctx.command_path if error.ctx else command} --help)")
        return 2
    except BrokenPipeError:  # whoever read our output has seen enough, as in `hsiedge eval | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if stopped:  # torch's exporter goes on with what an interrupted import has left, and fails at that
            raise KeyboardInterrupt from error
        if _TRACEBACK in sys.argv[1:]:
            traceback.print_exc()
        expected = isinstance(error, (HsiedgeError, OSError, MemoryError))
        console.fail((flags.message(error) or "out of memory") if expected else _unexpected(error))
        return 2 if expected else 1
    return status if isinstance(status, int) else 0


@contextmanager
def _own_temporary_folder() -> Iterator[None]:
    """Has all temporary files lie in one folder, which the next run removes should this one be killed."""
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(files.temporary_folder())
        except OutputError:  # no place for any: commands that need none go on
            yield
            return
        before = tempfile.tempdir, os.environ.get("TMPDIR")
        tempfile.tempdir = os.environ["TMPDIR"] = str(folder)  # the latter for processes that are started
        try:
            yield
        finally:
            tempfile.tempdir = before[0]
            if before[1] is None:
                del os.environ["TMPDIR"]
            else:
                os.environ["TMPDIR"] = before[1]


def _unexpected(error: Exception) -> str:
    """The line on what should not have happened: what it is, and how to report it."""
    reason = shown(" ".join(str(error).split()), _REASON)
    mend = f"please report it to the makers of hsiedge, with what the same command prints with {_TRACEBACK}"
    return f"unexpected {type(error).__name__}{': ' if reason else ''}{reason}; this is a fault in hsiedge: {mend}"


if __name__ == "__main__":
    main()
