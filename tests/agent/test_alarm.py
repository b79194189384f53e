"""The collapse alarm: what it names, when, and that it goes on exactly where it stopped."""

import dataclasses
import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gtr_agent.alarm import RULES, AlarmLimits, CollapseAlarm
from gtr_agent.settings import Settings
from gtr_envs.errors import CheckpointError, SettingError

HEALTHY = {
    "thought_entropy": 0.06,
    "distinct_2": 0.02,
    "thought_tokens": 40.0,
    "top_thought": 0.01,
    "invalid": 0.004,
    "cut_off": 0.0,
    "teacher_change": 0.1,
    "teacher_distance": 0.2,
    "ratio_at_start": 0.006,
    "approx_kl": 0.005,
    "explained_variance": 0.3,
    "success": 0.3,  # watched by no limit
}
NOW = AlarmLimits(patience=1)


def named(sentences: list[str]) -> list[str]:
    return [sentence.split(" ")[0] for sentence in sentences]


def test_a_healthy_run_is_quiet() -> None:
    alarm = CollapseAlarm()
    assert [alarm.check(update, HEALTHY) for update in range(1, 20)] == [[]] * 19


@pytest.mark.parametrize(
    ("metric", "well", "sick"),
    [
        ("thought_entropy", 0.013, 0.011),  # a fifth of the first value is 0.012
        ("distinct_2", 0.0061, 0.0059),
        ("thought_tokens", 12.5, 11.5),
        ("top_thought", 0.5, 0.51),
        ("invalid", 0.5, 0.51),
        ("cut_off", 0.5, 0.51),
        ("teacher_change", 1e-6, 0.0),
        ("teacher_distance", 1e-6, 0.0),
        ("ratio_at_start", 0.2, 0.21),
        ("approx_kl", 0.3, 0.31),
        ("explained_variance", -0.49, -0.51),
    ],
)
def test_each_limit(metric: str, well: float, sick: float) -> None:
    alarm = CollapseAlarm(NOW)
    assert alarm.check(1, HEALTHY) == []
    assert alarm.check(2, {**HEALTHY, metric: well}) == []
    assert named(alarm.check(3, {**HEALTHY, metric: sick})) == [metric]


def test_the_floor_of_the_entropy_holds_from_the_first_update() -> None:
    assert named(CollapseAlarm(NOW).check(1, {"thought_entropy": 0.001})) == ["thought_entropy"]
    assert CollapseAlarm(NOW).check(1, {"thought_entropy": 0.0011}) == []


def test_a_sentence_says_figure_limit_since_when_and_what_to_try() -> None:
    alarm = CollapseAlarm(AlarmLimits(patience=2))
    alarm.check(4, {"approx_kl": 0.9})
    assert alarm.check(5, {"approx_kl": 0.6}) == [
        "approx_kl is 0.6 nats, above its limit 0.3 nats (2 updates in a row, since update 4): the policy moves too "
        "far in one update; try a smaller ppo.learning_rate, fewer ppo.epochs or a smaller ppo.clip_range."
    ]
    alarm = CollapseAlarm(NOW)
    alarm.check(1, {"distinct_2": 0.5, "teacher_change": 0.1})
    first, second = alarm.check(2, {"distinct_2": 0.05, "teacher_change": 0.0})
    assert first.startswith(
        "distinct_2 is 0.05, below 0.3 of its first value 0.5 (1 update in a row, since update 2): "
    )
    assert second.startswith(
        "teacher_change is 0, not above its limit 0 (1 update in a row, since update 2): the teach"
    )


def test_only_a_row_of_updates_counts() -> None:
    alarm = CollapseAlarm(AlarmLimits(patience=3))
    values = [0.9, 0.9, 0.1, 0.9, 0.9, 0.9, 0.9, 0.1, 0.9]
    found = [named(alarm.check(update, {"invalid": value})) for update, value in enumerate(values, start=1)]
    assert found == [[], [], [], [], [], ["invalid"], ["invalid"], [], []]


def test_a_metric_that_is_missing_neither_counts_nor_forgives() -> None:
    alarm = CollapseAlarm(AlarmLimits(patience=2))
    assert alarm.check(1, {"teacher_change": 0.0}) == []
    assert alarm.check(2, {}) == [], "merge.every=2: no merge in this update"
    assert "(2 updates in a row, since update 1)" in alarm.check(3, {"teacher_change": 0.0})[0]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_named_and_is_no_first_value(value: float) -> None:
    alarm = CollapseAlarm(NOW)
    assert "is no number to train with" in alarm.check(1, {"distinct_2": value})[0]
    assert alarm.check(2, {"distinct_2": 0.5}) == []
    assert alarm.state()["first"] == {"distinct_2": 0.5}


def test_none_switches_a_limit_off() -> None:
    alarm = CollapseAlarm(dataclasses.replace(NOW, top_thought_max=None))
    assert named(alarm.check(1, {"top_thought": 1.0, "invalid": 1.0})) == ["invalid"]


def test_every_limit_has_one_rule() -> None:
    limits = [field.name for field in dataclasses.fields(AlarmLimits) if field.name != "patience"]
    assert sorted(rule.limit for rule in RULES) == sorted(limits)
    assert {rule.kind for rule in RULES} == {"min", "max", "share"}
    assert {rule.metric for rule in RULES} == set(HEALTHY) - {"success"}


def test_the_page_lists_every_limit_with_its_default() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "metrics.md").read_text("utf-8")
    listed = re.findall(r"^\| `(\w+_(?:min|max|share))` \| (\S+) \|", page, re.MULTILINE)
    defaults = dataclasses.asdict(AlarmLimits())
    assert f"passed in {defaults.pop('patience')} updates in a row" in page
    assert {name: float(value) for name, value in listed} == defaults


def test_the_advice_names_settings_that_exist() -> None:
    for rule in RULES:
        for part, key in re.findall(r"\b(model|sft|rollout|ppo|guidance|merge)\.(\w+)", rule.advice):
            section: Any = Settings.model_fields[part].annotation
            assert key in section.model_fields


UPDATES = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            rule.metric: st.floats(0, 1) | st.just(0.0) | st.just(math.nan) for rule in RULES if rule.kind != "share"
        }
        | {"distinct_2": st.floats(0, 1)},
    ),
    max_size=12,
)


@given(UPDATES, st.integers(0, 12), st.integers(1, 4))
def test_a_resumed_alarm_says_what_the_uninterrupted_one_says(
    updates: list[dict[str, float]], stop: int, patience: int
) -> None:
    limits = AlarmLimits(patience=patience)
    whole, before, after = (CollapseAlarm(limits) for _ in range(3))
    expected = [whole.check(number, metrics) for number, metrics in enumerate(updates)]
    found = [before.check(number, metrics) for number, metrics in enumerate(updates[:stop])]
    after.load_state(json.loads(json.dumps(before.state(), allow_nan=False)))
    found += [after.check(number, metrics) for number, metrics in enumerate(updates[stop:], start=stop)]
    assert found == expected
    assert after.state() == whole.state()


def test_the_state_is_a_copy() -> None:
    alarm = CollapseAlarm()
    alarm.check(1, {"invalid": 0.9})
    saved = alarm.state()
    alarm.check(2, {"invalid": 0.9})
    assert saved == {"first": {"invalid": 0.9}, "streaks": {"invalid_max": [1, 1]}}


@pytest.mark.parametrize("damaged", [{}, {"first": {}}, {"first": [], "streaks": {}}, None, {"first": 1, "streaks": 2}])
def test_a_damaged_state_is_named_and_changes_nothing(damaged: Any) -> None:
    alarm = CollapseAlarm()
    alarm.check(1, HEALTHY)
    before = alarm.state()
    with pytest.raises(CheckpointError, match="resume from another checkpoint"):
        alarm.load_state(damaged)
    assert alarm.state() == before


@pytest.mark.parametrize(
    ("wrong", "allowed"),
    [
        ({"patience": 0}, "1 update or more"),
        ({"top_thought_max": 1.5}, "from 0 to 1"),
        ({"distinct_2_share": -0.1}, "from 0 to 1"),
        ({"approx_kl_max": -1.0}, "0 or more"),
        ({"approx_kl_max": math.nan}, "0 or more"),
        ({"explained_variance_min": 2.0}, "to 1"),
    ],
)
def test_limits_out_of_range_are_named(wrong: dict[str, Any], allowed: str) -> None:
    with pytest.raises(SettingError, match=f"{next(iter(wrong))}=.*{allowed}"):
        AlarmLimits(**wrong)
