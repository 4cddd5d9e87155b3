"""The live page: pictures move and numbers are the run's in a real browser, and nobody gets in who should not."""

from __future__ import annotations

import base64
import http.client
import json
import logging
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("tornado", reason="the live page needs tornado")

from hsiedge.card import ClassFacts
from hsiedge.errors import OptionError, OutputError
from hsiedge.live.page import CLIENTS, Page
from hsiedge.live.runner import run
from hsiedge.live.summary import RunSummary
from hsiedge.mapping import classify
from hsiedge.mapping.palette import colours, rgb
from hsiedge.runtimes import Model, load
from hsiedge.scenes.scene import Scene
from tests import browser
from tests.live.cameras import Blocks
from tests.mapping.cubes import STORED

TOKEN = "a-long-token-of-a-test"
UPGRADE = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "x" * 22 + "=="}
EVIL = '<img src=x onerror="document.title=1">'


class Camera(Blocks):
    """A camera of 120 lines a second, until it is told to stop; what it sees goes to the side with time."""

    def lines(self) -> Iterator[np.ndarray]:
        number, began = 0, time.perf_counter()
        while number < 40 or not self.stopped.is_set():
            time.sleep(max(0, began + number / 120 - time.perf_counter()))
            yield sight(self.array, number)
            number += 1


def sight(cube: np.ndarray, number: int) -> np.ndarray:
    """The line of that number, `(1, width, bands)`."""
    return np.roll(cube[number % 40], number // 40, axis=0)[None]


class Live:
    """A run with its page, in a thread."""

    def __init__(self, model: Model, cube: np.ndarray, **options: Any) -> None:
        self.camera, self.summary, self._address = Camera(cube), None, threading.Event()
        self.address = ""
        self.error: Exception | None = None

        def go() -> None:
            try:
                self.summary = run(model, self.camera, page_token=TOKEN, on_page=self._there, **options)
            except Exception as error:
                self.error = error
                self._address.set()

        self.thread = threading.Thread(target=go, daemon=True)
        self.thread.start()
        assert self._address.wait(20)
        assert self.error is None
        self.port = int(self.address.rstrip("/").rpartition(":")[2])

    def _there(self, address: str) -> None:
        self.address = address
        self._address.set()

    def end(self) -> RunSummary:
        self.camera.stopped.set()
        self.thread.join(20)
        assert self.error is None
        assert self.summary is not None
        return self.summary

    def ask(self, path: str = "/", method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request(method, path, headers={"Host": f"127.0.0.1:{self.port}", **headers})
            answer = connection.getresponse()
            body = b"" if answer.status == 101 else answer.read()
            return answer.status, dict(answer.getheaders()), body
        finally:
            connection.close()

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def live(model: Model, cube: np.ndarray, **options: Any) -> Iterator[Live]:
    running = Live(model, cube, **{"page": 0, **options})
    try:
        yield running
    finally:
        running.end()


@pytest.fixture(scope="module")
def model() -> Model:
    opened = load(STORED / "float.onnx", 1)
    classes = [ClassFacts(entry.id, EVIL if place == 1 else entry.name) for place, entry in enumerate(opened.known.classes)]
    return replace(opened, card=replace(opened.known, classes=classes))


def listen(port: int, origin: str | None, cookie: str = "") -> socket.socket:
    """A client of the waterfall that never reads."""
    client = socket.create_connection(("127.0.0.1", port), 5)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    key = base64.b64encode(b"0123456789abcdef").decode()
    lines = ["GET /lines HTTP/1.1", f"Host: 127.0.0.1:{port}", "Upgrade: websocket", "Connection: Upgrade"]
    lines += [f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13"]
    lines += [f"Origin: {origin}"] if origin is not None else []
    client.sendall("\r\n".join([*lines, "", ""]).encode())
    return client


def status_of(client: socket.socket) -> int:
    return int(client.recv(12).split()[1])


def canvas(tab: browser.Page, name: str, rows: int) -> np.ndarray:
    """The lowest rows of a canvas, RGB."""
    script = f"""(() => {{ const c = document.getElementById("{name}");
      return [c.width, [...c.getContext("2d").getImageData(0, c.height - {rows}, c.width, {rows}).data]]; }})()"""
    width, data = tab.run(script)
    return np.array(data, np.uint8).reshape(rows, width, 4)[:, :, :3]


def wait_for(tab: browser.Page, script: str) -> Any:
    until = time.monotonic() + 20
    while time.monotonic() < until:
        if value := tab.run(script):
            return value
        time.sleep(0.05)
    pytest.fail(f"{script} did not come true")


@pytest.mark.parametrize(("width", "dark"), [(1100, False), (390, True)])
def test_pictures_move_and_numbers_are_the_runs(
    tab: browser.Page, model: Model, tiny_scene: Scene, width: int, dark: bool
) -> None:
    with live(model, tiny_scene.cube, watch="class 1 > 0 % of 20 lines") as running:
        tab.errors.clear()
        tab.visit(running.address, width, dark=dark, home=running.address)
        wait_for(tab, "document.body.dataset.status && document.body.dataset.line > 60")
        before = canvas(tab, "labels", 8)
        wait_for(tab, "document.body.dataset.line > 120")
        moved = canvas(tab, "labels", 8)
        assert not np.array_equal(before, moved)
        legend = tab.run("[...document.querySelectorAll('#legend .title')].map((entry) => entry.textContent)")
        assert legend == ["no data", *(entry.name for entry in model.known.classes)]
        assert EVIL in legend
        assert tab.run("document.documentElement.scrollWidth") == width
        assert "begins at line" in wait_for(tab, "document.getElementById('events').textContent")
        summary = running.end()
        status = json.loads(
            wait_for(tab, "document.body.dataset.status.includes('\"ended\":true}') && document.body.dataset.status")
        )
        assert tab.errors == []
    figures = {name: value for name, value, _ in status["figures"]}
    assert figures["lines in"] == figures["lines labelled"] == f"{summary.labelled:,}"
    assert figures["lines dropped"] == "0"
    count = summary.labelled
    expected = classify(model, np.concatenate([sight(tiny_scene.cube, number) for number in range(count)]))
    shares = [(expected == label).mean() for label in (0, *(entry.id for entry in model.known.classes))]
    assert status["shares"] == pytest.approx(shares, abs=1e-9)
    table = colours({entry.id: "" for entry in model.known.classes})
    painted = np.array([[rgb(table[label]) for label in line] for line in expected[-8:].tolist()], np.uint8)
    np.testing.assert_array_equal(canvas(tab, "labels", 8), painted)
    assert len(np.unique(canvas(tab, "colour", 8))) > 20


def test_light_and_dark_differ(tab: browser.Page, model: Model, tiny_scene: Scene) -> None:
    with live(model, tiny_scene.cube) as running:
        seen = []
        for dark in (False, True):
            tab.visit(running.address, 800, dark=dark, home=running.address)
            seen.append(tab.run("getComputedStyle(document.body).backgroundColor"))
    assert seen == ["rgb(255, 255, 255)", "rgb(16, 19, 22)"]


def test_scripts_of_others_do_not_run(tab: browser.Page, model: Model, tiny_scene: Scene) -> None:
    connect = "new Promise((done) => { const s = new WebSocket('ws://%s/lines'); s.onopen = () => done('open'); "
    connect += "s.onerror = () => done('refused'); })"
    with live(model, tiny_scene.cube) as running:
        place = f"127.0.0.1:{running.port}"
        tab.visit(running.address, 800, home=running.address)
        assert tab.run(connect % place) == "open"
        tab.run(f"document.body.insertAdjacentHTML('beforeend', {json.dumps(EVIL)})")
        tab.run("(() => { const s = document.createElement('script'); s.textContent = 'document.title = 1'; "
                "document.body.append(s); })()")  # fmt: skip
        time.sleep(0.3)
        assert tab.run("document.title") != "1"
        tab.visit("about:blank", 800)
        assert tab.run(connect % place) == "refused"
        tab.errors.clear()


def test_only_this_page_is_let_in(model: Model, tiny_scene: Scene) -> None:
    with live(model, tiny_scene.cube) as running:
        status, headers, body = running.ask()
        assert (status, body[:15]) == (200, b"<!doctype html>")
        assert headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self'")
        assert (headers["X-Content-Type-Options"], headers["Referrer-Policy"]) == ("nosniff", "no-referrer")
        assert not {"Server", "Set-Cookie", "Access-Control-Allow-Origin"} & set(headers)
        for host in (f"evil.example:{running.port}", "127.0.0.1", "127.0.0.1:1", "", f"127.0.0.1.evil.example:{running.port}"):
            assert running.ask(Host=host)[0] in (400, 421), host
        assert running.ask(Host=f"localhost:{running.port}")[0] == 200
        assert running.ask(Origin="http://evil.example")[0] == 403
        assert running.ask(Origin=running.origin)[0] == 200
        for method in ("POST", "PUT", "DELETE", "OPTIONS"):
            assert running.ask(method=method)[0] == 405
        for path in ("/other", "/../page.py", "/static/page.html", "/page.js/x", "//page.js"):
            assert running.ask(path)[0] == 404, path
        assert running.ask("/lines", **UPGRADE)[0] == 403
        for origin in ("null", "http://evil.example", f"https://127.0.0.1:{running.port}", f"{running.origin}.evil.example"):
            assert running.ask("/lines", Origin=origin, **UPGRADE)[0] == 403, origin
        assert running.ask("/lines", Origin=running.origin, **UPGRADE)[0] == 101
        assert (
            running.ask("/lines", Host=f"evil.example:{running.port}", Origin=f"http://evil.example:{running.port}", **UPGRADE)[
                0
            ]
            == 421
        )


def test_what_a_client_sends_ends_its_connection(model: Model, tiny_scene: Scene) -> None:
    with live(model, tiny_scene.cube) as running, listen(running.port, running.origin) as client:
        assert status_of(client) == 101
        client.sendall(b"\x81\x85abcd" + bytes(byte ^ b"abcd"[place % 4] for place, byte in enumerate(b"hello")))
        client.settimeout(5)
        received = b""
        while b"\x88\x02\x03\xf0" not in received:  # close, 1008: policy
            received += (part := client.recv(1 << 16))
            assert part


def test_a_page_that_others_see_takes_a_token(
    tab: browser.Page, model: Model, tiny_scene: Scene, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    with live(model, tiny_scene.cube, page="0.0.0.0:0") as running:
        assert running.ask()[0] == running.ask("/page.js")[0] == 401
        assert running.ask("/?token=" + "x" * len(TOKEN))[0] == 401
        assert running.ask("/?token=%ff%00")[0] == 400
        assert running.ask(Cookie=f"hsiedge_page={TOKEN}")[0] == 401
        assert running.ask("/lines", Origin=running.origin, **UPGRADE)[0] == 401
        assert running.ask(f"/?token={TOKEN}", Host=f"evil.example:{running.port}")[0] == 421
        status, headers, _ = running.ask(f"/?token={TOKEN}")
        cookie = headers["Set-Cookie"]
        assert (status, headers["Location"]) == (303, "/")
        assert "HttpOnly" in cookie
        assert "SameSite=Strict" in cookie
        assert TOKEN not in cookie
        assert running.ask(Cookie=cookie.partition(";")[0])[0] == 200
        tab.visit(f"{running.origin}/?token={TOKEN}", 800, home=running.origin)
        wait_for(tab, "document.body.dataset.status")
        assert tab.run("[location.href, document.cookie]") == [f"{running.origin}/", ""]
    logged = caplog.text + "".join(capfd.readouterr())
    assert TOKEN not in logged
    with pytest.raises(OptionError, match="a page that others see needs a token of 16 characters"):
        run(model, Blocks(tiny_scene.cube), page="0.0.0.0:0", page_token="short")
    with pytest.raises(OptionError, match="HOST:PORT was expected"):
        run(model, Blocks(tiny_scene.cube), page="somewhere")


def test_fifty_clients_that_do_not_read_cost_no_line(model: Model, tiny_scene: Scene) -> None:
    with live(model, tiny_scene.cube, late="drop") as running, ExitStack() as stack:
        clients = [stack.enter_context(listen(running.port, running.origin)) for _ in range(CLIENTS)]
        assert {status_of(client) for client in clients} == {101}
        with listen(running.port, running.origin) as one_more:
            assert status_of(one_more) == 503
        time.sleep(1.5)
        summary = running.end()
    assert summary.labelled > 120
    assert summary.dropped == 0


def test_what_waits_for_a_client_is_bounded(model: Model, tiny_scene: Scene) -> None:
    page = Page("0", "title", {1: "a", 2: "b"})
    try:
        with listen(page.port, f"http://127.0.0.1:{page.port}") as client:
            assert status_of(client) == 101
            until = time.monotonic() + 10
            while not page.clients and time.monotonic() < until:
                time.sleep(0.01)
            (waiting,) = page.clients
            most = 0
            while time.monotonic() < until and most < 32:
                page._send(bytes(500_000))
                time.sleep(0.005)
                most = max(most, len(waiting._messages))
            for _ in range(100):
                page._send(bytes(500_000))
            time.sleep(0.3)
            assert len(waiting._messages) == most == 32
    finally:
        page.close()
    assert page._loop.is_closed()
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OutputError, match="cannot be listened on"):
        Page(str(taken.getsockname()[1]), "title", {1: "a"})
