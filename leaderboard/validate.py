"""Check a submission: is it complete, are its seeds those it declares, do its scores follow from its answers.

Every figure of a leaderboard follows from the recorded answers: the environments are played again with them, and every
reward, status, success and total is compared with the record. What no check of files can show is that the named model
gave these answers; ``UNPROVEN`` says so, and agents that can be asked again (random, the experts) are.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from gtr_envs.episode import Episode, StopReason, episode_seeds
from gtr_envs.errors import ResultError
from leaderboard.records import EPISODES, META, RunMeta, episode_from_line, is_result, read_meta
from leaderboard.validate_episodes import Found, Line, Task, differs_from_its_turns, replay_lines
from leaderboard.validate_findings import UNPROVEN as UNPROVEN
from leaderboard.validate_findings import Checked as Checked
from leaderboard.validate_findings import Finding as Finding
from leaderboard.validate_findings import report_json as report_json
from leaderboard.validate_settings import (
    check_place,
    check_scores,
    check_settings,
    check_summary,
    check_timing,
)

CHUNK = 40
"""Episodes that a process plays again at a time."""

WORTH_PROCESSES = 300
"""Episodes below which starting further processes takes longer than playing."""


def validate(
    paths: Sequence[Path],
    *,
    sample: int | None = None,
    jobs: int = 1,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Checked]:
    """Check all evaluations in and below some folders.

    Args:
        paths: folders; one evaluation's or any that contains some.
        sample: play only so many episodes of each again, drawn by a digest of the file's content; None for all.
        jobs: processes that play.
        on_progress: called with the episodes that were played again, and how many there are to play.

    Returns:
        what was found, a folder each, in the order of their names.

    Raises:
        ResultError: a path is no folder, or holds no evaluation.
    """
    checked: list[Checked] = []
    tasks: list[tuple[Checked, Task]] = []
    for folder in find_folders(paths):
        result = Checked(folder)
        checked.append(result)
        tasks += [(result, task) for task in _read_folder(result, sample)]
    _check_keys(checked)
    total, done = sum(len(task.lines) for _, task in tasks), 0
    on_progress(0, total)
    for (result, task), found in zip(tasks, _run([task for _, task in tasks], jobs, total), strict=True):
        result.n_replayed += found.n_replayed
        result.findings += [Finding(str(result.folder / EPISODES), line, what) for line, what in found.problems]
        done += len(task.lines)
        on_progress(done, total)
    for result in checked:
        result.findings.sort(key=lambda finding: (finding.severity, finding.file, finding.line or 0))
    return checked


def find_folders(paths: Sequence[Path]) -> list[Path]:
    """The folders of evaluations in and below some folders, whole or not, each once.

    Raises:
        ResultError: a path is no folder, or holds no evaluation.
    """
    found: dict[Path, Path] = {}
    for path in paths:
        if not path.is_dir():
            raise ResultError(f"no folder {path}; gtr-bench eval --out {path} makes one")
        own = {file.parent for file in path.rglob(META) if is_result(file.parent)}
        own |= {file.parent for file in path.rglob(EPISODES)}  # episodes without settings are found out, too
        if not own:
            raise ResultError(f"{path} holds no results; gtr-bench eval --out {path} makes some")
        found.update({folder.resolve(): folder for folder in own})
    return [found[key] for key in sorted(found)]


def _read_folder(result: Checked, sample: int | None) -> Iterator[Task]:
    """Check all of a folder that needs no playing; gives what there is to play, in parts."""
    folder, add = result.folder, result.findings.append
    try:
        result.meta = meta = read_meta(folder)
    except ResultError as error:
        add(Finding(str(folder / META), None, str(error)))
        return
    playable = True
    for severity, what in check_settings(meta):
        add(Finding(str(folder / META), None, what, severity))
        playable = playable and severity != "error"
    for what in check_place(folder, meta):
        add(Finding(str(folder), None, what, "warning"))
    lines, episodes = _read_lines(result, meta)
    checks = (
        check_timing(folder, len(episodes)),
        check_summary(folder, meta, episodes),
        check_scores(folder, episodes),
    )
    for name, severity, what in itertools.chain(*checks):
        add(Finding(str(folder / name), None, what, severity))
    if not playable:
        add(Finding(str(folder / EPISODES), None, "was not played again, since the settings are wrong", "warning"))
        return
    chosen = _sampled(lines, sample)
    for start in range(0, len(chosen), CHUNK):
        yield Task(meta, tuple(chosen[start : start + CHUNK]))


def _read_lines(result: Checked, meta: RunMeta) -> tuple[list[Line], list[Episode]]:
    """Read the episodes' file line by line, and compare its seeds with those declared."""
    path, lines, episodes = result.folder / EPISODES, [], []

    def add(number: int | None, what: str) -> None:
        result.findings.append(Finding(str(path), number, what))

    try:
        *whole, rest = path.read_bytes().split(b"\n")
    except OSError as error:
        add(None, f"cannot be read: {error.strerror}")
        whole, rest = [], b""
    if rest:
        add(len(whole) + 1, "was cut short; run the same gtr-bench eval again")
    declared, seen = set(episode_seeds(meta.seed, meta.n_episodes)), dict[int, int]()
    for number, line in enumerate(whole, start=1):
        try:
            text = line.decode("utf-8")  # not as the JSON library guesses: what is played again is this text
            episode = episode_from_line(text)
            differences = list(differs_from_its_turns(text, episode))
        except (ValueError, RecursionError) as error:
            add(number, f"is damaged or made up: {error}")
            continue
        for what in differences:
            add(number, what)
        if episode.seed not in declared:
            add(number, f"seed {episode.seed} is foreign: {META} declares {_range_of(meta)}")
        if episode.seed in seen:
            add(number, f"seed {episode.seed} is there twice, in line {seen[episode.seed]} too")
            continue
        seen[episode.seed] = number
        lines.append(Line(number, text))
        episodes.append(episode)
    missing = sorted(declared - set(seen))
    if missing:
        names = ", ".join(map(str, missing[:5])) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
        add(None, f"{len(missing)} of {meta.n_episodes} declared episodes missing: seed {names}")
    result.n_episodes = len(episodes)
    crashed = sum(episode.stop is StopReason.CRASHED for episode in episodes)
    if crashed:
        what = f"{crashed} episodes crashed: they count as failures, but what return the rest of them cost is not known"
        result.findings.append(Finding(str(path), None, what, "warning"))
    return lines, sorted(episodes, key=lambda episode: episode.seed)


def _range_of(meta: RunMeta) -> str:
    seeds = episode_seeds(meta.seed, 1)[0]
    return f"{seeds} to {seeds + meta.n_episodes - 1}"


def _sampled(lines: Sequence[Line], sample: int | None) -> list[Line]:
    """So many of the lines. Which, follows from all of them: whoever changes one cannot foresee it, and the same file
    is always looked at in the same places."""
    if sample is None or sample >= len(lines):
        return list(lines)
    digest = hashlib.sha256("\n".join(line.text for line in lines).encode("utf-8", "surrogatepass")).digest()
    drawn = np.random.default_rng(list(digest)).choice(len(lines), sample, replace=False)
    return [lines[index] for index in sorted(map(int, drawn))]


def _check_keys(checked: Sequence[Checked]) -> None:
    """Two folders that claim to be the same agent on the same seeds."""
    seen: dict[tuple[object, ...], Path] = {}
    for result in checked:
        meta = result.meta
        if meta is None:
            continue
        key = (meta.agent, meta.env_id, meta.rules, meta.split, meta.seed)
        if key in seen:
            what = f"claims the same agent, environment, split, rules and seed as {seen[key]}"
            result.findings.append(Finding(str(result.folder / META), None, what))
        seen.setdefault(key, result.folder)


def _run(tasks: Sequence[Task], jobs: int, total: int) -> Iterator[Found]:
    """Play the parts again, in their order, by several processes where that is worth it."""
    if jobs <= 1 or total < WORTH_PROCESSES:
        yield from map(replay_lines, tasks)
        return
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor
    from concurrent.futures.process import BrokenProcessPool

    # Not forked: a process that has threads, as numpy's, cannot be copied safely.
    with ProcessPoolExecutor(min(jobs, len(tasks)), multiprocessing.get_context("spawn")) as pool:
        try:
            yield from pool.map(replay_lines, tasks)
        except BrokenProcessPool as error:
            raise ResultError(
                "a process that played episodes again was killed, as by a machine short of memory; run it with --jobs 1"
            ) from error
