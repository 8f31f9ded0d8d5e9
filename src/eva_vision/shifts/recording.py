"""What camera and file format do: compression, noise, brightness, white balance."""

import io

import numpy as np
from PIL import Image

from eva_vision.shifts.contracts import ChangeCard, change


def as_uint8(values: np.ndarray) -> np.ndarray:
    """Round to grey levels and clip: floats of any range -> uint8.

    Examples:
        >>> as_uint8(np.array([-3.0, 1.6, 300.0]))
        array([  0,   2, 255], dtype=uint8)
    """
    rounded: np.ndarray = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return rounded


@change(ChangeCard("JPEG quality", (90.0, 70.0, 50.0, 30.0, 10.0), neutral=100.0, bounds=(1.0, 100.0)))
def jpeg(image: np.ndarray, strength: float) -> np.ndarray:
    """Save as JPEG and read again; libjpeg's usual colour subsampling, 4:2:0.

    Args:
        image: uint8 (H, W, 3).
        strength: Quality as libjpeg counts it, 1 to 100.
    """
    file = io.BytesIO()
    Image.fromarray(image).save(file, format="JPEG", quality=round(strength))
    return np.asarray(Image.open(file, formats=["JPEG"]).convert("RGB"))


@change(ChangeCard("noise, standard deviation in grey levels", (2.0, 5.0, 10.0, 20.0), bounds=(0.0, 128.0)))
def noise(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Add independent Gaussian noise to every pixel and channel.

    Args:
        image: uint8 (H, W, 3).
        strength: Standard deviation in grey levels of 255.
        rng: Random numbers of this sample.
    """
    return as_uint8(image + rng.normal(0.0, strength, image.shape))


@change(ChangeCard("brightness, share added", (-0.3, -0.2, -0.1, 0.1, 0.2, 0.3), bounds=(-0.95, 3.0)))
def brightness(image: np.ndarray, strength: float) -> np.ndarray:
    """Multiply all channels, as a longer exposure or a weaker lamp does; what is too bright is clipped.

    Args:
        image: uint8 (H, W, 3).
        strength: Share by which the values grow; below 0 they shrink.
    """
    return as_uint8(image * (1.0 + strength))


@change(ChangeCard("white balance, red up and blue down", (-0.2, -0.1, -0.05, 0.05, 0.1, 0.2), bounds=(-0.9, 0.9)))
def white_balance(image: np.ndarray, strength: float) -> np.ndarray:
    """Multiply red by 1 + s and blue by 1 - s: a warmer lamp above 0, a colder one below.

    Args:
        image: uint8 (H, W, 3).
        strength: The share s.
    """
    return as_uint8(image * np.array([1.0 + strength, 1.0, 1.0 - strength]))
