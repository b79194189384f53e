"""From results to the folder of pages."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gtr_envs.episode import Episode
from leaderboard.pictures import Pictures
from leaderboard.site.curves import Curve, find_runs, learning_curves
from leaderboard.site.files import check_folder, page_names, replay_name, write_folder
from leaderboard.site.lines import Line, make_lines, split_order
from leaderboard.site.samples import EpisodeView, episode_number, episode_view, sample_of
from leaderboard.site.views import (
    about,
    failures_view,
    line_view,
    mean_cell,
    number_of,
    plot_views,
    rate_cell,
    reported_view,
    return_axes,
    seeds_text,
    share_of,
    split_title,
    tasks_view,
)
from leaderboard.summary import Result
from leaderboard.table import Row, finished_only, format_csv, measured_rows, reported_rows
from leaderboard.wording import wording

if TYPE_CHECKING:
    from jinja2 import Environment

SCRIPT, STYLE = "site.js", "site.css"
EPISODES_PER_AGENT = 4

Notice = Callable[[str], None]


@dataclass(frozen=True)
class Options:
    """What a site shows.

    Attributes:
        reported: the numbers that papers report, too.
        runs: folders of training runs; an agent with a run's name gets its learning curves.
        episodes_per_agent: sample episodes of each agent in each environment.
        replays: a page to step through for each sample episode, too.
    """

    reported: bool = True
    runs: tuple[Path, ...] = ()
    episodes_per_agent: int = EPISODES_PER_AGENT
    replays: bool = False


class Pages:
    """The templates, with what all pages have in common."""

    def __init__(self) -> None:
        from jinja2 import Environment, PackageLoader, StrictUndefined

        self.environment: Environment = Environment(
            loader=PackageLoader("leaderboard.site"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
        )
        self.script = self._source(SCRIPT)
        digest = base64.b64encode(hashlib.sha256(self.script.encode()).digest()).decode()
        self.common = {"script": self.script, "script_digest": f"sha256-{digest}", "style": self._source(STYLE)}

    def _source(self, name: str) -> str:
        loader = self.environment.loader
        assert loader is not None
        return loader.get_source(self.environment, name)[0]

    def render(self, template: str, **values: Any) -> bytes:
        """A page's bytes. Lone surrogates, which a model may write, become question marks."""
        page = self.environment.get_template(template).render(**self.common, **values)
        return page.encode("utf-8", errors="replace")


def build_site(results: Sequence[Result], options: Options, notice: Notice) -> dict[str, bytes]:
    """The site's files by their path.

    Args:
        results: evaluations; unfinished ones are left out.
        options: what is shown.
        notice: called with a line of text about what could not be shown.

    Raises:
        ResultError: none of the evaluations is finished, or a folder of runs holds none.
    """
    finished = finished_only(results)
    lines = make_lines(finished)
    reported = reported_rows() if options.reported else []
    runs = find_runs(options.runs, notice) if options.runs else {}
    names = page_names(line.agent for line in lines)
    pages, pictures = Pages(), Pictures()
    files = {
        "index.html": pages.render("index.html.j2", **index_values(finished, lines, reported, names)),
        "leaderboard.csv": format_csv(measured_rows(finished) + reported).encode(),
    }
    for agent, name in names.items():
        own = [line for line in lines if line.agent == agent]
        curves = learning_curves(runs[agent], notice) if agent in runs else []
        samples = Samples(name.removesuffix(".html"), options, pictures, notice)
        files[f"agents/{name}"] = pages.render("agent.html.j2", **agent_values(own, curves, samples))
        files.update(samples.replays)
    files.update({f"frames/{name}": content for name, content in sorted(pictures.files.items())})
    return files


def write_site(
    folder: Path,
    results: Sequence[Result],
    *,
    reported: bool = True,
    runs: Sequence[Path] = (),
    episodes_per_agent: int = EPISODES_PER_AGENT,
    replays: bool = False,
    notice: Notice = lambda text: None,
) -> Path:
    """Write the site into a folder.

    Args:
        folder: new, empty, or one that this wrote before.
        results: evaluations; unfinished ones are left out.
        reported: show the numbers that papers report, too, apart from the measured ones.
        runs: folders of training runs; an agent that is called like a run gets its learning curves.
        episodes_per_agent: sample episodes of each agent in each environment: the first solved and the first unsolved
            ones by seed.
        replays: make a page to step through for each sample episode, too.
        notice: called with a line of text about what could not be shown.

    Returns:
        the page to open.

    Raises:
        OutputExistsError: the folder holds something else.
        ResultError: none of the evaluations is finished, or a folder of runs holds none.
    """
    check_folder(folder)
    options = Options(reported, tuple(runs), episodes_per_agent, replays)
    write_folder(folder, build_site(results, options, notice))
    return folder / "index.html"


class Samples:
    """The sample episodes of one agent's page, and their replays.

    Args:
        page: the page's name, which the replays' names begin with.
        options: how many, and whether with replays.
        pictures: takes their frames.
        notice: called with a line of text about what cannot be shown.

    Attributes:
        replays: the replays' files by their path.
    """

    def __init__(self, page: str, options: Options, pictures: Pictures, notice: Notice) -> None:
        self.page = page
        self.options = options
        self.pictures = pictures
        self.notice = notice
        self.replays: dict[str, bytes] = {}

    def of(self, lines: Sequence[Line]) -> list[EpisodeView]:
        """The samples of the agent's lines on one environment."""
        return [
            episode_view(result, episode, self.pictures, self._replay(result, episode), self.notice)
            for result, episode in sample_of(lines, self.options.episodes_per_agent)
        ]

    def _replay(self, result: Result, episode: Episode) -> str | None:
        if not self.options.replays:
            return None
        from leaderboard.replay_page import gather, render_replay

        number = episode_number(result, episode)
        name = f"{self.page}-{replay_name(result.meta)}-episode-{number}.html"
        shown = gather(result.folder, result.meta, episode, number)
        self.replays[f"replays/{name}"] = render_replay(shown).encode("utf-8", errors="replace")
        return f"../replays/{name}"


def index_values(
    results: Sequence[Result], lines: Sequence[Line], reported: Sequence[Row], names: Mapping[str, str]
) -> dict[str, Any]:
    """What the first page shows."""
    links = {agent: f"agents/{name}" for agent, name in names.items()}
    axes = return_axes(lines)
    environments = list(dict.fromkeys([*(line.env_id for line in lines), *(row.env_id for row in reported)]))
    splits = {(split_order(line.env_id, line.split), line.split) for line in lines}
    ordered = [split for _, split in sorted(splits)] + [row.split for row in reported]
    metas = [result.meta for result in results]
    return {
        "lines": [line_view(line, links[line.agent], axes[line.env_id, line.rules]) for line in lines],
        "plots": plot_views(lines, links),
        "reported": [reported_view(row) for row in reported],
        "environments": environments,
        "splits": list(dict.fromkeys(ordered)),
        "explained": [
            (env_id, wording(env_id).explained)
            for env_id in dict.fromkeys(line.env_id for line in lines)
            if wording(env_id).explained
        ],
        "n_results": len(results),
        "n_episodes": sum(len(result.episodes) for result in results),
        "versions": sorted({meta.version + (f" at {meta.git_commit}" if meta.git_commit else "") for meta in metas}),
        "dates": sorted({meta.date for meta in metas}),
    }


def agent_values(lines: Sequence[Line], curves: Sequence[Curve], samples: Samples) -> dict[str, Any]:
    """What an agent's page shows."""
    metas = [result.meta for line in lines for result in line.results]
    groups: dict[tuple[str, str], list[Line]] = {}
    for line in lines:
        groups.setdefault((line.env_id, line.rules), []).append(line)
    return {
        "agent": lines[0].agent,
        "method": ", ".join(dict.fromkeys(meta.method for meta in metas)),
        "base_model": ", ".join(dict.fromkeys(meta.base_model or "" for meta in metas)),
        "versions": sorted({meta.version + (f" at {meta.git_commit}" if meta.git_commit else "") for meta in metas}),
        "dates": sorted({meta.date for meta in metas}),
        "curves": curves,
        "environments": [
            {
                "env": env_id,
                "rules": "" if rules == "strict" else rules,
                "figures": [row for line in own for row in _figure_rows(line, return_axes(own)[env_id, rules])],
                "explained": wording(env_id).explained,
                "failures": [
                    {"title": split_title(env_id, line.split), "about": about(line.results[0])}
                    | failures_view(env_id, line.episodes)
                    for line in own
                ],
                "tasks": [
                    (split_title(env_id, line.split), seeds_text(line.seeds[:1]), tasks_view(tasks))
                    for line in own
                    if (tasks := line.results[0].summary.success_by_task)
                ],
                "samples": samples.of(own),
            }
            for (env_id, rules), own in groups.items()
        ],
    }


def _figure_rows(line: Line, axis: Any) -> list[dict[str, Any]]:
    """A line's figures over all seeds, and below them those of each seed where there are several."""
    title = split_title(line.env_id, line.split)
    several = line.return_iqm is not None
    whole = {
        "split": title,
        "about": about(line.results[0]),
        "seeds": seeds_text(line.seeds),
        "several": several,
        "n": line.success.n,
        "success": rate_cell(line.success.rate),
        "return": mean_cell(line.episode_return, axis),
        "iqm": mean_cell(line.return_iqm, None) if line.return_iqm else None,
        "illegal": share_of(line.of_turns("n_illegal")),
        "invalid": share_of(line.of_turns("n_invalid")),
        "repaired": share_of(line.of_turns("n_repaired")),
        "steps": number_of(line.an_episode("steps"), 1),
        "tokens": number_of(line.of_turns("thought_tokens"), 1),
    }
    rows = [{**whole, "part": False}]
    for result in line.results if several else ():
        summary = result.summary
        figures = {
            "seeds": seeds_text([result.meta.seed]),
            "n": summary.n_episodes,
            "success": rate_cell(summary.success.rate),
            "return": mean_cell(summary.episode_return, axis),
            "iqm": None,
            "illegal": share_of(summary.illegal_rate),
            "invalid": share_of(summary.invalid_answer_rate),
            "repaired": share_of(summary.repaired_rate),
            "steps": number_of(summary.steps_mean, 1),
            "tokens": number_of(summary.thought_tokens_mean, 1),
        }
        rows.append({**whole, **figures, "part": True})
    return rows
