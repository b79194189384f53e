"""What each page shows: the values that its template is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from leaderboard.pool import Pool, split_order
from leaderboard.site.curves import Curve
from leaderboard.site.drawing import Axis
from leaderboard.site.samples import EpisodeView
from leaderboard.site.views import (
    about,
    failures_view,
    figure_cells,
    line_view,
    mean_cell,
    plot_views,
    rate_cell,
    reported_view,
    return_axes,
    seeds_text,
    split_title,
    tasks_view,
)
from leaderboard.summary import Result
from leaderboard.table import Row
from leaderboard.wording import wording


def index_values(
    results: Sequence[Result], lines: Sequence[Pool], reported: Sequence[Row], names: Mapping[str, str]
) -> dict[str, Any]:
    """What the first page shows."""
    links = {agent: f"agents/{name}" for agent, name in names.items()}
    axes = return_axes(lines)
    environments = list(dict.fromkeys([*(line.meta.env_id for line in lines), *(row.env_id for row in reported)]))
    splits = {(split_order(line.meta.env_id, line.meta.split), line.meta.split) for line in lines}
    ordered = [split for _, split in sorted(splits)] + [row.split for row in reported]
    metas = [result.meta for result in results]
    return {
        "lines": [line_view(line, links[line.meta.agent], axes[line.meta.env_id, line.meta.rules]) for line in lines],
        "plots": plot_views(lines, links),
        "reported": [reported_view(row) for row in reported],
        "environments": environments,
        "splits": list(dict.fromkeys(ordered)),
        "explained": [
            (env_id, wording(env_id).explained)
            for env_id in dict.fromkeys(line.meta.env_id for line in lines)
            if wording(env_id).explained
        ],
        "n_results": len(results),
        "n_episodes": sum(len(result.episodes) for result in results),
        "versions": sorted({meta.version + (f" at {meta.git_commit}" if meta.git_commit else "") for meta in metas}),
        "dates": sorted({meta.date for meta in metas}),
    }


def agent_values(
    lines: Sequence[Pool], curves: Sequence[Curve], samples: Callable[[Sequence[Pool]], list[EpisodeView]]
) -> dict[str, Any]:
    """What an agent's page shows.

    Args:
        lines: the agent's, in the table's order.
        curves: of its training.
        samples: gives the sample episodes of its lines on one environment.
    """
    metas = [result.meta for line in lines for result in line.results]
    groups: dict[tuple[str, str], list[Pool]] = {}
    for line in lines:
        groups.setdefault((line.meta.env_id, line.meta.rules), []).append(line)
    return {
        "agent": lines[0].meta.agent,
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
                    {"title": split_title(env_id, line.meta.split), "about": about(line.meta)}
                    | failures_view(env_id, line.episodes)
                    for line in own
                ],
                "tasks": [
                    (split_title(env_id, line.meta.split), seeds_text(line.seeds[:1]), tasks_view(tasks))
                    for line in own
                    if (tasks := line.results[0].summary.success_by_task)
                ],
                "samples": samples(own),
            }
            for (env_id, rules), own in groups.items()
        ],
    }


def _figure_rows(line: Pool, axis: Axis) -> list[dict[str, Any]]:
    """A line's figures over all seeds, and below them those of each seed where there are several."""
    several = len(line.results) > 1
    place = {"split": split_title(line.meta.env_id, line.meta.split), "about": about(line.meta), "several": several}

    def row(pool: Pool) -> dict[str, Any]:
        return {
            **place,
            "part": pool is not line,
            "seeds": seeds_text(pool.seeds),
            "n": pool.success.n,
            "success": rate_cell(pool.success.rate),
            "return": mean_cell(pool.episode_return, axis),
            "iqm": mean_cell(pool.return_iqm, None) if several and pool is line else None,
            **{name: cell.text for name, cell in figure_cells(pool).items()},
        }

    return [row(line), *(row(Pool((result,))) for result in line.results if several)]
