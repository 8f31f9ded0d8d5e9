"""SPIDER: patches of four organs with a class for every tissue and lesion, labelled by pathologists."""

import random
from dataclasses import replace
from typing import ClassVar

from eva_core.contracts.cards import DatasetCard
from eva_core.contracts.dataset import Sample
from eva_vision.datasets.base import ImageFiles
from eva_vision.datasets.class_folders import class_images, fifth
from eva_vision.datasets.published_files import check_counts, locate, tell_crossing
from eva_vision.datasets.thunder_splits import DRAWN, SEED

_CARD = DatasetCard(
    name="spider_breast",
    classes=(
        "Adenosis",
        "Benign phyllodes tumor",
        "Ductal carcinoma in situ (high-grade)",
        "Ductal carcinoma in situ (low-grade)",
        "Fat",
        "Fibroadenoma",
        "Fibrocystic changes",
        "Fibrosis",
        "Invasive non-special type carcinoma",
        "Lipogranuloma",
        "Lobular invasive carcinoma",
        "Malignant phyllodes tumor",
        "Necrosis",
        "Normal ducts",
        "Normal lobules",
        "Sclerosing adenosis",
        "Typical ductal hyperplasia",
        "Vessels",
    ),
    mpp=0.5,
    licence="CC BY-NC 4.0",
    citation="Nechaev et al. 2025, SPIDER, arXiv:2503.02876; splits: Marza et al. 2025, THUNDER, arXiv:2507.07860",
    access="accept the terms at https://huggingface.co/datasets/histai/SPIDER-breast, "
    "`hf download histai/SPIDER-breast --repo-type dataset --local-dir ROOT`, "
    "`cat spider-breast.tar.* | tar -x`, and "
    "`python scripts/convert_to_imagenet.py --data_dir SPIDER-breast --output_dir center_crop --context_size 1`",
)


class _Spider(ImageFiles):
    """An organ of SPIDER."""

    counts: ClassVar[dict[str, int]]
    drawn: ClassVar[tuple[str, ...]] = DRAWN
    moved: ClassVar[dict[str, str]] = {}
    """Slides whose split is not left to the draw."""

    def __init__(self, root: str) -> None:
        """Index the patches of 224 px without context; a fifth of the slides of `train` is val.

        Args:
            root: The folder that has `train` and `test`, or the one that has it as `center_crop`.
        Raises:
            UsageError: Names images outside the folders of classes and slides, or says how many are missing.
        """
        base = locate(root, "center_crop/train", self.card).parent
        self.samples = []
        for part in ("train", "test"):
            folder = base / part
            images = [(image, image.path.split("/")[1]) for image in class_images(folder, self.card.classes, depth=2)]
            drawn = fifth(sorted({slide for _, slide in images}), random.Random(SEED))
            val = {slide for slide in drawn | {*self.moved} if self.moved.get(slide, "val") == "val"}
            self.samples += [
                Sample(
                    id=f"{part}/{image.path}",
                    split="val" if part == "train" and slide in val else part,
                    target=image.target,
                    path=folder / image.path,
                    bytes=image.bytes,
                    group=slide,
                )
                for image, slide in images
            ]
        tell_crossing(self.samples, self.card)
        check_counts(base, self.counts, self.samples, self.card, self.drawn)


class SpiderBreast(_Spider):
    """SPIDER-breast: 18 classes.

    Source: https://huggingface.co/datasets/histai/SPIDER-breast
    """

    card = _CARD
    counts: ClassVar[dict[str, int]] = {"train": 67_581, "val": 13_277, "test": 12_034}


class SpiderColorectal(_Spider):
    """SPIDER-colorectal: 13 classes.

    Source: https://huggingface.co/datasets/histai/SPIDER-colorectal
    """

    card = replace(
        _CARD,
        name="spider_colorectal",
        access=_CARD.access.replace("breast", "colorectal"),
        classes=(
            "Adenocarcinoma high grade",
            "Adenocarcinoma low grade",
            "Adenoma high grade",
            "Adenoma low grade",
            "Fat",
            "Hyperplastic polyp",
            "Inflammation",
            "Mucus",
            "Muscle",
            "Necrosis",
            "Sessile serrated lesion",
            "Stroma healthy",
            "Vessels",
        ),
    )
    counts: ClassVar[dict[str, int]] = {"train": 46_892, "val": 17_097, "test": 13_193}


class SpiderSkin(_Spider):
    """SPIDER-skin: 24 classes, spelled as their folders are.

    Source: https://huggingface.co/datasets/histai/SPIDER-skin
    """

    card = replace(
        _CARD,
        name="spider_skin",
        access=_CARD.access.replace("breast", "skin"),
        classes=(
            "Actinic keratosis",
            "Apocrine glands",
            "Basal cell carcinoma",
            "Carcinoma in situ",
            "Collagen",
            "Epidermis",
            "Fat",
            "Follicle",
            "Inflammation",
            "Invasive melanoma",
            "Kaposi’s sarcoma",
            "Keratin",
            "Melanoma in situ",
            "Mercel cell carcinoma",
            "Muscle",
            "Necrosis",
            "Nerves",
            "Nevus",
            "Sebaceous gland",
            "Seborrheic keratosis",
            "Solar elastosis",
            "Squamous cell carcinoma",
            "Vessels",
            "Wart",
        ),
    )
    counts: ClassVar[dict[str, int]] = {"train": 102_815, "val": 28_349, "test": 28_690}


class SpiderThorax(_Spider):
    """SPIDER-thorax: 14 classes.

    Source: https://huggingface.co/datasets/histai/SPIDER-thorax
    """

    card = replace(
        _CARD,
        name="spider_thorax",
        access=_CARD.access.replace("breast", "thorax"),
        classes=(
            "Alveoli",
            "Bronchial cartilage",
            "Bronchial glands",
            "Chronic inflammation + fibrosis",
            "Detritus",
            "Fibrosis",
            "Hemorrhage",
            "Lymph node",
            "Pigment",
            "Pleura",
            "Tumor non-small cell",
            "Tumor small cell",
            "Tumor soft",
            "Vessel",
        ),
    )
    counts: ClassVar[dict[str, int]] = {"train": 49_562, "val": 13_757, "test": 14_988}
    moved: ClassVar[dict[str, str]] = {  # the only slides with soft tumours, of which each split shall have some
        "slide_0021": "train",
        "slide_0048": "val",
        "slide_0123": "train",
        "slide_0178": "train",
    }
