"""The client of chat endpoints, against a real server that misbehaves: nothing lost, nothing counted twice."""

import base64
import io
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gtr_agent.chat_client import EndpointOptions
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
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.01, raising=False)


@pytest.fixture
def make() -> Iterator[Make]:
    """Makes endpoints, and closes them at the end."""
    made: list[Endpoint] = []

    def make(server: FakeEndpoint | None = None, processes: int = 1, **settings: Any) -> Endpoint:
        url = server.url if server else "http://127.0.0.1:9/v1"
        made.append(Endpoint(EndpointOptions("model", **{"base_url": url, **settings}), processes))
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


def test_replies_come_in_order_and_no_more_calls_at_a_time_than_asked_for(make: Make) -> None:
    def plan(number: int, asked: Asked) -> Act:
        return Act(after_s=0.06 if asked.text.endswith(("0", "3", "5")) else 0.03)

    with serve(plan) as server:
        endpoint = make(server, concurrency=3)
        assert endpoint.ask([]) == []
        assert texts(endpoint.ask(asks(9))) == questions(9)
    assert (server.most_at_once, server.n_asked) == (3, 9)


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


def test_a_refused_parameter_is_sent_under_its_other_name_at_once(make: Make) -> None:
    def plan(number: int, asked: Asked) -> Act:
        if "max_tokens" in asked.body:
            said = {"error": {"message": "Use 'max_completion_tokens' instead.", "param": "max_tokens"}}
            return Act(status=400, body=json.dumps(said))
        if "seed" in asked.body:
            return Act(status=422, body='{"error": {"message": "Unexpected field: seed"}}')
        return Act()

    with serve(plan) as server:
        endpoint = make(server, max_tokens=33, concurrency=1, retries=0)
        assert texts(endpoint.ask(asks(3), seeds=[1, 2, 3])) == questions(3)
    assert [asked.body.get("max_completion_tokens") for asked in server.asked] == [None, 33, 33, 33, 33]
    assert ["seed" in asked.body for asked in server.asked] == [True, True, False, False, False]
    assert (endpoint.costs.usage.calls, endpoint.costs.usage.failed) == (3, 0), "what is negotiated is no failure"


FAILURES = {
    "server error": Act(status=503, body="busy", headers={"Content-Type": "text/plain"}),
    "rate limit": Act(status=429, body="{}"),
    "dropped": Act(drop=True),
    "slow": Act(after_s=0.8),
    "no json": Act(body="<html>hello</html>", headers={"Content-Type": "text/html"}),
    "no choices": Act(body='{"choices": []}'),
    "another shape": Act(body="[1, 2]"),
    "a number": Act(body='{"choices": [{"message": {"content": 7}}]}'),
}


@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES)
def test_what_may_pass_is_tried_again(make: Make, tmp_path: Path, failure: Act) -> None:
    prices = {"price_in": 1.0, "price_out": 2.0}
    with serve(lambda number, asked: failure if number in (0, 2) else Act()) as server:
        endpoint = make(server, cache=tmp_path, concurrency=2, timeout_s=0.5 if failure.after_s else 60.0, **prices)
        replies = endpoint.ask(asks(4))
    assert texts(replies) == questions(4)
    usage = endpoint.costs.usage
    assert (usage.calls, usage.failed, server.n_asked) == (6, 2, 6)
    assert (usage.prompt_tokens, usage.completion_tokens) == (400, 40)
    assert usage.cost == pytest.approx(4 * (100 * 1 + 10 * 2) / 1e6)
    assert sum(reply.cost for reply in replies) == pytest.approx(usage.cost)
    assert len(list(tmp_path.iterdir())) == 4


def test_an_empty_reply_is_a_reply_and_halves_of_characters_do_no_harm(make: Make, tmp_path: Path) -> None:
    with serve(lambda number, asked: Act(body='{"choices": [{"message": {"content": null}}]}')) as server:
        assert make(server).ask(asks(1)) == [Reply("")]
    with serve(lambda number, asked: Act(text="a \ud800 b")) as server:
        replies = make(server, cache=tmp_path).ask(asks(1))
    assert texts(replies) == ["a ? b"] == [ReplyCache(tmp_path).read(path.stem).text for path in tmp_path.iterdir()]


def test_replies_that_the_longest_reply_ended_are_counted(make: Make) -> None:
    cut = Act(body='{"choices": [{"finish_reason": "length", "message": {"content": "I think"}}]}')
    with serve(lambda number, asked: cut if asked.text == "question 1" else Act()) as server:
        endpoint = make(server)
        assert texts(endpoint.ask(asks(3))) == ["question 0", "I think", "question 2"]
    assert endpoint.costs.usage.cut_off == 1


def test_a_rate_limit_s_wait_is_kept_and_an_endless_one_ends_the_run(make: Make) -> None:
    def plan(number: int, asked: Asked) -> Act:
        return Act(status=429, body="{}", headers={"Retry-After": "0.4" if number == 0 else "86400"})

    with serve(plan) as server, pytest.raises(EndpointError, match=r"in 2 attempts.*Retry-After: 86400.*after that"):
        make(server).ask(asks(1))
    assert server.n_asked == 2
    assert server.asked[1].time - server.asked[0].time >= 0.4


@pytest.mark.parametrize(
    ("status", "fix"),
    [(400, "pictures"), (401, "OPENAI_API_KEY"), (403, "OPENAI_API_KEY"), (404, "base URL"), (429, "quota")],
)
def test_a_refusal_is_named_at_once(make: Make, status: int, fix: str) -> None:
    said = {"error": {"message": f"no, {SECRET} is bad, and so is sk-abc123"}}
    if status == 429:  # an empty purse is not waited for
        said["error"]["code"] = "insufficient_quota"
    with (
        serve(lambda number, asked: Act(status=status, body=json.dumps(said))) as server,
        pytest.raises(EndpointError, match=fix) as raised,
    ):
        make(server).ask(asks(1))
    assert server.n_asked == 1
    assert f"refuses model='model' with status {status}" in str(raised.value)
    assert SECRET not in str(raised.value)
    assert "sk-abc123" not in str(raised.value)
    assert raised.value.__cause__ is None


def test_an_endpoint_that_is_not_there_is_named(make: Make) -> None:
    with serve() as server:
        pass
    with pytest.raises(EndpointError, match=r"in 2 attempts, at last: no connection.*see that it runs"):
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
        paid, usage = len(list(tmp_path.iterdir())), endpoint.costs.usage
        assert 7 <= paid < 15
        assert paid == usage.calls - usage.failed == len(server.answered)
        broken = False
        assert texts(endpoint.ask(asks(20))) == questions(20)
    assert sorted(server.answered) == sorted(questions(20))


def test_a_failure_ends_the_further_attempts_of_others(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.5)

    def plan(number: int, asked: Asked) -> Act:
        return Act(status=500, body="{}") if asked.text == "question 0" else Act(status=401, body="{}", after_s=0.1)

    with serve(plan) as server:
        begun = time.monotonic()
        with pytest.raises(EndpointError, match="401"):
            make(server, concurrency=2).ask(asks(2))
    assert server.n_asked == 2
    assert time.monotonic() - begun < 5


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
    assert endpoint.costs.usage.cost == pytest.approx(0.1 * server.n_asked)


def test_a_cap_needs_an_endpoint_that_counts(make: Make, tmp_path: Path) -> None:
    with serve(lambda number, asked: Act(usage=None)) as server:
        with pytest.raises(EndpointError, match="max_cost=0"):
            make(server, price_in=1.0, max_cost=1.0, cache=tmp_path, concurrency=1).ask(asks(3))
        assert len(list(tmp_path.iterdir())) == 1
        assert texts(make(server, price_in=1.0, cache=tmp_path).ask(asks(3))) == questions(3)


def test_each_process_spends_its_share_of_the_cap(make: Make, tmp_path: Path) -> None:
    # Each call costs 0.1 USD: 100 tokens in at 1000 USD a million.
    price = {"price_in": 1000.0, "concurrency": 1}
    with serve() as server:
        make(server, cache=tmp_path, max_cost=2.0, **price).ask(asks(4))  # 0.4 were spent before
        one, two = (make(server, cache=tmp_path, max_cost=1.0, processes=2, **price) for _ in range(2))
        for endpoint, start in ((one, 10), (two, 20)):
            with pytest.raises(CostCapError, match="by each of 2 processes"):
                endpoint.ask(asks(8, start))
            assert endpoint.costs.usage.cost == pytest.approx(0.3)
            assert endpoint.costs.spent == pytest.approx(0.2 + 0.3), "its own, and its share of what was spent before"
    assert server.n_asked == 4 + 3 + 3, "1 USD over both processes and the time before"


def test_what_failures_cost_counts_towards_the_cap_and_after_a_restart_too(make: Make, tmp_path: Path) -> None:
    def plan(number: int, asked: Asked) -> Act:
        return Act(body=json.dumps({"usage": {"prompt_tokens": 100, "completion_tokens": 0}})) if number < 3 else Act()

    price = {"price_in": 1000.0, "cache": tmp_path}
    with serve(plan) as server:
        with pytest.raises(CostCapError):
            make(server, max_cost=0.2, **price).ask(asks(1))
        assert server.n_asked == 2, "no further attempt is begun at the cap"
        first = make(server, **price)
        first.ask(asks(1))
        assert (first.costs.usage.calls, first.costs.usage.failed) == (2, 1)
        assert first.costs.spent == pytest.approx(0.4)
        with (tmp_path / "failures.jsonl").open("a") as file:
            file.write('{"co')  # killed while it wrote
        assert make(server, **price).costs.spent == pytest.approx(0.4)


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
    assert repeated.costs.usage.calls == 0


def test_a_question_put_twice_is_paid_for_once(make: Make, tmp_path: Path) -> None:
    with serve(lambda number, asked: Act(after_s=0.02)) as server:
        replies = make(server, cache=tmp_path, price_in=1.0).ask([*asks(2), *asks(2)])
        assert server.n_asked == 2
        assert [reply.cached for reply in replies] == [False, False, True, True]
        make(server).ask([*asks(2), *asks(2)])  # without a cache each is a call of its own
    assert server.n_asked == 6


def test_replies_paid_for_before_stay_readable(make: Make, tmp_path: Path) -> None:
    key = "3fb44ea55feab64d056466039a000b26fc63bdd3510e86ce3bbe9c8afad9812d"
    entry = {"version": 1, "key": key, "model": "model", "text": "question 0", "prompt_tokens": 100}
    entry |= {"completion_tokens": 10, "cost": 0.1}
    entry["check"] = "3d90bb5b42d381137bc66c14a2b96205818f2c773653dc0550a197a6a77e59c5"
    whole = json.dumps(entry, indent=2) + "\n"
    (tmp_path / f"{key}.json").write_text(whole)
    endpoint = make(cache=tmp_path, offline=True, price_in=1000.0)
    assert endpoint.ask(asks(1)) == [Reply("question 0", 100, 10, cached=True)]
    assert endpoint.costs.spent == pytest.approx(0.1)
    with serve() as server:
        make(server, cache=tmp_path / "new", price_in=1000.0).ask(asks(1))
    assert (tmp_path / "new" / f"{key}.json").read_text() == whole


@pytest.mark.parametrize("damage", ["", "null", '{"key": 1}', "half", "changed", "binary", "another"])
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
        with pytest.raises(EndpointError) as raised:
            make(base_url=url, cache=tmp_path, retries=1).ask(asks(3))
    assert any("Authorization" in asked.headers for asked in server.asked)
    for text in (str(raised.value), *(path.read_text() for path in tmp_path.iterdir())):
        assert SECRET not in text
        assert "password" not in text
    assert len(list(tmp_path.iterdir())) == 2


def test_settings_that_cannot_be_had_are_named(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingError, match="cache"):
        make(offline=True)
    with pytest.raises(SettingError, match="price_in"):
        make(max_cost=1.0)
    with pytest.raises(SettingError, match="http://localhost"):
        make(base_url="localhost:8000/v1")
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(SettingError, match="OPENAI_API_KEY"):
        make(base_url="")


def test_the_address_comes_from_the_environment(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")  # a local server needs none
    with serve() as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        assert texts(make(base_url="").ask(asks(1))) == questions(1)
    assert server.n_asked == 1
