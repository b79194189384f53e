"""A person at the terminal as an agent: the same picture, the same words, the same protocol."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gtr_envs.episode import Request, Response
from gtr_envs.errors import SettingError
from gtr_envs.protocol import AnswerStatus, write_answer
from leaderboard.half_blocks import half_blocks, has_pictures

if TYPE_CHECKING:
    from rich.console import Console

QUIT, HELP = "quit", "?"
HOW_TO = f"Type an action as the question spells it; {HELP} lists them, {QUIT} ends: finished episodes are kept."


class HumanPolicy:
    """A person who plays; see :class:`gtr_envs.episode.Policy`.

    What is typed is put into the protocol's form, so the answers of a person are never invalid; an action that does
    not exist is asked for again.

    Args:
        read: asks for a line, given the words to ask with; the terminal's own if None.
        console: where pictures and questions are shown; stderr if None, so that stdout stays free for results.
        folder: where the picture is kept; a temporary one, removed at the end, if None.

    Attributes:
        batch_limit: one episode at a time.
        interactive: nothing else may draw in the terminal.

    Raises:
        SettingError: nobody can type, as the input is no terminal.
    """

    name = "human"
    batch_limit = 1
    interactive = True

    def __init__(
        self,
        read: Callable[[str], str] | None = None,
        console: Console | None = None,
        folder: Path | None = None,
    ) -> None:
        if read is None and not sys.stdin.isatty():
            raise SettingError(
                "agent 'human' reads from the terminal, and the input is none; run the command in a terminal, without "
                "a pipe or a redirection"
            )
        from rich.console import Console

        self.console = console or Console(stderr=True)
        self._read = read or self._ask_terminal
        self._temporary = None if folder else tempfile.TemporaryDirectory(prefix="gtr-bench-")
        self.picture = (folder or Path(self._temporary.name if self._temporary else ".")) / "frame.png"
        self._question = ""

    def act(self, requests: Sequence[Request]) -> list[Response]:
        """Ask the person for each turn.

        Raises:
            KeyboardInterrupt: the person wants to stop.
        """
        return [Response(self._answer(request)) for request in requests]

    def close(self) -> None:
        """Remove the picture's temporary folder."""
        if self._temporary is not None:
            self._temporary.cleanup()

    def _answer(self, request: Request) -> str:
        self._show(request)
        thought = self._ask("thought (Enter for none): ")
        while True:
            action = self._ask("action: ")
            answer = write_answer({**dict.fromkeys(request.task.keys, ""), "thoughts": thought, "action": action})
            read = request.task.read(answer, request.info)
            if action and read.status is not AnswerStatus.INVALID:
                # Spelt as the task spells it, a person's answer counts as in form.
                return write_answer(
                    {**dict.fromkeys(request.task.keys, ""), "thoughts": thought, "action": read.action}
                )
            if action != HELP:
                self._say(f"{action!r} is no action here; {HELP} lists them")
            else:
                self._say("actions: " + ", ".join(request.task.allowed(request.info)))

    def _show(self, request: Request) -> None:
        """Show the picture and, where they changed, the words."""
        from PIL import Image

        beside = self.picture.with_suffix(".part")
        Image.fromarray(request.frame).save(beside, "PNG")
        beside.replace(self.picture)  # a viewer that follows the file never sees half a picture
        if has_pictures(self.console):
            self.console.print(half_blocks(request.frame, min(60, self.console.width)))
        self._say(f"picture: {self.picture}", "dim")
        if request.prompt != self._question:
            self._question = request.prompt
            self._say(request.prompt)
            self._say(HOW_TO, "dim")

    def _ask(self, words: str) -> str:
        try:
            said = self._read(words).strip()
        except EOFError:
            raise KeyboardInterrupt from None
        if said == QUIT:
            raise KeyboardInterrupt
        return said

    def _ask_terminal(self, words: str) -> str:
        return self.console.input(words, markup=False)

    def _say(self, text: str, style: str = "") -> None:
        self.console.print(text, style=style or None, markup=False, highlight=False, soft_wrap=True)
