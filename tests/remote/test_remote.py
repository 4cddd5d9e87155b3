"""`bench --on` against a real SSH server: all the way, what is wrong there, and what is left when it ends."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import hsiedge
from hsiedge.errors import OptionError, RemoteError
from hsiedge.remote import agent, connection, host
from hsiedge.remote.address import parse_address
from hsiedge.remote.connection import BOOTSTRAP, COMMAND, OPTIONS, first_line, printable
from hsiedge.remote.host import Host, _extras, bench_on, run_on
from tests.cli.conftest import Hsiedge, Run
from tests.remote.sshd import MISSING, Server, serve

DATA = Path(__file__).parents[1] / "benchmark" / "data"
FLOAT, INT8 = DATA / "float.onnx", DATA / "int8.onnx"
QUICK = ("--batch", 1, "--runs", 2, "--seconds", 0.05, "--threads", 1)
OLD = sorted(Path.home().glob(".pyenv/versions/3.9.*/bin/python"))  # a real one, where there is one
LONG = ("--batch", 1, "--runs", 10**12)  # one round of which is longer than any test


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Its logins import the hsiedge that is tested here, with this interpreter."""
    if MISSING is not None:
        pytest.skip(f"needs an SSH server and client: {MISSING} is not installed")
    where = str(Path(hsiedge.__file__).parents[1])
    with serve(
        tmp_path_factory.mktemp("sshd"), {"PYTHONPATH": where, "XDG_CACHE_HOME": "", "HSIEDGE_TEST": "there"}
    ) as running:
        yield running


def started(server: Server, *words: object, on: str = "board", python: object = sys.executable) -> subprocess.Popen[str]:
    command = ["env", "--default-signal=INT", sys.executable, "-m", "hsiedge", "bench", "--on", on, "--python", python, *words]
    return subprocess.Popen(
        list(map(str, command)),
        env={**os.environ, "PATH": server.path, "PYTHONPATH": str(Path(hsiedge.__file__).parents[1])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


Bench = Callable[..., tuple[str, str]]


@pytest.fixture
def bench(hsiedge: Hsiedge, server: Server, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """stdout and stderr of `bench --on`, run in this process, that ends with `code`, and leaves nothing over there."""
    monkeypatch.setenv("PATH", server.path)

    def run(*words: object, on: str = "board", python: object = sys.executable, code: int = 0) -> tuple[str, str]:
        done = hsiedge("bench", "--on", on, "--python", python, *words)
        assert done.code == code, done.err
        assert_nothing_left(server)
        return done.out, done.err

    return run


def assert_nothing_left(server: Server, within: float = 10.0) -> None:
    end = time.monotonic() + within
    while (server.marked() or any(server.scratch.iterdir())) and time.monotonic() < end:
        time.sleep(0.05)
    assert server.marked() == []
    assert list(server.scratch.iterdir()) == []


def measuring(server: Server, process: subprocess.Popen[str]) -> None:
    """Waits until the worker over there is at work."""
    end = time.monotonic() + 60
    while len(server.marked()) < 2:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.05)
    time.sleep(1)


def test_the_whole_way(server: Server, tmp_path: Path) -> None:
    with started(server, FLOAT, INT8, *QUICK, "--json", tmp_path / "r.json") as process:
        out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert_nothing_left(server)
    data = json.loads((tmp_path / "r.json").read_text())
    assert [(entry["model"], entry["path"]) for entry in data["results"]] == [(p.name, str(p)) for p in (FLOAT, INT8)]
    assert [(entry["model"], entry["baseline"]) for entry in data["comparisons"]] == [("int8.onnx", "float.onnx")]
    assert data["results"][0]["threads"] == 1
    assert data["results"][0]["latency_ms"]["runs"] >= 2
    assert data["device"]["python"]
    assert "float.onnx" in out
    assert err == ""
    assert list(server.home.rglob("environments")) == []  # what the interpreter had was used


def test_json_alone_on_stdout_and_options_passed_on(bench: Bench) -> None:
    out, _ = bench(FLOAT, "--batch", 1, "--batch", 8, "--ops", "--runs", 2, "--seconds", 0.05, "--json", "-")
    data = json.loads(out)
    assert [entry["batch"] for entry in data["results"]] == [1, 8]
    assert [entry["model"] for entry in data["ops"]] == ["float.onnx", "float.onnx"]


def test_an_address_in_brackets(bench: Bench, server: Server) -> None:
    ipv6 = f"Server listening on ::1 port {server.port}" in server.log.read_text()
    bench(FLOAT, *QUICK, on=f"[{'::1' if ipv6 else '127.0.0.1'}]:{server.port}")


def test_progress_comes_over(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", server.path)
    shares: list[float] = []
    lines: list[str] = []
    there = Host(parse_address("board"), sys.executable)
    words = ["--batch", "1", "--runs", "2", "--seconds", "2"]
    report = bench_on(there, [FLOAT], words, tell=lines.append, progress=shares.append)
    assert report.results[0].model == "float.onnx"
    assert lines == []
    assert len(shares) >= 3
    assert shares == sorted(shares)
    assert shares[-1] == 1


NASTY = (
    "a b.onnx",
    'it\'s "so"; touch hacked $(touch hacked) `touch hacked`.onnx',
    "new\nline.onnx",
    "-dash.onnx",
    "ü&|>*.onnx",
)


def test_nasty_names(bench: Bench, server: Server, tmp_path: Path) -> None:
    """Of models, two of which have the same name, and of the folder that the interpreter lies in."""
    paths = [tmp_path / name for name in (*NASTY, "twin/a b.onnx")]
    (tmp_path / "twin").mkdir()
    for path in paths:
        shutil.copy(FLOAT, path)
    python = tmp_path / "py 'th\" on; touch hacked; $(touch hacked) \\" / "python=3 !"
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    bench(*paths, *QUICK, "--json", tmp_path / "r.json", python=python)
    results = json.loads((tmp_path / "r.json").read_text())["results"]
    assert [entry["path"] for entry in results] == [str(path) for path in paths]
    twins = {str(paths[0]), str(paths[-1])}
    assert [entry["model"] for entry in results] == [str(path) if str(path) in twins else path.name for path in paths]
    assert not [path for folder in (tmp_path, server.home, Path.home()) for path in folder.glob("hacked*")]


def test_an_interpreter_in_the_home_over_there() -> None:
    assert first_line("~/venv/bin/python") == b"./venv/bin/python\n"


def test_what_the_login_shell_reads_is_constant() -> None:
    assert not set(BOOTSTRAP) & set('"$`\\!\n')  # nothing that a shell looks at within double quotes
    assert shlex.split(COMMAND) == ["exec", "sh", "-c", f'IFS= read -r python && exec "$python" -c "{BOOTSTRAP}"']


def test_nothing_loosens_the_users_ssh() -> None:
    assert not [option for option in OPTIONS if "HostKey" in option or "KnownHosts" in option]
    assert "BatchMode=yes" in OPTIONS


@pytest.mark.parametrize(
    ("on", "python", "says"),
    [
        ("unknown", sys.executable, "unknown: its host key is not known here; connect once by hand"),
        ("localhost:{port}", sys.executable, "its host key is not known here"),
        ("refused", sys.executable, "refused: it takes none of your keys"),
        ("127.0.0.1:1", sys.executable, "it refuses connections"),
        ("nobody.invalid", sys.executable, "there is no host of that name"),
        ("board", "/no/such/python", "board: no Python at '/no/such/python' there"),
        ("board", "/bin/true", "board: Python there ended with code 0"),
        *(("board", str(python), f"{python} there is Python 3.9, and hsiedge takes 3.10 or later") for python in OLD[:1]),
        ("-oProxyCommand=touch", sys.executable, "[USER@]HOST[:PORT] is expected"),
    ],
)
def test_no_way_there_is_one_line(bench: Bench, server: Server, on: str, python: str, says: str) -> None:
    out, err = bench(FLOAT, *QUICK, on=on.format(port=server.port), python=python, code=2)
    assert out == ""
    assert len(err.splitlines()) == 1
    assert says in err


def test_its_errors_come_back_as_its_line_with_the_names_of_here(bench: Bench) -> None:
    stranger = DATA / "stranger.onnx"
    _, err = bench(stranger, *QUICK, code=2)
    assert err.startswith(f"hsiedge: error: board: {stranger}: ")
    assert "--shape" in err
    _, err = bench(FLOAT, *QUICK, "--batch", 0, code=2)
    assert err == "hsiedge: error: board: --batch 0: must be 1 or more\n"


def test_options_of_another_machine_take_one(server: Server) -> None:
    command = [sys.executable, "-m", "hsiedge", "bench", str(FLOAT), "--python", "x"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, "--on" in done.stderr) == (2, True)


@pytest.mark.parametrize("python", ["", "a\nb"])
def test_what_is_no_path_of_an_interpreter(python: str) -> None:
    command = [sys.executable, "-m", "hsiedge", "bench", str(FLOAT), "--on", "board", "--python", python]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, "path of a Python interpreter" in done.stderr) == (2, True)


def stop_near(server: Server, process: subprocess.Popen[str]) -> None:
    os.killpg(process.pid, signal.SIGINT)  # all in the foreground get it, as from a terminal


def kill_near(server: Server, process: subprocess.Popen[str]) -> None:
    process.kill()


def kill_ssh(server: Server, process: subprocess.Popen[str]) -> None:
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    for child in children:
        os.kill(int(child), signal.SIGKILL)
    assert children


@pytest.mark.parametrize(
    ("end", "code", "says"),
    [
        (stop_near, 130, "stopped; nothing was left half-written"),
        (kill_near, -signal.SIGKILL, ""),
        (kill_ssh, 2, "hsiedge: error: board: "),
    ],
)
def test_whatever_ends_it_nothing_is_left_there(
    server: Server, end: Callable[[Server, subprocess.Popen[str]], None], code: int, says: str
) -> None:
    with started(server, FLOAT, *LONG) as process:
        measuring(server, process)
        assert len(list(server.scratch.iterdir())) == 1
        assert next(server.scratch.iterdir()).stat().st_mode & 0o777 == 0o700
        end(server, process)
        assert_nothing_left(server)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (code, "")
    assert says in err
    assert "Traceback" not in err


def test_ctrl_c_in_a_sustained_run_loses_nothing(server: Server) -> None:
    with started(server, FLOAT, *QUICK, "--duration", "60s", "--json", "-") as process:
        measuring(server, process)
        time.sleep(8)  # the first windows, of three seconds each
        stop_near(server, process)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    data = json.loads(out)
    assert data["interrupted"] is True
    assert data["sustained"][0]["model"] == "float.onnx"
    assert 1 <= len(data["sustained"][0]["windows"]) < 20
    assert_nothing_left(server)


class Piped(connection.Connection):
    """A connection whose other machine is what is written to a pipe."""

    def __init__(self, stdout: int) -> None:
        self.address, self._stdout, self._buffer, self._begun = parse_address("there"), stdout, bytearray(), None
        self._deadline, self._heard = None, time.monotonic()
        self.sent: list[str] = []

    def send(self, kind: str, **facts: object) -> None:
        self.sent.append(kind)


def test_ctrl_c_while_a_result_arrives_loses_nothing() -> None:
    """The first line of its frame has been read then, and its bytes have not."""
    ours, theirs = os.pipe()
    payload = b'{"result": 1}' * 20

    def far_side() -> None:
        os.write(theirs, agent.frame_line("done", len(payload), code=0) + payload[:10])
        time.sleep(0.3)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.3)
        os.write(theirs, payload[10:])

    piped, thread = Piped(ours), threading.Thread(target=far_side)
    thread.start()
    assert host._follow(piped, [], print, lambda share: None) == (0, payload)
    thread.join()
    assert piped.sent == ["interrupt"]


def test_silence_counts_from_the_last_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "SILENT", 0.8)
    ours, theirs = os.pipe()

    def far_side() -> None:
        for _ in range(4):
            time.sleep(0.5)
            os.write(theirs, agent.frame_line("beat", 0))
        os.write(theirs, agent.frame_line("say", 2) + b"hi")

    thread = threading.Thread(target=far_side)
    thread.start()
    assert Piped(ours).receive(10)[1] == b"hi"
    thread.join()


@pytest.mark.slow
@pytest.mark.parametrize("beats", [0, 6])
def test_a_silent_line_is_a_lost_one(tmp_path: Path, beats: int) -> None:
    """Where the network goes, stdin stays open, and no byte comes."""
    source = Path(agent.__file__).read_text().replace(f"PATIENCE = {agent.PATIENCE}", "PATIENCE = 2")
    with talking(source, tmp_path) as process:
        assert process.stdin is not None
        for _ in range(beats):  # with them it stays
            time.sleep(0.5)
            process.stdin.write(agent.frame_line("beat", 0))
            process.stdin.flush()
        assert process.poll() is None
        assert len(list(tmp_path.iterdir())) == 1
        process.wait(30)
    assert list(tmp_path.iterdir()) == []


@contextlib.contextmanager
def talking(source: str, scratch: Path) -> Iterator[subprocess.Popen[bytes]]:
    """An agent on this machine, which has said hello."""
    command = [sys.executable, "-c", BOOTSTRAP]
    environment = {**os.environ, "TMPDIR": str(scratch)}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"%d\n%b" % (len(source.encode()), source.encode()))
        process.stdin.flush()
        assert process.stdout.readline() == b"\n"
        assert process.stdout.readline().startswith(b"hsiedge-agent 3 ")
        facts = agent.read_frame(process.stdout, 0)
        assert facts is not None
        assert facts["kind"] == "hello"
        yield process


@pytest.mark.parametrize("name", ["../escape", "/etc/escape", "", ".hidden", "a/b", "a\nb"])
def test_the_far_side_writes_into_its_own_folder_alone(tmp_path: Path, name: str) -> None:
    with talking(Path(agent.__file__).read_text(), tmp_path) as process:
        assert process.stdin is not None
        process.stdin.write(agent.frame_line("file", 4, name=name, where="files") + b"data")
        process.stdin.flush()
        process.wait(30)
    assert list(tmp_path.iterdir()) == []


HELLO = json.dumps({"kind": "hello", "bytes": 0, "python": "3.11.2", "machine": "x", "hsiedge": hsiedge.__version__})
RESULT = json.dumps({"schema": 1, "device": {}, "results": []})


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ("hsiedge-agent 3 9", "is Python 3.9, and hsiedge takes 3.10 or later"),
        ("hsiedge-agent 3 11\nwelcome", "its answer cannot be read (Expecting value"),
        ('hsiedge-agent 3 11\n{"kind": "hello", "bytes": 99999999999}', "a frame of 99999999999 bytes"),
        ('hsiedge-agent 3 11\n{"kind": "hello", "bytes": -1}', "a frame of -1 bytes"),
        ("hsiedge-agent 3 11\n" + "[" * 5000, "its answer cannot be read"),
        (
            f"hsiedge-agent 3 11\n{HELLO}\n" + '{"kind": "dance", "bytes": 0}',
            "its answer cannot be read (a frame that has no place",
        ),
        (f"hsiedge-agent 3 11\n{HELLO}\n" + '{"kind": "done", "bytes": 4, "code": 0}\nnope', "board: not JSON"),
        (f"hsiedge-agent 3 11\n{HELLO}\n" + '{"kind": "done", "bytes": 2, "code": 0}\n{}', "board: JSON, but no result of"),
        (
            f"hsiedge-agent 3 11\n{HELLO}\n" + f'{{"kind": "done", "bytes": {len(RESULT)}, "code": 0}}\n{RESULT}',
            "board: no result that hsiedge bench wrote",
        ),
        (f"hsiedge-agent 3 11\n{HELLO}\n" + '{"kind": "done", "bytes": 0, "code": 1}\n', "hsiedge there ended with code 1"),
        (f"hsiedge-agent 3 11\n{HELLO}\n" + '{"kind": "cannot", "bytes": 9}\n\x1b[2J\x07 no', "board: [2J no"),
        ("x" * 70000, "Python there ended with code"),
    ],
)
def test_a_stranger_is_not_believed(bench: Bench, tmp_path: Path, answer: str, says: str) -> None:
    """A program in Python's place over there, which says what it likes."""
    (tmp_path / "answer").write_text(answer + "\n")
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\ncat {tmp_path / 'answer'}\nexec cat > /dev/null\n")
    python.chmod(0o755)
    out, err = bench(FLOAT, *QUICK, python=python, code=2)
    assert out == ""
    assert len(err.splitlines()) == 1
    assert says in err
    assert "\x1b" not in err


def test_a_login_shell_may_greet(bench: Bench, tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\necho "welcome to the board"; printf "no newline"\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    bench(FLOAT, *QUICK, python=python)


def test_extras_are_those_of_the_engines() -> None:
    assert _extras([FLOAT], []) == []
    assert _extras([FLOAT, Path("a.tflite")], ["--batch", "1"]) == ["litert"]
    assert _extras([FLOAT], ["--runtime", "openvino"]) == ["openvino"]
    assert _extras([FLOAT], ["--runtime", "all"]) == []


def test_every_runtime_over_there(bench: Bench) -> None:
    """Whose names tell files and runtimes apart."""
    out, _ = bench(INT8, "--runtime", "all", *QUICK, "--json", "-")
    data = json.loads(out)
    assert "int8.onnx (ort)" in [entry["model"] for entry in data["results"]]
    assert {entry["path"] for entry in data["results"]} == {str(INT8)}
    assert "sent-" not in out


def test_printable() -> None:
    assert printable(b"a\x1b[31m\r\nb\xff\xc2\x9b") == "a [31m b\ufffd"


@pytest.mark.parametrize(
    ("text", "host", "user", "port"),
    [
        ("pi@raspberrypi.local", "raspberrypi.local", "pi", None),
        ("field-pi", "field-pi", None, None),
        ("10.0.0.7:2222", "10.0.0.7", None, 2222),
        ("pi@[fe80::1%eth0]:22", "fe80::1%eth0", "pi", 22),
        ("[::1]", "::1", None, None),
        ("pi@::1", "::1", "pi", None),
        ("me@lab@jump-host", "jump-host", "me@lab", None),
    ],
)
def test_addresses(text: str, host: str, user: str | None, port: int | None) -> None:
    address = parse_address(text)
    assert (address.host, address.user, address.port) == (host, user, port)
    assert parse_address(str(address)) == address


WRONG = (
    *(
        "",
        "@",
        "pi@",
        "@host",
        "-oX=y",
        "pi@-host",
        "-l@host",
        "a b",
        "a;b",
        "$(x)",
        "a`b`",
        "x'y@host",
        "a/b",
        "a\nb",
        "pi@a\n",
    ),
    *("host:", "host:x", "host:0", "host:70000", "[::1", "[::1]x", "[::1]:", "::g", "pi@host\x00"),
)


@pytest.mark.parametrize("text", WRONG)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(OptionError, match=f"on{'=' if text else ': '}") as raised:
        parse_address(text)
    assert (raised.value.option, raised.value.value) == ("on", text)


def test_doctor_over_there(hsiedge: Hsiedge, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", server.path)

    def doctor(*words: object) -> Run:
        done = hsiedge("doctor", "--on", "board", "--python", sys.executable, *words)
        assert_nothing_left(server)
        return done

    done = doctor("--json", "-")
    assert (done.code, done.err) == (0, "")
    names = json.loads(done.out)
    assert (names["schema"], names["stopped"]) == (1, False)
    assert names["device"]["python"]
    done = doctor()
    assert done.code == 0
    assert "onnxruntime" in done.out
    assert "\x1b" not in done.out
    done = doctor(FLOAT)
    assert (done.code, "leave --on out" in done.err) == (2, True)


SAYS = '{"kind": "say", "bytes": 1001}' + "\n" + "x" * 1000  # and the line's end, which `yes` brings


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("exec sleep 100", "has been silent for 2 seconds"),
        (f"echo hsiedge-agent 3 11; echo '{HELLO}'; exec sleep 100", "has been silent for 2 seconds"),
        (f"echo hsiedge-agent 3 11; echo '{HELLO}'; exec yes '{SAYS}'", "says more than 4 MiB"),
        ("yes noise | head -c 50000000 >&2; exit 3", "ended with code 3: noise noise no"),
    ],
)
def test_a_machine_that_says_nothing_or_too_much(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, says: str
) -> None:
    """It ends within seconds, in little memory, whatever the other side does."""
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o755)
    monkeypatch.setenv("PATH", server.path)
    monkeypatch.setattr(connection, "SILENT", 2.0)
    monkeypatch.setattr(connection, "GRACE", 1.0)
    tracemalloc.start()
    began = time.monotonic()
    with pytest.raises(RemoteError, match=says):
        run_on(Host(parse_address("board"), str(python)), ["doctor"])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert time.monotonic() - began < 60
    assert peak < 32 << 20
