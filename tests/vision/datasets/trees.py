"""A little of each public dataset, in its official layout: real names, tiny images, published counts patched away."""

import csv
import gzip
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from eva_core.types import Dataset, SegmentationDataset
from eva_vision.datasets.bach import PREFIX, Bach
from eva_vision.datasets.bcss import Bcss
from eva_vision.datasets.bracs import FOLDERS, Bracs
from eva_vision.datasets.breakhis import BreakHis
from eva_vision.datasets.consep import PARTS, Consep
from eva_vision.datasets.crc import CLASSES, Crc, CrcNonorm
from eva_vision.datasets.gleason import Gleason
from eva_vision.datasets.mask_folder import MaskFolder
from eva_vision.datasets.mhist import Mhist
from eva_vision.datasets.monusac import FOLDERS as MONUSAC_FOLDERS
from eva_vision.datasets.monusac import Monusac
from eva_vision.datasets.pcam import Pcam
from eva_vision.datasets.tp53 import Tp53
from eva_vision.datasets.unitopatho import UniToPatho
from eva_vision.phantom_slides import write_slide
from tests.conftest import picture


def write_images(root: Path, paths: Sequence[str]) -> Path:
    """8 x 8 images, each with colours of its own."""
    for i, path in enumerate(paths):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(i, size=8)).save(root / path)
    return root


def write_table(file: Path, rows: Sequence[Mapping[str, object]]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", newline="") as handle:
        writer = csv.DictWriter(handle, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    return file


def bach(root: Path) -> Path:
    return write_images(
        root, [f"ICIAR2018_BACH_Challenge/Photos/{c}/{p}{n:03d}.tif" for c, p in PREFIX.items() for n in range(1, 101)]
    )


def crc(root: Path, train: str = "NCT-CRC-HE-100K") -> Path:
    return write_images(
        root,
        [f"{train}/{c}/{c}-AAAFLCL{x}.tif" for c in CLASSES for x in "AB"]
        + [f"CRC-VAL-HE-7K/{c}/{c}-TCGA-AAICEQFN.tif" for c in CLASSES],
    )


MHIST = [("a", "SSA", "train"), ("b", "HP", "train"), ("c", "HP", "test"), ("d", "SSA", "train"), ("e", "SSA", "test")]


def mhist(root: Path) -> Path:
    rows = [
        {"Image Name": f"MHIST_aa{x}.png", "Majority Vote Label": y, "Number of Annotators": 5, "Partition": z}
        for x, y, z in MHIST
    ]
    write_table(root / "annotations.csv", rows)
    return write_images(root / "images", [str(row["Image Name"]) for row in rows]).parent


def pcam(root: Path, n: int = 4, packed: bool = False, slides: bool = True) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    for part, letter in (("train", "a"), ("valid", "b"), ("test", "c")):
        stem = root / f"camelyonpatch_level_2_split_{part}"
        pixels = np.stack([picture(ord(letter) + i, size=8) for i in range(n)])
        pixels[n - 1] = pixels[0]  # the real one holds duplicates too
        for kind, data in (("x", pixels), ("y", (np.arange(n) % 2).astype(np.uint8).reshape(n, 1, 1, 1))):
            file = Path(f"{stem}_{kind}.h5")
            with h5py.File(file, "w", track_order=False) as handle:
                handle.create_dataset(kind, data=data, track_times=False)
            if packed:
                Path(f"{file}.gz").write_bytes(gzip.compress(file.read_bytes()))
                file.unlink()
        if slides:
            rows = [{"": i, "coord_x": 1, "wsi": f"camelyon16_{part}_{i // 2:03d}"} for i in range(n)]
            write_table(Path(f"{stem}_meta.csv"), rows)
    return root


BREAKHIS = [("B", "TA", "16184"), ("B", "TA", "16184CD"), ("M", "MC", "18842"), ("M", "MC", "18842D")]
BREAKHIS += [("B", "F", "9133"), ("M", "DC", "13412"), ("M", "DC", "2773"), ("M", "LC", "13412"), ("B", "A", "22549G")]


def breakhis(root: Path) -> Path:
    return write_images(
        root,
        [
            f"BreaKHis_v1/histology_slides/breast/x/SOB/y/SOB_{b}_{c}_14-{p}/{m}X/SOB_{b}_{c}-14-{p}-{m}-{n:03d}.png"
            for b, c, p in BREAKHIS
            for m in (40, 100)
            for n in (1, 2)
        ],
    )


def gleason(root: Path) -> Path:
    cores = ("ZT76_39_A_1_2", "ZT111_4_A_1_12", "ZT199_1_A_2_5", "ZT204_6_B_7_8")
    paths = [f"train_validation_patches_750/{c}/{c}_patch_{k}_class_{k}.jpg" for c in cores for k in range(4)]
    paths += [f"test_patches_750/patho_{p}/{c}/{c}_patch_18_class_1.jpg" for p in (1, 2) for c in ("ZT80_38_A_1_2",)]
    return write_images(root, paths)


def unitopatho(root: Path) -> Path:
    names = {
        table: [
            (f"{label}/{slide}-B3-{label}.ndpi_ROI__mpp0.44_reg000_crop_sk0000{i}_(9060,{i},1812,1812).png", target)
            for target, label in enumerate(UniToPatho.card.classes)
            for i in range(2)
        ]
        for table, slide in (("train", 109), ("test", 252))
    }
    for table, rows in names.items():
        listed = [{"image_id": Path(path).name, "top_label": target} for path, target in rows]
        write_table(root / "800" / f"{table}.csv", listed)
        write_images(root / "800", [path for path, _ in rows])
    return root


def bracs(root: Path) -> Path:
    return write_images(
        root / "BRACS_RoI" / "latest_version",
        [
            f"{split}/{folder}/BRACS_{1000 + i}_{folder[2:]}_{n}.png"
            for i, split in enumerate(("train", "val", "test"))
            for folder in FOLDERS
            for n in (1, 2)
        ],
    ).parents[1]


def tp53(root: Path, split: bool = True) -> Path:
    """Six slides of four by four cells of 128 px: tissue left, glass right, ink in the last row."""
    rows = []
    for i in range(6):
        pixels = np.full((512, 512, 3), 245, np.uint8)
        pixels[:, :256] = picture(i, size=512)[:, :256]
        pixels[384:] = 10
        write_slide(root / f"slide_{i}.svs", pixels, mpp=None)
        rows.append(
            {
                "slide": f"slide_{i}.svs",
                "patient": f"TCGA-{i // 2}A-{i:04d}",
                "cohort": ("BRCA", "COAD")[i % 2],
                "site": f"{i // 2}A",
                "label": Tp53.card.classes[i % 2],
                "mpp": 0.5,
                **({"split": ("train", "val", "test")[i // 2]} if split else {}),
            }
        )
    write_table(root / "manifest.csv", rows)
    return root


def build_tp53(root: str, **arguments: object) -> Tp53:
    return Tp53(root, **{"size": 128, **arguments})  # type: ignore[arg-type]


def labels(seed: int, values: Sequence[int], size: int = 8) -> np.ndarray:
    """Each of the values in stripes, shifted by the seed: uint8 (size, size)."""
    return np.array(values, np.uint8)[(np.arange(size * size).reshape(size, size) + seed) % len(values)]


def write_mat(file: Path, **arrays: np.ndarray) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    savemat(file, arrays, do_compression=True)
    with file.open("r+b") as handle:
        handle.write(b"MATLAB 5.0 MAT-file".ljust(116))  # without the date, so that two trees are the same
    return file


def write_labels(file: Path, values: np.ndarray) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(file)
    return file


def consep(root: Path) -> Path:
    for part, n in PARTS.values():
        for i in range(1, n + 1):
            kinds = labels(i, range(8)).astype(float)
            numbers = np.where(kinds > 0, np.arange(64.0).reshape(8, 8) + 1, 0)
            write_mat(root / part / "Labels" / f"{part.lower()}_{i}.mat", type_map=kinds, inst_map=numbers)
            write_images(root / part / "Images", [f"{part.lower()}_{i}.png"])
    return root


def polygons(**regions: Sequence[Sequence[tuple[float, float]]]) -> str:
    """An annotation file as ImageScope writes it: for each class its regions, lists of x and y."""
    written = ""
    for name, drawn in regions.items():
        vertices = ("".join(f'<Vertex X="{x}" Y="{y}" Z="0"/>' for x, y in region) for region in drawn)
        inside = "".join(f'<Region Id="1"><Attributes/><Vertices>{v}</Vertices></Region>' for v in vertices)
        named = f'<Attributes><Attribute Name="{name}" Id="0" Value=""/></Attributes>'
        written += f'<Annotation Id="1" Name="">{named}<Regions>{inside}</Regions></Annotation>'
    return f'<?xml version="1.0" encoding="UTF-8"?><Annotations MicronsPerPixel="0.25">{written}</Annotations>'


def square(x: float, y: float, side: float = 2) -> list[tuple[float, float]]:
    """The corners of a square: `side + 1` pixels a side, as its border belongs to it."""
    return [(x, y), (x + side, y), (x + side, y + side), (x, y + side)]


MONUSAC = {
    "train": ("TCGA-5P-A9K0-01Z-00-DX1_1", "TCGA-5P-A9K0-01Z-00-DX1_2", "TCGA-E2-A154-01Z-00-DX1_1"),
    "val": ("TCGA-2Z-A9JG-01Z-00-DX1_1", "TCGA-EW-A6SA-01Z-00-DX1_1"),
}


def monusac(root: Path) -> Path:
    kinds = {"Epithelial": (0, 0), "Lymphocyte": (4, 0), "Neutrophil": (0, 4), "Macrophage": (4, 4)}
    for split, stems in MONUSAC.items():
        for i, stem in enumerate(stems):
            folder = root / MONUSAC_FOLDERS[split] / stem.rpartition("_")[0]
            write_images(folder, [f"{stem}.tif"])
            regions = {name: [square(x, y, 1 + i % 2)] for name, (x, y) in kinds.items()}
            if split == "val":
                regions["Ambiguous"] = [square(7, 7)]
            (folder / f"{stem}.xml").write_text(polygons(**regions))
            (folder / f"{stem}.svs").write_bytes(b"the twin of the image, which nobody reads")
    return root


BCSS = ("A2-A0CM", "OL-A5D6", "A1-A0SK", "A2-A0T2", "E2-A14N", "BH-A0AV", "D8-A142")


def bcss(root: Path) -> Path:
    for i, patient in enumerate(BCSS):
        name = f"TCGA-{patient}-DX1_xmin{45749 + i}_ymin25055_MPP-0.2500.png"
        write_images(root / "rgbs_colorNormalized", [name])
        write_labels(root / "masks" / name, labels(i, range(22)))
    return root


def mask_folder(root: Path) -> Path:
    """Two classes and pixels to ignore, as PNG in train and val and as npz with objects in test; one image is new."""
    for s, split in enumerate(("train", "val", "test")):
        for i in range(3):
            values = labels(s + i, (0, 1, 1, 255))
            write_images(root / split / "images", [f"case_{s}{i}.png"])
            if split == "test":
                (root / split / "labels").mkdir(exist_ok=True)
                np.savez(root / split / "labels" / f"case_{s}{i}.npz", inst=(values == 1) * np.int32(7), type=values)
            else:
                write_labels(root / split / "masks" / f"case_{s}{i}.png", values)
    write_images(root, ["new.png"])
    return root


def build_mask_folder(root: str) -> MaskFolder:
    return MaskFolder(root, key="type", instances="inst", group=r"case_(\d+)", mpp=0.5)


COUNTS: dict[type[Dataset], dict[str, int]] = {
    Crc: {"train": 18, "val": 9},
    CrcNonorm: {"train": 18, "val": 9},
    Mhist: {"train": 3, "val": 2},
    Pcam: {"train": 4, "val": 4, "test": 4},
    BreakHis: {"train": 8, "val": 6},
    Gleason: {"train": 12, "val": 4, "test": 1},
    UniToPatho: {"train": 12, "val": 12},
    Bracs: {"train": 14, "val": 14, "test": 14},
    Monusac: {"train": 3, "val": 2},
    Bcss: {"train": 3, "val": 2, "test": 2},
}
"""What the trees hold, in place of the published counts."""

TREES: dict[str, tuple[Callable[[Path], Path], Callable[[str], Dataset]]] = {
    "bach": (bach, Bach),
    "bracs": (bracs, Bracs),
    "breakhis": (breakhis, BreakHis),
    "crc": (crc, Crc),
    "crc_nonorm": (lambda root: crc(root, "NCT-CRC-HE-100K-NONORM"), CrcNonorm),
    "gleason": (gleason, Gleason),
    "mhist": (mhist, Mhist),
    "pcam": (pcam, Pcam),
    "tp53": (tp53, build_tp53),
    "unitopatho": (unitopatho, UniToPatho),
}
"""How to write the files of each dataset, and how to build it from their root."""

MASKS: dict[str, tuple[Callable[[Path], Path], Callable[[str], SegmentationDataset]]] = {
    "bcss": (bcss, Bcss),
    "consep": (consep, Consep),
    "mask_folder": (mask_folder, build_mask_folder),
    "monusac": (monusac, Monusac),
}
"""The same for datasets of masks."""


def small(name: str, root: Path) -> Dataset:
    """A little of a public dataset, whole and as published but for its counts."""
    write, build = {**TREES, **MASKS}[name]
    with pytest.MonkeyPatch.context() as patch:
        for cls, counts in COUNTS.items():
            patch.setattr(cls, "counts", counts)
        return build(str(write(root)))
