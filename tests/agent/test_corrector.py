"""Correctors of every kind: what the agent will learn is read, whole, in form, and never made up."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gtr_agent.corrector import CACHE_FOLDER, Corrector, Counts, PolicyCorrector, corrected_answer, make_corrector
from gtr_agent.corrector_prompt import LONGEST_ANSWER, correction_prompt
from gtr_agent.settings import CorrectorSettings, EnvSettings
from gtr_envs.episode import Request, Response, Seat
from gtr_envs.errors import CheckpointError, MissingReplyError, SettingError, UnknownEnvironmentError
from gtr_envs.experts import RandomPolicy, knows_a_way
from gtr_envs.protocol import AnswerStatus, write_answer
from gtr_envs.tasks import task_for
from gtr_envs.text_actions import make_text_env
from tests.fake_endpoint import Act, Asked, serve

CARD_GAMES = ("gtr/Points24-v0", "gtr/EZPoints-v0", "gtr/NumberLine-v0", "gtr/Blackjack-v0")


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "key")
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def played(
    env_id: str, turns: int = 12, look: Callable[[Request, str], None] = lambda request, answer: None
) -> tuple[list[Request], list[str]]:
    """What a random player was asked in some turns, and what it answered; ``look`` sees each before it is played."""
    seat = Seat(make_text_env(env_id))
    requests, answers = [], []
    seed = 0
    seat.start(seed)
    for _ in range(turns):
        request = seat.request()
        response = RandomPolicy().act([request])[0]
        requests.append(request)
        answers.append(response.text)
        look(request, response.text)
        seat.apply(response)
        if seat.done:
            seed += 1
            seat.start(seed)
    seat.env.close()
    return requests, answers


def alfworld_turn() -> Request:
    """A turn of ALFWorld without its engine."""
    task = task_for("gtr/ALFWorld-v0")
    info = {
        "task": "put a mug in the desk",
        "history": ["look"],
        "admissible_commands": ["go to desk 1", "look", "inventory"],
    }
    return Request(np.zeros((4, 4, 3), np.uint8), task.prompt(info), info, task, np.random.default_rng(0))


@pytest.fixture
def points24() -> Request:
    """The first turn of a hand of Points24."""
    return played("gtr/Points24-v0", 1)[0][0]


def solver(env_id: str, **more: Any) -> Corrector:
    return make_corrector(CorrectorSettings(), EnvSettings(id=env_id, options={}), Path("nowhere"), **more)


@pytest.mark.parametrize("env_id", CARD_GAMES)
def test_the_solver_corrects_every_turn_that_can_be_won(env_id: str, rng: np.random.Generator) -> None:
    requests, answers = played(env_id)
    corrector = solver(env_id)
    corrected = corrector.correct(requests, answers, rng)
    for request, answer, text in zip(requests, answers, corrected, strict=True):
        assert (text is not None) == knows_a_way(request)
        if text is None:
            continue
        read = request.task.read(text, request.info)
        assert read.status is AnswerStatus.STRICT
        assert read.thoughts
        assert read.action == request.task.read(answer, request.info).action  # the agent's own, out of the loss
        assert list(json.loads(text)) == list(request.task.keys)
        assert read.action_span is not None
        assert read.action_span[1] == len(text)
    counts = corrector.counts
    assert (counts.asked, counts.corrected + counts.silent, counts.unreadable) == (12, 12, 0)
    assert (counts.tokens, counts.cost) == (0, 0)
    assert counts.corrected >= 2
    corrector.correct(requests[:1], answers[:1], rng)
    assert (corrector.counts.asked, corrector.counts.corrected) == (13, counts.corrected + 1)
    corrector.close()


@pytest.mark.parametrize("env_id", [*CARD_GAMES, "gtr/ALFWorld-v0"])
def test_turns_are_corrected_as_they_were_however_late(env_id: str, rng: np.random.Generator) -> None:
    if env_id == "gtr/ALFWorld-v0":
        pytest.importorskip("alfworld", reason="needs the extra alfworld: pip install 'gtr-bench[alfworld]'")
    corrector = solver(env_id)
    at_once: list[str | None] = []
    requests, answers = played(
        env_id, 8, lambda request, answer: at_once.extend(corrector.correct([request], [answer], rng))
    )
    assert corrector.correct(requests, answers, rng) == at_once


def test_the_solver_says_what_makes_24(points24: Request, rng: np.random.Generator) -> None:
    (text,) = solver("gtr/Points24-v0").correct([points24], ["{}"], rng)
    assert text is not None
    fields = json.loads(text)
    assert fields["cards"] == list(points24.info["numbers"])
    assert fields["action"] in {str(number) for number in points24.info["numbers"]} | {"("}  # its own, for want of one
    assert "= 24:" in fields["thoughts"]


def test_the_solver_thinks_as_the_agent_learned_to(points24: Request, rng: np.random.Generator) -> None:
    (chain,) = solver("gtr/Points24-v0").correct([points24], ["{}"], rng)
    (search,) = solver("gtr/Points24-v0", thoughts="search").correct([points24], ["{}"], rng)
    assert chain is not None
    assert search is not None
    assert json.loads(chain)["thoughts"] != json.loads(search)["thoughts"]


def test_the_explorer_corrects_alfworld(rng: np.random.Generator) -> None:
    pytest.importorskip("alfworld", reason="needs the extra alfworld: pip install 'gtr-bench[alfworld]'")
    requests, answers = played("gtr/ALFWorld-v0", 4)
    corrected = solver("gtr/ALFWorld-v0").correct(requests, answers, rng)
    for request, answer, text in zip(requests, answers, corrected, strict=True):
        assert text is not None
        read = request.task.read(text, request.info)
        assert read.status is AnswerStatus.STRICT
        assert read.action == json.loads(answer)["action"]


def test_an_environment_without_an_expert_is_named() -> None:
    with pytest.raises(UnknownEnvironmentError, match="no expert"):
        solver("gtr/ALFWorldThor-v0")


def test_the_thought_is_the_correctors_and_the_action_the_agents(points24: Request) -> None:
    cards = list(points24.info["numbers"])
    agent = write_answer({"cards": [1, 1, 1, 1], "formula": "2", "thoughts": "hm", "action": "("})
    said = {"cards": cards, "formula": "", "thoughts": 'mind the {braces} and "quotes"', "action": "="}
    expected = write_answer({**said, "action": "("})
    assert corrected_answer(points24, agent, json.dumps(said)) == expected
    assert corrected_answer(points24, "gibberish", json.dumps(said)) == write_answer(said)
    # Whatever surrounds the reply, and in whatever order and form it comes, the correction has the agent's.
    fenced = f"Here you are:\n```json\n{json.dumps({**dict(reversed(said.items())), 'remark': 1}, indent=1)}\n```"
    assert corrected_answer(points24, agent, fenced) == expected


UNREADABLE = {
    "nothing": "",
    "prose": "I cannot help with that.",
    "no action": '{"cards": [1, 2, 3, 4], "formula": "", "thoughts": "t"}',
    "an action that does not exist": '{"cards": [1, 2, 3, 4], "formula": "", "thoughts": "t", "action": "99"}',
    "no thoughts": '{"cards": [1, 2, 3, 4], "formula": "", "action": "1"}',
    "empty thoughts": '{"cards": [1, 2, 3, 4], "formula": "", "thoughts": " ", "action": "1"}',
    "thoughts of another form": '{"cards": [1, 2, 3, 4], "formula": "", "thoughts": ["t"], "action": "1"}',
    "no cards": '{"formula": "", "thoughts": "t", "action": "1"}',
    "cards of another form": '{"cards": ["A", "K", 3, 4], "formula": "", "thoughts": "t", "action": "1"}',
    "cards as text": '{"cards": "1 2 3 4", "formula": "", "thoughts": "t", "action": "1"}',
    "formula of another form": '{"cards": [1, 2, 3, 4], "formula": [], "thoughts": "t", "action": "1"}',
    "too long": '{"cards": [1, 2, 3, 4], "formula": "", "thoughts": "' + "t" * 30_000 + '", "action": "1"}',
    "deep": "[" * 20_000,
}


@pytest.mark.parametrize("reply", UNREADABLE.values(), ids=UNREADABLE)
def test_a_reply_that_cannot_be_learned_from_is_none(points24: Request, reply: str) -> None:
    assert corrected_answer(points24, "{}", reply) is None


def test_halves_of_characters_reach_no_tokenizer(points24: Request) -> None:
    reply = '{"cards": [1, 2, 3, 4], "formula": "", "thoughts": "a \\ud800 b", "action": "1"}'
    text = corrected_answer(points24, "{}", reply)
    assert text is not None
    assert "a ? b" in text
    text.encode("utf-8")


def test_the_question_shows_what_the_agent_saw_and_no_more(points24: Request) -> None:
    agent = write_answer({"cards": [1], "formula": "", "thoughts": "{checks} 100 %", "action": "1"})
    system, user = correction_prompt(points24, agent)
    assert system.role == "system"
    assert user.picture is points24.frame
    for part in (points24.prompt, agent, '"cards", "formula", "thoughts", "action"', "make 24"):
        assert part in user.text
    assert str(points24.info["numbers"]) not in user.text
    assert str(list(points24.info["numbers"])) not in user.text


def test_each_kind_of_task_has_checks_of_its_own() -> None:
    turn = alfworld_turn()
    words = correction_prompt(turn, "{}")[-1].text
    assert "put a mug in the desk" in words
    assert "admissible actions" in words.partition("</answer>")[2]
    line = played("gtr/NumberLine-v0", 1)[0][0]
    assert '"target", "current", "thoughts", "action"' in correction_prompt(line, "{}")[-1].text


def test_a_babbling_answer_is_shown_in_part(points24: Request) -> None:
    assert len(correction_prompt(points24, "ha " * 100_000)[-1].text) < LONGEST_ANSWER + 3000
    assert "(nothing)" in correction_prompt(points24, "")[-1].text


@pytest.fixture
def no_openai_no_test() -> None:
    pytest.importorskip("openai", reason="needs the extra api: pip install 'gtr-bench[api]'")


@pytest.mark.usefixtures("no_openai_no_test")
def test_an_endpoint_corrects_and_is_counted(tmp_path: Path, rng: np.random.Generator) -> None:
    requests, answers = played("gtr/Points24-v0", 6)
    thought = "from the endpoint"

    def plan(number: int, asked: Asked) -> Act:
        if asked.text.count("Formula so far: none"):
            return Act(text="no idea")
        said = {"cards": [1, 2, 3, 4], "formula": "1", "thoughts": thought, "action": "="}
        return Act(text=json.dumps(said))

    env = EnvSettings(options={})
    with serve(plan) as server:
        settings = CorrectorSettings(
            kind="endpoint", model="m", base_url=server.url, price_in=10.0, price_out=100.0, max_cost=9.0, max_tokens=77
        )
        corrector = make_corrector(settings, env, tmp_path)
        corrected = corrector.correct(requests, answers, rng)
        counts = corrector.counts
        corrector.close()
        n_asked = server.n_asked
        assert server.asked[0].body["max_tokens"] == 77
        offline = make_corrector(settings.model_copy(update={"offline": True}), env, tmp_path)
        assert offline.correct(requests, answers, rng) == corrected
        with pytest.raises(MissingReplyError):
            offline.correct(requests[:1], ["another answer"], rng)
        assert server.n_asked == n_asked
        offline.close()
    first_turns = [not request.info["formula"] for request in requests]
    assert [text is None for text in corrected] == first_turns
    assert 0 < sum(first_turns) < 6
    for request, answer, text in zip(requests, answers, corrected, strict=True):
        if text is not None:
            read = request.task.read(text, request.info)
            assert (read.thoughts, read.action) == (thought, json.loads(answer)["action"])
    assert (counts.asked, counts.unreadable, counts.corrected) == (6, sum(first_turns), 6 - sum(first_turns))
    assert counts.tokens == 110 * n_asked
    assert counts.cost == pytest.approx(n_asked * (100 * 10 + 10 * 100) / 1e6)
    assert counts.cached == 6 - n_asked
    assert (offline.counts.cached, offline.counts.tokens, offline.counts.cost) == (6, 0, 0)
    assert len(list((tmp_path / CACHE_FOLDER).iterdir())) == n_asked


@pytest.mark.usefixtures("no_openai_no_test")
def test_an_endpoint_corrects_alfworld(tmp_path: Path, rng: np.random.Generator) -> None:
    turn = alfworld_turn()
    agent = write_answer({"thoughts": "hm", "action": "look"})
    said = write_answer({"thoughts": "the mug may be on the desk", "action": "go to desk 1"})
    with serve(lambda number, asked: Act(text=said)) as server:
        settings = CorrectorSettings(kind="endpoint", model="m", base_url=server.url, cache=str(tmp_path / "shared"))
        corrector = make_corrector(settings, EnvSettings(id="gtr/ALFWorld-v0", options={}), tmp_path)
        corrected = corrector.correct([turn], [agent], rng)
        corrector.close()
    assert corrected == [write_answer({"thoughts": "the mug may be on the desk", "action": "look"})]
    assert [path.name for path in tmp_path.iterdir()] == ["shared"]


def test_a_corrector_without_a_model_is_named(tmp_path: Path) -> None:
    for kind in ("endpoint", "checkpoint"):
        with pytest.raises(SettingError, match=r"corrector\.model"):
            make_corrector(CorrectorSettings(kind=kind), EnvSettings(), tmp_path)
    with pytest.raises(CheckpointError):
        make_corrector(CorrectorSettings(kind="checkpoint", model=str(tmp_path)), EnvSettings(), tmp_path)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_checkpoint_answers_anew(tiny_folder: Path, points24: Request, temperature: float) -> None:
    settings = CorrectorSettings(kind="checkpoint", model=str(tiny_folder), temperature=temperature)
    corrector = make_corrector(settings, EnvSettings(), tiny_folder, precision="bfloat16")
    assert isinstance(corrector, PolicyCorrector)
    model: Any = corrector.policy
    assert model.actor.precision == "bfloat16", "as the run's"
    model.actor.precision = "float32"
    assert model.greedy is (temperature == 0)
    model.max_new_tokens = 12
    said: list[list[str]] = []
    act = model.act

    def listen(requests: list[Request]) -> list[Response]:
        responses = act(requests)
        said.append([response.text for response in responses])
        return responses

    model.act = listen
    drawn = points24.rng.bit_generator.state
    for seed in (1, 1, 2):
        # Twelve tokens of a model that knows nothing are no answer.
        assert corrector.correct([points24] * 2, ["{}"] * 2, np.random.default_rng(seed)) == [None, None]
    assert points24.rng.bit_generator.state == drawn, "the agent's own source of chance is left alone"
    assert said[0] == said[1]
    assert (said[0] == said[2]) is (temperature == 0)
    assert (corrector.counts.asked, corrector.counts.unreadable) == (6, 6)


def test_a_policy_is_asked_in_pieces(points24: Request, rng: np.random.Generator) -> None:
    sizes = []

    class Parrot:
        name = "parrot"

        def act(self, requests: list[Request]) -> list[Response]:
            sizes.append(len(requests))
            fields = {"cards": [1, 2, 3, 4], "formula": "", "thoughts": "t", "action": "1"}
            return [Response(write_answer(fields)) for _ in requests]

    corrector = PolicyCorrector(Parrot())
    assert None not in corrector.correct([points24] * 150, ["{}"] * 150, rng)
    assert sizes == [64, 64, 22]


def test_the_solver_is_silent_where_it_knows_no_way(rng: np.random.Generator) -> None:
    corrector = make_corrector(CorrectorSettings(), EnvSettings(id="gtr/Points24-v0"), Path("unused"))
    env = make_text_env("gtr/Points24-v0")
    seat = Seat(env)
    seat.start(0)
    asked = [seat.request()]
    numbers = list(seat.request().info["numbers"])
    hopeless = replace(asked[0], info={**asked[0].info, "formula": (str(numbers[0]), "-", str(numbers[0]), "*")})
    env.close()
    answer = write_answer({"cards": numbers, "formula": "", "thoughts": "so what", "action": "="})
    first, second, third = corrector.correct([asked[0], hopeless, asked[0]], [answer] * 3, rng)
    assert second is None
    assert first is not None
    assert third is not None
    assert (corrector.counts.corrected, corrector.counts.silent, corrector.counts.unreadable) == (2, 1, 0)
    assert corrector.counts.since(Counts())["corrector_silent"] == 1.0


@pytest.mark.parametrize(
    ("env_id", "options", "cards", "formula", "known"),
    [
        ("gtr/Points24-v0", {}, (4, 6, 1, 1), (), True),
        ("gtr/Points24-v0", {}, (4, 6, 1, 1), ("4", "*", "6"), True),
        ("gtr/Points24-v0", {}, (4, 6, 1, 1), ("4", "-", "6"), False),
        ("gtr/Points24-v0", {"target": 10, "hands": "all"}, (4, 6, 1, 1), ("4", "+", "6"), True),
        ("gtr/Points24-v0", {"target": 10, "hands": "all"}, (4, 6, 1, 1), ("6", "-", "4", "/"), False),
        ("gtr/EZPoints-v0", {}, (2, 6), ("2",), True),
        ("gtr/EZPoints-v0", {}, (2, 6), ("2", "+"), False),
    ],
)
def test_whether_a_way_is_known(
    env_id: str, options: dict[str, Any], cards: tuple[int, ...], formula: tuple[str, ...], known: bool
) -> None:
    env = make_text_env(env_id, **options)
    seat = Seat(env)
    seat.start(0)
    request = seat.request()
    request = replace(request, info={**request.info, "numbers": cards, "formula": formula})
    env.close()
    assert knows_a_way(request) is known
