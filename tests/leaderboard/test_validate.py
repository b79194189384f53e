"""The check of a submission: an honest one passes, and every kind of tampering is found and named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gtr_envs.episode import Request, Response
from gtr_envs.errors import ResultError
from gtr_envs.experts import SolverPolicy
from gtr_envs.protocol import write_answer
from leaderboard.agents import AgentCard
from leaderboard.cli import main
from leaderboard.evaluate import evaluate
from leaderboard.provenance import package_version
from leaderboard.records import EPISODES, META, SUMMARY, TIMING
from leaderboard.scores import SCORES
from leaderboard.summary import Result
from leaderboard.validate import Checked, report_json, validate
from leaderboard.validate_settings import KNOWN_VERSIONS

from .conftest import ALFWORLD, Evaluate, SayingPolicy

MODEL = AgentCard("saying", "runs/saying", "ppo", "some/base", "0123456789abcdef", 0.0)
Lines = list[dict[str, Any]]


def of_model(evaluation: Evaluate, n_episodes: int = 4, **changes: Any) -> Result:
    """An honest evaluation of what is said to be a model, which loses most hands."""
    return evaluation(SayingPolicy(), n_episodes=n_episodes, agent=MODEL, **changes)


def the_check(folder: Path, **options: Any) -> Checked:
    (checked,) = validate([folder], **options)
    return checked


def errors(folder: Path, **options: Any) -> list[str]:
    return [str(finding) for finding in the_check(folder, **options).errors]


def change_lines(result: Result, change: Callable[[Lines], Any]) -> None:
    """Change the episodes' file as a cheater with a text editor would."""
    path = result.folder / EPISODES
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    changed = change(lines)
    path.write_text("".join(json.dumps(line) + "\n" for line in (lines if changed is None else changed)))


def change_json(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}, indent=2) + "\n")


@pytest.mark.parametrize("spec", ["random", "expert", "model"])
def test_an_honest_result_passes(evaluation: Evaluate, spec: str) -> None:
    if spec == "model":
        result = of_model(evaluation)
    else:
        policy = SolverPolicy() if spec == "expert" else None
        result = evaluation(policy, n_episodes=4, agent=AgentCard(spec, spec, method=spec))
    checked = the_check(result.folder)
    assert checked.errors == []
    assert (checked.n_episodes, checked.n_replayed) == (4, 4)


@pytest.mark.parametrize("options", [{"rules": "gym_cards"}, {"split": "test", "illegal": "terminate"}])
def test_results_under_other_rules_pass(evaluation: Evaluate, options: dict[str, Any]) -> None:
    assert errors(of_model(evaluation, options=options).folder) == []


def win(line: dict[str, Any]) -> None:
    """Claim a win in all that a line says, so that its totals fit."""
    line["turns"][-1]["reward"] = 10.0
    line["return"] = float(sum(turn["reward"] for turn in line["turns"]))
    line["success"] = True
    line["stop"] = "terminated"


def claim_success(line: dict[str, Any]) -> None:
    line["success"] = not line["success"]


def change_answer(line: dict[str, Any]) -> None:
    turn = line["turns"][0]
    turn["text"] = write_answer({"cards": [], "formula": "", "thoughts": "hm", "action": "="})


def change_thought(line: dict[str, Any]) -> None:
    line["turns"][0]["thoughts"] = "what I never said"


def hide_an_illegal_action(line: dict[str, Any]) -> None:
    for turn in line["turns"]:
        turn["illegal"] = not turn["illegal"]
    line["illegal"] = sum(turn["illegal"] for turn in line["turns"])


def call_it_invalid(line: dict[str, Any]) -> None:
    line["turns"][0]["status"] = "repaired"
    line["repaired"] = 1


def other_cards(line: dict[str, Any]) -> None:
    line["info"]["cards"] = ["AH", "2H", "3H", "4H"]


def unsolvable(line: dict[str, Any]) -> None:
    line["info"]["solvable"] = False


def cut_the_end(line: dict[str, Any]) -> None:
    line["turns"] = line["turns"][:-1]
    line["actions"] = line["actions"][:-1]
    line["steps"] -= 1
    line["return"] = float(sum(turn["reward"] for turn in line["turns"]))
    for name in ("illegal", "tokens", "thought_tokens"):
        line[name] = sum(turn[name] for turn in line["turns"])


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (win, "reward"),
        (claim_success, "is no success, recorded was a success"),
        (change_answer, "turn 1 gives action"),
        (change_thought, "turn 1 gives thoughts 'hm', recorded was 'what I never said'"),
        (hide_an_illegal_action, "gives illegal"),
        (call_it_invalid, "turn 1 gives status strict, recorded was repaired"),
        (other_cards, "starts with cards"),
        (unsolvable, "starts with solvable True, recorded was False"),
        (cut_the_end, "does not end the episode"),
        (lambda line: line.update({"return": 10.0}), "its totals"),
        (lambda line: line.update(tokens=1), "'tokens' is 1, by its turns"),
        (lambda line: line.update(note="well played"), "'note' should not be there"),
        (lambda line: line["turns"][0].update(bonus=1), "turn 1 is not as gtr-bench writes it: bonus"),
        (lambda line: line.update(stop="won"), "is damaged or made up"),
    ],
)
def test_a_made_up_line_is_found_and_named(
    evaluation: Evaluate, change: Callable[[dict[str, Any]], None], expected: str
) -> None:
    result = of_model(evaluation)
    change_lines(result, lambda lines: change(lines[2]))
    found = errors(result.folder)
    place = f"{result.folder / EPISODES}, line 3: "
    assert any(text.startswith(place) and expected in text for text in found), found
    # An honest line is never blamed.
    assert not any(f"{EPISODES}, line {number}:" in text for number in (1, 2, 4) for text in found)


def test_a_removed_failure_is_missed(evaluation: Evaluate) -> None:
    result = of_model(evaluation)
    seed = result.episodes[1].seed
    change_lines(result, lambda lines: [line for line in lines if line["seed"] != seed])
    found = errors(result.folder)
    assert f"{result.folder / EPISODES}: 1 of 4 declared episodes missing: seed {seed}" in found
    assert any(SUMMARY in text for text in found)


def test_a_removed_failure_that_is_not_declared_either_leaves_a_trace(evaluation: Evaluate) -> None:
    result = of_model(evaluation)
    change_lines(result, lambda lines: lines[:-1])
    change_json(result.folder / META, n_episodes=3)
    assert f"{result.folder / SUMMARY}: n_episodes is 4, the episodes give 3" in errors(result.folder)
    assert any("4 episodes were played, 3 are there" in str(finding) for finding in the_check(result.folder).warnings)


def test_a_changed_seed_is_found(evaluation: Evaluate) -> None:
    result = of_model(evaluation)
    seed = result.episodes[1].seed
    change_lines(result, lambda lines: lines[1].update(seed=seed + 500))
    found = errors(result.folder)
    place = f"{result.folder / EPISODES}, line 2: "
    declared = f"{seed - 1} to {seed + 2}"
    assert f"{place}seed {seed + 500} is foreign: {META} declares {declared}" in found
    assert any(text.startswith(f"{place}seed {seed + 500}: starts with cards") for text in found)
    assert any(f"missing: seed {seed}" in text for text in found)


def test_an_episode_that_counts_twice_is_found(evaluation: Evaluate) -> None:
    result = of_model(evaluation)
    change_lines(result, lambda lines: [*lines, lines[0]])
    assert f"{result.folder / EPISODES}, line 5: seed {result.episodes[0].seed} is there twice, in line 1 too" in (
        errors(result.folder)
    )


def test_another_evaluation_seed_in_the_settings_is_found(evaluation: Evaluate) -> None:
    result = of_model(evaluation)
    change_json(result.folder / META, seed=3)
    found = errors(result.folder)
    assert sum("is foreign" in text for text in found) == 4
    assert any("4 of 4 declared episodes missing" in text for text in found)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"env_id": "gtr/Chess-v0"}, "unknown environment"),
        ({"env_kwargs": {"hints": True}}, "has no option 'hints'"),
        ({"env_kwargs": {"hands": "easy"}}, "hands='easy'"),
        ({"rules": "strict hands=all"}, "but its options are 'strict'"),
        ({"split": "test"}, "but its options play 'all'"),
        ({"version": "9.9.9"}, "version '9.9.9' of gtr-bench is not known"),
        ({"versions": {}}, "versions name no python"),
        ({"date": "yesterday"}, "expected YYYY-MM-DD"),
        ({"date": "2999-01-01"}, "in the future"),
        ({"temperature": -1}, "temperature is -1"),
        ({"n_episodes": 0}, "n_episodes"),
        ({"n_episodes": "4"}, "n_episodes"),
        ({"spec": "expert"}, "spec is 'expert', but method"),
        ({"schema_version": 7}, "schema_version 7"),
    ],
)
def test_settings_that_cannot_be_are_found(evaluation: Evaluate, changes: dict[str, Any], expected: str) -> None:
    result = of_model(evaluation)
    change_json(result.folder / META, **changes)
    found = errors(result.folder)
    assert any(text.startswith(str(result.folder / META)) and expected in text for text in found), found


def test_options_that_were_not_played_are_found(evaluation: Evaluate) -> None:
    result = of_model(evaluation, options={"rules": "gym_cards"})
    change_json(result.folder / META, env_kwargs={}, rules="strict")
    assert any("recorded was" in text for text in errors(result.folder))


def test_figures_that_do_not_follow_are_found(evaluation: Evaluate) -> None:
    result = of_model(evaluation)
    path = result.folder / SUMMARY
    summary = json.loads(path.read_text())
    summary["success"]["rate"]["value"] = 0.97
    change_json(path, success=summary["success"], agent="another")
    found = errors(result.folder)
    assert f"{path}: success.rate.value is 0.97, the episodes give {result.summary.success.rate.value}" in found
    assert f"{path}: agent is 'another', the episodes give 'saying'" in found
    path.unlink()
    assert any("run the same gtr-bench eval again" in text for text in errors(result.folder))


class Lucky:
    """Says that it plays at random, and plays to win."""

    name = "random"

    def act(self, requests: list[Request]) -> list[Response]:
        return SolverPolicy().act(requests)


def test_an_agent_that_can_be_asked_again_is(evaluation: Evaluate) -> None:
    result = evaluation(Lucky(), n_episodes=2)  # type: ignore[arg-type]
    found = errors(result.folder)
    assert any(f"seed {result.episodes[0].seed}: turn 1 would be answered" in text for text in found)


def test_a_crash_is_taken_as_it_is_but_is_no_success(evaluation: Evaluate) -> None:
    result = of_model(evaluation)

    def crash(line: dict[str, Any], success: bool) -> None:
        cut_the_end(line)
        line.update(stop="crashed", error="Boom: no", success=success)

    change_lines(result, lambda lines: crash(lines[0], True))
    assert any("crashed, recorded was a success" in text for text in errors(result.folder))
    change_lines(result, lambda lines: lines[0].update(success=False))
    assert [text for text in errors(result.folder) if EPISODES in text] == []


def test_two_results_that_claim_the_same_key_are_found(evaluation: Evaluate, tmp_path: Path) -> None:
    first = of_model(evaluation)
    second = of_model(evaluation, out_dir=tmp_path / "results" / "copy")
    assert [len(checked.errors) for checked in validate([tmp_path / "results"])] == [0, 1]
    assert str(first.folder) != str(second.folder)


def test_episodes_without_settings_are_found(evaluation: Evaluate, tmp_path: Path) -> None:
    result = of_model(evaluation)
    (result.folder / META).unlink()
    (checked,) = validate([tmp_path / "results"])
    assert [finding.file for finding in checked.errors] == [str(result.folder / META)]


def test_an_interrupted_evaluation_is_not_complete(evaluation: Evaluate) -> None:
    result = of_model(evaluation)
    path = result.folder / EPISODES
    path.write_bytes(path.read_bytes()[:-20])
    found = errors(result.folder)
    assert f"{path}, line 4: was cut short; run the same gtr-bench eval again" in found
    assert any("1 of 4 declared episodes missing" in text for text in found)


def test_what_is_worth_knowing_makes_no_result_wrong(evaluation: Evaluate, tmp_path: Path) -> None:
    result = of_model(evaluation)
    change_json(result.folder / META, fingerprint=None, git_commit="abc-dirty")
    (result.folder / TIMING).unlink()
    (result.folder / SCORES).write_text(
        json.dumps({"seed": result.episodes[0].seed, "turns": [{"pieces": ["x"], "log_probs": [0.0]}]}) + "\n"
    )
    moved = result.folder.rename(tmp_path / "elsewhere")
    change_json(moved / SUMMARY, wall_s=None)
    checked = the_check(moved)
    assert checked.errors == []
    text = "\n".join(map(str, checked.warnings))
    for expected in ("no fingerprint", "abc-dirty", "seconds are not known", "tokens of seed", "lies elsewhere"):
        assert expected in text


def test_a_sample_is_drawn_from_the_content(evaluation: Evaluate) -> None:
    result = of_model(evaluation, n_episodes=12)
    checked = the_check(result.folder, sample=3)
    assert (checked.n_episodes, checked.n_replayed, checked.errors) == (12, 3, [])
    change_lines(result, lambda lines: [win(line) for line in lines] and None)
    found = [finding.line for finding in the_check(result.folder, sample=3).errors if "seed" in finding.what]
    assert len(set(found)) == 3
    assert found == [finding.line for finding in the_check(result.folder, sample=3).errors if "seed" in finding.what]


def test_several_processes_find_the_same(evaluation: Evaluate, monkeypatch: pytest.MonkeyPatch) -> None:
    from leaderboard import validate as module

    result = of_model(evaluation, n_episodes=8)
    change_lines(result, lambda lines: win(lines[5]))
    alone = report_json([the_check(result.folder)])
    monkeypatch.setattr(module, "CHUNK", 3)
    monkeypatch.setattr(module, "WORTH_PROCESSES", 1)
    seen: list[tuple[int, int]] = []
    together = the_check(result.folder, jobs=2, on_progress=lambda done, total: seen.append((done, total)))
    assert report_json([together]) == alone
    assert seen == [(0, 8), (3, 8), (6, 8), (8, 8)]


def test_games_that_are_not_here_are_named_and_not_passed(data_set: Path, tmp_path: Path) -> None:
    from gtr_envs.experts import RandomPolicy

    agent = AgentCard("random", "random", "random")
    options = {"data": str(data_set), "split": "train"}
    out = tmp_path / "results"
    evaluate(RandomPolicy(), ALFWORLD, options, agent=agent, seed=0, n_episodes=1, out_dir=out)
    (checked,) = validate([out])
    assert any("let ALFWORLD_DATA name the folder" in str(finding) for finding in checked.errors)


def test_the_command_exits_with_0_only_if_all_is_well(
    evaluation: Evaluate, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = of_model(evaluation)
    assert main(["validate", str(tmp_path / "results")]) == 0
    out = capsys.readouterr().out
    assert "1 results ok" in out
    assert "No check of files can show" in out
    change_lines(result, lambda lines: win(lines[0]))
    assert main(["validate", str(tmp_path / "results")]) == 1
    assert "1 of 1 results have something wrong" in capsys.readouterr().out
    assert main(["validate", str(tmp_path / "results"), "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["ok"] is False
    (found,) = report["results"]
    assert found["findings"][0]["line"] == 1
    assert found["agent"] == "saying"
    assert main(["validate", str(tmp_path / "nothing")]) == 2
    with pytest.raises(ResultError, match="holds no results"):
        validate([Path(__file__).parent])


def test_markup_in_a_record_reaches_no_terminal(
    evaluation: Evaluate, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = of_model(evaluation)
    change_lines(result, lambda lines: lines[0]["turns"][0].update(thoughts="[/bold] \x1b[31m"))
    assert main(["validate", str(tmp_path / "results")]) == 1
    out = capsys.readouterr().out
    assert "[/bold]" in out
    assert "\x1b[31m" not in out


def test_this_version_is_known() -> None:
    assert package_version() in KNOWN_VERSIONS
