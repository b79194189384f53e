"""A picture inside a terminal, for terminals that know how: kitty's protocol or iTerm2's.

Sources: https://sw.kovidgoyal.net/kitty/graphics-protocol and https://iterm2.com/documentation-images.html
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from typing import Literal

import numpy as np

Protocol = Literal["kitty", "iterm2"]
CHUNK = 4096
"""The most characters of a picture that kitty takes in one piece."""
KITTY_TERMS = ("xterm-kitty", "xterm-ghostty")
KITTY_PROGRAMS = ("ghostty",)
ITERM2_PROGRAMS = ("iTerm.app", "WezTerm", "mintty")


def inline_protocol(environment: Mapping[str, str]) -> Protocol | None:
    """How a terminal takes pictures, by what it says of itself in the environment; None if it is not known to.

    Inside tmux and screen, which pass no pictures on, there is none.
    """
    term, program = environment.get("TERM", ""), environment.get("TERM_PROGRAM", "")
    if environment.get("TMUX") or environment.get("STY") or term.startswith(("screen", "tmux")):
        return None
    if term in KITTY_TERMS or program in KITTY_PROGRAMS or environment.get("KITTY_WINDOW_ID"):
        return "kitty"
    return "iterm2" if program in ITERM2_PROGRAMS else None


def as_png(frame: np.ndarray) -> bytes:
    """A frame, (height, width, 3) uint8, as a PNG without loss."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, "PNG")
    return buffer.getvalue()


def inline_picture(png: bytes, protocol: Protocol) -> str:
    """What to write to the terminal so that it shows a PNG."""
    data = base64.b64encode(png).decode("ascii")
    if protocol == "iterm2":
        return f"\x1b]1337;File=inline=1;size={len(png)};preserveAspectRatio=1:{data}\x07\n"
    pieces = [data[start : start + CHUNK] for start in range(0, len(data), CHUNK)]
    heads = ["a=T,f=100,", *[""] * (len(pieces) - 1)]
    more = [1] * (len(pieces) - 1) + [0]
    parts = zip(heads, more, pieces, strict=True)
    return "".join(f"\x1b_G{head}m={rest};{piece}\x1b\\" for head, rest, piece in parts) + "\n"
