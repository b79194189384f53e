"""The site's folder: what is written there, and that nothing else there is touched."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from gtr_envs.errors import OutputExistsError
from gtr_envs.storage import write_atomic, writing
from leaderboard.records import RunMeta
from leaderboard.texts import digest_of, file_name

CONTENTS = "site.json"
"""Lists the files that the last build wrote, so that the next one removes what it no longer makes, and only that."""

KIND = "gtr-bench site"


def page_names(agents: Iterable[str]) -> dict[str, str]:
    """A file name for each agent's page: its name where that is safe and unlike the others', else with a digest.

    File systems may not tell capital letters from small ones, and a name from a result made elsewhere may be anything.
    """
    names = sorted(set(agents))
    plain = {name: file_name(name, 80) for name in names}
    small = [text.lower() for text in plain.values()]
    pages = {}
    for name, text in plain.items():
        alone = text == name and small.count(text.lower()) == 1
        pages[name] = (text if alone else f"{text}-{digest_of(name)}") + ".html"
    return pages


def replay_name(meta: RunMeta) -> str:
    """The part of a replay's file name that tells one evaluation of an agent from another, safe as a name."""
    rules = "" if meta.rules == "strict" else f"-{digest_of(meta.rules)}"
    text = f"{meta.env_id}-{meta.split}{rules}-seed-{meta.seed}"
    plain = file_name(text)
    # One that was cut short, or that lost something else than the slash of every environment's id, may be another's.
    return plain if plain == text.replace("/", "-") else f"{plain}-{digest_of(text)}"


def check_folder(folder: Path) -> list[str]:
    """The files that an earlier build left in a folder.

    Raises:
        OutputExistsError: the folder is a file, or holds something that no build made.
    """
    mend = "choose another --html, or delete it"
    if folder.exists() and not folder.is_dir():
        raise OutputExistsError(f"{folder} is a file; --html takes a folder")
    if not folder.is_dir() or not any(folder.iterdir()):
        return []
    try:
        contents = json.loads((folder / CONTENTS).read_text(encoding="utf-8"))
        if contents["kind"] != KIND:
            raise ValueError(contents["kind"])
        return [str(name) for name in contents["files"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise OutputExistsError(f"{folder} holds something else than a leaderboard's pages; {mend}") from error


def write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write the site's files, each whole or not at all; remove those of the last build that are made no more.

    Args:
        folder: the site's; what others put there, such as replays, stays.
        files: contents by path below it.

    Raises:
        OutputExistsError: the folder holds something else.
        OutputError: it cannot be written.
    """
    before = check_folder(folder)
    listed = sorted({*files, CONTENTS})
    # First the list of all that is or will be there: whenever this ends early, the next build knows the folder.
    _write(folder / CONTENTS, _contents({*listed, *before}))
    for name, content in files.items():
        _write(folder / name, content)
    for name in sorted(set(before) - set(listed)):
        path = folder / name
        if path.resolve().is_relative_to(folder.resolve()) and path.is_file():
            with writing(path):
                path.unlink()
    _write(folder / CONTENTS, _contents(listed))


def _contents(names: Iterable[str]) -> bytes:
    return (json.dumps({"kind": KIND, "files": sorted(names)}, indent=1) + "\n").encode()


def _write(path: Path, content: bytes) -> None:
    if not path.is_file() or path.read_bytes() != content:
        write_atomic(path, content)
