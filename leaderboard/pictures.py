"""Frames as small pictures to look at."""

from __future__ import annotations

import hashlib
import io

import numpy as np

COLOURS = 256


def png(frame: np.ndarray) -> bytes:
    """A frame as a PNG of at most 256 colours, half the full size: it is to look at, not to measure.

    Args:
        frame: (height, width, 3) uint8.
    """
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(frame).quantize(COLOURS, dither=Image.Dither.NONE).save(buffer, "PNG")
    return buffer.getvalue()


class Pictures:
    """Pictures by a digest of their pixels: agents that saw the same frame share one file, encoded once."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    def add(self, frame: np.ndarray) -> str:
        """Take a frame in; returns the name of its file.

        Args:
            frame: (height, width, 3) uint8.
        """
        head = f"{frame.shape}".encode()
        name = hashlib.blake2b(head + np.ascontiguousarray(frame).tobytes(), digest_size=10).hexdigest() + ".png"
        if name not in self.files:
            self.files[name] = png(frame)
        return name
