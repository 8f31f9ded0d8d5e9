"""The contact sheet shows the pixels that went in and those that the network gets."""

import numpy as np
import pytest
import torch
from PIL import Image

from eva_pretrain.augment.contact_sheet import contact_sheet
from eva_pretrain.augment.views import Crops, Views


def flat(views: Views, greys, size: int) -> torch.Tensor:
    """Crops of one grey each, normalised."""
    mean, std = (torch.tensor(v)[:, None, None] for v in (views.mean, views.std))
    return (torch.tensor(greys, dtype=torch.float32).view(-1, 1, 1, 1) / 255 - mean).expand(-1, 3, size, size) / std


def test_every_crop_stands_in_the_row_of_its_patch(tmp_path):
    views = Views(global_size=32, local_size=16, local_crops=4, mean=(0.7, 0.5, 0.6), std=(0.2, 0.3, 0.25))
    pixels = torch.tensor([10, 20], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 3, 48, 48)
    crops = Crops(flat(views, [30, 40, 31, 41], 32), flat(views, [50, 60, 51, 61, 52, 62, 53, 63], 16))
    contact_sheet(pixels, crops, views, tmp_path / "new" / "sheet.png")
    sheet = np.array(Image.open(tmp_path / "new" / "sheet.png"))
    rows = [44 + 54, 44 + 170, 44 + 232 + 54, 44 + 232 + 170]  # the upper and the lower local crop of both patches
    columns = [16 + 112, 16 + 232 + 112, 16 + 464 + 112, 16 + 696 + 54, 16 + 696 + 116 + 54]
    seen = [[int(sheet[y, x, 0]) for x in columns] for y in rows]
    assert seen == [[10, 30, 31, 50, 51], [10, 30, 31, 52, 53], [20, 40, 41, 60, 61], [20, 40, 41, 62, 63]]
    assert (sheet[rows][:, columns] == sheet[rows][:, columns, :1]).all()  # each channel by its own mean and std


@pytest.mark.parametrize(("b", "local_crops"), [(1, 0), (1, 1), (10, 10)])
def test_any_number_of_patches_and_crops_fits(b, local_crops, tmp_path):
    views = Views(global_size=8, local_size=8, local_crops=local_crops)
    crops = Crops(torch.zeros(2 * b, 3, 8, 8), torch.zeros(local_crops * b, 3, 8, 8))
    contact_sheet(torch.zeros(b, 3, 8, 8, dtype=torch.uint8), crops, views, tmp_path / "sheet.png")
    width, height = Image.open(tmp_path / "sheet.png").size
    assert height == 16 + 28 + min(b, 8) * 232 - 8 + 16
    across = (min(local_crops, 8) + 1) // 2
    assert width == 16 + 3 * 232 - 8 + across * 116 + 16
