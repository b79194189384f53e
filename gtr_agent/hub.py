"""Models on the Hugging Face hub: from its cache where they are there, and named soon where they cannot be had.

Without a network the hub's library tries each file again and again, for half a minute each. So the hub is asked once
first, and where it does not answer the cache alone is looked into.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gtr_envs.errors import CheckpointError

HUB_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?", re.ASCII)
"""What a model on the hub is called: its owner and its own name; a few old ones have no owner."""

FETCH = (
    "if the name is right, fetch the model where there is a network (hf download NAME), or give a folder that holds "
    "it; HF_HUB_OFFLINE=1 keeps to what was fetched before"
)


def is_on_hub(name: str | Path) -> bool:
    """Whether a name that a user gave is to be looked for on the hub: it is none of a folder or file that is there."""
    return HUB_NAME.fullmatch(str(name)) is not None and not Path(name).exists()


@contextmanager
def hub_or_cache(name: str | Path) -> Iterator[None]:
    """Within this a model on the hub is loaded: from the cache alone, as by ``HF_HUB_OFFLINE=1``, without an answer.

    Args:
        name: of a model on the hub, or of anything else, for which nothing is done.

    Raises:
        CheckpointError: for one that is raised within: the same, with the mend.
    """
    if not is_on_hub(name):
        yield
        return
    from huggingface_hub import constants

    offline = constants.is_offline_mode()
    answers = not offline and hub_answers(str(name))
    constants.HF_HUB_OFFLINE = not answers
    try:
        yield
    except CheckpointError as error:
        mend = "check the name, or give a folder that holds the model" if answers else FETCH
        silent = "" if answers or offline else f" ({constants.ENDPOINT} does not answer, and the cache does not do)"
        raise CheckpointError(
            f"{name} is no folder here, and the model of that name on the hub cannot be loaded: {error}{silent}; {mend}"
        ) from error
    finally:
        constants.HF_HUB_OFFLINE = offline


def hub_answers(name: str) -> bool:
    """Whether the hub answers at all when asked for a model, in ``HF_HUB_ETAG_TIMEOUT`` seconds (10).

    Whatever it answers is left to its library. The time is kept by this process's own clock: the library's is for each
    of a host's addresses, and none for looking them up.
    """
    from huggingface_hub import constants, get_session

    asked, answered = threading.Event(), threading.Event()

    def ask() -> None:
        try:
            url = f"{constants.ENDPOINT}/{name}/resolve/main/config.json"
            get_session().head(url, timeout=constants.HF_HUB_ETAG_TIMEOUT)
            answered.set()
        except Exception:  # its class depends on which client the library uses
            return
        finally:
            asked.set()

    threading.Thread(target=ask, daemon=True, name="hub").start()
    asked.wait(constants.HF_HUB_ETAG_TIMEOUT)
    return answered.is_set()


def cached_commit(name: str, revision: str | None = None) -> str | None:
    """The commit that a model of the hub has in the cache, from which it is loaded; None if it is not there."""
    from huggingface_hub import try_to_load_from_cache

    path = try_to_load_from_cache(name, "config.json", revision=revision)
    return Path(path).parent.name if isinstance(path, str) else None
