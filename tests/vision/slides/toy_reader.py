"""A reader of slides as a plugin has it: PPM pictures (P6) that state their micrometres per pixel in a comment."""

from pathlib import Path

import numpy as np

from eva_vision.slides.reading.mpp import decide_mpp
from eva_vision.slides.reading.read_plan import Level
from eva_vision.slides.reading.slide import NotOpened, Slide


def write_ppm(path: Path, pixels: np.ndarray, mpp: float | None = 0.5) -> Path:
    """Write uint8 (H, W, 3)."""
    stated = "" if mpp is None else f"# mpp {mpp}\n"
    path.write_bytes(f"P6\n{stated}{pixels.shape[1]} {pixels.shape[0]} 255\n".encode() + pixels.tobytes())
    return path


class PpmSlide(Slide):
    """A picture of one level."""

    def __init__(self, path: str, header: str, mpp: float | None) -> None:
        stated, width, height, self.begin = header.split()
        known = None if stated == "none" else float(stated)
        own = decide_mpp(path, mpp, known)
        super().__init__(path, own, "ppm", [Level(int(width), int(height), 1.0)], stated_mpp=known)
        self.header = header
        shape = (int(height), int(width), 3)
        self.pixels = np.memmap(path, np.uint8, "r", int(self.begin), shape)

    def region(self, level: int, reduce: int, left: int, top: int, width: int, height: int) -> np.ndarray:
        out = np.full((height, width, 3), 255, np.uint8)
        x, y = max(left, 0), max(top, 0)
        part = self.pixels[y : max(top + height, 0), x : max(left + width, 0)]
        out[y - top : y - top + part.shape[0], x - left : x - left + part.shape[1]] = part
        return out

    def close(self) -> None:
        del self.pixels


class PpmReader:
    """PPM pictures as slides."""

    parsed = 0

    def opens(self, path: str, first_bytes: bytes) -> bool:
        return first_bytes[:2] == b"P6"

    def open(self, path: str, mpp: float | None, state: bytes | None) -> PpmSlide:
        return PpmSlide(path, state.decode() if state else self.parse(path), mpp)

    def state(self, slide: Slide) -> bytes:
        assert isinstance(slide, PpmSlide)
        return slide.header.encode()

    def parse(self, path: str) -> str:
        PpmReader.parsed += 1
        with open(path, "rb") as file:
            lines = [file.readline().decode().strip() for _ in range(2)]
            stated = "none"
            if lines[1].startswith("#"):
                stated = lines[1].split()[-1]
                lines[1] = file.readline().decode().strip()
            width, height, most = lines[1].split()
            if most != "255":
                raise NotOpened(f"Expected 8 bits in {path}, but got {most} values.")
            return f"{stated} {width} {height} {file.tell()}"
