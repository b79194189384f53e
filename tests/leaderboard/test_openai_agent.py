"""Agents behind an endpoint: what they see, and that bad days of the endpoint change nothing but the time it takes."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gtr_envs.episode import Policy, Request, StopReason, play
from gtr_envs.errors import CostCapError, EndpointError
from gtr_envs.text_actions import make_text_env
from leaderboard.agents import AgentOptions, describe_agent, load_agent
from leaderboard.cli import main
from leaderboard.evaluate import evaluate
from leaderboard.openai_agent import KEPT, OpenAIPolicy, endpoint_fingerprint
from leaderboard.records import read_episodes
from leaderboard.spending import total_usage
from leaderboard.summary import Result
from tests.fake_endpoint import Act, Asked, FakeEndpoint, serve

KEY = "sk-secret-0123456789abcdef"
BLACKJACK = "gtr/Blackjack-v0"
OPTIONS = AgentOptions(concurrency=4, retries=3, timeout_s=5)
N_EPISODES = 12
FINAL = "results/m/gtr-Blackjack-v0/all-seed-0"

pytest.importorskip("openai")


@pytest.fixture(autouse=True)
def quick_and_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short pauses between attempts, and a key that must turn up nowhere."""
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.01, raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)


def picture(asked: Asked) -> np.ndarray:
    """The picture of a request."""
    url = asked.body["messages"][-1]["content"][0]["image_url"]["url"]
    data = base64.b64decode(url.removeprefix("data:image/png;base64,"))
    return np.asarray(Image.open(io.BytesIO(data)))


def answer(asked: Asked) -> Act:
    """An answer that follows from the question and its seed alone."""
    question = json.dumps([asked.body["messages"], asked.body.get("seed")])
    action = "hit" if hashlib.sha256(question.encode()).digest()[0] % 2 else "stick"
    return Act(json.dumps({"player": [], "dealer": "", "thoughts": "as it comes", "action": action}))


def calm(number: int, asked: Asked) -> Act:
    return answer(asked)


def stormy(number: int, asked: Asked) -> Act:
    """Four kinds of trouble, and slow every now and then."""
    trouble = {
        0: Act(status=429, body='{"error": {"message": "slow down"}}', headers={"Retry-After": "0.02"}),
        2: Act(status=503, body="overloaded"),
        4: Act(drop=True),
        6: Act(body="<html>a proxy's page</html>"),
    }
    return trouble.get(number % 13) or replace(answer(asked), after_s=0.02 * (number % 3))


def run(policy: Policy, out: Path, n_episodes: int = N_EPISODES, **changes: Any) -> Result:
    card = describe_agent("openai:m", policy)
    arguments = {"seed": 0, "n_episodes": n_episodes, "out_dir": out / "results", **changes}
    return evaluate(policy, BLACKJACK, {}, agent=card, **arguments)


def play_at(server: FakeEndpoint, out: Path, options: AgentOptions = OPTIONS, **changes: Any) -> Result:
    """Evaluate the agent at an endpoint."""
    policy = load_agent("openai:m", replace(options, base_url=server.url))
    try:
        return run(policy, out, **changes)
    finally:
        policy.close()  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The episodes' file of an evaluation at an endpoint that has no trouble."""
    out = tmp_path_factory.mktemp("calm")
    with pytest.MonkeyPatch.context() as patch, serve(calm) as server:
        patch.setenv("OPENAI_API_KEY", KEY)
        result = play_at(server, out)
        assert server.n_asked == sum(episode.steps for episode in result.episodes)
    assert 0 < result.summary.success.successes < N_EPISODES
    return (result.folder / "episodes.jsonl").read_bytes()


@pytest.fixture
def request_made() -> Request:
    from gtr_envs.episode import Seat

    seat = Seat(make_text_env("gtr/Points24-v0"))
    seat.start(10_000_000_000)
    return seat.request()


def test_an_endpoint_is_asked_what_a_checkpoint_is_asked(request_made: Request) -> None:
    with serve(calm) as server:
        load_agent("openai:m", replace(OPTIONS, base_url=server.url, max_new_tokens=77, temperature=0.5)).act(
            [request_made]
        )
    body = server.asked[0].body
    assert [message["role"] for message in body["messages"]] == ["user"]
    assert [part["type"] for part in body["messages"][0]["content"]] == ["image_url", "text"]
    assert body["messages"][0]["content"][1]["text"] == request_made.prompt
    assert np.array_equal(picture(server.asked[0]), request_made.frame)
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("m", 0.5, 77)
    assert isinstance(body["seed"], int)
    assert f"Bearer {KEY}" in server.asked[0].headers.values()


def test_greedy_is_temperature_zero_and_needs_no_seed(request_made: Request) -> None:
    with serve(calm) as server:
        policy = load_agent("openai:org/m:2", replace(OPTIONS, base_url=server.url, greedy=True))
        policy.act([request_made])
    assert server.asked[0].body["temperature"] == 0
    assert "seed" not in server.asked[0].body
    card = describe_agent("openai:org/m:2", policy)
    assert (card.name, card.method, card.base_model, card.temperature) == ("m-2", "api", "org/m:2", 0.0)


@pytest.mark.parametrize(("plan", "concurrency"), [(stormy, 1), (calm, 8), (stormy, 8)])
def test_neither_trouble_nor_concurrency_changes_a_byte(
    plan: Callable[[int, Asked], Act], concurrency: int, reference: bytes, tmp_path: Path
) -> None:
    with serve(plan) as server:
        result = play_at(server, tmp_path, replace(OPTIONS, concurrency=concurrency))
        assert server.most_at_once <= concurrency
        assert len(server.answered) == sum(episode.steps for episode in result.episodes), "no turn was paid for twice"
    assert (result.folder / "episodes.jsonl").read_bytes() == reference
    assert result.summary.crashed == 0
    usage = total_usage(result.folder)
    assert (usage["calls"], usage["calls"] - usage["failed"]) == (server.n_asked, len(server.answered))
    assert usage["completion_tokens"] == 10 * len(server.answered)


def test_an_endpoint_that_goes_down_ends_the_evaluation_and_the_same_command_resumes_it(
    reference: bytes, tmp_path: Path
) -> None:
    def down_after_some(number: int, asked: Asked) -> Act:
        return answer(asked) if number < 9 else Act(body='{"choices": []}')

    with (
        serve(down_after_some) as server,
        pytest.raises(EndpointError, match=rf"4 attempts.*no chat completion.*{KEPT}"),
    ):
        play_at(server, tmp_path)
    folder = tmp_path / FINAL
    kept, _ = read_episodes(folder)
    assert 0 < len(kept) < N_EPISODES
    assert all(episode.stop is not StopReason.CRASHED for episode in kept), "a failing endpoint is no crash"
    with serve(calm) as server:
        result = play_at(server, tmp_path)
        others = [episode for episode in result.episodes if episode.seed not in {one.seed for one in kept}]
        assert server.n_asked == sum(episode.steps for episode in others), "finished episodes are not asked for again"
    assert (folder / "episodes.jsonl").read_bytes() == reference
    with serve(calm) as server:
        play_at(server, tmp_path)
        assert server.n_asked == 0


@pytest.mark.parametrize("text", ["", "{" * 3000, '{"action": "\\ud800"}'])
def test_an_answer_that_makes_no_sense_is_invalid_and_counted(text: str, tmp_path: Path) -> None:
    with serve(lambda number, asked: Act(text)) as server:
        result = play_at(server, tmp_path, n_episodes=2)
        assert server.n_asked == sum(episode.steps for episode in result.episodes)
    assert result.summary.invalid_answer_rate == 1.0
    assert result.summary.crashed == 0
    assert all(turn.tokens == turn.thought_tokens == 10 for episode in result.episodes for turn in episode.turns)


def test_a_key_is_in_no_result_and_no_message(tmp_path: Path) -> None:
    def plan(number: int, asked: Asked) -> Act:
        return answer(asked) if number < 6 else Act(status=401, body=f'{{"error": {{"message": "bad key {KEY}"}}}}')

    with serve(plan) as server:
        url = server.url.replace("//", "//user:password@")
        policy = load_agent("openai:m", replace(OPTIONS, base_url=url))
        with pytest.raises(EndpointError, match="OPENAI_API_KEY") as caught:
            run(policy, tmp_path)
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"episodes" in written
    for secret in (KEY, "password"):
        assert secret.encode() not in written
        assert secret not in str(caught.value)
    assert endpoint_fingerprint("m", url) == endpoint_fingerprint("m", "http://127.0.0.1:1/other")
    assert endpoint_fingerprint("m", url) != endpoint_fingerprint("m", "http://other.example/v1")


def test_the_cap_on_the_cost_holds_for_all_attempts_together(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["eval", "--agent", "openai:m", "--env", BLACKJACK, "-n", str(N_EPISODES), "--concurrency", "1"]
    # A call is 100 tokens in and 10 out: a cent and a half.
    command += ["--price-in", "100", "--price-out", "500", "--max-cost", "0.0899", "--out", str(tmp_path / "results")]
    with serve(calm) as server:
        command += ["--base-url", server.url]
        for _ in range(2):
            assert main(command) == 2
            assert "max_cost=0.0899" in capsys.readouterr().err
            assert server.n_asked == 6, "the second attempt is told what the first one cost, and asks nothing"
    assert total_usage(tmp_path / FINAL)["cost"] == pytest.approx(0.09)
    assert read_episodes(tmp_path / FINAL)[0]


def test_the_cap_counts_what_was_spent_before(request_made: Request) -> None:
    options = replace(OPTIONS, max_cost=1.0, price_in=100.0, spent_before=1.0)
    with serve(calm) as server, pytest.raises(CostCapError):
        load_agent("openai:m", replace(options, base_url=server.url)).act([request_made])
    assert server.n_asked == 0


def test_answers_that_are_cut_off_or_not_counted_are_told_of_once(request_made: Request) -> None:
    said: list[str] = []
    cut = json.dumps({"choices": [{"finish_reason": "length", "message": {"content": "Let me think"}}]})
    with serve(lambda number, asked: Act(body=cut)) as server:
        policy = OpenAIPolicy("m", replace(OPTIONS, base_url=server.url), said.append)
        responses = policy.act([request_made, request_made]) + policy.act([request_made])
    assert {response.tokens for response in responses} == {0}
    assert ["count as 0" in text for text in said] == [True, False]
    assert "1024 tokens" in said[1]
    assert "--max-new-tokens" in said[1]
    assert policy.usage["cut_off"] == 3


def test_the_thoughts_share_of_the_tokens_follows_the_text(request_made: Request) -> None:
    text = '{"cards": [], "formula": "", "thoughts": "' + "x" * 60 + '", "action": "1"}'
    with serve(lambda number, asked: Act(text)) as server:
        response = load_agent("openai:m", replace(OPTIONS, base_url=server.url)).act([request_made])[0]
    action = len('"action": "1"}')
    assert (response.tokens, response.thought_tokens) == (10, round(10 * (1 - action / len(text))))


def test_one_endpoint_plays_only_as_many_episodes_at_once_as_it_takes_calls(tmp_path: Path) -> None:
    with serve(calm) as server:
        policy = load_agent("openai:m", replace(OPTIONS, base_url=server.url, concurrency=3))
        sizes = []
        act = policy.act
        policy.act = lambda requests: (sizes.append(len(requests)), act(requests))[1]  # type: ignore[method-assign, func-returns-value]
        run(policy, tmp_path)
    assert max(sizes) == 3


def test_play_lets_an_endpoints_error_through() -> None:
    with serve(lambda number, asked: Act(status=404, body="{}")) as server:
        policy = load_agent("openai:m", replace(OPTIONS, base_url=server.url))
        with pytest.raises(EndpointError, match="check the model's name"):
            list(play(policy, lambda: make_text_env(BLACKJACK), [10_000_000_000]))
