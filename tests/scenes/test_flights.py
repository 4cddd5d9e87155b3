"""Flights: several scenes as one, of other forms and class numbers, with roles; and each way in which they do not fit."""

from __future__ import annotations

import dataclasses
import json
import re
import warnings
from pathlib import Path

import numpy as np
import pytest

from hsiedge.api.model import load
from hsiedge.card import Card
from hsiedge.errors import OptionError, SceneError, SplitError
from hsiedge.scenes import cubes, flights, splits
from hsiedge.scenes.cubes import StackedCube, spans_of
from hsiedge.scenes.facts import scene_facts
from hsiedge.scenes.flights import join_flights, open_flights
from hsiedge.scenes.io.cube import SceneWarning
from hsiedge.scenes.io.georeference import Georeference
from hsiedge.scenes.open import open_scene
from hsiedge.scenes.pack import pack
from hsiedge.scenes.patches import extract, surrounded, touches_nodata
from hsiedge.scenes.scene import Scene
from hsiedge.scenes.splits import TEST, TRAIN, VALIDATION
from hsiedge.shipped import shipped
from tests.conftest import card_for
from tests.three_flights import write_flights

WAVELENGTHS = (450.0, 550.0, 650.0, 750.0)
CROPS = {1: "corn", 2: "soy", 3: "wheat"}


def flight(name: str, seed: int, shape: tuple[int, int] = (20, 16), classes: dict[int, str] = CROPS, **changes) -> Scene:
    """A scene of random counts, its classes in stripes."""
    dice = np.random.default_rng(seed)
    labels = np.array([0, *classes], np.uint16)[np.add.outer(np.arange(shape[0]), np.arange(shape[1])) % (len(classes) + 1)]
    counts = dice.integers(100, 5000, (*shape, len(WAVELENGTHS))).astype(np.uint16)
    facts = {"wavelengths": WAVELENGTHS, "scale": (1e-4,) * 4, "quantity": "reflectance", "source": f"{name}.npy"} | changes
    return Scene(name, counts, labels, classes, **facts)


@pytest.fixture
def three() -> list[Scene]:
    return [flight("a", 1), flight("b", 2, (25, 11)), flight("c", 3, (18, 14))]


def test_thirds_of_a_scene_in_three_forms_are_the_scene(indian_pines, tmp_path, monkeypatch) -> None:
    path = write_flights(indian_pines, tmp_path)
    for held in (cubes.HELD, 0):  # all in memory; read by rows
        monkeypatch.setattr(flights, "HELD", held)
        joined = open_scene(path)
        assert (np.asarray(joined.cube) == np.asarray(indian_pines.cube)).all()
        assert (joined.labelled() == indian_pines.labelled()).all()
        assert joined.classes == indian_pines.classes
        assert [entry.name for entry in joined.flights] == ["north", "middle", "south"]
        assert joined.split("random").digest == indian_pines.split("random").digest
        pixels = np.flatnonzero(indian_pines.labelled().ravel())[::97]
        whole, ours = (extract(scene.cube, pixels, 9) for scene in (indian_pines, joined))
        inner = np.isin(np.arange(145), [row for row in range(145) if min(abs(row - 48), abs(row - 96)) > 4])[pixels // 145]
        assert (whole[inner] == ours[inner]).all()
        assert (whole[~inner] != ours[~inner]).any()


def test_patches_are_reflected_at_the_edges_of_their_own_flight(three) -> None:
    joined = join_flights(three)
    for (top, height, width), scene in zip(spans_of(joined.cube), joined.flights):
        rows, columns = np.divmod(np.arange(height * width), width)
        ours = extract(joined.cube, (rows + top) * joined.shape[1] + columns, 7)
        assert (ours == extract(scene.cube, np.arange(height * width), 7)).all()
        strip = surrounded(joined.cube, top, joined.shape[0], 3)
        assert (strip[:, : width + 6] == surrounded(scene.cube, 0, height, 3)).all()


def test_what_is_read_by_rows_is_indexed_as_an_array(three) -> None:
    lazy = StackedCube([dataclasses.replace(scene.as_cube(), array=None) for scene in three])
    whole = np.asarray(join_flights(three).cube)
    lazy._ahead = 3  # rows at a time, so that pieces meet
    dice = np.random.default_rng(0)
    rows, columns = dice.integers(0, 63, (40, 3, 1)), dice.integers(0, 16, (40, 1, 5))
    assert (lazy[rows, columns] == whole[rows, columns]).all()
    assert (join_flights(three).cube[rows, columns] == whole[rows, columns]).all()
    assert (lazy[7] == whole[7]).all()
    assert (lazy[-1, :, 2] == whole[-1, :, 2]).all()
    assert (lazy[18:50] == whole[18:50]).all()
    assert (lazy[::7, ::3] == whole[::7, ::3]).all()
    assert lazy[5:5].shape == (0, *whole.shape[1:])
    assert (np.stack([*lazy]) == whole).all()
    with pytest.raises(IndexError, match="arrays of rows and columns"):
        lazy[np.zeros(whole.shape[:2], bool)]


def test_classes_are_joined_by_name(three) -> None:
    other = flight("d", 4, classes={1: "soy", 2: "barley", 5: "corn"})
    joined = join_flights([three[0], other])
    assert joined.classes == {1: "corn", 2: "soy", 3: "wheat", 4: "barley"}
    ours = joined.labelled()[20:40, :16]
    assert {(int(mine), int(own)) for mine, own in zip(ours.ravel(), other.labelled().ravel())} == {
        (0, 0),
        (2, 1),
        (4, 2),
        (1, 5),
    }
    assert join_flights([three[0], other], classes={9: "soy"}).classes == {1: "corn", 2: "barley", 3: "wheat", 9: "soy"}


def test_bands_come_in_the_first_flights_order_and_units(three) -> None:
    turned = dataclasses.replace(
        three[1],
        cube=(np.asarray(three[1].cube)[:, :, ::-1] * 1e-4).astype(np.float32),
        wavelengths=tuple(value + 3 for value in WAVELENGTHS[::-1]),
        scale=None,
    )
    assert (np.asarray(join_flights([three[0], turned]).cube) == np.asarray(join_flights(three[:2]).cube)).all()


def test_nodata_of_a_flight_is_that_of_its_own(three) -> None:
    cube = np.asarray(three[1].cube).copy()
    cube[4, 5] = 0
    joined = join_flights([three[0], dataclasses.replace(three[1], cube=cube, nodata=0.0), three[2]])
    assert [*zip(*np.nonzero(joined.empty))] == [(24, 5), (24, 15)]  # and its mirror image, right of the narrower flight
    near = np.array([22 * 16 + 5, 21 * 16 + 5, 19 * 16 + 5])
    assert touches_nodata(joined, near, 5).tolist() == [True, False, False]
    assert (joined.split("random").parts[20:30, :11] == 0).all()
    assert not joined.as_cube().valid(24, 1)[0, 5]


def test_a_held_out_flight_tests_as_a_whole(three) -> None:
    joined = join_flights(three).hold_out("c")
    split = joined.split()
    assert split.kind == "flights"
    labels, parts = joined.labelled(), split.parts
    assert (parts[45:][labels[45:] != 0] == TEST).all()
    assert not (parts[:45] == TEST).any()
    assert abs((parts == VALIDATION).sum() / (parts[:45] != 0).sum() - 1 / 3) < 0.01
    again = splits.redraw(join_flights(three), json_facts(joined, split))
    assert again.digest == split.digest
    with pytest.raises(SplitError, match="its labels give another flights split"):
        splits.redraw(join_flights([three[1], three[0], three[2]]), json_facts(joined, split))


def json_facts(scene: Scene, split: splits.Split):
    """Facts of a split as they come back from a Card's JSON, which lists each flight with its digest."""
    card = dataclasses.replace(card_for(scene, 3), split=split.facts, scene=scene_facts(scene, split.pixels(TRAIN)))
    back = Card.from_json(card.to_json(), "here")
    assert [entry.name for entry in back.scene.flights] == ["a", "b", "c"]
    assert [entry.sha256 for entry in back.scene.flights] == [entry.sha256 for entry in scene.flights]
    assert len({entry.digest for entry in back.scene.flights}) == 3
    return back.split


def test_a_held_out_flight_over_ground_that_trains_is_told(three) -> None:
    def at(scene: Scene, x: float, y: float) -> Scene:
        return dataclasses.replace(scene, georeference=Georeference((2.0, 0.0, x, 0.0, -2.0, y), "EPSG:32633"))

    apart = join_flights([at(three[0], 0, 0), at(three[1], 1000, 0)]).hold_out("b")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        apart.split()
    over = join_flights([at(three[0], 0, 0), at(three[1], 8, -20)]).hold_out("b")  # four columns and ten rows on
    share = (three[0].labelled()[10:20, 4:15][three[1].labelled()[:10, :11] != 0] != 0).sum() / (three[1].labelled() != 0).sum()
    with pytest.warns(SceneWarning, match=f"b: {100 * share:.1f} % of its labelled pixels lie on ground that is labelled in a"):
        over.split()


def test_roles_say_which_flights_validate(three) -> None:
    split = join_flights(three, roles=("validate", "train", "test")).split()
    assert [np.unique(split.parts[rows]).tolist() for rows in (slice(20), slice(20, 45), slice(45, 63))] == [
        [0, 2],
        [0, 1],
        [0, 3],
    ]


def test_a_class_of_the_held_out_flight_alone_is_in_no_part(three) -> None:
    other = flight("d", 4, classes={**CROPS, 7: "maize"})
    split = join_flights([*three, other]).hold_out("d").split()
    assert split.dropped == (7,)
    fewer = join_flights([other, three[1]]).hold_out("b").split()
    assert fewer.dropped == ()  # learnt, though it is not tested


def test_a_scene_without_flights_has_the_json_that_it_had(tiny_scene) -> None:
    data = json.loads(dataclasses.replace(card_for(tiny_scene, 3), split=tiny_scene.split().facts).to_json())
    assert "flights" not in data["scene"]
    assert "roles" not in data["split"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"labels": None}, "b has no labels, which each flight has"),
        ({"cube": flight("a", 1).cube}, "b is the same cube as a: its pixels would train and test"),
        ({"wavelengths": (450.0, 550.0, 650.0, 900.0)}, "no good band within 50.0 nm of a's 750.0 nm; the nearest is 650.0 nm"),
        ({"wavelengths": (450.0, 549.0, 601.0, 751.0), "bands": 3}, "one of them would stand for two of a"),
        ({"quantity": "radiance"}, "b: b.npy is in 'radiance', a takes 'reflectance'"),
        ({"scale": None, "quantity": ""}, r"a says what its values mean, b.npy does not; .*units = stored\|physical"),
        ({"scale": (10.0,) * 4}, "b.npy holds values that uint16, which a takes, cannot hold"),
        ({"classes": {1: "Corn", 2: "soy", 3: "wheat"}}, "a has a class 'corn', b one 'Corn': write them alike"),
        ({"classes": {1: "corn", 2: "soy", 3: "soy"}}, "b has two classes that are called soy"),
        ({"classes": {n: f"class {n}" for n in CROPS}}, r"b names none of its classes, a does \(corn, soy, wheat, ...\)"),
    ],
)
def test_flights_that_do_not_fit_together_say_why(change, words) -> None:
    second, change = flight("b", 2), dict(change)
    if "bands" in change:  # coarser ones: two of the first are nearest to the same
        kept = [0, 2, 3]
        second = dataclasses.replace(second, cube=np.asarray(second.cube)[:, :, kept], scale=(1e-4,) * 3)
        change = {"wavelengths": (500.0, 650.0, 750.0)}
    with pytest.raises(SceneError, match=words):
        join_flights([flight("a", 1), dataclasses.replace(second, **change)])


def test_flights_without_wavelengths_on_one_side_are_taken_in_order_and_said(three) -> None:
    silent = dataclasses.replace(three[1], wavelengths=())
    with pytest.warns(UserWarning, match="b names no wavelengths: its 4 bands are taken as they stand"):
        join_flights([three[0], silent])


def test_fewer_than_two_and_flights_of_flights_are_no_flights(three) -> None:
    with pytest.raises(SceneError, match="two or more are joined, here is one"):
        join_flights(three[:1])
    with pytest.raises(SceneError, match=re.escape("a+b is several flights already")):
        join_flights([join_flights(three[:2]), three[2]])


def test_what_would_lose_the_edges_of_flights_is_refused(three, tmp_path) -> None:
    joined = join_flights(three)
    with pytest.raises(SceneError, match=re.escape("a+b+c is 3 flights: pack them one by one")):
        pack(joined, tmp_path / "pack.npz")
    assert not list(tmp_path.iterdir())
    with pytest.raises(SceneError, match=re.escape("a+b+c is 3 flights: a map is made of one flight")):
        load(shipped("-int8-scene.onnx")).classify(joined)


def test_names_that_two_share_are_told_apart(three) -> None:
    pair = [dataclasses.replace(scene, name="cube", source=f"{day}/cube.npy") for scene, day in zip(three, ("may", "june"))]
    assert [scene.name for scene in join_flights(pair).flights] == ["may/cube", "june/cube"]


def test_roles_that_make_no_split_say_why(three) -> None:
    joined = join_flights(three)
    with pytest.raises(OptionError, match="no flight is called so; there are a, b, c"):
        joined.hold_out("d")
    with pytest.raises(OptionError, match="x is one scene"):
        flight("x", 1).hold_out("d")
    with pytest.raises(SplitError, match="one flight at least trains, and one tests"):
        joined.hold_out("a", "b", "c").split()
    with pytest.raises(SplitError, match="one flight at least trains, and one tests"):
        joined.split("flights")
    facts = dataclasses.replace(joined.hold_out("c").split().facts, roles=["", "", "tests"])
    with pytest.raises(SplitError, match="'tests' is no role of a flight; there are train, validate and test"):
        splits.redraw(joined, facts)
    with pytest.raises(OptionError, match="a random split knows no roles, and flights have some"):
        joined.hold_out("a").split("random")
    with pytest.raises(OptionError, match="one scene, not several"):
        flight("x", 1).split("flights")
    with pytest.raises(OptionError, match="roles=2: one for each of 3 flights was expected"):
        join_flights(three, roles=("test", ""))
    with pytest.raises(OptionError, match="one of train, validate, test was expected"):
        join_flights(three, roles=("tests", "", ""))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "lists no flights"),
        ("flights = 1", "flights: not understood"),
        ("[[flight]]\ncube = 'a.npy'\ncolour = 1", "flight.colour: not understood; there are cube, labels"),
        ("[[flight]]\ncube = 3", "flight.cube: text was expected"),
        ("[[flight]]\nlabels = 'a.npy'", "flight.cube: each flight names its cube"),
        ("[[flight]]\ncube = 'a.npy'\nrole = 'tests'", "flight.role: 'tests' is none of train, validate, test"),
        ("[[flight]]\ncube = 'a.npy'\nunits = 'mine'", "flight.units: 'mine' is none of stored, physical"),
        ("[[flight]]\ncube = 'a.npy'\nalign = 'yes'", "flight.align: true or false was expected"),
        ("[[flight]]\ncube = 'a.npy'\nreferences = true", "flight.references: { dark"),
        ("[[flight]]\ncube = 'a.npy'\n[classes]\nzero = 'corn'", "classes: names by ids from 1 to 65535"),
        ("[[flight]]\ncube = 'a.npy'\n[classes]\n1 = 'corn'\n2 = 'corn'", "classes: two of them have the same name"),
        ("[[flight]]\ncube = 'gone.npy'\nlabels = 'gone.npy'", "gone.npy: no such file"),
        ("name = 3\n[[flight]]\ncube = 'a.npy'", "name: text was expected"),
    ],
)
def test_a_list_that_is_not_understood_names_the_key(tmp_path, text, words) -> None:
    path = tmp_path / "flights.toml"
    path.write_text(text)
    with pytest.raises((OptionError, SceneError), match=re.escape(words)) as caught:
        open_flights(path)
    assert str(path) in str(caught.value) or str(path.parent) in str(caught.value)


def test_a_list_leads_from_its_own_folder_and_says_more_of_each(tmp_path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    for name, seed in (("a", 1), ("b", 2)):
        scene = flight(name, seed)
        np.save(folder / f"{name}.npy", np.asarray(scene.cube))
        np.save(folder / f"{name}-labels.npy", scene.labelled())
    tables = [f'[[flight]]\nname = "{name}1"\ncube = "{name}.npy"\nlabels = "{name}-labels.npy"\n' for name in "ab"]
    listed = folder / "farm.toml"
    listed.write_text("\n".join([*tables, 'role = "test"', "[classes]", '2 = "soy"']))
    joined = open_scene(listed)
    assert (joined.name, joined.roles, [entry.name for entry in joined.flights]) == ("farm", ("", "test"), ["a1", "b1"])
    assert joined.classes == {1: "class 1", 2: "soy", 3: "class 3"}
    with pytest.raises(OptionError, match="a list of flights names each flight's own files"):
        open_scene(listed, Path("labels.npy"))


def _hdf5(folder: Path, cube: np.ndarray) -> Path:
    h5py = pytest.importorskip("h5py", reason="h5py writes HDF5, and is not installed")
    with h5py.File(folder / "cube.h5", "w") as file:
        file.create_dataset("cube", data=cube, chunks=(4, 5, 3), compression="gzip")
    return folder / "cube.h5"


def _geotiff(folder: Path, cube: np.ndarray) -> Path:
    rasterio = pytest.importorskip("rasterio", reason="rasterio writes GeoTIFF, and is not installed")
    height, width, bands = cube.shape
    facts = {"driver": "GTiff", "height": height, "width": width, "count": bands, "dtype": cube.dtype, "compress": "deflate"}
    with rasterio.open(folder / "cube.tif", "w", tiled=True, blockxsize=16, blockysize=16, **facts) as file:
        file.write(cube.transpose(2, 0, 1))
    return folder / "cube.tif"


def _envi_with_bad_bands(folder: Path, cube: np.ndarray) -> Path:
    height, width, bands = cube.shape
    header = f"ENVI\nlines = {height}\nsamples = {width}\nbands = {bands}\ndata type = 12\ninterleave = bsq\nbyte order = 1\n"
    (folder / "cube.hdr").write_text(header + "bbl = {1, 0, 1, 1}\n")
    cube.transpose(2, 0, 1).astype(">u2").tofile(folder / "cube.img")
    return folder / "cube.img"


@pytest.mark.parametrize("write", [_hdf5, _geotiff, _envi_with_bad_bands])
@pytest.mark.filterwarnings("ignore:Dataset has no geotransform")
def test_a_large_file_that_cannot_be_mapped_stays_where_it_is(tmp_path, monkeypatch, write) -> None:
    scene = flight("a", 5, (37, 23))
    path = write(tmp_path, np.asarray(scene.cube))
    np.save(tmp_path / "labels.npy", scene.labelled())
    whole = open_scene(path, tmp_path / "labels.npy")
    monkeypatch.setattr("hsiedge.scenes.scene.HELD", 0)
    lazy = open_scene(path, tmp_path / "labels.npy")
    assert isinstance(whole.cube, np.ndarray)
    assert isinstance(lazy.cube, StackedCube)
    assert lazy.digest == whole.digest
    pixels = np.flatnonzero(whole.labelled().ravel())[::-3]
    assert (extract(lazy.cube, pixels, 5) == extract(whole.cube, pixels, 5)).all()
    other = dataclasses.replace(whole, name="other", cube=np.asarray(whole.cube) + np.uint16(1))
    assert (np.asarray(join_flights([lazy, other]).cube)[:37] == np.asarray(whole.cube)).all()
