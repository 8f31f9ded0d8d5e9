"""Score pretraining on images of other stains: pretrained weights, random weights and colour, by protocol `strict`.

Images are split by clusters of colour: two fifths of each class are in clusters that neither pretraining nor the head
has seen.

The test split of crc_polyp5 is a handful of slides, one or two a class, so it says little; see
docs/reference/pretraining.md.
"""

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from sklearn.cluster import KMeans
from sklearn.preprocessing import StandardScaler

CLUSTERS, HELD_OUT, SHARE, DRAWS = 15, 6, 0.4, 5000
STUDY = """
title: Stains that were not seen in training
base: dinov2_tiny_cpu
against: random
variants:
  random: {{untrained: true}}
  pretrained: {{}}
  with Gram anchoring: {{method: {{init_args: {{gram: 2.0, gram_start: 0.5, gram_every: 100}}}}}}
  with quarter turns: {{views: {{turn: 0.75}}}}
{distilled}seeds: {seeds}
few_seeds: true
tasks:
  out_of_distribution: [{{name: stains, config: folder, init_args: {{root: {root}}}}}]
"""

DISTILLED = """
  distilled from MobileNetV2:
    method:
      class_path: distill
      init_args:
        backbone: timm_model
        backbone_args: {{arch: mobilenetv2_100, checkpoint: {weights}, pad_type: same, mean: [0.5, 0.5, 0.5],
                        std: [0.5, 0.5, 0.5]}}
        hidden: 512
        size: 96
"""


def split(images: Path, output: Path, seed: int) -> None:
    """Copy a folder of classes to `train` and `test`, each cluster of colour to one of them."""
    files = sorted(images.glob("*/*.jpg"))
    classes = np.array([file.parent.name for file in files])
    pixels = (np.asarray(Image.open(file), float) for file in files)
    colours = np.array([[*image.mean((0, 1)), *image.std((0, 1))] for image in pixels])
    cluster = KMeans(CLUSTERS, n_init=5, random_state=seed).fit_predict(StandardScaler().fit_transform(colours))
    rng = np.random.default_rng(seed)
    draws = (np.isin(cluster, rng.permutation(CLUSTERS)[:HELD_OUT]) for _ in range(DRAWS))
    held_out = min(draws, key=lambda out: max(abs(out[classes == name].mean() - SHARE) for name in set(classes)))
    for file, out in zip(files, held_out, strict=True):
        folder = output / ("test" if out else "train") / file.parent.name
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, folder / file.name)


def study(
    images: Path, folder: Path, number: int, seeds: int, flags: list[str], weights: Path | None
) -> dict[str, Any]:
    """Score the variants and the colour baseline on one split."""
    data, config, output = folder / f"split-{number}", folder / f"split-{number}.yaml", folder / f"study-{number}"
    split(images, data, number)
    distilled = DISTILLED.lstrip("\n").format(weights=weights.resolve()) if weights else ""
    config.write_text(STUDY.format(seeds=seeds, root=data, distilled=distilled))
    source = ["--folder", str(data / "train"), "--training.precision", "bf16-mixed", "--data.workers", "0"]
    command = ["study", "--config", str(config), "--output", str(output), "--monitor.every", "0", *source, *flags]
    subprocess.run([sys.executable, "-m", "eva_core.cli", *command], check=True, stdout=sys.stderr)
    return json.loads((output / "study.json").read_text())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path, help="folder of classes with JPEG images")
    parser.add_argument("--splits", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=1, help="number of seeds on each split")
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("out/learning"),
        help="folder; a second call resumes there",
    )
    parser.add_argument("--mobilenet", type=Path, help="weights of MobileNetV2, to distil it too")
    given, flags = parser.parse_known_args()
    studies = [
        study(given.images, given.output.resolve(), number, given.seeds, flags, given.mobilenet)
        for number in range(given.splits)
    ]
    print(json.dumps(studies, indent=2))
