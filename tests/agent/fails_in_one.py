"""One of two processes in whose second something happens while the first waits for it, for ``test_ranks.py``.

    python -m tests.agent.fails_in_one BASE OUT [SIGNAL]

In the second process the first rollout is an error, or with a signal's name the process gets that signal then.
"""

import os
import signal
import sys
from typing import Any

from gtr_agent import command
from gtr_agent.rollout import Collector
from gtr_envs.errors import GtrError
from tests.agent.conftest import TOY


def main(base: str, out: str, name: str = "") -> None:
    collect = Collector.collect

    def disturbed(collector: Collector) -> Any:
        if name:
            signal.raise_signal(signal.Signals[name])
            return collect(collector)
        raise GtrError("the second process has had enough")

    if os.environ["RANK"] == "1":
        Collector.collect = disturbed  # type: ignore[method-assign]
    changes = [f"--set={change}" for change in (*TOY, f"model.base={base}")]
    sys.argv = ["train", "--preset", "tiny-points24", *changes, "--out", out]
    command.main()


if __name__ == "__main__":
    main(*sys.argv[1:])
