"""How the tissue lies on the glass: quarter turns and mirror images. No pixel is lost."""

import numpy as np

from eva_vision.shifts.contracts import ChangeCard, change


@change(ChangeCard("turned, degrees", ("90", "180", "270"), on_slides="patches"))
def quarter_turn(image: np.ndarray, strength: str) -> np.ndarray:
    """Turn an image anticlockwise.

    Args:
        image: uint8 (H, W, 3).
        strength: `90`, `180` or `270` degrees.
    """
    return np.ascontiguousarray(np.rot90(image, int(strength) // 90))


@change(ChangeCard("mirrored", ("left_right", "up_down"), on_slides="patches"))
def flip(image: np.ndarray, strength: str) -> np.ndarray:
    """Mirror an image.

    Args:
        image: uint8 (H, W, 3).
        strength: `left_right` or `up_down`.
    """
    return np.ascontiguousarray(image[:, ::-1] if strength == "left_right" else image[::-1])
