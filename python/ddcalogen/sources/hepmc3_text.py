# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""The text of HepMC3 ASCII files: decompressed, cut into events, and checked line by line.

The HepMC3 library takes anything for a number (`atof`), reports a damaged event as the end of the file, and accepts
references to vertices that do not exist. Therefore every line is checked here, where its number is known.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
import sys
from collections.abc import Generator, Iterator
from contextlib import closing
from importlib import import_module
from pathlib import Path
from typing import IO

from ddcalogen.errors import ConfigurationError, DDCaloGenError, InputError

__all__ = ["END", "START", "EventText", "event_texts"]

START, END = b"HepMC::Asciiv3-START_EVENT_LISTING", b"HepMC::Asciiv3-END_EVENT_LISTING"

_MAXIMUM_LINE_BYTES = 1 << 20
_MAXIMUM_EVENT_BYTES = 1 << 28
_NUMBER = rb"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d{1,4})?"
_POSITION = rb"(?: @(?: %s){4})?" % _NUMBER
_GRAMMAR = {
    b"E": (
        re.compile(rb"E (\d{1,19}) (\d{1,9}) (\d{1,9})" + _POSITION),
        "E, event number, vertices, particles (, @ x y z t)",
    ),
    b"U": (re.compile(rb"U (?:GEV|MEV) (?:MM|CM)"), "U, GEV or MEV, MM or CM"),
    b"W": (re.compile(rb"W(?: %s)*" % _NUMBER), "W and numbers"),
    b"P": (
        re.compile(rb"P (\d{1,9}) (-?\d{1,9}) -?\d{1,10}(?: %s){5} -?\d{1,9}" % _NUMBER),
        "P, id, parent, PDG code, px, py, pz, E, mass, status",
    ),
    b"V": (
        re.compile(rb"V (-\d{1,9}) -?\d{1,9} \[((?:\d{1,9}(?:,\d{1,9})*)?)\]" + _POSITION),
        "V, id, status, [incoming particles] (, @ x y z t)",
    ),
    b"A": (re.compile(rb"A \S.*"), "A, id, name, value"),
    b"N": (re.compile(rb"N .*"), "N and names of weights"),
    b"T": (re.compile(rb"T .*"), "T and a tool"),
}
_ANYTHING = re.compile(rb".*")
_DAMAGED = "The file is damaged; copy or generate it again."


class EventText:
    """The checked lines of one event: `number`, `line` (of the file, where it starts), `particles` (count), `text`."""

    def __init__(self, path: Path, line: int, head: re.Match[bytes], run: list[bytes]) -> None:
        self.path = path
        self.line = line
        self.number, self._vertices, self.particles = (int(part) for part in head.groups())
        self._lines = [*run, head.string]
        self._bytes = 0
        self._seen = 0
        self._explicit: set[int] = set()
        self._parents: set[int] = set()
        self._ending: set[int] = set()

    def __str__(self) -> str:
        return f"{self.path}: event {self.number} (from line {self.line})"

    @property
    def text(self) -> bytes:
        """The event as a listing of its own."""
        return b"\n".join((b"HepMC::Version 3.0", START, *self._lines, END, b""))

    def add(self, line: int, match: re.Match[bytes]) -> None:
        """Take the next line."""
        content: bytes = match.string
        self._lines.append(content)
        self._bytes += len(content)
        if self._bytes > _MAXIMUM_EVENT_BYTES:
            raise InputError(f"{self} is too large", found=f"more than {_MAXIMUM_EVENT_BYTES} bytes")
        if content[:1] == b"P":
            identifier, parent = int(match[1]), int(match[2])
            self._seen += 1
            self._require(line, identifier == self._seen, f"particle {identifier}", f"particle {self._seen}")
            self._require_reference(line, parent, -self._vertices, identifier - 1)
            self._parents.add(parent)
        elif content[:1] == b"V":
            vertex = int(match[1])
            known = vertex in self._explicit or not -self._vertices <= vertex
            self._require(line, not known, f"vertex {vertex}", f"a new vertex out of -1 to {-self._vertices}")
            self._explicit.add(vertex)
            for particle in map(int, match[2].split(b",") if match[2] else ()):
                self._require_reference(line, particle, 1, self.particles)
                self._require(line, particle not in self._ending, f"a second end of particle {particle}", "one end")
                self._ending.add(particle)

    def complete(self) -> EventText:
        """Check the event as a whole."""
        implicit = {parent for parent in self._parents if parent > 0}
        self._require(None, self._seen == self.particles, f"{self._seen} particles", f"{self.particles}")
        twice = implicit & self._ending
        self._require(None, not twice, f"two ends of the particles {sorted(twice)[:5]}", "one end")
        lost = {parent for parent in self._parents if parent < 0} - self._explicit
        self._require(None, not lost, f"particles from the missing vertices {sorted(lost)[:5]}", "lines V for them")
        vertices = len(implicit) + len(self._explicit)
        self._require(None, vertices == self._vertices, f"{vertices} vertices", f"{self._vertices}")
        return self

    def _require(self, line: int | None, condition: bool, found: str, expected: str) -> None:
        if not condition:
            where = str(self) if line is None else f"{self.path}, line {line} (event {self.number})"
            raise InputError(f"{where} contradicts itself", found=found, expected=expected, remedy=_DAMAGED)

    def _require_reference(self, line: int, identifier: int, low: int, high: int) -> None:
        self._require(line, low <= identifier <= high, f"a reference to {identifier}", f"{low} to {high}")


def event_texts(path: Path) -> Iterator[EventText]:
    """The events of the listings in a file.

    Raises
    ------
    InputError
        The file cannot be read, is empty, truncated, or breaks the format.
    """
    listing = False
    run: list[bytes] = []
    event: EventText | None = None
    number = 0
    with closing(_lines(path)) as lines:
        for number, line in lines:
            if not line.strip() or (line.startswith(b"HepMC::Version") and event is None):
                continue
            if line == START and not listing:
                listing, run = True, []
            elif line == END and listing:
                if event is not None:
                    yield event.complete()
                listing, event = False, None
            elif not listing:
                raise _foreign(path, number, line)
            else:
                match = _checked(path, number, line, event)
                if line[:1] == b"E":
                    if event is not None:
                        yield event.complete()
                    event = EventText(path, number, match, run)
                elif event is not None:
                    event.add(number, match)
                else:
                    run.append(line)
    if not number:
        raise InputError(f"{path} is empty", expected="a HepMC3 ASCII file")
    if listing:
        if event is not None:
            event.complete()
        raise InputError(
            f"{path} is truncated",
            found=f"no end of the event listing behind line {number}",
            expected=END.decode(),
            remedy="The generator did not finish, or the file was not copied completely. If it is meant to end here, "
            "append that line.",
        )


def _checked(path: Path, number: int, line: bytes, event: EventText | None) -> re.Match[bytes]:
    pattern, form = _GRAMMAR.get(line[:1], (None, "a line that starts with E, U, W, A, P, V, N or T"))
    match = pattern.fullmatch(line) if pattern else None
    if event is None and line[:2] == b"W ":  # names of the weights
        match = _ANYTHING.fullmatch(line)
    if match is not None and event is None and line[:1] in (b"P", b"V", b"U"):
        match, form = None, "a line E before it"
    if match is None:
        raise InputError(
            f"{path}, line {number}" + (f" (event {event.number})" if event else "") + " is malformed",
            found=_shown(line),
            expected=form,
            remedy=_DAMAGED,
        )
    return match


def _foreign(path: Path, number: int, line: bytes) -> InputError:
    remedy = None
    if line.startswith(b"HepMC::IO_GenEvent"):
        remedy = "This is HepMC2: read it with pyhepmc.open(old) and write its events with pyhepmc.open(new, 'w')."
    return InputError(
        f"{path}, line {number} is not part of a HepMC3 ASCII listing",
        found=_shown(line),
        expected=START.decode(),
        remedy=remedy,
    )


def _shown(line: bytes) -> str:
    return repr(line[:80].decode("latin-1"))


def _lines(path: Path) -> Generator[tuple[int, bytes], None, None]:
    """Numbered lines without line end."""
    number = 0
    try:
        with path.open("rb") as raw, _decompressed(raw) as stream:
            while line := stream.readline(_MAXIMUM_LINE_BYTES):
                number += 1
                if len(line) == _MAXIMUM_LINE_BYTES:
                    raise InputError(
                        f"{path}, line {number} is too long",
                        found=f"{_MAXIMUM_LINE_BYTES} bytes or more",
                        expected="a HepMC3 ASCII file",
                    )
                yield number, line.rstrip(b"\r\n")
    except DDCaloGenError:
        raise
    except Exception as error:  # each decompressor has errors of its own
        reason = (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__
        raise InputError(
            f"cannot read {path}" + (f" behind line {number}" if number else ""),
            found=reason,
            expected="a readable, intact HepMC3 ASCII file",
            remedy="Check the path, or copy or generate the file again.",
        ) from error


def _decompressed(raw: IO[bytes]) -> IO[bytes]:
    magic = raw.read(6)
    raw.seek(0)
    if magic.startswith(b"\x1f\x8b"):
        return gzip.GzipFile(fileobj=raw)  # type: ignore[return-value]  # it reads like one
    if magic.startswith(b"BZh"):
        return bz2.BZ2File(raw)
    if magic.startswith(b"\xfd7zXZ\x00"):
        return lzma.LZMAFile(raw)
    if magic.startswith(b"\x28\xb5\x2f\xfd"):
        return _open_zstd(raw)
    return raw


def _open_zstd(raw: IO[bytes]) -> IO[bytes]:
    name = "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
    try:
        zstd = import_module(name)
    except ImportError as error:
        raise ConfigurationError(f"a zstd file needs the package {name}", remedy=f"pip install {name}") from error
    stream: IO[bytes] = zstd.ZstdFile(raw)
    return stream
