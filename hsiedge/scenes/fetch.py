"""Downloads of catalog scenes: with progress, a checksum where one is known, and nothing half-written (pooch)."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from hsiedge.errors import DownloadError, HsiedgeError, OutputError, SceneError
from hsiedge.progress import Progress, silent
from hsiedge.scenes.catalog import CatalogEntry, RemoteFile
from hsiedge.scenes.open import open_entry

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
    for file, share in zip((entry.cube, entry.labels), _MEASURE):
        paths.append(retrieve(file, folder, lambda part, done=done, share=share: progress(done + share * part)))  # type: ignore[misc]
        done += share
    progress(1.0)
    try:
        open_entry(entry, folder)
    except SceneError:
        for file in unproven:  # a login page in place of the labels must not be found again next time
            (folder / file.name).unlink(missing_ok=True)
        raise
    return paths


def retrieve(file: RemoteFile, folder: Path, progress: Progress = silent) -> Path:
    """Downloads one published file into `folder`, unless it is there and right. Raises DownloadError or OutputError."""
    import pooch
    import requests

    pooch.get_logger().setLevel(logging.CRITICAL)  # what goes wrong is said once, below
    known = f"sha256:{file.sha256}" if file.sha256 else None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        downloader = pooch.HTTPDownloader(progressbar=_Bar(progress), timeout=30)
        return Path(pooch.retrieve(file.url, known, file.name, folder, downloader=downloader))
    except HsiedgeError:
        raise
    except requests.RequestException as error:
        status = f"HTTP {error.response.status_code}" if error.response is not None else type(error).__name__
        raise DownloadError(
            f"{file.url}: cannot be downloaded ({status}); is there a network? "
            f"A copy of {file.name} in {folder}, in $HSIEDGE_DATA or in a folder of your own serves as well",
            use={"data_dir": "FOLDER"},
        ) from error
    except ValueError as error:  # pooch: the checksum
        raise DownloadError(
            f"{file.url}: what arrived is not the official {file.name}, and was thrown away ({error})"
        ) from error
    except OSError as error:
        raise OutputError(
            f"cannot write to {folder}: {error.strerror or error}; choose another place", use={"data_dir": "FOLDER"}
        ) from error


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
