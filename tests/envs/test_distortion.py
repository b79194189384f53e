"""The theme `distorted`: every episode looks its own way, stays readable, and is painted piece by piece."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

from gtr_envs.cards.distortion import draw_distortion
from gtr_envs.cards.draw import draw_frame, draw_table, draw_token
from gtr_envs.cards.hands import RANKS
from gtr_envs.cards.painter import Painter

HAND = ("AH", "10S", "KD", "4C")
FORMULA = ("(", "4", "*", "11", "-", "13", ")", "/", "1", "+", "12", "=")


def in_episode(seed: int, size: int = 300) -> Painter:
    painter = Painter("distorted", size)
    painter.new_episode(np.random.default_rng(seed))
    return painter


def painted(painter: Painter, cards: tuple[str, ...] = HAND, formula: tuple[str, ...] = FORMULA) -> np.ndarray:
    canvas = np.zeros((painter.size, painter.size, 3), np.uint8)
    painter.formula_table(canvas, cards)
    for position, token in enumerate(formula):
        painter.token(canvas, position, token)
    return canvas


@pytest.mark.parametrize("size", [64, 112, 300])
def test_the_seed_decides_the_pixels(size: int) -> None:
    frame = painted(in_episode(5, size))
    assert (painted(in_episode(5, size)) == frame).all()
    other = painted(in_episode(6, size))
    assert (frame != other).any(axis=-1).mean() > 0.8


def test_a_painter_goes_from_episode_to_episode() -> None:
    rng = np.random.default_rng(5)
    painter = Painter("distorted", 112)
    assert painter.is_distorted
    frames = []
    for _ in range(3):
        painter.new_episode(rng)
        frames.append(painted(painter))
    assert (frames[0] == painted(in_episode(5, 112))).all()
    assert (frames[0] != frames[1]).any()
    assert (frames[1] != frames[2]).any()


def test_the_size_takes_no_more_from_the_generator() -> None:
    small, large = np.random.default_rng(5), np.random.default_rng(5)
    one, other = draw_distortion(small, 64), draw_distortion(large, 300)
    assert small.bit_generator.state == large.bit_generator.state
    assert (one.blur, one.tilts) == (other.blur, other.tilts)
    assert one.gain[0, 0, 0] == pytest.approx(other.gain[0, 0, 0], abs=2)


@pytest.mark.parametrize("size", [112, 300])
def test_painting_piece_by_piece_is_painting_the_whole(size: int) -> None:
    painter = in_episode(7, size)
    whole = painted(painter)
    canvas = painted(painter, formula=())
    # Backwards, and with mistakes that are painted over.
    for position, token in reversed(list(enumerate(FORMULA))):
        painter.token(canvas, position, "8")
        before = canvas.copy()
        painter.token(canvas, position, token)
        rows, columns = np.nonzero((canvas != before).any(axis=-1))
        assert np.ptp(rows) <= 46 * size / 300 + 1
        assert np.ptp(columns) <= 36 * size / 300 + 1
    assert (canvas == whole).all()
    # An empty place looks as if nothing had ever been painted there.
    for position in range(len(FORMULA)):
        painter.token(canvas, position, " ")
    assert (canvas == painted(painter, formula=())).all()


def test_pictures_of_one_episode_do_not_depend_on_what_came_before() -> None:
    painter = in_episode(8, 112)
    frame = painted(painter)
    painted(painter, ("2C", "3C"), ("1",))
    assert (painted(painter) == frame).all()


@pytest.mark.parametrize("again", [copy.deepcopy, lambda painter: pickle.loads(pickle.dumps(painter))])  # noqa: S301 - its own
def test_a_copy_in_the_middle_of_an_episode_paints_the_same(again: object) -> None:
    painter = in_episode(9, 112)
    canvas = painted(painter, formula=FORMULA[:4])
    twin = again(painter)  # type: ignore[operator]
    for position, token in enumerate(FORMULA[4:], 4):
        twin.token(canvas, position, token)
    assert (canvas == painted(painter)).all()
    painter.new_episode(np.random.default_rng(0))
    assert (painted(twin) == canvas).all()
    assert (painted(painter) != canvas).any()


@pytest.mark.parametrize("size", [112, 300])
def test_distorted_pictures_are_near_the_classic_ones(size: int) -> None:
    classic = draw_frame(HAND, FORMULA, size).astype(int)
    distances = [np.abs(painted(in_episode(seed, size)) - classic).mean() for seed in range(8)]
    # Far from equal, and nearer than, say, the same cards in the theme night (92).
    assert min(distances) > 8
    assert max(distances) < 45


def normalised(patch: np.ndarray) -> np.ndarray:
    grey = patch.mean(axis=-1)
    return (grey - grey.mean()) / grey.std()


@pytest.mark.parametrize("seed", range(3))
def test_distorted_ranks_look_most_like_themselves(seed: int) -> None:
    def corner(frame: np.ndarray, right: int = 0, down: int = 0) -> np.ndarray:
        return normalised(frame[14 + down : 50 + down, 83 + right : 115 + right])

    painter = in_episode(seed)
    classic = {rank: corner(draw_frame(("2C", rank + "H", "2C", "2C"))) for rank in RANKS}
    moves = [(right, down) for right in range(-4, 5, 2) for down in range(-4, 5, 2)]
    for rank in RANKS:
        frame = painted(painter, ("2C", rank + "H", "2C", "2C"), ())
        seen = [corner(frame, *move) for move in moves]
        likeness = {other: max((patch * picture).mean() for patch in seen) for other, picture in classic.items()}
        assert max(likeness, key=likeness.__getitem__) == rank, likeness
        assert likeness[rank] > 0.8


def test_whole_pictures_without_an_episode_are_always_the_same() -> None:
    frame = draw_frame(HAND, ("8",), 112, "distorted")
    canvas = draw_table(HAND, 112, "distorted")
    draw_token(canvas, 0, "8", "distorted")
    assert (canvas == frame).all()
