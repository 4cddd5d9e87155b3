"""The catalog: public scenes, by the facts that their publishers give.

Source of scenes, keys and addresses: Grupo de Inteligencia Computacional, "Hyperspectral Remote Sensing Scenes"
(University of the Basque Country). Class names follow that page, but for two scenes: Pavia Centre, where the page's order
of names does not fit the pixel counts of its own file (the 42,826 pixels of class 8 are roof tiles, not meadows), and
KSC, where it gives abbreviations.
"""

from __future__ import annotations

from dataclasses import dataclass

from hsiedge.errors import SceneError

_SITE = "https://www.ehu.eus/ccwintco/uploads"


@dataclass(frozen=True)
class RemoteFile:
    """One published .mat file: its name, the key of the array inside, its address, and its SHA-256 where known."""

    name: str
    key: str
    url: str
    sha256: str | None = None


@dataclass(frozen=True, eq=False)
class CatalogEntry:
    """One scene: `shape` is (height, width, bands); `classes` maps label id to name.

    `decoded_sha256` is `Scene.sha256` of the official cube, and `labels_sha256` that of the official label map
    (`scene.labels_digest`), where somebody has measured them.
    """

    name: str
    title: str
    sensor: str
    shape: tuple[int, int, int]
    cube: RemoteFile
    labels: RemoteFile
    classes: dict[int, str]
    aliases: tuple[str, ...] = ()
    decoded_sha256: str | None = None
    labels_sha256: str | None = None


def _numbered(*names: str) -> dict[int, str]:
    return {index + 1: name for index, name in enumerate(names)}


_SALINAS = _numbered(
    "Brocoli green weeds 1", "Brocoli green weeds 2", "Fallow", "Fallow rough plow", "Fallow smooth", "Stubble",
    "Celery", "Grapes untrained", "Soil vinyard develop", "Corn senesced green weeds", "Lettuce romaine 4wk",
    "Lettuce romaine 5wk", "Lettuce romaine 6wk", "Lettuce romaine 7wk", "Vinyard untrained",
    "Vinyard vertical trellis",
)  # fmt: skip

_INDIAN_PINES = _numbered(
    "Alfalfa", "Corn-notill", "Corn-mintill", "Corn", "Grass-pasture", "Grass-trees", "Grass-pasture-mowed",
    "Hay-windrowed", "Oats", "Soybean-notill", "Soybean-mintill", "Soybean-clean", "Wheat", "Woods",
    "Buildings-Grass-Trees-Drives", "Stone-Steel-Towers",
)  # fmt: skip
_PAVIA = _numbered(
    "Asphalt", "Meadows", "Gravel", "Trees", "Painted metal sheets", "Bare soil", "Bitumen", "Self-blocking bricks",
    "Shadows",
)  # fmt: skip
_PAVIA_CENTRE = _numbered(
    "Water", "Trees", "Meadows", "Self-blocking bricks", "Bare soil", "Asphalt", "Bitumen", "Tiles", "Shadows",
)  # fmt: skip
_KSC = _numbered(
    "Scrub", "Willow swamp", "Cabbage palm hammock", "Cabbage palm/oak hammock", "Slash pine",
    "Oak/broadleaf hammock", "Hardwood swamp", "Graminoid marsh", "Spartina marsh", "Cattail marsh", "Salt marsh",
    "Mud flats", "Water",
)  # fmt: skip
_BOTSWANA = _numbered(
    "Water", "Hippo grass", "Floodplain grasses 1", "Floodplain grasses 2", "Reeds", "Riparian", "Firescar",
    "Island interior", "Acacia woodlands", "Acacia shrublands", "Acacia grasslands", "Short mopane", "Mixed mopane",
    "Exposed soils",
)  # fmt: skip

CATALOG: dict[str, CatalogEntry] = {
    entry.name: entry
    for entry in (
        CatalogEntry(
            name="indian_pines",
            title="Indian Pines",
            sensor="AVIRIS",
            shape=(145, 145, 200),
            cube=RemoteFile(
                "Indian_pines_corrected.mat",
                "indian_pines_corrected",
                f"{_SITE}/6/67/Indian_pines_corrected.mat",
                "ec2f8808710919d566f70f0d4aa885aae1ddfd42b734aba71c5e12ca65450939",
            ),
            labels=RemoteFile("Indian_pines_gt.mat", "indian_pines_gt", f"{_SITE}/c/c4/Indian_pines_gt.mat"),
            classes=_INDIAN_PINES,
            aliases=("ip", "indianpines"),
            labels_sha256="ff7af1e743612bcae852f0d84810efda1d420c627e1172321781828de199b315",
            decoded_sha256="6517a9a51decb662d380875f13b8d1f0d4c1ca465db8609cacde69fc491dbcf9",
        ),
        CatalogEntry(
            name="pavia",
            title="Pavia University",
            sensor="ROSIS",
            shape=(610, 340, 103),
            cube=RemoteFile(
                "PaviaU.mat",
                "paviaU",
                f"{_SITE}/e/ee/PaviaU.mat",
                "28447fa87f7a5797845e9a189c0da85e23b1d06a4ba7361e5ff44efbf834d2fb",
            ),
            labels=RemoteFile("PaviaU_gt.mat", "paviaU_gt", f"{_SITE}/5/50/PaviaU_gt.mat"),
            classes=_PAVIA,
            aliases=("paviau", "pavia_university"),
            labels_sha256="a40f13cb1efcb534da5578839ca39664a0c366fabe8217fe62ef2b2bf11de2c0",
        ),
        CatalogEntry(
            name="pavia_centre",
            title="Pavia Centre",
            sensor="ROSIS",
            shape=(1096, 715, 102),
            cube=RemoteFile(
                "Pavia.mat",
                "pavia",
                f"{_SITE}/e/e3/Pavia.mat",
                "b60341da323fd271cd97dd6d7a69514d385ccd7fdfc5a60c4ff5994b047f152e",
            ),
            labels=RemoteFile("Pavia_gt.mat", "pavia_gt", f"{_SITE}/5/53/Pavia_gt.mat"),
            classes=_PAVIA_CENTRE,
            aliases=("paviac", "pavia_center"),
        ),
        CatalogEntry(
            name="salinas",
            title="Salinas",
            sensor="AVIRIS",
            shape=(512, 217, 204),
            cube=RemoteFile(
                "Salinas_corrected.mat",
                "salinas_corrected",
                f"{_SITE}/a/a3/Salinas_corrected.mat",
                "5ec1c0d22f56d18ecd336f8e35735863c0f160682e04e0c18ef3f89a3334d87d",
            ),
            labels=RemoteFile("Salinas_gt.mat", "salinas_gt", f"{_SITE}/f/fa/Salinas_gt.mat"),
            classes=_SALINAS,
        ),
        CatalogEntry(
            name="salinas_a",
            title="Salinas-A",
            sensor="AVIRIS",
            shape=(83, 86, 204),
            cube=RemoteFile(
                "SalinasA_corrected.mat",
                "salinasA_corrected",
                f"{_SITE}/1/1a/SalinasA_corrected.mat",
                "d75684ed3ab71a1024cee0f9db9061f50a3523a92ff5edfbbb1eed976b9f1721",
            ),
            labels=RemoteFile("SalinasA_gt.mat", "salinasA_gt", f"{_SITE}/a/aa/SalinasA_gt.mat"),
            classes={label: _SALINAS[label] for label in (1, 10, 11, 12, 13, 14)},
            aliases=("salinasa",),
            labels_sha256="27cf7a2217dc5d58007ce69ccf363ea8b5b751e1a258c1851e5b77755963460c",
            decoded_sha256="319b468e065b9f34c3c303345496c2706c820e574cb382ac7d2643dfe6e634d5",
        ),
        CatalogEntry(
            name="ksc",
            title="Kennedy Space Center",
            sensor="AVIRIS",
            shape=(512, 614, 176),
            cube=RemoteFile(
                "KSC.mat",
                "KSC",
                f"{_SITE}/2/26/KSC.mat",
                "b1ad011cfdb65c853e4f9f6108ca4774467d87f90a5c23b74ff3a2984a3b4786",
            ),
            labels=RemoteFile("KSC_gt.mat", "KSC_gt", f"{_SITE}/a/a6/KSC_gt.mat"),
            classes=_KSC,
        ),
        CatalogEntry(
            name="botswana",
            title="Botswana",
            sensor="Hyperion",
            shape=(1476, 256, 145),
            cube=RemoteFile(
                "Botswana.mat",
                "Botswana",
                f"{_SITE}/7/72/Botswana.mat",
                "f1603903c844cdc2980550b0180688e8e1a72d4292595d1120e1dec2a80a91c7",
            ),
            labels=RemoteFile("Botswana_gt.mat", "Botswana_gt", f"{_SITE}/5/58/Botswana_gt.mat"),
            classes=_BOTSWANA,
        ),
    )
}


def lookup(name: str) -> CatalogEntry:
    """The entry of that name or alias; case, dashes and spaces do not matter. Raises SceneError for any other name."""
    wanted = name.lower().replace("-", "_").replace(" ", "_")
    for entry in CATALOG.values():
        if wanted == entry.name or wanted in entry.aliases:
            return entry
    raise SceneError(
        f"no scene is called {name!r}; the catalog has {', '.join(CATALOG)}; for your own",
        use={"cube": "FILE", "labels": "FILE"},
    )
