# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Files that appear under their final name only when they are complete, and the folders they go to."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ddcalogen.errors import OutputError

__all__ = ["make_folder", "replace_when_complete"]


def make_folder(path: str | os.PathLike[str]) -> Path:
    """Make a folder, and those it lies in, if there is none.

    Raises
    ------
    OutputError
        It cannot be made.
    """
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"cannot make the folder '{folder}'",
            found=error.strerror or str(error),
            expected="a place where a folder can be made",
            remedy="Choose another output.",
        ) from error
    return folder


@contextmanager
def replace_when_complete(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary name beside `path`; on success it takes the final name, on an error it is removed.

    Raises
    ------
    OutputError
        The file cannot be written (folder missing or not writable, disk full).
    """
    final = Path(path)
    partial = final.with_name(f".{final.name}.{secrets.token_hex(4)}.partial")
    try:
        with partial.open("xb"):
            pass
        yield partial
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(final)
    except OSError as error:
        raise OutputError(
            f"cannot write '{final}'",
            found=error.strerror or str(error),
            expected="a writable folder with enough space",
            remedy="Choose another output or make room.",
        ) from error
    finally:
        with suppress(OSError):  # what kept the file from being written may keep it from being looked for
            partial.unlink(missing_ok=True)
