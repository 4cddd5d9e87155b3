"""The images, built two at a time, and what their containers are given."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from hsiedge.scenes.pack import pack
from hsiedge.scenes.scene import Scene
from hsiedge.shipped import shipped
from tests.arm.board import UnavailableError
from tests.docker.images import DOCKER, Image, store

PI = ("pi-arm64", "pi-amd64")
IMAGES = (PI[0], "workstation-amd64", PI[1])  # the longest first
USER = 1000


@pytest.fixture(scope="session")
def dockerfiles() -> list[Path]:
    if not DOCKER.is_dir():
        pytest.skip("the Dockerfiles lie in a checkout, not beside an installed wheel")
    return sorted(DOCKER.glob("*.Dockerfile"))


@pytest.fixture(scope="session")
def building(dockerfiles: list[Path]) -> Iterator[dict[str, Future[Image]]]:
    with ExitStack() as stack:
        try:
            images_store = stack.enter_context(store())
        except UnavailableError as why:
            pytest.skip(f"no images are built: {why}")
        pool = stack.enter_context(ThreadPoolExecutor(2))
        yield {name: pool.submit(images_store.build, *name.split("-")) for name in IMAGES}


@pytest.fixture(scope="session", params=PI)
def pi(building: dict[str, Future[Image]], request: pytest.FixtureRequest) -> Image:
    return building[request.param].result()


@pytest.fixture(scope="session")
def workstation(building: dict[str, Future[Image]]) -> Image:
    return building["workstation-amd64"].result()


@pytest.fixture(scope="session")
def data(indian_pines: Scene, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is mounted at /data: the scene, packed, under the name that it is looked for."""
    folder = tmp_path_factory.mktemp("data")
    folder.chmod(0o755)
    pack(indian_pines, folder / "indian_pines.npz")
    (folder / "indian_pines.npz").chmod(0o644)
    return folder


@pytest.fixture
def work(indian_pines: Scene, tmp_path: Path) -> Path:
    """What is mounted at /work, and belongs to the user of the images: two shipped models, and a corner of the scene."""
    for suffix in ("-int8.onnx", "-int8-scene.onnx"):
        (tmp_path / shipped(suffix).name).write_bytes(shipped(suffix).read_bytes())
    np.save(tmp_path / "corner.npy", indian_pines.cube[60:100, 40:90])
    os.chown(tmp_path, USER, USER)
    return tmp_path
