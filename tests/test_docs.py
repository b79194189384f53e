"""What README, CONTRIBUTING and docs/ promise is there: links, commands, settings, metrics, code that runs."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from gtr_envs.experts import ThoughtStyle, points24_answer
from gtr_envs.protocol import AnswerStatus, read_answer
from gtr_envs.tasks import task_for
from leaderboard.cli import app, main

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
TEXTS = {str(path.relative_to(ROOT)): path.read_text("utf-8") for path in DOCUMENTS}
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMANDS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
TOY = (
    "rollout.num_envs=2",
    "rollout.turns=21",  # an untrained agent's episodes end, cut off, with the last
    "rollout.max_new_tokens=4",
    "ppo.updates=1",
    "ppo.epochs=1",
    "ppo.batch_size=42",
    "sft.steps=1",
    "sft.batch_size=2",
    "sft.text_batch_size=2",
    "sft.eval_episodes=1",
)


def blocks(text: str, *languages: str) -> list[str]:
    """The contents of a document's code blocks in these languages."""
    return [content for language, content in BLOCK.findall(text) if language in languages]


def spans(text: str) -> list[str]:
    """What stands in backquotes outside code blocks."""
    return re.findall(r"`([^`\n]+)`", BLOCK.sub("", text))


def section(text: str, title: str) -> str:
    """A document's part under a heading of the second level."""
    return text.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


def rows(text: str) -> list[list[str]]:
    """The cells of a text's table rows, without their head."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def anchors(text: str) -> set[str]:
    """The names by which a document's headings can be linked to."""
    headings = re.findall(r"^#+ (.+)$", BLOCK.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


def found(pattern: str) -> list[tuple[str, str]]:
    """(document, match) of a pattern outside code blocks, each once."""
    pairs = [(name, match) for name, text in TEXTS.items() for match in re.findall(pattern, BLOCK.sub("", text))]
    return list(dict.fromkeys(pairs))


def printed_commands() -> list[tuple[str, str]]:
    """(document, command line) of the gtr-bench commands in code blocks."""
    return [
        (name, line.strip())
        for name, text in TEXTS.items()
        for block in blocks(text, "", "sh", "bash")
        for line in block.replace("\\\n", " ").splitlines()
        if line.strip().startswith("gtr-bench")
    ]


def test_the_readers_of_documents_see_what_is_there() -> None:
    prose = "# A b: `c`\n\nSee `x.y` [there](z.md#q).\n\n```\ngtr-bench eval\n```\n"
    text = f"{prose}\n## D\n\n| a | b |\n|---|---|\n| 1 | 2 |\n"
    assert (spans(text), blocks(text, ""), anchors(text)) == (["c", "x.y"], ["gtr-bench eval\n"], {"a-b-c", "d"})
    assert rows(section(text, "D")) == [["a", "b"], ["1", "2"]]
    assert len(printed_commands()) >= 15


@pytest.mark.parametrize(("document", "link"), found(r"\]\((?!https?:)([^)\s]+)\)"))
def test_links_lead_somewhere(document: str, link: str) -> None:
    path, _, anchor = link.partition("#")
    target = (ROOT / document).parent / path if path else ROOT / document
    assert target.exists()
    assert not anchor or anchor in anchors(target.read_text("utf-8"))


@pytest.mark.parametrize(("document", "line"), printed_commands())
def test_printed_commands_are_understood(document: str, line: str) -> None:
    from gtr_agent.config import load_settings

    name, *arguments = shlex.split(line, comments=True)[1:]
    if name == "--help" or "--help" in arguments:
        return
    given = COMMANDS[name].make_context(name, arguments).params
    if "overrides" in given:
        load_settings(given["preset"], overrides=given["overrides"] or [])
        assert given["config"] is None or f"# {given['config']}\n" in TEXTS[document]


@pytest.mark.parametrize(("document", "line"), found(r"`gtr-bench ([^`]+)`"))
def test_mentioned_commands_and_options_exist(document: str, line: str) -> None:
    name, *arguments = shlex.split(line)
    options = ["--help"]
    if not name.startswith("-"):
        options += [form for option in COMMANDS[name].params for form in (*option.opts, *option.secondary_opts)]
    given = {word.partition("=")[0] for word in (name, *arguments) if word.startswith("-")}
    assert given <= set(options)


@pytest.mark.parametrize("option", sorted({match for _, match in found(r"`(--[a-z-]+)")}))
def test_options_that_are_mentioned_alone_exist(option: str) -> None:
    known = {
        form for command in COMMANDS.values() for each in command.params for form in (*each.opts, *each.secondary_opts)
    }
    assert option in known


@pytest.mark.parametrize("target", sorted(set(re.findall(r"(?:^|`)make ([a-z-]+)", "\n".join(TEXTS.values()), re.M))))
def test_targets_of_make_exist(target: str) -> None:
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)


@pytest.mark.parametrize("document", [name for name, text in TEXTS.items() if blocks(text, "toml")])
def test_printed_settings_are_valid(document: str) -> None:
    import tomllib

    from gtr_agent.config import validate_settings

    for block in blocks(TEXTS[document], "toml"):
        validate_settings(tomllib.loads(block))


def test_every_setting_is_listed() -> None:
    from gtr_agent.settings import Section, Settings

    listed = {row[0].strip("`"): set(spans(row[1])) for row in rows(section(TEXTS["docs/training.md"], "Settings"))[1:]}
    fields = {name: field.annotation for name, field in Settings.model_fields.items()}
    sections = {name: kind for name, kind in fields.items() if isinstance(kind, type) and issubclass(kind, Section)}
    expected = {name: set(kind.model_fields) for name, kind in sections.items()}
    assert listed == {**expected, "(top)": set(fields) - set(sections)}


@pytest.mark.parametrize(
    ("document", "name"), found(r"`-{0,2}(?:set )?((?:model|sft|rollout|ppo|guidance|merge)\.(?!py\b)\w+)[^`]*`")
)
def test_settings_that_are_mentioned_exist(document: str, name: str) -> None:
    from gtr_agent.settings import Settings

    part, _, key = name.partition(".")
    kind: Any = Settings.model_fields[part].annotation
    assert key in kind.model_fields


def test_every_metric_is_explained(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from gtr_agent.config import load_settings
    from gtr_agent.sft import run_sft
    from gtr_agent.train import train

    settings = load_settings("tiny-points24", overrides=TOY)
    run_sft(settings, tmp_path / "warm-start")
    train(settings, tmp_path / "run")
    written = {
        name: set().union(*(json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()))
        for name in ("warm-start", "run")
    }
    of_warm_start, _ = section(TEXTS["docs/training.md"], "Metrics").split("**Training**", 1)
    assert written["warm-start"] <= {*spans(of_warm_start), "step"}
    explained = {name for row in rows(TEXTS["docs/metrics.md"]) for name in spans(row[0])}
    assert written["run"] - {"step"} <= explained


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which two agents were evaluated and ranked, as the README does it."""
    folder = tmp_path_factory.mktemp("evaluated")
    results = str(folder / "results")
    for agent in ("random", "expert"):
        options = ["--split", "train", "--split", "test", "-n", "2", "--seed", "5", "--out", results]
        assert main(["eval", "--agent", agent, *options]) == 0
    assert main(["leaderboard", results, "--csv", str(folder / "leaderboard.csv")]) == 0
    return folder


@pytest.mark.parametrize("document", [name for name, text in TEXTS.items() if blocks(text, "python")])
def test_printed_python_runs(document: str, evaluated: Path) -> None:
    if document == "docs/alfworld.md":
        pytest.importorskip("textworld", reason="the extra alfworld is not installed")
    code = "\n".join(blocks(TEXTS[document], "python"))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-W", "error::DeprecationWarning:__main__", "-c", code]
    done = subprocess.run(command, cwd=evaluated, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_protocol_page_prints_the_prompt_and_a_strict_answer() -> None:
    page = TEXTS["docs/protocol.md"]
    task = task_for("gtr/Points24-v0")
    (prompt,), (answer,) = blocks(page, "text"), blocks(page, "json")
    assert prompt == task.prompt({"formula": ("7", "*", "6")}) + "\n"
    assert read_answer(answer, task.allowed({}), task.keys).status is AnswerStatus.STRICT


@pytest.mark.parametrize(("place", "style", "done"), [(0, "chain", ("7", "*", "6")), (1, "search", ())])
def test_the_thoughts_on_the_tiny_page_are_the_solvers(place: int, style: ThoughtStyle, done: tuple[str, ...]) -> None:
    answer = json.loads(points24_answer((6, 2, 3, 7), done, style))
    assert blocks(TEXTS["docs/tiny.md"], "text")[place] == answer["thoughts"] + "\n"


def test_the_tiny_page_counts_the_parameters() -> None:
    pytest.importorskip("torch")
    from gtr_agent.tiny import make_config, make_model, make_tokenizer

    sizes = {name: weight.numel() for name, weight in make_model(make_config(make_tokenizer()), 0).named_parameters()}
    seeing = sum(size for name, size in sizes.items() if "visual" in name)
    assert f"{sum(sizes.values()):,} parameters, {seeing:,} of them for seeing" in TEXTS["docs/tiny.md"]


def test_the_readme_shows_a_picture_before_its_second_paragraph() -> None:
    parts = TEXTS["README.md"].split("\n\n")
    assert [part.startswith(start) for part, start in zip(parts[:3], ("# ", "GTR-Bench ", "!["), strict=True)] == [
        True
    ] * 3
