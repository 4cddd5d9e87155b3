"""The live page: a waterfall of false colour beside the labels, and the run's figures, for a tablet in the field.

The server runs in a thread of its own and only tells: nothing that a client sends changes anything. What the run gives it lies
in queues that are bounded: a client that reads slowly misses lines of the waterfall, and costs the run none.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import json
import secrets
import socket
import struct
import threading
import time
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsiedge.errors import OptionError, OutputError, needs_extra
from hsiedge.live.raw import host_and_port
from hsiedge.live.sinks import Drifts, Event, Sink, Strip
from hsiedge.live.watch import ClassCounts, event_line
from hsiedge.mapping.palette import UNLABELLED, colours, rgb
from hsiedge.mapping.writers import MapFacts
from hsiedge.scenes.io.cube import Cube
from hsiedge.scenes.thumbnail import bands_shown
from hsiedge.words import shown

with needs_extra("the live page", "live"):
    import tornado.httpserver
    import tornado.iostream
    import tornado.web
    import tornado.websocket

CLIENTS = 50
_CONNECTIONS = 4 * CLIENTS
_COLUMNS, _ROWS, _HISTORY = 320, 32, 12
_LINES_SECONDS, _STATUS_SECONDS = 0.2, 0.5
_LAST_SECONDS = 1.0  # that clients have to read the end
_WAITING = 8  # messages of a client that has yet to read them
_SHORTEST_TOKEN = 16
_COOKIE = "hsiedge_page"
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_STATIC = Path(__file__).parent / "static"
_FILES = {"/": ("page.html", "text/html"), "/page.js": ("page.js", "text/javascript"), "/page.css": ("page.css", "text/css")}
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Page(Sink):
    """Page of a run, and its server.

    Args:
        place: [HOST:]PORT; without a host it is this machine alone that sees it. Port 0 is any that is free.
        title: of the page.
        token: that a client from elsewhere has to know, 16 characters or more.

    Attributes:
        address: of the page, without the token.

    Raises:
        OptionError: no such place, or one that others see, without a token.
        OutputError: it cannot be listened on.
    """

    title = "the live page"

    def __init__(self, place: str, title: str, classes: dict[int, str], token: str | None = None) -> None:
        host, port = host_and_port(place if ":" in place else f"127.0.0.1:{place}")
        self._local = host in _LOOPBACK
        if not self._local and (token is None or len(token) < _SHORTEST_TOKEN):
            why = f"a page that others see needs a token of {_SHORTEST_TOKEN} characters or more"
            raise OptionError(why, option="page", value=place, use={"page_token": ""})
        self.token = None if self._local else token
        self.cookie = secrets.token_urlsafe(32)
        try:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            self._listener = socket.create_server((host, port), family=family, backlog=64)
        except OSError as error:
            raise OutputError(f"the page at {place} cannot be listened on ({error.strerror or error})") from error
        self._listener.setblocking(False)
        self._host, self.port = host, self._listener.getsockname()[1]
        self.address = f"http://{f'[{host}]' if ':' in host else host}:{self.port}/"
        self._counts, self._classes, self._title = ClassCounts(classes), classes, title
        self.clients: set[_Lines] = set()
        self._begin = self._status = ""
        self._history: deque[bytes] = deque(maxlen=_HISTORY)
        self._events: deque[str] = deque(maxlen=_HISTORY)
        self._seen: deque[NDArray[Any]] = deque()
        self._undrawn: list[tuple[NDArray[Any], NDArray[np.uint16]]] = []
        self._stretch: NDArray[Any] | None = None
        self._lines = 0
        self._bands, self._step = (0, 0, 0), 1
        self._sums = np.zeros(len(classes) + 1)
        self._told = self._drawn = 0.0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    # What the run gives, in its own thread: the least that must be done there.

    def show(self, cube: Cube) -> None:
        """Tells which lines will be seen: their bands and width."""
        self._bands, self._step = bands_shown(cube), -(-cube.shape[1] // _COLUMNS)
        self._stretch, self._lines = None, 0
        self._seen.clear()

    def see(self, lines: NDArray[Any]) -> None:
        """Looks at stored lines `(n, width, bands)` on their way to the classifier."""
        self._seen.extend(lines[:, :: self._step, self._bands])

    def begin(self, facts: MapFacts, stem: str) -> None:
        """Begins a map."""
        table = colours(self._classes)
        palette = [rgb(UNLABELLED), *(rgb(table[label]) for label in self._classes)]
        names = ["no data", *(shown(name) for name in self._classes.values())]
        title = f"{shown(self._title)}, {shown(stem)}" if stem else shown(self._title)
        self._begin = json.dumps({"kind": "begin", "title": title, "classes": names, "palette": palette})
        self._status, self._undrawn = "", []
        self._history.clear()
        self._events.clear()
        self._sums[:] = 0
        self._send(self._begin)

    def take(self, strip: Strip) -> None:
        """Draws lines that have been labelled, five times a second; of many, some."""
        self._sums += self._counts.of(strip).sum(0)
        self._undrawn += [(self._seen.popleft(), labels[:: self._step]) for labels in strip.labels]
        self._lines += len(strip.labels)
        now = time.monotonic()
        if now - self._drawn >= _LINES_SECONDS:
            self._drawn = now
            self._draw()

    def _draw(self) -> None:
        drawn, self._undrawn = self._undrawn[:: max(1, -(-len(self._undrawn) // _ROWS))], []
        if drawn:
            counts, labels = (np.stack(part) for part in zip(*drawn))
            head = struct.pack("=III", self._lines, *labels.shape)
            message = head + self._coloured(counts).tobytes() + self._counts.places(labels).tobytes()
            self._history.append(message)
            self._send(message)

    def _coloured(self, counts: NDArray[Any]) -> NDArray[np.uint8]:
        """Colours of `(n, width, 3)` values, stretched between percentiles that follow the lines slowly."""
        values = np.nan_to_num(counts.astype(np.float32), posinf=0, neginf=0)
        there = values[values.any(axis=(1, 2))]  # lines that were dropped are all 0
        if there.size:
            now = np.percentile(there, (2, 98), axis=(0, 1))
            self._stretch = now if self._stretch is None else 0.9 * self._stretch + 0.1 * now
        low, high = (0.0, 1.0) if self._stretch is None else self._stretch
        shares = (values - low) / np.maximum(high - low, 1e-9)
        painted: NDArray[np.uint8] = (255 * np.clip(shares, 0, 1)).astype(np.uint8)
        return painted

    def event(self, event: Event) -> None:
        """Shows an event; those of tiles are for machines."""
        if event["event"] != "tile":
            self._events.append(json.dumps({"kind": "event", "text": event_line(event)}))
            self._send(self._events[-1])

    @property
    def due(self) -> bool:
        """Whether the figures are old enough to be told anew, twice a second."""
        return time.monotonic() - self._told >= _STATUS_SECONDS

    def tell(self, figures: list[tuple[str, str, bool]], state: str, *, bad: bool = False, ended: bool = False) -> None:
        """Tells the run's figures, each a name, a value, and True where it is a bad one; and the classes' shares of pixels."""
        self._told = time.monotonic()
        shares = (self._sums / max(1.0, self._sums.sum())).tolist()
        message = {"kind": "status", "figures": figures, "shares": shares, "state": state, "bad": bad, "ended": ended}
        self._status = json.dumps(message)
        self._send(self._status)

    def end(self, drift: Drifts = ()) -> list[Path]:
        """Draws what is left."""
        self._draw()
        return []

    def close(self) -> None:
        """Lets clients read what waits for them, for a second at most, and ends the server."""
        if self._thread.is_alive():
            asyncio.run_coroutine_threadsafe(self._drain(), self._loop)
            self._thread.join(5)

    def _send(self, message: str | bytes) -> None:
        if self.clients and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._spread, message)

    # What happens in the server's thread.

    async def _drain(self) -> None:
        until = time.monotonic() + _LAST_SECONDS
        while any(client.waits for client in self.clients) and time.monotonic() < until:
            await asyncio.sleep(0.02)
        self._loop.stop()

    def _spread(self, message: str | bytes) -> None:
        for client in self.clients:
            client.queue(message)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._listen())
            self._loop.run_forever()
        finally:
            self._server.hang_up()
            tasks = asyncio.all_tasks(self._loop)
            for task in tasks:
                task.cancel()
            self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
            self._server.stop()
            self._listener.close()
            self._loop.run_until_complete(self._loop.shutdown_default_executor())
            self._loop.close()

    async def _listen(self) -> None:
        routes: list[Any] = [(path, _File, {"page": self, "file": file}) for path, file in _FILES.items()]
        application = tornado.web.Application(
            [*routes, (r"/lines", _Lines, {"page": self})],
            default_handler_class=_Missing,
            default_handler_args={"page": self},
            log_function=lambda handler: None,  # an address may hold the token
            websocket_ping_interval=10,
            websocket_ping_timeout=10,
            websocket_max_message_size=1024,
        )
        self._server = _Server(
            application, max_header_size=8192, max_body_size=1024, idle_connection_timeout=20, body_timeout=5
        )
        self._server.add_socket(self._listener)

    def knows_host(self, host: str) -> bool:
        """Whether a request's Host is this page: a name that another may have pointed here (DNS rebinding) is not."""
        try:
            name, port = host_and_port(host if host.rpartition(":")[2].isdigit() and not host.endswith("]") else f"{host}:80")
        except OptionError:
            return False
        if port != self.port:
            return False
        if self._local:
            return name in _LOOPBACK
        if name.lower() in (self._host, socket.gethostname().lower(), f"{socket.gethostname().lower()}.local"):
            return True
        try:
            ipaddress.ip_address(name)  # nobody can point a number elsewhere
        except ValueError:
            return False
        return True

    def greet(self, client: _Lines) -> None:
        """Gives a client that comes what it needs to begin with, the last lines and events."""
        self.clients.add(client)
        messages: list[str | bytes] = [self._begin, *self._history, *self._events, self._status]
        for message in messages:
            if message:
                client.queue(message)


class _Server(tornado.httpserver.HTTPServer):
    """HTTP server with so many connections at most, those that say nothing included."""

    def initialize(self, *arguments: Any, **options: Any) -> None:
        super().initialize(*arguments, **options)
        self._streams: set[tornado.iostream.IOStream] = set()

    def handle_stream(self, stream: tornado.iostream.IOStream, address: Any) -> None:
        self._streams = {entry for entry in self._streams if not entry.closed()}
        if len(self._streams) >= _CONNECTIONS:
            stream.close()
            return
        self._streams.add(stream)
        super().handle_stream(stream, address)

    def hang_up(self) -> None:
        """Closes every connection, whatever the client makes of it."""
        for stream in self._streams:
            stream.close()


class _Handler(tornado.web.RequestHandler):
    """A request: from this page's own address, and from a client that knows the token."""

    def initialize(self, page: Page, file: tuple[str, str] = ("", "")) -> None:
        self.page, self.file = page, file

    def set_default_headers(self) -> None:
        self.clear_header("Server")
        for name, value in _HEADERS.items():
            self.set_header(name, value)

    def prepare(self) -> None:
        self.check(self.request.headers.get("Origin"))

    def check(self, origin: str | None) -> None:
        """Raises HTTPError for another's host or origin, and for who lacks the token."""
        host = self.request.headers.get("Host", "")
        if not self.page.knows_host(host):
            raise tornado.web.HTTPError(421)
        if origin is not None and origin.lower() != f"http://{host.lower()}":
            raise tornado.web.HTTPError(403)
        if self.page.token is not None and not self._welcome(self.page.token):
            raise tornado.web.HTTPError(401)

    def _welcome(self, token: str) -> bool:
        if hmac.compare_digest(self.get_cookie(_COOKIE, "").encode(), self.page.cookie.encode()):
            return True
        return hmac.compare_digest(self.get_query_argument("token", "").encode(), token.encode())

    def write_error(self, status_code: int, **_: Any) -> None:
        words = {401: "This page needs the token of its run.", 403: "Not from another page.", 421: "Not under this name."}
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish(words.get(status_code, f"{status_code}") + "\n")

    def log_exception(self, *_: Any) -> None:
        """Logs nothing: an address may hold the token."""


class _Missing(_Handler):
    def prepare(self) -> None:
        super().prepare()
        raise tornado.web.HTTPError(404)


class _File(_Handler):
    def get(self) -> None:
        if self.get_query_argument("token", None) is not None:
            self.set_cookie(_COOKIE, self.page.cookie, httponly=True, samesite="Strict", path="/")
            self.redirect("/", status=303)
            return
        name, kind = self.file
        self.set_header("Content-Type", f"{kind}; charset=utf-8")
        self.finish((_STATIC / name).read_bytes())


class _Lines(tornado.websocket.WebSocketHandler, _Handler):
    """A client of the waterfall, and what it has yet to read."""

    def initialize(self, page: Page, file: tuple[str, str] = ("", "")) -> None:
        _Handler.initialize(self, page, file)
        self._messages: deque[str | bytes] = deque()
        self._ready = asyncio.Event()
        self._sending = False

    def check_origin(self, origin: str) -> bool:
        return True  # `prepare` has looked

    def prepare(self) -> None:
        origin = self.request.headers.get("Origin")
        self.check("" if origin is None else origin)  # browsers always tell theirs
        if len(self.page.clients) >= CLIENTS:
            raise tornado.web.HTTPError(503)

    def open(self, *_: str, **__: str) -> None:
        self.set_nodelay(True)
        self.page.greet(self)
        self._task = asyncio.ensure_future(self._send_all())

    def on_message(self, message: str | bytes) -> None:
        self.close(1008)  # this page only tells

    def on_close(self) -> None:
        self.page.clients.discard(self)
        self._ready.set()

    @property
    def waits(self) -> bool:
        """Whether there is something that the client has yet to read."""
        return bool(self._messages) or self._sending

    def queue(self, message: str | bytes) -> None:
        """Adds a message; where too many wait, the oldest lines are forgotten, and older figures with them."""
        self._messages.append(message)
        waiting = [entry for entry in self._messages if isinstance(entry, bytes)]
        if len(self._messages) > _WAITING + 2 * _HISTORY:
            self._messages.remove(waiting[0] if waiting else self._messages[0])
        self._ready.set()

    async def _send_all(self) -> None:
        while self.ws_connection is not None:
            self._ready.clear()
            while self._messages:
                message = self._messages.popleft()
                self._sending = True
                try:
                    await self.write_message(message, binary=isinstance(message, bytes))  # until the system has taken it
                except (tornado.websocket.WebSocketClosedError, tornado.iostream.StreamClosedError):
                    return
                finally:
                    self._sending = False
            await self._ready.wait()
