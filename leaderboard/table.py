"""The leaderboard: one row an (agent, environment, split, seed), made from folders of results alone.

Rows are sorted and numbers rounded the same way each time, and no clock is read: the same results give the same bytes.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gtr_envs.errors import MissingExtraError, ResultError
from gtr_envs.storage import write_atomic
from leaderboard.pool import ranked
from leaderboard.records import SCHEMA_VERSION
from leaderboard.summary import Result

if TYPE_CHECKING:
    import pandas

SPLITS = ("all", "train", "test")
REPORTED = "reported.csv"


@dataclass(frozen=True)
class Row:
    """One row of the CSV; its columns are these fields in this order. docs/leaderboard.md says what each means.

    None is an empty cell: not known, or without meaning for this agent.
    """

    schema_version: int
    agent: str
    method: str
    base_model: str | None
    env_id: str
    split: str
    rules: str
    seed: int | None
    n_episodes: int | None
    n_solvable: int | None
    success_rate: float | None
    success_lo: float | None
    success_hi: float | None
    return_mean: float | None
    return_lo: float | None
    return_hi: float | None
    illegal_rate: float | None
    invalid_answer_rate: float | None
    repaired_rate: float | None
    steps_mean: float | None
    thought_tokens_mean: float | None
    tokens_out: int | None
    wall_s: float | None
    temperature: float | None
    source: str
    reference: str | None
    version: str | None
    git_commit: str | None
    date: str | None


COLUMNS = tuple(field.name for field in fields(Row))
_WHOLE = {"schema_version", "seed", "n_episodes", "n_solvable", "tokens_out"}
_TEXTS = {field.name for field in fields(Row) if str(field.type).startswith("str")}

DTYPES = {name: "string" if name in _TEXTS else "Int64" if name in _WHOLE else "Float64" for name in COLUMNS}
"""Each column's type in pandas: types that know an empty cell, so that whole numbers stay whole beside one."""


def is_finished(result: Result) -> bool:
    """Whether all episodes asked for were played."""
    return len(result.episodes) == result.meta.n_episodes


def finished_only(results: Sequence[Result]) -> list[Result]:
    """The evaluations that are finished; an unfinished one has no place in a ranking.

    Raises:
        ResultError: none is.
    """
    finished = [result for result in results if is_finished(result)]
    if not finished:
        raise ResultError("none of these evaluations is finished; run the same gtr-bench eval again to go on")
    return finished


def to_row(result: Result) -> Row:
    """The row of one evaluation."""
    meta, summary = result.meta, result.summary
    return Row(
        schema_version=SCHEMA_VERSION,
        agent=meta.agent,
        method=meta.method,
        base_model=meta.base_model,
        env_id=meta.env_id,
        split=meta.split,
        rules=meta.rules,
        seed=meta.seed,
        n_episodes=summary.n_episodes,
        n_solvable=summary.n_solvable,
        success_rate=summary.success.rate.value,
        success_lo=summary.success.rate.low,
        success_hi=summary.success.rate.high,
        return_mean=summary.episode_return.value,
        return_lo=summary.episode_return.low,
        return_hi=summary.episode_return.high,
        illegal_rate=summary.illegal_rate,
        invalid_answer_rate=summary.invalid_answer_rate,
        repaired_rate=summary.repaired_rate,
        steps_mean=summary.steps_mean,
        thought_tokens_mean=summary.thought_tokens_mean,
        tokens_out=summary.tokens_out,
        wall_s=summary.wall_s,
        temperature=meta.temperature,
        source="measured",
        reference=None,
        version=meta.version,
        git_commit=meta.git_commit,
        date=meta.date,
    )


def measured_rows(results: Sequence[Result]) -> list[Row]:
    """The rows of the finished evaluations, in the leaderboard's order.

    Raises:
        ResultError: none is finished.
    """
    return [to_row(result) for pool in ranked(finished_only(results), SPLITS) for result in pool.results]


def reported_rows() -> list[Row]:
    """The numbers that papers report, as shipped in ``reported.csv``: measured by others, elsewhere, not by us."""
    text = resources.files("leaderboard").joinpath(REPORTED).read_text(encoding="utf-8")
    return parse_csv(text, REPORTED)


def _cell(name: str, value: object) -> str:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    if isinstance(value, float):
        digits = 1 if name == "wall_s" else 4
        return f"{round(value, digits) + 0.0:.{digits}f}"  # + 0.0: no minus sign before a zero
    return str(value)


def format_csv(rows: Sequence[Row]) -> str:
    """The CSV's text: a header, then the rows; floats with four decimals (seconds with one), line ends ``\\n``."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        writer.writerow([_cell(name, value) for name, value in zip(COLUMNS, astuple(row), strict=True)])
    return buffer.getvalue()


def parse_csv(text: str, origin: str = "the CSV") -> list[Row]:
    """Read a leaderboard's CSV back.

    Args:
        text: the CSV.
        origin: what to call it in an error.

    Raises:
        ResultError: the columns are not the schema's, or a cell has the wrong type.
    """
    reader = csv.DictReader(io.StringIO(text))
    if tuple(reader.fieldnames or ()) != COLUMNS:
        raise ResultError(f"{origin} has other columns than schema {SCHEMA_VERSION}: {', '.join(COLUMNS)}")
    rows = []
    for number, cells in enumerate(reader, start=2):
        try:
            rows.append(Row(**{name: _value(name, cell) for name, cell in cells.items()}))
        except (ValueError, TypeError) as error:
            raise ResultError(f"{origin}, line {number}: {error}") from error
    return rows


def _value(name: str, cell: str) -> Any:
    if name in _TEXTS:
        return cell or None
    if cell == "":
        return None
    return int(cell) if name in _WHOLE else float(cell)


def write_csv(path: Path, results: Sequence[Result], reported: bool = True) -> list[Row]:
    """Write the leaderboard.

    Args:
        path: the CSV to write, whole or not at all.
        results: evaluations; unfinished ones are left out.
        reported: append the papers' numbers (``source`` is ``reported``) below the measured rows.

    Returns:
        the rows written.

    Raises:
        ResultError: none of the evaluations is finished.
    """
    rows = measured_rows(results) + (reported_rows() if reported else [])
    write_atomic(path, format_csv(rows))
    return rows


def read_csv(path: Path | str) -> pandas.DataFrame:
    """Read a leaderboard's CSV into pandas, each column with its type of :data:`DTYPES`.

    Raises:
        MissingExtraError: pandas is not installed.
        ResultError: the file cannot be read, or its columns are not those of this schema.
    """
    try:
        import pandas
    except ImportError as error:
        raise MissingExtraError("reading the CSV as a table needs pandas: pip install pandas") from error
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ResultError(f"{path} cannot be read: {error}") from error
    parse_csv(text, str(path))
    # Only an empty cell is unknown: an agent may be called "None" or "nan".
    return pandas.read_csv(io.StringIO(text), dtype=DTYPES, keep_default_na=False, na_values=[""])
