"""What a check of results found, for people and for machines; and what no check can find."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from leaderboard.records import RunMeta
from leaderboard.texts import readable

UNPROVEN = (
    "that the named model gave these answers, alone and without help; for that, play its checkpoint again "
    "(random, expert and explorer were)",
    "that no other evaluation was made and thrown away before this one",
    "numbers of tokens, seconds and costs",
)
"""What cannot be proven from files."""


@dataclass(frozen=True)
class Finding:
    """Something that is wrong, or that a reader should know.

    Attributes:
        file: where.
        line: counted from 1; None if it is about the whole file.
        what: what it is, in words.
        severity: ``error``, or ``warning`` for what does not make the result wrong.
    """

    file: str
    line: int | None
    what: str
    severity: str = "error"

    def __str__(self) -> str:
        """In a line for the terminal, where nothing in it may be taken for the terminal's own codes."""
        place = self.file if self.line is None else f"{self.file}, line {self.line}"
        return readable(f"{place}: {self.what}")


@dataclass
class Checked:
    """One folder of results, checked.

    Attributes:
        folder: where it lies.
        meta: its settings, None if they cannot be read.
        n_episodes: episodes in its file.
        n_replayed: how many of them were played again.
        findings: what was found, in the order of files and lines.
    """

    folder: Path
    meta: RunMeta | None = None
    n_episodes: int = 0
    n_replayed: int = 0
    findings: list[Finding] = field(default_factory=list)

    @property
    def errors(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.severity == "error"]

    @property
    def warnings(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.severity != "error"]

    def to_json(self) -> dict[str, Any]:
        """For machines."""
        meta = self.meta
        names = ("agent", "env_id", "split", "rules", "seed")
        head = dict.fromkeys(names) if meta is None else {name: getattr(meta, name) for name in names}
        figures = {"episodes": self.n_episodes, "replayed": self.n_replayed, "ok": not self.errors}
        return {"folder": str(self.folder), **head, **figures, "findings": [asdict(each) for each in self.findings]}


def report_json(checked: Sequence[Checked]) -> Mapping[str, Any]:
    """The whole check, for machines."""
    ok = not any(result.errors for result in checked)
    return {"ok": ok, "unproven": UNPROVEN, "results": [result.to_json() for result in checked]}
