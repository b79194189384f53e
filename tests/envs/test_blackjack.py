"""gtr/Blackjack-v0: the rules against Gymnasium's own Blackjack, the deal, the pictures and the options of its own."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from gymnasium.envs.toy_text import blackjack as original
from gymnasium.utils import seeding

from gtr_envs.cards.blackjack import (
    ACTIONS,
    ROW_TOPS,
    BlackjackEnv,
    card_places,
    final_reward,
    hand_sum,
    has_usable_ace,
    is_bust,
    is_natural,
    score,
)
from gtr_envs.cards.card_art import CARD_HEIGHT, CARD_WIDTH
from gtr_envs.cards.hands import RANKS, SUITS, card_value
from gtr_envs.cards.themes import THEME_NAMES
from gtr_envs.errors import HandError, SettingError

CARDS = [rank + suit for rank in RANKS for suit in SUITS]
MOST_CARDS = 22  # twenty-one aces, and one card more

Step = tuple[np.ndarray, float, bool, bool, dict[str, Any]]
all_rules = pytest.mark.parametrize(("natural", "sab"), [(False, False), (True, False), (False, True), (True, True)])


def play(env: BlackjackEnv, *names: str) -> list[Step]:
    return [env.step(np.int64(ACTIONS.index(name))) for name in names]


def dealt(player: Sequence[str], dealer: Sequence[str], **options: Any) -> BlackjackEnv:
    env = BlackjackEnv(**options)
    env.reset(options={"player": list(player), "dealer": list(dealer)})
    return env


def next_cards(env: BlackjackEnv, cards: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the environment draw these cards."""
    rest = iter(cards)
    monkeypatch.setattr(env, "_draw", lambda count: tuple(next(rest) for _ in range(count)))


# Rules.


@pytest.mark.parametrize(
    ("values", "total", "ace", "bust", "worth", "natural"),
    [
        ((10, 6), 16, False, False, 16, False),
        ((1, 6), 17, True, False, 17, False),
        ((1, 1), 12, True, False, 12, False),
        ((1, 10), 21, True, False, 21, True),
        ((1, 5, 5), 21, True, False, 21, False),
        ((1, 5, 6), 12, False, False, 12, False),
        ((10, 1, 10), 21, False, False, 21, False),
        ((10, 6, 6), 22, False, True, 0, False),
        ((1,) * 11, 21, True, False, 21, False),
        ((1,) * 21, 21, False, False, 21, False),
        ((1,) * 22, 22, False, True, 0, False),
    ],
)
def test_hands_worked_by_hand(
    values: tuple[int, ...], total: int, ace: bool, bust: bool, worth: int, natural: bool
) -> None:
    found = hand_sum(values), has_usable_ace(values), is_bust(values), score(values), is_natural(values)
    assert found == (total, ace, bust, worth, natural)


@pytest.mark.parametrize(
    ("player", "dealer", "rewards"),
    [  # rewards: plain, natural, sab, both
        ((10, 9), (10, 8), (1, 1, 1, 1)),
        ((10, 8), (10, 9), (-1, -1, -1, -1)),
        ((10, 8), (9, 9), (0, 0, 0, 0)),
        ((10, 2), (10, 6, 10), (1, 1, 1, 1)),  # the dealer is over 21
        ((10, 6, 10), (10, 9), (-1, -1, -1, -1)),
        ((1, 10), (10, 9), (1, 1.5, 1, 1)),
        ((1, 10), (5, 6, 10), (0, 0, 1, 1)),  # 21 against a natural is a draw, but not in the book
        ((1, 10), (10, 1), (0, 0, 0, 0)),
        ((5, 6, 10), (1, 10), (0, 0, 0, 0)),  # the dealer's natural is only a 21
    ],
)
def test_rewards_worked_by_hand(player: Sequence[int], dealer: Sequence[int], rewards: Sequence[float]) -> None:
    rules = [(False, False), (True, False), (False, True), (True, True)]
    assert [final_reward(player, dealer, natural, sab) for natural, sab in rules] == list(rewards)


def test_a_hit_then_a_bust(monkeypatch: pytest.MonkeyPatch) -> None:
    env = dealt(["10S", "5H"], ["9C", "KD"])
    next_cards(env, ["6C", "AD"], monkeypatch)
    first, second = play(env, "hit", "hit")
    assert first[1:4] == (0.0, False, False)
    assert (first[4]["player"], first[4]["player_sum"]) == (("10S", "5H", "6C"), 21)
    assert first[4]["dealer"] == ("9C",)
    assert second[1:4] == (-1.0, True, False)
    assert (second[4]["player_sum"], second[4]["is_success"]) == (22, False)
    # The dealer's hand is shown, and nothing is drawn for it.
    assert second[4]["dealer"] == ("9C", "KD")


def test_the_dealer_draws_up_to_seventeen(monkeypatch: pytest.MonkeyPatch) -> None:
    env = dealt(["10S", "8H"], ["2C", "AD"])
    next_cards(env, ["3C", "KD", "AH"], monkeypatch)
    (step,) = play(env, "stick")
    # A soft 16, then a hard one, then 17.
    assert step[4]["dealer"] == ("2C", "AD", "3C", "KD", "AH")
    assert step[1:4] == (1.0, True, False)
    assert step[4]["is_success"] is True


def test_the_dealer_stands_on_a_soft_seventeen() -> None:
    (step,) = play(dealt(["10S", "7H"], ["6C", "AD"]), "stick")
    assert step[4]["dealer"] == ("6C", "AD")
    assert step[1:4] == (0.0, True, False)
    assert step[4]["is_success"] is False


@all_rules
def test_every_episode_is_that_of_gymnasiums_blackjack(
    natural: bool, sab: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The original draws values with a function of its own; here it takes them from the cards that ours draws.
    cards, _ = seeding.np_random(11)
    monkeypatch.setattr(original, "draw_card", lambda _: card_value(CARDS[cards.integers(52)]))
    theirs, ours = original.BlackjackEnv(natural=natural, sab=sab), BlackjackEnv(natural, sab, image_size=64)
    random = np.random.default_rng(0)
    rewards: Counter[float] = Counter()
    for episode in range(2000):
        observation, _ = theirs.reset(seed=0)
        info = ours.start(seed=11 if episode == 0 else None)
        chance_to_hit = random.choice([0.0, 0.3, 0.7, 1.0])
        ended = False
        while not ended:
            assert observation == (info["player_sum"], info["dealer_card"], info["usable_ace"])
            action = int(random.random() < chance_to_hit)
            observation, reward, ended, _, _ = theirs.step(action)
            our_reward, terminated, truncated, info = ours.advance(action)
            assert (our_reward, terminated, truncated) == (reward, ended, False)
        assert [card_value(card) for card in info["dealer"]] == theirs.dealer
        assert info["is_success"] == (our_reward > 0)
        rewards[our_reward] += 1
    assert set(rewards) == ({-1.0, 0.0, 1.0, 1.5} if natural and not sab else {-1.0, 0.0, 1.0})


# The deal.


def test_every_card_is_drawn_equally_often() -> None:
    env = BlackjackEnv(image_size=64)
    infos = [env.start(seed=0 if episode == 0 else None) for episode in range(5200)]
    counts = Counter(card for info in infos for card in (*info["player"], *info["dealer"]))
    assert set(counts) == set(CARDS)
    # 300 are expected of each, with a standard deviation of 17.
    assert 230 < min(counts.values()) <= max(counts.values()) < 370
    assert any(info["player"][0] == info["player"][1] for info in infos)  # the deck never runs out


def test_a_seed_deals_the_same_cards_for_ever() -> None:
    # Published results name seeds: whatever changes these cards is a new version of the environment.
    env = BlackjackEnv()
    env.reset(seed=0)
    last = play(env, "hit", "stick")[-1][4]
    assert (last["player"], last["dealer"]) == (("7D", "4D", "5S"), ("QS", "9H"))
    env.reset()
    last = play(env, "stick")[0][4]
    assert (last["player"], last["dealer"]) == (("AS", "3H"), ("AD", "AC", "JD", "9H"))


def test_given_cards_use_no_randomness() -> None:
    env = BlackjackEnv()
    env.reset(seed=9)
    expected = env.reset()[1]["player"]
    env.reset(seed=9)
    _, info = env.reset(options={"player": ("AS", "AS"), "dealer": ["AS", "AS"]})
    assert (info["player"], info["dealer"]) == (("AS", "AS"), ("AS",))
    assert env.reset(options={})[1]["player"] == expected


# Info, render, pictures.


def test_info_after_a_reset() -> None:
    _, info = BlackjackEnv().reset(options={"player": ["AH", "6S"], "dealer": ["QC", "5D"]})
    mask = info.pop("action_mask")
    assert (mask.dtype, mask.tolist()) == (np.int8, [1, 1])
    assert info == {
        "player": ("AH", "6S"),
        "dealer": ("QC",),
        "player_sum": 17,
        "dealer_card": 10,
        "usable_ace": True,
        "illegal": False,
    }
    json.dumps(info)


def test_the_text_shows_what_the_picture_shows() -> None:
    env = dealt(["AH", "6S"], ["QC", "8D"], render_mode="ansi")
    assert env.render() == "dealer QC ? | player AH 6S"
    play(env, "stick")
    assert env.render() == "dealer QC 8D | player AH 6S"


@pytest.mark.parametrize("theme", THEME_NAMES)
def test_the_hidden_card_is_hidden_until_the_end(theme: Any) -> None:
    env = BlackjackEnv(theme=theme, image_size=112)
    before, after = set(), set()
    for hidden in ("8S", "9S", "10S", "KD", "AC"):
        frame, _ = env.reset(seed=4, options={"player": ["10S", "9H"], "dealer": ["9C", hidden]})
        before.add(frame.tobytes())
        after.add(play(env, "stick")[0][0].tobytes())
    assert len(before) == 1
    assert len(after) == 5


@pytest.mark.parametrize("theme", THEME_NAMES)
@pytest.mark.parametrize("size", [64, 300])
def test_every_card_in_every_place_makes_a_picture_of_its_own(theme: Any, size: int) -> None:
    env = BlackjackEnv(theme=theme, image_size=size)
    hands = [(["2S", "2S"], ["2S", "2S"])]
    hands += [([card, "2S"], ["2S", "2S"]) for card in CARDS[::3] if card != "2S"]
    hands += [(["2S", card], ["2S", "2S"]) for card in CARDS[::3] if card != "2S"]
    hands += [(["2S", "2S"], [card, "2S"]) for card in CARDS[::3] if card != "2S"]
    frames = {env.reset(seed=1, options={"player": p, "dealer": d})[0].tobytes() for p, d in hands}
    assert len(frames) == len(hands)


@pytest.mark.parametrize("count", range(1, MOST_CARDS + 1))
def test_cards_stay_on_the_canvas_and_cover_nothing(count: int) -> None:
    zoom, places = card_places(count)
    assert len(places) == count
    boxes = [(x, y, x + CARD_WIDTH * zoom, y + CARD_HEIGHT * zoom) for x, y in places]
    for index, (left, top, right, bottom) in enumerate(boxes):
        # Tilted, a card reaches a little further.
        assert 5 <= left < right <= 295
        assert 0 <= top < bottom <= 297 - ROW_TOPS[1]
        assert ROW_TOPS[0] + bottom < ROW_TOPS[1] - 15
        for other_left, other_top, _, _ in boxes[index + 1 :]:
            assert other_left > right or other_top > bottom


def test_up_to_four_cards_always_stand_in_the_same_places() -> None:
    most = card_places(4)
    assert all(card_places(count) == (most[0], most[1][:count]) for count in range(1, 5))


def test_the_picture_tells_every_card_of_the_longest_hand() -> None:
    env = dealt(["AS", "AS"], ["9C", "KD"])
    seen = set()
    for changed in range(MOST_CARDS):
        env._player = tuple("5H" if index == changed else "AS" for index in range(MOST_CARDS))
        env._paint()
        seen.add(env.canvas.tobytes())
    assert len(seen) == MOST_CARDS


def test_a_picture_depends_on_the_state_alone() -> None:
    env, direct = dealt(["AS", "2H"], ["9C", "KD"]), dealt(["AS", "2H"], ["9C", "2D"])
    (step,) = play(env, "hit")
    direct._player = step[4]["player"]
    direct._paint()
    assert (direct.canvas == step[0]).all()


# Options and errors.


@pytest.mark.parametrize("option", ["natural", "sab"])
@pytest.mark.parametrize("value", [1, None, "yes"])
def test_rules_that_are_neither_true_nor_false_are_refused(option: str, value: Any) -> None:
    with pytest.raises(SettingError, match=f"{option}={value!r}: expected one of True, False"):
        BlackjackEnv(**{option: value})


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"player": ["AH", "10S"]}, SettingError, "without 'dealer': expected both hands or neither"),
        ({"dealer": ["AH", "10S"]}, SettingError, "without 'player': expected both hands or neither"),
        ({"player": ["AH", "10S"], "dealer": ["9C"]}, HandError, "a hand has 2 cards, not 1"),
        ({"player": ["AH", "10S", "2C"], "dealer": ["9C", "9D"]}, HandError, "a hand has 2 cards, not 3"),
        ({"player": ["AH", "1S"], "dealer": ["9C", "9D"]}, HandError, "unknown card '1S'"),
        ({"player": "AH10S", "dealer": ["9C", "9D"]}, HandError, "a hand is a list of 2 cards"),
        ({"player": 7, "dealer": ["9C", "9D"]}, HandError, "a hand is a list of 2 cards"),
        ({"cards": ["AH", "10S"]}, SettingError, "unknown reset option 'cards': there are 'player', 'dealer'"),
    ],
)
def test_impossible_reset_options_are_refused_and_leave_the_episode_as_it_was(
    options: Any, error: type[Exception], message: str
) -> None:
    env = dealt(["10S", "8H"], ["9C", "KD"])
    with pytest.raises(error, match=message):
        env.reset(options=options)
    (step,) = play(env, "stick")
    assert (step[4]["player"], step[4]["dealer"]) == (("10S", "8H"), ("9C", "KD"))
