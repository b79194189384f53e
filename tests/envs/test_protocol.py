"""Reading answers: what is strict, what can be repaired, where thought and action stand."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gtr_envs.protocol import MAX_ANSWER_LENGTH, AnswerStatus, build_messages, read_answer, write_answer
from gtr_envs.tasks import task_for

ALLOWED = task_for("gtr/Points24-v0").allowed({})
KEYS = ("thoughts", "action")
COMMANDS = ("go to cabinet 1", "go to cabinet 12", "look")


def action_text(text: str, allowed: tuple[str, ...] = ALLOWED) -> str:
    answer = read_answer(text, allowed, KEYS)
    assert answer.action_span is not None
    start, end = answer.action_span
    return text[start:end]


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ('{"thoughts": "a", "action": "+"}', '"action": "+"}'),
        ('{"action": "+", "thoughts": "a"}', '"action": "+"'),
        ('  {"thoughts":"x","action":"10"}\n', '"action":"10"}\n'),
        ('{"thoughts": "the \\"action\\": \\"*\\" is bad", "action": "-"}', '"action": "-"}'),
        ('{"thoughts": {"action": "*"}, "action": "("}', '"action": "("}'),
        ('{"thoughts": "brace } and { inside", "action": ")"}', '"action": ")"}'),
        ('{"thoughts": "ü 日本 \\u2660", "action": "="}', '"action": "="}'),
    ],
)
def test_spans_of_strict_answers(text: str, span: str) -> None:
    answer = read_answer(text, ALLOWED, KEYS)
    assert answer.status is AnswerStatus.STRICT
    assert action_text(text) == span
    assert "".join(text[low:high] for low, high in answer.thought_spans) == text.replace(span, "", 1)
    assert answer.action == json.loads(text)["action"]


@pytest.mark.parametrize(
    ("text", "action"),
    [
        ('```json\n{"thoughts": "a", "action": "+"}\n```', "+"),
        ('Sure! {"thoughts": "a", "action": "+"}', "+"),
        ("{'thoughts': 'it\\'s', 'action': '10'}", "10"),
        ('{"thoughts": "a", "action": 10}', "10"),
        ('{"thoughts": "a", "action": "+",}', "+"),
        ('{"thoughts": "a", "action": "+"', "+"),
        ('{"thoughts": "line\nbreak", "action": "+"}', "+"),
        ('{"action": "+"}', "+"),
        ('{"thoughts": "a", "action": " + "}', "+"),
        ('{"thoughts": "a", action: +}', "+"),
        ('{"thoughts": "first", "action": "+"} {"thoughts": "second", "action": "-"}', "+"),
    ],
)
def test_untidy_answers_are_repaired_and_counted_as_such(text: str, action: str) -> None:
    answer = read_answer(text, ALLOWED, KEYS)
    assert (answer.status, answer.action) == (AnswerStatus.REPAIRED, action)
    assert action in action_text(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "plus",
        "{}",
        '{"thoughts": "a"}',
        '{"thoughts": "a", "action": "11"}',
        '{"action": null}',
        '{"action": true}',
    ],
)
def test_answers_without_an_action_are_invalid_and_all_thought(text: str) -> None:
    answer = read_answer(text, ALLOWED, KEYS)
    assert (answer.status, answer.action, answer.action_span) == (AnswerStatus.INVALID, None, None)
    assert "".join(text[low:high] for low, high in answer.thought_spans) == text


def test_an_action_is_matched_whole() -> None:
    text = '{"thoughts": "go to cabinet 1", "action": "go to cabinet 12"}'
    assert read_answer(text, COMMANDS).action == "go to cabinet 12"
    assert read_answer(text.replace("12", "123"), COMMANDS).status is AnswerStatus.INVALID
    assert read_answer(text.replace("go to cabinet 12", "Go  to Cabinet 12"), COMMANDS).status is AnswerStatus.REPAIRED


def test_a_key_given_twice_is_not_strict() -> None:
    answer = read_answer('{"thoughts": "a", "action": "+", "action": "-"}', ALLOWED)
    assert (answer.status, answer.action) == (AnswerStatus.REPAIRED, "+")


@pytest.mark.parametrize(
    "text",
    ["[" * 50_000, "{" * 5_000, '{"a":' * 3_000, '{"action": ' + "9" * 6_000 + "}", "x" * (MAX_ANSWER_LENGTH + 1)],
)
def test_hostile_answers_are_invalid(text: str) -> None:
    assert read_answer(text, ALLOWED).status is AnswerStatus.INVALID


@given(st.text(max_size=200))
def test_any_text_is_read_without_an_error(text: str) -> None:
    answer = read_answer(text, ALLOWED)
    assert (answer.action is None) == (answer.status is AnswerStatus.INVALID) == (answer.action_span is None)


@given(st.text(max_size=60), st.sampled_from(ALLOWED))
def test_what_is_written_is_read_back(thoughts: str, action: str) -> None:
    text = write_answer({"cards": [1, 2, 3, 4], "formula": "", "thoughts": thoughts, "action": action})
    answer = read_answer(text, ALLOWED, task_for("gtr/Points24-v0").keys)
    assert (answer.status, answer.action, answer.thoughts) == (AnswerStatus.STRICT, action, thoughts)
    assert action_text(text) == text[text.rindex('"action"') :]


def test_messages_hold_the_picture_and_the_text() -> None:
    *history, last = build_messages("what now?", [("before", "answer")])
    assert [part["type"] for part in last["content"]] == ["image", "text"]
    assert [message["role"] for message in history] == ["user", "assistant"]
