"""The client of chat endpoints, against a real server that misbehaves: nothing lost, nothing counted twice."""

import base64
import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gtr_agent import endpoint as endpoint_module
from gtr_agent.chat_client import retry_after
from gtr_agent.endpoint import Endpoint
from gtr_agent.reply_cache import Message, Reply, ReplyCache, conversation_key
from gtr_envs.errors import CostCapError, EndpointError, MissingReplyError, SettingError
from tests.fake_endpoint import Act, Asked, FakeEndpoint, serve

pytest.importorskip("openai", reason="needs the extra api: pip install 'gtr-bench[api]'")

SECRET = "a-secret-that-must-not-leak"
Make = Callable[..., Endpoint]


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key, no other endpoint, no proxy, and pauses that do not slow the tests."""
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(endpoint_module, "FIRST_PAUSE_S", 0.01)


@pytest.fixture
def make() -> Iterator[Make]:
    """Makes endpoints, and closes them at the end."""
    made: list[Endpoint] = []

    def make(server: FakeEndpoint | None = None, **settings: Any) -> Endpoint:
        made.append(Endpoint("model", server.url if server else "http://127.0.0.1:9/v1", **settings))
        return made[-1]

    yield make
    for endpoint in made:
        endpoint.close()


def asks(count: int, start: int = 0) -> list[list[Message]]:
    return [[Message("user", f"question {index}")] for index in range(start, start + count)]


def texts(replies: list[Reply]) -> list[str]:
    return [reply.text for reply in replies]


def questions(count: int) -> list[str]:
    return [f"question {index}" for index in range(count)]


def test_replies_come_in_order_however_long_each_takes(make: Make) -> None:
    def plan(number: int, asked: Asked) -> Act:
        return Act(after_s=0.03 if asked.text.endswith(("0", "3", "5")) else 0.0)

    with serve(plan) as server:
        assert texts(make(server).ask(asks(12))) == questions(12)


def test_no_more_calls_at_a_time_than_asked_for(make: Make) -> None:
    with serve(lambda number, asked: Act(after_s=0.05)) as server:
        make(server, concurrency=3).ask(asks(9))
    assert server.most_at_once == 3


def test_no_questions_are_no_calls(make: Make) -> None:
    with serve() as server:
        assert make(server).ask([]) == []
    assert server.n_asked == 0


def test_the_request_holds_model_settings_words_and_picture(make: Make) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    with serve() as server:
        make(server, max_tokens=33, temperature=0.5).ask(
            [[Message("system", "be brief"), Message("user", "what is this?", frame)]]
        )
    body = server.asked[0].body
    assert (body["model"], body["max_tokens"], body["temperature"]) == ("model", 33, 0.5)
    assert body["messages"][0] == {"role": "system", "content": "be brief"}
    picture, words = body["messages"][1]["content"]
    assert words == {"type": "text", "text": "what is this?"}
    head, _, data = picture["image_url"]["url"].partition(",")
    assert head == "data:image/png;base64"
    assert np.array_equal(np.array(Image.open(io.BytesIO(base64.b64decode(data)))), frame)


def test_newer_models_are_told_the_longest_reply_in_their_own_word(make: Make) -> None:
    def plan(number: int, asked: Asked) -> Act:
        if "max_tokens" in asked.body:
            said = {"error": {"message": "Use 'max_completion_tokens' instead.", "param": "max_tokens"}}
            return Act(status=400, body=json.dumps(said))
        return Act()

    with serve(plan) as server:
        endpoint = make(server, max_tokens=33, concurrency=1)
        assert texts(endpoint.ask(asks(3))) == questions(3)
    assert [asked.body.get("max_completion_tokens") for asked in server.asked] == [None, 33, 33, 33]
    assert (endpoint.usage.calls, endpoint.usage.failed) == (4, 1)


FAILURES = {
    "server error": Act(status=500, body="{}"),
    "overloaded": Act(status=503, body="busy", headers={"Content-Type": "text/plain"}),
    "rate limit": Act(status=429, body="{}"),
    "dropped": Act(drop=True),
    "slow": Act(after_s=1.5),
    "no json": Act(body="<html>hello</html>"),
    "html": Act(body="<html>hello</html>", headers={"Content-Type": "text/html"}),
    "half a json": Act(body='{"choices": [{"mess'),
    "no choices": Act(body='{"choices": []}'),
    "an error with status 200": Act(body='{"error": {"message": "upstream"}}'),
    "another shape": Act(body="[1, 2]"),
    "a number": Act(body='{"choices": [{"message": {"content": 7}}]}'),
}


@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES)
def test_what_may_pass_is_tried_again(make: Make, tmp_path: Path, failure: Act) -> None:
    with serve(lambda number, asked: failure if number in (0, 2) else Act()) as server:
        endpoint = make(
            server,
            cache=tmp_path,
            concurrency=2,
            timeout_s=1.0 if failure.after_s else 60.0,
            price_in=1.0,
            price_out=2.0,
        )
        replies = endpoint.ask(asks(4))
    assert texts(replies) == questions(4)
    usage = endpoint.usage
    assert (usage.calls, usage.failed, usage.replies, server.n_asked) == (6, 2, 4, 6)
    assert (usage.prompt_tokens, usage.completion_tokens) == (400, 40)
    assert usage.cost == pytest.approx(4 * (100 * 1 + 10 * 2) / 1e6)
    assert sum(reply.cost for reply in replies) == pytest.approx(usage.cost)
    assert len(list(tmp_path.iterdir())) == 4


def test_an_empty_reply_is_a_reply(make: Make) -> None:
    with serve(lambda number, asked: Act(body='{"choices": [{"message": {"content": null}}]}')) as server:
        assert make(server).ask(asks(1)) == [Reply("")]


def test_tokens_of_an_answer_without_a_reply_are_counted_too(make: Make) -> None:
    mad = Act(body='{"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 3}}')
    with serve(lambda number, asked: mad if number == 0 else Act()) as server:
        endpoint = make(server)
        endpoint.ask(asks(1))
    assert (endpoint.usage.prompt_tokens, endpoint.usage.completion_tokens) == (107, 13)


def test_pauses_grow_and_follow_from_the_seed(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint_module, "FIRST_PAUSE_S", 1.0)
    paused: list[list[float]] = []
    monkeypatch.setattr(Endpoint, "_hold", lambda self, pause, jitter, stop: paused[-1].append(pause))
    with serve(lambda number, asked: Act(status=500, body="{}")) as server:
        for seed in (1, 1, 2):
            paused.append([])
            with pytest.raises(EndpointError):
                make(server, seed=seed).ask(asks(1))
    assert paused[0] == paused[1] != paused[2]
    for index, pause in enumerate(paused[0][1:]):
        assert 0.5 * 2**index <= pause <= 2**index


def test_the_wait_that_a_rate_limit_asks_for_holds_for_all_calls(make: Make) -> None:
    def plan(number: int, asked: Asked) -> Act:
        return Act(status=429, body="{}", headers={"Retry-After": "1"}) if number == 0 else Act()

    with serve(plan) as server:
        endpoint = make(server, concurrency=1)
        assert texts(endpoint.ask(asks(3))) == questions(3)
    assert server.n_asked == 4
    assert server.asked[1].time - server.asked[0].time >= 1.0
    assert server.asked[3].time - server.asked[0].time < 3.0


def test_an_endless_wait_ends_the_run(make: Make) -> None:
    with (
        serve(lambda number, asked: Act(status=429, body="{}", headers={"Retry-After": "86400"})) as server,
        pytest.raises(EndpointError, match="86400 s"),
    ):
        make(server).ask(asks(1))
    assert server.n_asked == 1


def test_retry_after_is_read_as_a_number_or_a_date() -> None:
    assert retry_after("2.5") == 2.5
    assert retry_after("-3") == 0
    assert retry_after("soon") == 0
    assert retry_after("") == 0
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    assert 25 < retry_after(later) <= 30


@pytest.mark.parametrize(
    ("status", "mend"), [(400, "pictures"), (401, "OPENAI_API_KEY"), (403, "OPENAI_API_KEY"), (404, "base URL")]
)
def test_a_refusal_is_named_at_once(make: Make, status: int, mend: str) -> None:
    said = {"error": {"message": f"no, {SECRET} is bad, and so is sk-abc123"}}
    with (
        serve(lambda number, asked: Act(status=status, body=json.dumps(said))) as server,
        pytest.raises(EndpointError, match=mend) as raised,
    ):
        make(server).ask(asks(1))
    assert server.n_asked == 1
    assert f"status {status}" in str(raised.value)
    assert SECRET not in str(raised.value)
    assert "sk-abc123" not in str(raised.value)
    assert raised.value.__cause__ is None


def test_an_empty_purse_is_not_waited_for(make: Make) -> None:
    said = {"error": {"message": "You exceeded your quota", "code": "insufficient_quota"}}
    with (
        serve(lambda number, asked: Act(status=429, body=json.dumps(said))) as server,
        pytest.raises(EndpointError, match="quota"),
    ):
        make(server).ask(asks(1))
    assert server.n_asked == 1


def test_an_endpoint_that_is_not_there_is_named(make: Make) -> None:
    with serve() as server:
        pass
    with pytest.raises(EndpointError, match=r"in 2 attempts.*see that it runs"):
        make(server, retries=1).ask(asks(1))


def test_after_a_failure_only_the_rest_is_asked_again(make: Make, tmp_path: Path) -> None:
    def plan(number: int, asked: Asked) -> Act:
        if asked.text == "question 7" and broken:
            return Act(status=400, body="{}")
        return Act(after_s=0.01 if asked.text in questions(7) else 0.1)

    broken = True
    with serve(plan) as server:
        endpoint = make(server, cache=tmp_path, concurrency=3)
        with pytest.raises(EndpointError, match="of 20 replies had arrived; all that was paid for is in"):
            endpoint.ask(asks(20))
        paid = len(list(tmp_path.iterdir()))
        assert 7 <= paid < 15
        assert paid == endpoint.usage.replies == len(server.answered)
        broken = False
        assert texts(endpoint.ask(asks(20))) == questions(20)
    assert sorted(server.answered) == sorted(questions(20))
    assert endpoint.usage.replies == 20


def test_a_failure_wakes_those_that_wait(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint_module, "FIRST_PAUSE_S", 60.0)

    def plan(number: int, asked: Asked) -> Act:
        return Act(status=500, body="{}") if asked.text == "question 0" else Act(status=401, body="{}", after_s=0.2)

    with serve(plan) as server:
        begun = time.monotonic()
        with pytest.raises(EndpointError, match="401"):
            make(server, cache=tmp_path, concurrency=2).ask(asks(2))
    assert time.monotonic() - begun < 10


def test_the_cap_stops_and_says_how_to_go_on(make: Make, tmp_path: Path) -> None:
    # 100 * 1000 / 1e6 + 10 * 10000 / 1e6 = 0.2 USD a reply.
    prices: dict[str, Any] = {"price_in": 1000.0, "price_out": 10000.0, "cache": tmp_path, "concurrency": 1}
    with serve() as server:
        with pytest.raises(
            CostCapError, match=r"1\.0000 USD .*max_cost=1.0.*raise max_cost.*5 of 9 replies.*paid for is in"
        ):
            make(server, max_cost=1.0, **prices).ask(asks(9))
        assert server.n_asked == 5
        # Begun again, it knows what was spent, and still gives out what was paid for.
        again = make(server, max_cost=1.0, **prices)
        assert texts(again.ask(asks(5))) == questions(5)
        with pytest.raises(CostCapError, match=r"0\.0000 of them now"):
            again.ask(asks(9))
        assert server.n_asked == 5
        assert texts(make(server, max_cost=2.0, **prices).ask(asks(9))) == questions(9)
    assert server.n_asked == 9


def test_the_cap_is_passed_by_no_more_than_the_calls_under_way(make: Make, tmp_path: Path) -> None:
    with serve(lambda number, asked: Act(after_s=0.02)) as server:
        endpoint = make(server, price_in=1000.0, max_cost=1.0, cache=tmp_path, concurrency=4)
        with pytest.raises(CostCapError):
            endpoint.ask(asks(50))
    assert 10 <= server.n_asked <= 13
    assert endpoint.usage.cost == pytest.approx(0.1 * server.n_asked)


def test_a_cap_needs_an_endpoint_that_counts(make: Make, tmp_path: Path) -> None:
    with serve(lambda number, asked: Act(usage=None)) as server:
        with pytest.raises(EndpointError, match="max_cost=0"):
            make(server, price_in=1.0, max_cost=1.0, cache=tmp_path, concurrency=1).ask(asks(3))
        assert len(list(tmp_path.iterdir())) == 1
        assert texts(make(server, price_in=1.0, cache=tmp_path).ask(asks(3))) == questions(3)


def test_a_second_run_is_offline(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serve() as server:
        first = make(server, cache=tmp_path).ask(asks(5))
        assert server.n_asked == 5
        monkeypatch.delenv("OPENAI_API_KEY")
        repeated = make(server, cache=tmp_path, offline=True)
        second = repeated.ask(asks(5))
        with pytest.raises(MissingReplyError, match="3 replies of 'model' are not in"):
            repeated.ask(asks(5, start=3))
    assert server.n_asked == 5
    assert texts(first) == texts(second)
    assert all(reply.cached and reply.cost == 0 and reply.prompt_tokens == 100 for reply in second)
    assert not any(reply.cached for reply in first)
    assert repeated.usage.calls == 0


def test_a_question_put_twice_is_paid_for_once(make: Make, tmp_path: Path) -> None:
    with serve(lambda number, asked: Act(after_s=0.02)) as server:
        replies = make(server, cache=tmp_path, price_in=1.0).ask([*asks(2), *asks(2)])
        assert server.n_asked == 2
        assert [reply.cached for reply in replies] == [False, False, True, True]
        make(server).ask([*asks(2), *asks(2)])  # without a cache each is a call of its own
    assert server.n_asked == 6


def test_threads_that_ask_the_same_share_the_calls(make: Make, tmp_path: Path) -> None:
    with serve(lambda number, asked: Act(after_s=0.01)) as server:
        endpoint = make(server, cache=tmp_path, concurrency=6)
        found: list[list[str]] = []
        threads = [threading.Thread(target=lambda: found.append(texts(endpoint.ask(asks(20))))) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == [questions(20)] * 4
    assert server.n_asked == endpoint.usage.calls == 20


@pytest.mark.parametrize("damage", ["", "{", "[]", "null", '{"key": 1}', "half", "changed", "binary", "another"])
def test_a_damaged_reply_is_asked_for_again(make: Make, tmp_path: Path, damage: str) -> None:
    with serve() as server:
        make(server, cache=tmp_path).ask(asks(3))
        path, other, _ = sorted(tmp_path.iterdir())
        whole = path.read_bytes()
        broken = {
            "half": whole[: len(whole) // 2],
            "changed": whole.replace(b"question", b"quastion"),
            "binary": b"\xff\x00" + whole,
            "another": other.read_bytes(),
        }
        path.write_bytes(broken.get(damage, damage.encode()))
        assert texts(make(server, cache=tmp_path).ask(asks(3))) == questions(3)
        assert server.n_asked == 4
        assert path.read_bytes() == whole
        assert texts(make(cache=tmp_path, offline=True).ask(asks(3))) == questions(3)


def test_a_key_follows_from_all_that_changes_the_reply() -> None:
    frame = np.zeros((2, 3, 3), np.uint8)
    other = frame.copy()
    other[0, 0, 0] = 1
    keys = {
        conversation_key(model, [Message(role, text, picture)], temperature, longest)
        for model, role, text, picture, temperature, longest in [
            ("m", "user", "a", None, 0.0, 9),
            ("n", "user", "a", None, 0.0, 9),
            ("m", "system", "a", None, 0.0, 9),
            ("m", "user", "b", None, 0.0, 9),
            ("m", "user", "a", frame, 0.0, 9),
            ("m", "user", "a", other, 0.0, 9),
            ("m", "user", "a", frame.reshape(3, 2, 3), 0.0, 9),
            ("m", "user", "a", None, 0.5, 9),
            ("m", "user", "a", None, 0.0, 8),
        ]
    }
    assert len(keys) == 9
    assert conversation_key("m", [Message("user", "a", frame)], 0, 9) == conversation_key(
        "m", [Message("user", "a", frame.copy())], 0.0, 9
    )


def test_no_secret_is_written_anywhere(make: Make, tmp_path: Path) -> None:
    said = Act(status=500, body=f"the key {SECRET} broke me", headers={"Content-Type": "text/plain"})
    with serve(lambda number, asked: said if asked.text == "question 2" else Act()) as server:
        url = server.url.replace("http://", "http://someone:password@")
        endpoint = Endpoint("model", url, cache=tmp_path, retries=1)
        with pytest.raises(EndpointError) as raised:
            endpoint.ask(asks(3))
        endpoint.close()
    assert any("Authorization" in asked.headers for asked in server.asked)
    for text in (str(raised.value), *(path.read_text() for path in tmp_path.iterdir())):
        assert SECRET not in text
        assert "password" not in text
    assert len(list(tmp_path.iterdir())) == 2


def test_halves_of_characters_do_no_harm(make: Make, tmp_path: Path) -> None:
    with serve(lambda number, asked: Act(text="a \ud800 b")) as server:
        replies = make(server, cache=tmp_path).ask(asks(1))
    assert texts(replies) == ["a ? b"] == [ReplyCache(tmp_path).read(path.stem).text for path in tmp_path.iterdir()]


def test_settings_that_cannot_be_had_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingError, match="cache"):
        Endpoint("model", "http://127.0.0.1:9/v1", offline=True)
    with pytest.raises(SettingError, match="price_in"):
        Endpoint("model", "http://127.0.0.1:9/v1", max_cost=1.0)
    with pytest.raises(SettingError, match="http://localhost"):
        Endpoint("model", "localhost:8000/v1")
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(SettingError, match="OPENAI_API_KEY"):
        Endpoint("model")


def test_the_address_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")  # a local server needs none
    with serve() as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        endpoint = Endpoint("model")
        assert texts(endpoint.ask(asks(1))) == questions(1)
        endpoint.close()
    assert server.n_asked == 1


def test_each_process_spends_its_share_of_the_cap(make: Make, tmp_path: Path) -> None:
    # Each call costs 0.1 USD: 100 tokens in at 1000 USD a million.
    price = {"price_in": 1000.0, "concurrency": 1}
    with serve() as server:
        make(server, cache=tmp_path, max_cost=2.0, **price).ask(asks(4))  # 0.4 were spent before
        one, two = (make(server, cache=tmp_path, max_cost=1.0, processes=2, **price) for _ in range(2))
        for endpoint, start in ((one, 10), (two, 20)):
            with pytest.raises(CostCapError, match="by each of 2 processes"):
                endpoint.ask(asks(8, start))
            assert endpoint.usage.cost == pytest.approx(0.3)
            assert endpoint.spent == pytest.approx(0.2 + 0.3), "its own, and its share of what was spent before"
    assert server.n_asked == 4 + 3 + 3, "1 USD over both processes and the time before"


def test_what_failures_cost_counts_after_a_restart_too(make: Make, tmp_path: Path) -> None:
    def plan(number: int, asked: Asked) -> Act:
        return Act(body=json.dumps({"usage": {"prompt_tokens": 100, "completion_tokens": 0}})) if number < 3 else Act()

    price = {"price_in": 1000.0, "concurrency": 1, "cache": tmp_path}
    with serve(plan) as server:
        first = make(server, retries=5, **price)
        first.ask(asks(1))
        spent = first.spent
        assert (first.usage.calls, first.usage.failed) == (server.n_asked, server.n_asked - 1)
        assert first.usage.failed > 0
        assert make(server, **price).spent == pytest.approx(spent)
        with (tmp_path / "failures.jsonl").open("a") as file:
            file.write('{"co')  # killed while it wrote
        assert make(server, **price).spent == pytest.approx(spent)
