"""Downloads, from a real server on this machine."""

from __future__ import annotations

import dataclasses
import gc
import hashlib
import io
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from hsiedge.errors import DownloadError, HsiedgeError, OutputError, SceneError
from hsiedge.scenes.catalog import CATALOG, CatalogEntry, RemoteFile
from hsiedge.scenes.fetch import fetch
from hsiedge.scenes.scene import labels_digest

pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")  # pooch leaves it to the garbage collector
SHAPE = (16, 12, 200)


class Server(ThreadingHTTPServer):
    """Serves `files`; `promised` is how many bytes more than that it says a file has."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.promised = 0
        self.asked: list[str] = []


class _Handler(BaseHTTPRequestHandler):
    site: Server

    def do_GET(self) -> None:
        name = self.path.rsplit("/", 1)[1]
        self.server.asked.append(name)
        if name not in self.server.files:
            self.send_error(404)
            return
        body = self.server.files[name]
        self.send_response(200)
        self.send_header("Content-Length", str(len(body) + self.server.promised))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def site() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()
    gc.collect()


def arrays() -> tuple[np.ndarray, np.ndarray]:
    cube = np.random.default_rng(0).integers(900, 9000, SHAPE, np.uint16)
    return cube, (np.arange(SHAPE[0] * SHAPE[1], dtype=np.uint8) % 17).reshape(SHAPE[:2])


def encode(key: str, array: np.ndarray, kind: str) -> bytes:
    buffer = io.BytesIO()
    if kind == "mat":
        pytest.importorskip("scipy.io", reason="scipy writes .mat, and is not installed").savemat(buffer, {key: array})
    else:
        np.savez(buffer, **{key: array})
    return buffer.getvalue()


def offered(site: Server, kind: str = "npz") -> CatalogEntry:
    """Indian Pines in the small, on the server; as on the official site, only the cube's checksum is known."""
    real, (cube, labels) = CATALOG["indian_pines"], arrays()
    address = f"http://127.0.0.1:{site.server_port}"
    remote = []
    for file, array in ((real.cube, cube), (real.labels, labels)):
        name = f"{file.name[:-4]}.{kind}"
        site.files[name] = encode(file.key, array, kind)
        sha256 = hashlib.sha256(site.files[name]).hexdigest() if file is real.cube else None
        remote.append(RemoteFile(name, file.key, f"{address}/{name}", sha256))
    return dataclasses.replace(real, cube=remote[0], labels=remote[1], shape=SHAPE, decoded_sha256=None, labels_sha256=None)


def fails(error: type[HsiedgeError], match: str, entry: CatalogEntry, folder: Path) -> None:
    with pytest.raises(error, match=match) as caught:
        fetch(entry, folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["mat", "npz"])
def test_arrives_whole_with_progress(site: Server, tmp_path: Path, kind: str) -> None:
    entry, ticks = offered(site, kind), []
    paths = fetch(entry, tmp_path / "new" / "folder", ticks.append)
    assert [path.read_bytes() for path in paths] == [site.files[file.name] for file in (entry.cube, entry.labels)]
    assert sorted(path.name for path in (tmp_path / "new" / "folder").iterdir()) == sorted(site.files)
    assert ticks[-1] == 1.0
    assert len([tick for tick in ticks if 0 < tick < 0.97]) > 10
    assert all(0 <= tick <= 1 for tick in ticks)


def test_progress_never_falls_back(site: Server, tmp_path: Path) -> None:
    ticks: list[float] = []
    fetch(offered(site), tmp_path, ticks.append)
    assert ticks == sorted(ticks)


def test_a_second_time_downloads_nothing(site: Server, tmp_path: Path) -> None:
    entry, ticks = offered(site), []
    fetch(entry, tmp_path)
    assert site.asked == [entry.cube.name, entry.labels.name]
    fetch(entry, tmp_path, ticks.append)
    assert len(site.asked) == 2
    assert ticks[-1] == 1.0


def test_a_damaged_copy_is_replaced(site: Server, tmp_path: Path) -> None:
    entry = offered(site)
    fetch(entry, tmp_path)
    (tmp_path / entry.cube.name).write_bytes(b"damaged")
    fetch(entry, tmp_path)
    assert (tmp_path / entry.cube.name).read_bytes() == site.files[entry.cube.name]


def test_wrong_checksum(site: Server, tmp_path: Path) -> None:
    entry = offered(site)
    site.files[entry.cube.name] += b"more"
    fails(DownloadError, "not the official Indian_pines_corrected.npz, and was thrown away", entry, tmp_path)
    assert list(tmp_path.iterdir()) == []


def mirrored(site: Server, entry: CatalogEntry, *folders: str) -> CatalogEntry:
    """The entry, whose cube and labels have copies in folders of the server."""
    address = f"http://127.0.0.1:{site.server_port}"
    labels_sha256 = labels_digest(arrays()[1].astype(np.uint16))
    copies = [
        dataclasses.replace(file, mirrors=tuple(f"{address}/{folder}/{folder}-{file.name}" for folder in folders))
        for file in (entry.cube, entry.labels)
    ]
    return dataclasses.replace(entry, cube=copies[0], labels=copies[1], labels_sha256=labels_sha256)


def test_the_first_address_with_the_right_file_counts(site: Server, tmp_path: Path) -> None:
    entry = mirrored(site, offered(site), "a", "b", "c")
    names, ticks = [entry.cube.name, entry.labels.name], list[float]()
    other = encode(entry.labels.key, arrays()[1] % 16, "npz")  # label maps that are well-formed, and others
    for name in names:
        right = site.files.pop(name)  # the publisher's site is gone, the first copy is another file, the second is right
        site.files |= {f"a-{name}": other, f"b-{name}": right, f"c-{name}": right}
    paths = fetch(entry, tmp_path, ticks.append)
    assert [path.read_bytes() for path in paths] == [site.files[f"b-{name}"] for name in names]
    assert site.asked == [f"{prefix}{name}" for name in names for prefix in ("", "a-", "b-")]
    assert ticks == sorted(ticks)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)


@pytest.mark.parametrize("which", ["cube", "labels"])
def test_no_address_has_the_right_file(site: Server, tmp_path: Path, which: str) -> None:
    entry = mirrored(site, offered(site), "a", "b")
    file = getattr(entry, which)
    site.files[file.name] = site.files[f"b-{file.name}"] = b"<html>please log in</html>"
    reasons = rf"/{file.name}: what arrived is not the official .*/a-{file.name}: cannot be downloaded \(HTTP 404\); .*/b-"
    fails(DownloadError, reasons + ".*is there a network.*data_dir=FOLDER", entry, tmp_path)
    assert file.name not in [path.name for path in tmp_path.iterdir()]


def test_copies_can_be_checked() -> None:
    mirrors = [(entry, file) for entry in CATALOG.values() for file in (entry.cube, entry.labels) if file.mirrors]
    assert len(mirrors) >= 3
    for entry, file in mirrors:
        assert file.sha256 or (file is entry.labels and entry.labels_sha256)
        assert all(url.startswith("https://") and url.rsplit("/", 1)[1] == file.name for url in file.mirrors)


@pytest.mark.parametrize("which", ["cube", "labels"])
def test_connection_lost_halfway(site: Server, tmp_path: Path, which: str) -> None:
    entry = offered(site)
    if which == "labels":
        fetch(entry, tmp_path)
        (tmp_path / entry.labels.name).unlink()
    site.promised = 1000
    fails(DownloadError, "cannot be downloaded", entry, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ([entry.cube.name] if which == "labels" else [])


def test_not_found(site: Server, tmp_path: Path) -> None:
    entry = offered(site)
    del site.files[entry.cube.name]
    fails(DownloadError, "cannot be downloaded .HTTP 404", entry, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_nobody_listens(site: Server, tmp_path: Path) -> None:
    entry = offered(site)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    gone = dataclasses.replace(entry.cube, url=f"http://127.0.0.1:{port}/{entry.cube.name}")
    fails(DownloadError, "is there a network.*HSIEDGE_DATA.*data_dir=FOLDER", dataclasses.replace(entry, cube=gone), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_login_page_in_place_of_the_labels_does_not_stay(site: Server, tmp_path: Path) -> None:
    entry = offered(site)
    right, site.files[entry.labels.name] = site.files[entry.labels.name], b"<html>please log in</html>" * 9
    fails(SceneError, "Indian_pines_gt", entry, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [entry.cube.name]
    site.files[entry.labels.name] = right
    fetch(entry, tmp_path)


def test_labels_that_somebody_put_there_stay(site: Server, tmp_path: Path) -> None:
    entry = offered(site)
    (tmp_path / entry.labels.name).write_bytes(b"my own, and wrong")
    fails(SceneError, "Indian_pines_gt", entry, tmp_path)
    assert (tmp_path / entry.labels.name).read_bytes() == b"my own, and wrong"


def test_a_folder_that_cannot_be_written(site: Server, tmp_path: Path) -> None:
    entry = offered(site)
    (tmp_path / "file").write_text("in its place")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        fails(OutputError, "cannot write to .*data_dir=", entry, folder)
    assert (tmp_path / "file").read_text() == "in its place"
    assert site.asked == []
