"""The whole pipeline: shapes, order, rates, repeatability, nothing that waits for a device; the settings."""

import jsonargparse
import pytest
import torch
import torch.nn.functional as F
from torch._subclasses.fake_tensor import FakeTensorMode

from eva_core.errors import UsageError
from eva_pretrain.augment import views as module
from eva_pretrain.augment.views import Views, make_crops

NOTHING = {"jitter": 0.0, "grey": 0.0, "blur": (0.0, 0.0, 0.0), "solarise": (0.0, 0.0, 0.0)}
STILL = {"horizontal": 0.0, "vertical": 0.0, "global_scale": (1.0, 1.0), "aspect": (1.0, 1.0), **NOTHING}
SMALL = {"global_size": 16, "local_size": 8, "local_crops": 3}


def patches(b: int, side: int = 16) -> torch.Tensor:
    return torch.randint(0, 256, (b, 3, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(b))


def seed(number: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(number)


@pytest.mark.parametrize("local_crops", [0, 3])
def test_shapes(local_crops):
    views = Views(global_size=16, local_size=8, local_crops=local_crops, stain=0.1)
    crops = make_crops(patches(2, 24), views, seed())
    assert crops.global_.shape == (4, 3, 16, 16)
    assert crops.local.shape == (2 * local_crops, 3, 8, 8)
    assert crops.large is None
    global_, local = crops  # as methods of plugins take them
    assert (global_ is crops.global_, local is crops.local) == (True, True)
    for x in crops:
        assert x.dtype == torch.float32
        assert ((x >= -1) & (x <= 1)).all()  # normalised by 0.5, 0.5; false of NaN too


def test_crops_are_crop_major_and_normalised():
    pixels = patches(3)
    views = Views(**SMALL | STILL, mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7))
    crops = make_crops(pixels, views, seed())
    mean, std = (torch.tensor(v)[:, None, None] for v in (views.mean, views.std))
    torch.testing.assert_close(crops.global_, ((pixels / 255 - mean) / std).repeat(2, 1, 1, 1))


def test_local_crops_are_of_their_own_patch():
    pixels = torch.tensor([20, 120, 220], dtype=torch.uint8).view(3, 1, 1, 1).expand(3, 3, 16, 16)
    crops = make_crops(pixels, Views(**SMALL | NOTHING), seed())
    seen = (127.5 * crops.local + 127.5).mean((1, 2, 3))
    torch.testing.assert_close(seen, torch.tensor([20.0, 120, 220]).repeat(3), atol=1e-3, rtol=0)


def test_a_seed_gives_the_same_crops_and_another_others(monkeypatch):
    pixels, views = patches(3, 24), Views(**SMALL, stain=0.1)
    first, again, other = (make_crops(pixels, views, seed(n)) for n in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(first, other, strict=True))
    monkeypatch.setattr(module, "_BLOCK", 1)  # one crop at a time
    for a, b in zip(first, make_crops(pixels, views, seed(1)), strict=True):
        torch.testing.assert_close(a, b)


def test_the_generator_is_left_alone_where_another_is_used():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    make_crops(patches(1, 24), Views(**SMALL), seed())
    assert torch.equal(before, torch.get_rng_state())
    make_crops(patches(1, 24), Views(**SMALL))
    assert not torch.equal(before, torch.get_rng_state())


def test_the_device_is_never_waited_for():
    """A fake accelerator has no values: to ask for one is an error."""
    with FakeTensorMode():
        pixels = torch.empty(4, 3, 32, 32, dtype=torch.uint8, device="cuda")
        more = {"turn": 0.75, "cross": 0.5, "randstainna": 0.5}
        crops = make_crops(pixels, Views(**SMALL, **more, stain=0.1, solarise=(0.1, 0.2, 0.1)), large=32)
        assert crops.global_.device.type == crops.local.device.type == "cuda"
        assert crops.local.shape == (12, 3, 8, 8)


def test_autocast_does_not_reach_in():
    pixels, views = patches(2, 24), Views(**SMALL, stain=0.1)
    with torch.autocast("cpu", torch.bfloat16):
        inside = make_crops(pixels, views, seed())
    assert all(torch.equal(a, b) for a, b in zip(inside, make_crops(pixels, views, seed()), strict=True))


@pytest.mark.parametrize(("axis", "name"), [(3, "horizontal"), (2, "vertical")])
def test_flips_are_applied_at_the_rate_asked(axis, name):
    pixels = patches(1).expand(2000, -1, -1, -1)
    crops = make_crops(pixels, Views(**SMALL | STILL | {name: 0.3, "local_crops": 0}), seed())
    flipped = (pixels[0] / 127.5 - 1).flip(axis - 1)
    same = ((crops.global_ - flipped).abs().amax((1, 2, 3)) < 1e-5).float().mean().item()
    assert same == pytest.approx(0.3, abs=0.03)


@pytest.mark.parametrize(("official", "expected"), [(False, (1.0, 0.1)), (True, (0.0, 0.9))])
def test_global_crops_are_blurred_at_the_rate_asked_or_the_official_one(official, expected):
    pixels = patches(1).expand(1000, -1, -1, -1)
    views = Views(**SMALL | STILL | {"blur": (1.0, 0.1, 0.5), "blur_official": official, "local_crops": 0})
    crops = make_crops(pixels, views, seed()).global_.view(2, 1000, 3, 16, 16)
    changed = ((crops - (pixels[0] / 127.5 - 1)).abs().amax((2, 3, 4)) > 1e-4).float().mean(1)
    # 7 % of the sigmas, those below 0.23, are too weak to be seen
    torch.testing.assert_close(changed, 0.93 * torch.tensor(expected), atol=0.03, rtol=0)


@pytest.mark.parametrize("official", [False, True])
def test_local_crops_are_blurred_half_the_time_either_way(official, monkeypatch):
    asked = []
    draw = module.draw_sigma
    monkeypatch.setattr(module, "draw_sigma", lambda n, rate, *a: asked.append(rate) or draw(n, rate, *a))
    make_crops(patches(2, 24), Views(**SMALL, blur_official=official), seed())
    assert asked == pytest.approx([0.0, 0.9, 0.5, 0.5, 0.5] if official else [1.0, 0.1, 0.5, 0.5, 0.5])


def test_only_the_second_global_crop_is_solarised():
    pixels = patches(500)
    views = Views(**SMALL | STILL | {"solarise": (0.0, 0.2, 0.0), "local_crops": 0})
    first, second = make_crops(pixels, views, seed()).global_.view(2, 500, 3, 16, 16)
    assert first.max() > 0.9
    # -1 to 1: above a half means above 0
    inverted = (second.amax((1, 2, 3)) < 0.01).float().mean().item()
    assert inverted == pytest.approx(0.2, abs=0.05)


def test_relative_to_crop_keeps_the_magnification():
    """A ramp along x of one grey level a pixel: a crop of 64 px at scale 0.9-1.1 climbs by about 64."""
    pixels = torch.arange(128, dtype=torch.uint8).expand(50, 3, 128, 128)
    views = Views(**NOTHING, global_size=64, local_crops=0, global_scale=(0.9, 1.1), aspect=(1, 1), relative_to="crop")
    seen = 127.5 * make_crops(pixels, views, seed()).global_ + 127.5
    climb = (seen[..., -1] - seen[..., 0]).mean((1, 2)).abs()
    assert ((climb > 63 * 0.9**0.5 - 2) & (climb < 63 * 1.1**0.5 + 2)).all()
    assert climb.std() > 0.5


def test_extended_context_needs_patches_that_are_large_enough():
    views = Views(**NOTHING, global_size=64, local_crops=0, global_scale=(0.9, 1.1), relative_to="crop")
    with pytest.raises(UsageError, match=r"at least 61 px for crops of 64 px at scale 0\.9, but got 60 px"):
        make_crops(patches(1, 60), views, seed())


@pytest.mark.parametrize(
    "pixels", [torch.zeros(2, 3, 8, 8), torch.zeros(2, 3, 8, 9).byte(), torch.zeros(3, 8, 8).byte()]
)
def test_other_pixels_are_refused(pixels):
    with pytest.raises(UsageError, match=r"^Expected uint8 patches \(B, 3, S, S\), but got torch"):
        make_crops(pixels, Views(), seed())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("global_size", 4),
        ("local_size", 0),
        ("local_crops", -1),
        ("relative_to", "slide"),
        ("stain_space", "lab"),
        ("global_scale", (0.0, 1.0)),
        ("global_scale", (0.5, 1.1)),
        ("local_scale", (0.4, 0.3)),
        ("local_scale", (0.1, float("nan"))),
        ("aspect", (0.0, 1.0)),
        ("horizontal", 1.5),
        ("vertical", -0.1),
        ("jitter", float("nan")),
        ("grey", 2.0),
        ("brightness", -0.1),
        ("contrast", float("inf")),
        ("brightness", 1e38),
        ("saturation", -1.0),
        ("hue", 0.6),
        ("blur", (1.0, 0.1, 1.1)),
        ("solarise", (0.0, -0.2, 0.0)),
        ("stain", 1.0),
        ("mean", (0.5, 0.5, 127.0)),
        ("std", (0.5, 0.0, 0.5)),
    ],
)
def test_a_wrong_setting_is_named(name, value):
    with pytest.raises(UsageError, match=rf"^Expected {name} to be .*, but got .*\. Change it in the views\.$"):
        Views(**{name: value})


def test_the_settings_are_built_from_yaml():
    parser = jsonargparse.ArgumentParser()
    parser.add_argument("--views", type=Views)
    text = "{local_crops: 4, aspect: [0.8, 1.25], relative_to: crop, global_scale: [0.9, 1.1], std: [0.2, 0.2, 0.2]}"
    views = parser.instantiate(parser.parse_args([f"--views={text}"])).views
    assert views == Views(4 * 56, 96, 4, (0.9, 1.1), aspect=(0.8, 1.25), relative_to="crop", std=(0.2, 0.2, 0.2))


def test_bicubic_is_what_a_whole_patch_is_resized_with():
    pixels = patches(2, 40)
    crops = make_crops(pixels, Views(**SMALL | STILL | {"local_crops": 0}), seed()).global_[:2]
    expected = F.interpolate(pixels / 255, (16, 16), mode="bicubic", antialias=True).clamp(0, 1)
    torch.testing.assert_close(crops, 2 * expected - 1, atol=1e-5, rtol=0)


def test_turns_make_all_four_orientations():
    pixels, views = patches(1), Views(**SMALL | STILL | {"local_crops": 0}, turn=0.75)
    whole = pixels[0] / 127.5 - 1
    turned = [torch.rot90(whole, quarters, (1, 2)) for quarters in range(4)]
    counts = [0] * 4
    for crop in make_crops(pixels.expand(100, -1, -1, -1), views, seed()).global_:
        fits = [torch.allclose(crop, each, atol=1e-5) for each in turned]
        assert sum(fits) == 1
        counts[fits.index(True)] += 1
    assert min(counts) > 30
    blurred = Views(**SMALL | {"jitter": 1.0}, turn=1.0, randstainna=1.0)
    assert make_crops(patches(3), blurred, seed()).local.isfinite().all()


def test_cross_magnification_shows_the_same_place_at_another_mpp():
    ramp = torch.arange(64).view(1, 64).expand(64, 64)  # a value is a place
    pixels = torch.stack([ramp, ramp.T, ramp]).to(torch.uint8)[None].mul(3)
    views = Views(
        global_size=32,
        local_size=16,
        local_crops=4,
        **STILL | {"global_scale": (0.1, 0.2)},
        cross=1.0,
        cross_mpp=(1.5, 1.5),
    )
    crops = make_crops(pixels, views, seed(3))

    def places(crop):
        x, y = (127.5 * crop[:2] + 127.5) / 3
        return x.mean(), y.mean(), (x[:, 9] - x[:, 6]).mean() / 3  # centre, pixels of the patch per pixel

    for n, local in enumerate(crops.local):
        x, y, mpp = places(local)
        global_x, global_y, global_mpp = places(crops.global_[n % 2])
        assert (x - global_x).abs() < 1
        assert (y - global_y).abs() < 1
        assert mpp / global_mpp == pytest.approx(1.5, rel=0.05)


def test_what_is_off_draws_nothing():
    plain, off = Views(**SMALL), Views(**SMALL, turn=0.0, cross=0.0, cross_mpp=(0.1, 9.0), randstainna=0.0)
    for a, b in zip(*(make_crops(patches(2, 24), views, seed()) for views in (plain, off)), strict=True):
        assert torch.equal(a, b)


ALL_ON = {"turn": 0.75, "cross": 0.5, "randstainna": 0.5, "stain": 0.2, "solarise": (0.3, 0.3, 0.3)}


def smooth(b: int, side: int) -> torch.Tensor:
    """Patches whose detail is seen in either size."""
    coarse = torch.rand(b, 3, 6, 6, generator=seed(b))
    return F.interpolate(coarse, (side, side), mode="bicubic").clamp(0, 1).mul(255).to(torch.uint8)


def test_large_crops_show_what_the_global_ones_do():
    """Turns, flips and all colours: the same numbers, and blur on neither."""
    views = Views(global_size=32, local_size=16, local_crops=2, **ALL_ON | {"blur": (0.0, 0.0, 0.5)})
    crops = make_crops(smooth(6, 96), views, seed(), large=64)
    assert crops.large.shape == (12, 3, 64, 64)
    assert crops.large.is_contiguous()
    smaller = F.interpolate(crops.large, (32, 32), mode="bicubic", antialias=True)
    differences = (smaller - crops.global_).abs().mean((1, 2, 3))
    assert differences.max() < 0.03  # of -1 to 1, and edges of solarised parts among them
    others = (smaller - crops.global_.roll(1, 0)).abs().mean((1, 2, 3))
    assert others.min() > 5 * differences.max()


def test_large_crops_draw_nothing_and_have_no_blur():
    views = Views(**SMALL, **ALL_ON)
    ours, theirs = seed(), seed()
    with_large, without = make_crops(patches(2, 48), views, ours, large=32), make_crops(patches(2, 48), views, theirs)
    assert all(torch.equal(a, b) for a, b in zip(with_large, without, strict=True))
    assert torch.equal(ours.get_state(), theirs.get_state())
    sharp = Views(**SMALL | STILL | {"local_crops": 0})
    blurred = Views(**SMALL | STILL | {"local_crops": 0, "blur": (1.0, 1.0, 0.0)})
    large = [make_crops(patches(2, 32), views, seed(), large=32).large for views in (sharp, blurred)]
    assert torch.equal(*large)
    torch.testing.assert_close(large[0][:2], patches(2, 32) / 127.5 - 1)
    assert make_crops(patches(2, 32), Views(**SMALL | {"local_crops": 0}), seed(), large=32).local.shape == (0, 3, 8, 8)


@pytest.mark.parametrize("side", [5, 24])
def test_patches_of_one_colour_have_crops_that_are_numbers(side):
    """Extreme settings on glass, on black, on one colour, and on all of them in a batch."""
    colours = torch.tensor([[255, 255, 255], [0, 0, 0], [225, 170, 200], [255, 0, 0]], dtype=torch.uint8)
    plain = colours[..., None, None].expand(-1, -1, side, side)
    strong = {"jitter": 1.0, "brightness": 100.0, "contrast": 100.0, "saturation": 100.0, "hue": 0.5}
    views = Views(**SMALL, **ALL_ON | strong | {"turn": 1.0, "cross": 1.0, "randstainna": 1.0, "stain": 0.99})
    for pixels in (*plain.split(1), plain):
        crops = make_crops(pixels, views, seed(), large=32)
        for x in (*crops, crops.large):
            assert (x.abs() < 1 + 1e-5).all()  # false of NaN too
