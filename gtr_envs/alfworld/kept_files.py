"""Files that can be made again, in folders that several processes and users may share."""

from __future__ import annotations

import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path


def write_whole(file: Path, content: bytes) -> None:
    """Write beside the file, then move it there: another process sees the old file or the new one, never half.

    The file gets the mode that the user's umask gives to new files, so that who shares the folder can read it.

    Raises:
        OSError: if it cannot be written; nothing is left behind then.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    # Not `tempfile`, whose files only their owner can read.
    beside = file.with_name(f"{file.stem}.{secrets.token_hex(8)}.part")
    try:
        with open(beside, "xb") as stream:
            stream.write(content)
        os.replace(beside, file)
    except BaseException:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
        raise


def prune(folder: Path, most: int) -> None:
    """Delete the files that were not used for longest until the folder holds at most so many bytes.

    What cannot be deleted, as a folder or another user's file, stays.
    """
    entries = []
    with suppress(OSError):
        for path in folder.iterdir():
            with suppress(OSError):  # another process was quicker
                about = path.stat()
                if stat.S_ISREG(about.st_mode):
                    entries.append((about.st_mtime, about.st_size, path))
    total = sum(size for _, size, _ in entries)
    for _, size, path in sorted(entries):
        if total <= most:
            return
        with suppress(OSError):
            path.unlink(missing_ok=True)
            total -= size
