"""Downloads of catalog scenes: with progress, a checksum where one is known, and nothing half-written (pooch)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from hsiedge.errors import DownloadError, OutputError, SceneError
from hsiedge.progress import Progress, silent
from hsiedge.scenes.catalog import CatalogEntry, RemoteFile
from hsiedge.scenes.io.reader import read_labels
from hsiedge.scenes.open import open_entry
from hsiedge.scenes.scene import labels_digest

_MEASURE = (0.97, 0.03)  # labels are a small part of what is downloaded


def fetch(entry: CatalogEntry, folder: Path, progress: Progress = silent) -> list[Path]:
    """Downloads cube and labels into `folder`, unless they are there and right, and opens the scene once.

    Raises:
        DownloadError: no network, or what arrived is not what it should be.
        OutputError: the folder cannot be written to.
        SceneError: the files are not the scene.
    """
    paths, done = [], 0.0
    unproven = [file for file in (entry.cube, entry.labels) if file.sha256 is None and not (folder / file.name).exists()]
    for file, share, check in zip((entry.cube, entry.labels), _MEASURE, (None, _check_of_labels(entry))):
        tick = partial(_part, progress, done, share)
        paths.append(retrieve(file, folder, tick, check=check if file.sha256 is None else None))
        done += share
    progress(1.0)
    try:
        open_entry(entry, folder)
    except SceneError:
        for file in unproven:  # a login page in place of the labels must not be found again next time
            (folder / file.name).unlink(missing_ok=True)
        raise
    return paths


def retrieve(
    file: RemoteFile, folder: Path, progress: Progress = silent, *, check: Callable[[Path], bool] | None = None
) -> Path:
    """Downloads one published file into `folder`, unless it is there and right; from the first address that gives it.

    Args:
        check: whether a file that has arrived is the right one, where its SHA-256 is not known.

    Raises:
        DownloadError: no address gives the file.
        OutputError: the folder cannot be written to.
    """
    forward, failures = _Forward(progress), list[DownloadError]()
    for url in (file.url, *file.mirrors):
        try:
            return _download(url, file, folder, forward, check)
        except DownloadError as error:
            failures.append(error)
    reasons = "; ".join(error.reason for error in failures)
    if all(isinstance(error.__cause__, ValueError) for error in failures):
        raise DownloadError(reasons) from failures[-1]
    copy = f"is there a network? A copy of {file.name} in {folder}, in $HSIEDGE_DATA or in a folder of your own serves as well"
    raise DownloadError(f"{reasons}; {copy}", use={"data_dir": "FOLDER"}) from failures[-1]


def _download(url: str, file: RemoteFile, folder: Path, progress: Progress, check: Callable[[Path], bool] | None) -> Path:
    import pooch
    import requests

    pooch.get_logger().setLevel(logging.CRITICAL)  # what goes wrong is said once
    known, path = f"sha256:{file.sha256}" if file.sha256 else None, folder / file.name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        present = path.exists()
        downloader = pooch.HTTPDownloader(progressbar=_Bar(progress), timeout=30)
        pooch.retrieve(url, known, file.name, folder, downloader=downloader)
        if not present and check is not None and not check(path):
            path.unlink()
            raise ValueError("another SHA-256")
        return path
    except requests.RequestException as error:
        status = f"HTTP {error.response.status_code}" if error.response is not None else type(error).__name__
        raise DownloadError(f"{url}: cannot be downloaded ({status})") from error
    except ValueError as error:  # pooch: the checksum
        raise DownloadError(f"{url}: what arrived is not the official {file.name}, and was thrown away ({error})") from error
    except OSError as error:
        raise OutputError(
            f"cannot write to {folder}: {error.strerror or error}; choose another place", use={"data_dir": "FOLDER"}
        ) from error


def _check_of_labels(entry: CatalogEntry) -> Callable[[Path], bool] | None:
    """Whether a file holds the official label map, by the SHA-256 of its ids; None where nobody has measured that."""
    if entry.labels_sha256 is None:
        return None

    def right(path: Path) -> bool:
        try:
            return labels_digest(read_labels(path, entry.labels.key).array) == entry.labels_sha256
        except SceneError:
            return False

    return right


def _part(progress: Progress, done: float, share: float, part: float) -> None:
    progress(done + share * part)


class _Forward:
    """Progress that does not fall back where another address begins anew."""

    def __init__(self, progress: Progress) -> None:
        self._progress, self._most = progress, 0.0

    def __call__(self, part: float) -> None:
        self._most = max(self._most, part)
        self._progress(self._most)


class _Bar:
    """Progress bar as pooch takes it."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._done = 0
        self.total = 0

    def update(self, count: int) -> None:
        self._done += count
        self._progress(min(1.0, self._done / self.total) if self.total else 0.0)

    def reset(self) -> None:
        self._done = 0

    def close(self) -> None:
        pass

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)
