"""From results to the folder of pages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from gtr_envs.episode import Episode
from leaderboard.pictures import Pictures
from leaderboard.pool import Pool, ranked
from leaderboard.site.contents import agent_values, index_values
from leaderboard.site.curves import find_runs, learning_curves
from leaderboard.site.files import check_folder, page_names, replay_name, write_folder
from leaderboard.site.pages import Pages
from leaderboard.site.samples import EpisodeView, episode_number, episode_view, sample_of
from leaderboard.summary import Result
from leaderboard.table import finished_only, format_csv, measured_rows, reported_rows

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
    lines = ranked(finished)
    several = [line for line in lines if len(line.results) > 1]
    with ThreadPoolExecutor() as threads:  # numpy lets go of the interpreter while it draws
        list(threads.map(lambda line: (line.episode_return, line.return_iqm), several))
    reported = reported_rows() if options.reported else []
    runs = find_runs(options.runs, notice) if options.runs else {}
    names = page_names(line.meta.agent for line in lines)
    pages, pictures = Pages(), Pictures()
    files = {
        "index.html": pages.render("index.html.j2", **index_values(finished, lines, reported, names)),
        "leaderboard.csv": format_csv(measured_rows(finished) + reported).encode(),
    }
    for agent, name in names.items():
        own = [line for line in lines if line.meta.agent == agent]
        curves = learning_curves(runs[agent], notice) if agent in runs else []
        samples = Samples(name.removesuffix(".html"), options, pictures, notice)
        files[f"agents/{name}"] = pages.render("agent.html.j2", **agent_values(own, curves, samples.of))
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

    def of(self, lines: Sequence[Pool]) -> list[EpisodeView]:
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
