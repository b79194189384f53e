"""The benchmark of training: what it measures is there and adds up, what it computes is right."""

import argparse
import importlib
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.shapes import build_shape
from tests.agent.conftest import TOY

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SMALL = ("model.lora_rank=4", "model.precision=float32", "ppo.epochs=1", "rollout.temperature=1.0")
COLLECTING = ("render", "encode", "prefill", "decode")


def benchmark(name: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module of the benchmarks, which are scripts in a folder and no package."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module(name)


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> Any:
    return benchmark("train_parts", monkeypatch)


@pytest.fixture
def shape(monkeypatch: pytest.MonkeyPatch) -> Any:
    return benchmark("train_shape", monkeypatch)


@pytest.fixture
def methods(monkeypatch: pytest.MonkeyPatch) -> Any:
    return benchmark("train", monkeypatch)


def test_the_records_of_a_method_split_its_time_and_add_up(
    methods: Any, parts: Any, tiny_folder: Path, tmp_path: Path
) -> None:
    changes = [*(change for change in TOY if not change.startswith("ppo.updates")), "threads=1", "ppo.epochs=2"]
    found = methods.updates_of("gtr-turbo-kl", str(tiny_folder), "tiny-points24", 1, tmp_path / "run", changes)
    (record,) = found
    assert record["step"] == 2, "the first update warms up"
    assert all(record[f"seconds_{part}"] > 0 for part in (*COLLECTING, "score", "teacher", "update", "merge", "save"))
    assert sum(record[f"seconds_{part}"] for part in COLLECTING) <= record["seconds_collect"]
    assert 12 <= record["written_tokens"] <= 12 * 8, "of this update alone"
    assert record["peak_memory"] > 1e8
    assert parts.tokens_per_second(found) == record["written_tokens"] / record["seconds_decode"]
    named = sum(record.get(f"seconds_{part}", 0) for part in parts.PARTS)
    assert parts.rest(found) == pytest.approx(record["seconds"] - named)
    assert 0 <= parts.rest(found) < record["seconds"]

    table = methods.table_of_methods("a title", {"ppo": found, "gtr-turbo-kl": found})
    assert [column.header for column in table.columns][:6] == ["method", *COLLECTING, "score"]
    assert list(table.columns[14].cells) == ["", "+0%"], "the cost over plain PPO"
    assert 0 < methods.teacher_share(found) < 1

    from gtr_agent import generation
    from gtr_agent.progress import Clock

    left = (generation.choose_token, Clock.lap, Clock.report)
    assert all("train_parts" not in function.__code__.co_filename for function in left), "nothing stays wrapped"


@pytest.mark.parametrize("name", ["qwen2.5-vl-nano", "tiny"])
def test_a_shape_is_trained_measured_and_projected(
    shape: Any, name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from rich.console import Console

    written: list[Path] = []
    monkeypatch.setattr("gtr_agent.checkpoint.write_state", lambda folder, _: written.append(folder))
    plan = shape.Plan(name, "cpu", answer_tokens=4, envs=2, turns=1, changes=[*SMALL, "ppo.epochs=2"])
    settings = plan.settings()
    assert (settings.rollout.max_new_tokens, settings.ppo.batch_size, settings.ppo.epochs) == (4, 2, 2)
    assert (settings.merge.space, settings.method) == ("factors", "gtr-turbo-kl")
    shape.report(plan, Console(width=150))
    printed = capsys.readouterr().out
    assert "seconds an update of 2 turns" in printed
    assert "answers of 4 tokens" in printed
    assert "hours on one such device" in printed
    assert not written, "no checkpoint is written"


def test_hours_are_scaled_by_turns_but_for_what_is_done_once_an_update(shape: Any) -> None:
    records = [{"seconds": seconds, "seconds_merge": 2.0} for seconds in (12.0, 10.0, 50.0)]
    # (12 - 2) * 1024 / 128 + 2 = 82 seconds an update, 30 updates.
    assert shape.projected_hours(records, turns=128) == pytest.approx(30 * 82 / 3600)


def test_memory_of_the_7b_model_by_arithmetic(shape: Any) -> None:
    plan = shape.Plan("qwen2.5-vl-7b", "cuda")
    model, _ = build_shape("qwen2.5-vl-7b", device="meta")
    found = shape.memory(model, plan.settings())
    factors = 414_597_120  # as counted in test_shapes.py
    base, sharded, adapter, collecting, teacher, merged = found.values()
    assert base == 2 * 8_292_166_656
    assert 0.8 * base < sharded < base
    assert adapter == 16 * factors
    assert merged == 14 * 4 * factors, "as many adapters as an EMA with alpha 0.5 keeps"
    linear = [m for n, m in model.named_modules() if isinstance(m, torch.nn.Linear) and n != "lm_head"]
    assert teacher == 2 * sum(layer.weight.numel() for layer in linear)
    assert collecting == 2 * factors, "in bfloat16 the adapter stays beside the weights"
    assert 20e9 < merged < 25e9


def test_a_meter_tells_reading_a_prompt_from_writing(parts: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    meter = parts.Meter("cpu")
    clock = iter([1.0, 4.0, 10.0])  # the beginning, the first choice, the end
    monkeypatch.setattr(meter, "now", lambda: next(clock))
    choose = meter.noted_choice(lambda: None)

    def generate() -> list[tuple[list[int], list[float]]]:
        choose()
        choose()
        return [([1, 2], [0.0, 0.0]), ([3], [0.0])]

    meter.timed_generate(generate)()
    assert dict(meter.counts) == {"seconds_prefill": 3.0, "seconds_decode": 6.0, "written_tokens": 3}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--base", "x", "--model-shape", "tiny"], "give either --base"),
        (["--model-shape", "tiny", "--set", "ppo.nothing=1"], "unknown setting ppo.nothing"),
        (["--model-shape", "tiny", "--set", "seed.x=1"], "'seed.x=1' is not of the form"),
        (["--model-shape", "tiny", "--set", "seed"], "'seed' is not of the form"),
        (["--model-shape", "tiny", "--envs", "2", "--turns", "0"], "rollout.turns"),
    ],
)
def test_mistakes_are_named(methods: Any, words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        methods.main(words)
    assert message in capsys.readouterr().err


def test_the_options_reach_the_plan(methods: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    plans: list[Any] = []
    monkeypatch.setattr(methods, "report", lambda plan, console: plans.append(plan))
    words = "--model-shape qwen2.5-vl-7b --device cpu --turns 2 --envs 8 --answer-tokens 30 --merge-space delta"
    methods.main([*words.split(), "--set", "ppo.epochs=1", "--set", "seed=3"])
    (plan,) = plans
    assert (plan.shape, plan.turns, plan.envs, plan.answer_tokens, plan.merge_space) == (
        "qwen2.5-vl-7b",
        2,
        8,
        30,
        "delta",
    )
    settings = plan.settings()
    assert (settings.ppo.epochs, settings.seed, settings.ppo.batch_size, settings.ppo.updates) == (1, 3, 16, 2)
    assert isinstance(methods.parser(), argparse.ArgumentParser)


def test_changes_may_have_no_effect_with_a_method(shape: Any, parts: Any) -> None:
    plan = shape.Plan("tiny", "cpu", changes=["method=ppo", "guidance.beta=3", "ppo.epochs=2", "ppo.epochs=5"])
    settings = plan.settings()
    assert (settings.method, settings.merge.space, settings.guidance.beta, settings.ppo.epochs) == (
        "ppo",
        "factors",
        3,
        5,
    )
    assert parts.settings_of("tiny-points24", ["method=opd", "guidance.teacher=/a/b c"]).guidance.teacher == "/a/b c"


def test_the_time_of_a_merge_is_told_by_the_number_of_checkpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    merging = benchmark("merging", monkeypatch)
    monkeypatch.setattr(merging, "CHECKPOINTS", (1, 2, 8))
    table = merging.merge_growth("cpu", repetitions=2)
    assert [column.header for column in table.columns] == ["checkpoints", "1", "2", "8"]
    assert all(float(next(iter(column.cells))) > 0 for column in table.columns[1:])
