"""Runs hsiedge on another machine, over the user's own ssh: `run_on` any command, `bench_on` a measurement.

Nothing needs to be there but Python and an SSH server, and nothing stays but the environment, in the cache of that user.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import hsiedge
from hsiedge.benchmark.measure import ModelFile, model_files
from hsiedge.benchmark.results import Report
from hsiedge.decoding import parse_json
from hsiedge.errors import OptionError, RemoteError, ResultError
from hsiedge.progress import PREFIX, Progress, silent
from hsiedge.remote import agent
from hsiedge.remote.address import Address, parse_address
from hsiedge.remote.connection import Connection, Silence, printable
from hsiedge.remote.wheel import NAME, environment_name, holds, is_own, own_wheel
from hsiedge.runtimes import ENGINES
from hsiedge.words import printable as visible

__all__ = ["Address", "Answer", "Host", "ask_on", "bench_on", "parse_address", "run_on", "tell_on"]

MAX_SAID = 1 << 16  # bytes of one line, or of a frame that is no result
MAX_TOLD = 4 << 20  # characters of all lines that a command says to its user
REFUSED, INTERRUPTED = 2, 130  # exit codes: a user's error, and Ctrl-C
PATIENCE = 20.0  # seconds that a command over there has to end after Ctrl-C
_ERROR = "hsiedge: error: "


@dataclass(frozen=True)
class Host:
    """A machine that ssh reaches, and the Python on it.

    Attributes:
        address: of the machine.
        python: the interpreter over there. If it imports hsiedge of this version, that is used; else it makes an environment.
        wheelhouse: a folder here of wheels for that machine, which its pip installs from in place of its index; None for the
            index.
    """

    address: Address
    python: str = "python3"
    wheelhouse: Path | None = None


@dataclass(frozen=True)
class Answer:
    """Outcome of a command on a host: its exit code, 130 where Ctrl-C ended it, and what it wrote to stdout.

    `files`: the names over there of the files that were sent, in the order of the command's words.
    """

    code: int
    output: bytes
    files: list[str]


def bench_on(
    host: Host,
    models: Sequence[Path],
    words: Sequence[str] = (),
    *,
    tell: Callable[[str], None] = lambda line: None,
    progress: Progress = silent,
) -> Report:
    """Runs `hsiedge bench` on another machine: the models are sent, measured there, and reported by their names here.

    Args:
        host: the machine.
        models: model files here.
        words: options of `hsiedge bench`, as on its command line.
        tell: called with each line that is printed meanwhile.
        progress: called with the share done, 0 to 1.

    Raises:
        ModelError: no such model.
        RemoteError: as `run_on`.
        ResultError: the answer is no result of a bench.
        KeyboardInterrupt: Ctrl-C ended it before there was a result.
    """
    known = model_files(models)
    outcome = run_on(host, ["bench", *models, *words, "--json", "-"], _extras(models, words), tell=tell, progress=progress)
    answer = _uninterrupted(outcome)
    report = Report.from_json(answer.output, str(host.address))
    return _at_home(report, dict(zip(answer.files, known)))


def tell_on(
    host: Host,
    words: Sequence[str | Path],
    *,
    tell: Callable[[str], None] = lambda line: None,
    progress: Progress = silent,
) -> tuple[int, str]:
    """Exit code of `hsiedge WORDS` on another machine, and its stdout as text that moves no cursor.

    Raises:
        RemoteError: as `run_on`.
        KeyboardInterrupt: Ctrl-C.
    """
    answer = _uninterrupted(run_on(host, words, tell=tell, progress=progress))
    lines = answer.output.decode(errors="replace").splitlines()
    return answer.code, "".join(f"{visible(line.rstrip())}\n" for line in lines)


def ask_on(
    host: Host,
    words: Sequence[str | Path],
    *,
    tell: Callable[[str], None] = lambda line: None,
    progress: Progress = silent,
) -> tuple[int, dict[str, Any]]:
    """Exit code of `hsiedge WORDS --json -` on another machine, and the object that it gives.

    Raises:
        RemoteError: as `run_on`.
        ResultError: what it gives is no JSON object.
        KeyboardInterrupt: Ctrl-C.
    """
    answer = _uninterrupted(run_on(host, [*words, "--json", "-"], tell=tell, progress=progress))
    try:
        result = parse_json(answer.output)
    except ValueError as error:
        raise ResultError(f"{host.address}: not JSON ({error})") from error
    if not isinstance(result, dict):
        raise ResultError(f"{host.address}: JSON, but no result of hsiedge")
    return answer.code, result


def run_on(
    host: Host,
    words: Sequence[str | Path],
    extras: Sequence[str] = (),
    *,
    tell: Callable[[str], None] = lambda line: None,
    progress: Progress = silent,
) -> Answer:
    """Runs `hsiedge WORDS` on another machine, in a fresh folder that is gone afterwards.

    Ctrl-C is passed on, and what the command still has to say is waited for; a second one ends it at once.

    Args:
        host: the machine.
        words: of the command. A Path stands for a file here, which is sent, and for its name over there.
        extras: of hsiedge, that an environment which is made there gets.
        tell: called with each line that the command says to its user.
        progress: called with the share done, 0 to 1.

    Raises:
        OptionError: the wheelhouse has no wheels.
        RemoteError: the machine cannot be reached, no environment can be made, the command failed, or the connection is gone.
        KeyboardInterrupt: a second Ctrl-C, or one before the command ran.
    """
    wheels = _wheels(host.wheelhouse)
    sent = [(word, _name(index, word)) for index, word in enumerate(words) if isinstance(word, Path)]
    with Connection(host.address, host.python) as connection:
        name = _environment(connection, host, wheels, tuple(extras), tell)
        for path, alias in sent:
            with path.open("rb") as file:
                connection.send_file(file, alias, "files")
        host_words = [_name(index, word) if isinstance(word, Path) else word for index, word in enumerate(words)]
        connection.send("run", name=name, words=host_words)
        lines: list[str] = []
        code, output = _follow(connection, lines, tell, progress)
    if code == REFUSED or (code not in (0, INTERRUPTED) and not output.strip()):
        raise RemoteError(f"{host.address}: {_last_words(lines, code, sent)}")
    return Answer(code, output, [alias for _, alias in sent])


def _uninterrupted(answer: Answer) -> Answer:
    """Returns the answer. Raises KeyboardInterrupt where Ctrl-C ended the command before it had a result."""
    if answer.code == INTERRUPTED and not answer.output.strip():
        raise KeyboardInterrupt
    return answer


def _environment(
    connection: Connection, host: Host, wheels: Sequence[Path], extras: tuple[str, ...], tell: Callable[[str], None]
) -> str | None:
    """Name of the host's environment that has this hsiedge, made if need be; None where the interpreter has it by itself."""
    hello = _expect(connection, "hello")
    if hello.get("hsiedge") == hsiedge.__version__:
        return None
    wheel = own_wheel()
    compiled = [path for path in wheels if is_own(path, str(hello.get("machine")))]
    fitting = [path for path in compiled if holds(path, wheel)]
    # One that was made with the native engine's library serves who sends none, too.
    plain, native = environment_name(wheel, extras), environment_name(wheel, (*extras, "native"))
    for name in [native] if fitting else [native, plain]:
        connection.send("find", name=name)
        environment = _expect(connection, "environment")
        if environment.get("whole") is True:
            return name
    place = printable(str(environment.get("place")).encode())
    tell(f"{host.address}: making an environment for hsiedge {hsiedge.__version__}, once: {place}")
    for path in compiled:
        if path not in fitting:
            tell(f"{path}: not sent, since it holds other files than the hsiedge that runs here")
    for path in wheels:
        if path in fitting or not is_own(path):
            with path.open("rb") as file:
                connection.send_file(file, path.name, "own" if path in fitting else "wheels")
    connection.send_file(io.BytesIO(wheel), NAME, "own")
    connection.send("make", name=name, extras=sorted(extras), offline=host.wheelhouse is not None)
    try:
        _expect(connection, "made")
    except RemoteError as error:
        python, machine = (printable(str(hello.get(key)).encode()) for key in ("python", "machine"))
        if host.wheelhouse is not None:
            hint = f"{host.wheelhouse} must have wheels for Python {python} on {machine}, of hsiedge's own requirements as well"
        else:
            hint = "without internet there, wheels can be sent along"
        use = {} if host.wheelhouse is not None else {"wheelhouse": "FOLDER"}
        raise RemoteError(f"{error}; {hint}", use=use) from error
    return name


def _follow(connection: Connection, lines: list[str], tell: Callable[[str], None], progress: Progress) -> tuple[int, bytes]:
    """Exit code and output of the running command, whose last lines go to `lines`, and each as it comes to `tell`."""
    within, letters = None, 0
    while True:
        try:
            facts, payload = connection.receive(agent.MAX_OUTPUT, within)
        except KeyboardInterrupt:
            if within is not None:
                raise
            connection.send("interrupt")
            within = PATIENCE
            continue
        except Silence as error:
            raise KeyboardInterrupt from error
        if facts["kind"] == "done" and type(facts.get("code")) is int:
            return facts["code"], payload
        if facts["kind"] != "say" or len(payload) > MAX_SAID:
            raise RemoteError(f"{connection.address}: its answer cannot be read (a frame that has no place here)")
        text = printable(payload)
        share = re.fullmatch(rf"{re.escape(PREFIX)}([01]\.\d{{1,6}})", text)
        if share is not None:
            progress(min(1.0, float(share[1])))
            continue
        lines.append(text)
        del lines[:-40]
        letters += len(text)
        if letters > MAX_TOLD:
            raise RemoteError(f"{connection.address}: hsiedge there says more than {MAX_TOLD >> 20} MiB")
        if text and not text.startswith((_ERROR, "stopped;")):
            tell(text)


def _expect(connection: Connection, kind: str) -> agent.Facts:
    facts, _ = connection.receive(MAX_SAID)
    if facts["kind"] != kind:
        raise RemoteError(f"{connection.address}: its answer cannot be read ({printable(facts['kind'].encode())[:80]})")
    return facts


def _last_words(lines: Sequence[str], code: int, sent: Sequence[tuple[Path, str]]) -> str:
    """The command's own error line, with the names that the files have here; or whatever it printed last."""
    errors = [text.removeprefix(_ERROR) for text in lines if text.startswith(_ERROR)]
    text = errors[-1] if errors else f"hsiedge there ended with code {code}: {' '.join(lines[-2:])[-400:]}"
    return _renamed(text, {alias: printable(str(path).encode(errors="replace")) for path, alias in sent})


def _at_home(report: Report, models: dict[str, ModelFile]) -> Report:
    """The report with the names and paths that the models have here. Raises RemoteError where it has others."""
    unknown = [entry.path for entry in report.results if entry.path not in models]
    if unknown:
        raise RemoteError(f"the answer has {unknown[0][:80]!r}, a model that was not sent")
    names = {alias: model.name for alias, model in models.items()}
    paths = [str(models[entry.path].path) for entry in report.results]
    home = report.renamed(lambda text: _renamed(text, names))
    return replace(home, results=[replace(new, path=path) for new, path in zip(home.results, paths)])


def _renamed(text: str, names: dict[str, str]) -> str:
    """Text of the other machine, in which files are called as here."""
    pattern = "|".join(re.escape(alias) for alias in names)
    return re.sub(pattern, lambda alias: names[alias[0]], text) if names else text


def _name(index: int, path: Path) -> str:
    """Name of a file over there: its own as far as that is plain, and one that no other has."""
    return f"sent-{index}-" + re.sub(r"[^\w.+-]", "_", path.name, flags=re.ASCII)[-200:]


def _wheels(folder: Path | None) -> list[Path]:
    if folder is None:
        return []
    wheels = sorted(path for path in folder.glob("*.whl") if re.fullmatch(r"\w[\w.+-]*", path.name, flags=re.ASCII))
    if not wheels:
        raise OptionError(
            "no wheels there; fill it with: pip wheel, or pip download --platform", option="wheelhouse", value=folder
        )
    return wheels


def _extras(models: Sequence[Path], words: Sequence[str]) -> list[str]:
    """Extras of hsiedge that bring the engine which is asked for, or else those that run the files."""
    runtime = next((after for word, after in pairwise(words) if word == "--runtime"), None)
    engines = [ENGINES[runtime]] if runtime is not None and runtime in ENGINES else []
    engines += [
        next((engine for _, engine in ENGINES.items() if path.suffix in engine.suffixes), ENGINES["ort"]) for path in models
    ]
    return sorted({engine.extra for engine in engines if engine.extra})
