"""Draw the picture of Points24 in docs/environments.md: `python docs/points24_picture.py`."""

from pathlib import Path

import numpy as np
from PIL import Image

from gtr_envs.cards.draw import draw_frame

MOMENTS = (
    (("AH", "10S", "KD", "4C"), ()),
    (("QS", "9H", "5D", "JC"), ("10", "*", "9", "/", "5")),
    (("8S", "3H", "8D", "3C"), ("8", "/", "(", "3", "-", "8", "/", "3", ")", "=")),
)
GAP = 12


def main() -> None:
    """Write three moments of play side by side to docs/images/points24.png."""
    frames = [draw_frame(cards, formula) for cards, formula in MOMENTS]
    gap = np.full((frames[0].shape[0], GAP, 3), 255, np.uint8)
    picture = np.hstack([frames[0], gap, frames[1], gap, frames[2]])
    path = Path(__file__).parent / "images" / "points24.png"
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(picture).save(path, optimize=True)


if __name__ == "__main__":
    main()
