"""What each page shows: the values that its template is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from leaderboard.site.curves import Curve
from leaderboard.site.lines import Line, split_order
from leaderboard.site.samples import EpisodeView
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
from leaderboard.table import Row
from leaderboard.wording import wording


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


def agent_values(
    lines: Sequence[Line], curves: Sequence[Curve], samples: Callable[[Sequence[Line]], list[EpisodeView]]
) -> dict[str, Any]:
    """What an agent's page shows.

    Args:
        lines: the agent's, in the table's order.
        curves: of its training.
        samples: gives the sample episodes of its lines on one environment.
    """
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
                "samples": samples(own),
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
