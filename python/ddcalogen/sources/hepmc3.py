# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Generator events out of HepMC3 ASCII files.

The HepMC3 library takes anything for a number (`atof`) and reports a damaged event as the end of the file. Therefore
the text is cut into events and its lines are checked here, with line numbers, before the library builds the event
graph.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import re
import sys
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from ddcalogen.edm4hep.records import MCParticles, Ragged
from ddcalogen.errors import ConfigurationError, DDCaloGenError, InputError
from ddcalogen.sources.events import STABLE, GeneratorEvent, charges

__all__ = ["read_hepmc3"]

_SPEED_OF_LIGHT_MM_PER_NS = 299.792458
_MASS_ROUNDING_GEV = 1e-3  # masses from E^2 - p^2 come out below zero
_MAXIMUM_LINE_BYTES = 1 << 20
_MAXIMUM_EVENT_BYTES = 1 << 28
_MAXIMUM_PARENT_LINKS = 10_000_000
_START, _END = b"HepMC::Asciiv3-START_EVENT_LISTING", b"HepMC::Asciiv3-END_EVENT_LISTING"
_NUMBER = rb"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d{1,4})?"
_POSITION = rb"(?: @(?: %s){4})?" % _NUMBER
_GRAMMAR = {
    b"E": (
        re.compile(rb"E (\d{1,19}) (\d{1,9}) (\d{1,9})" + _POSITION),
        "E, event number, vertices, particles (, @ x y z t)",
    ),
    b"U": (re.compile(rb"U (?:GEV|MEV) (?:MM|CM)"), "U, GEV or MEV, MM or CM"),
    b"W": (re.compile(rb"W(?: %s)*|W \S.*" % _NUMBER), "W and the weights"),
    b"P": (
        re.compile(rb"P \d{1,9} -?\d{1,9} -?\d{1,10}(?: %s){5} -?\d{1,9}" % _NUMBER),
        "P, id, parent, PDG code, px, py, pz, E, mass, status",
    ),
    b"V": (
        re.compile(rb"V -\d{1,9} -?\d{1,9} \[(?:\d{1,9}(?:,\d{1,9})*)?\]" + _POSITION),
        "V, id, status, [incoming particles] (, @ x y z t)",
    ),
    b"A": (re.compile(rb"A -?\d{1,9} \S+ .*|A \S.*", re.DOTALL), "A, id, name, value"),
    b"N": (re.compile(rb"N .*", re.DOTALL), "N and names of weights"),
    b"T": (re.compile(rb"T .*", re.DOTALL), "T and a tool"),
}


def read_hepmc3(path: str | os.PathLike[str]) -> Iterator[GeneratorEvent]:
    """Events of a HepMC3 ASCII file ("Asciiv3"), one by one; plain or compressed (gzip, bzip2, xz, zstd).

    Units become GeV and mm, times ns. All particles are kept, with parents and daughters, generator status and
    production vertex (a vertex without position has that of its ancestors, else that of the event); the end point of a
    decayed particle is its end vertex.

    Raises
    ------
    InputError
        The file is missing, empty, damaged, truncated or no HepMC3 ASCII file, a stable particle has no valid PDG code,
        or a number is not finite. The message names line and event.
    """
    path = Path(path)
    with closing(_lines(path)) as lines:
        read = 0
        for block in _blocks(path, lines):
            yield _event(path, block)
            read += 1
    if not read:
        raise InputError(f"{path} holds no event", expected="at least one event")


@dataclass
class _Block:
    """The lines of one event and those of the run before it."""

    line: int
    number: int
    particles: int
    run: bytes
    text: list[bytes] = field(default_factory=list)


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


def _blocks(path: Path, lines: Iterator[tuple[int, bytes]]) -> Iterator[_Block]:
    """Cut the listing into events and check each line."""
    listing = False
    run: list[bytes] = []
    block: _Block | None = None
    number, seen_particles, size = 0, 0, 0

    def complete(finished: _Block | None) -> Iterator[_Block]:
        if finished is None:
            return
        if seen_particles != finished.particles:
            raise InputError(
                f"{path}: event {finished.number} (from line {finished.line}) is incomplete",
                found=f"{seen_particles} particles",
                expected=f"{finished.particles}, as its first line says",
                remedy="The file is truncated or damaged; copy or generate it again.",
            )
        yield finished

    for number, line in lines:
        if not line.strip() or (line.startswith(b"HepMC::Version") and block is None):
            continue
        if line.startswith(_START) and not listing:
            listing, run, block = True, [], None
            continue
        if line.startswith(_END) and listing:
            yield from complete(block)
            listing, block = False, None
            continue
        if not listing:
            raise _foreign(path, number, line)
        rule = _GRAMMAR.get(line[:1])
        match = rule[0].fullmatch(line) if rule else None
        if rule is None or match is None:
            raise InputError(
                f"{path}, line {number}" + (f" (event {block.number})" if block else "") + " is malformed",
                found=repr(line[:80].decode("latin-1")),
                expected=rule[1] if rule else "a line of HepMC3 ASCII, starting with E, U, W, A, P, V, N or T",
                remedy="The file is damaged; copy or generate it again.",
            )
        if line[:1] == b"E":
            yield from complete(block)
            block = _Block(number, int(match[1]), int(match[3]), b"\n".join(run))
            seen_particles, size = 0, 0
        elif line[:1] in (b"P", b"V", b"U") and block is None:
            raise InputError(
                f"{path}, line {number} belongs to no event", found=line[:1].decode(), expected="a line E before it"
            )
        seen_particles += line[:1] == b"P"
        size += len(line) + 1
        if size > _MAXIMUM_EVENT_BYTES:
            raise InputError(
                f"{path}, line {number}: the event does not end",
                found=f"more than {_MAXIMUM_EVENT_BYTES} bytes",
                expected="an event listing",
            )
        (run if block is None else block.text).append(line)
    if listing or not number:
        yield from complete(block)
        raise InputError(
            f"{path} is " + ("truncated" if number else "empty"),
            found=f"no end of the event listing behind line {number}",
            expected=_END.decode(),
            remedy="The generator did not finish, or the file was not copied completely. If it is meant to end here, "
            "append that line.",
        )


def _foreign(path: Path, number: int, line: bytes) -> InputError:
    remedy = None
    if line.startswith(b"HepMC::IO_GenEvent"):
        remedy = "Convert the file from HepMC2 to HepMC3: pyhepmc.open(old) read, pyhepmc.open(new, 'w') written."
    return InputError(
        f"{path}, line {number} is not part of a HepMC3 ASCII listing",
        found=repr(line[:80].decode("latin-1")),
        expected=_START.decode(),
        remedy=remedy,
    )


def _event(path: Path, block: _Block) -> GeneratorEvent:
    import pyhepmc
    from pyhepmc.io import ReaderAscii, pyiostream

    where = f"{path}: event {block.number} (from line {block.line})"
    text = b"\n".join(chain((b"HepMC::Version 3.0", _START, block.run), block.text, (_END, b"")))
    record = pyhepmc.GenEvent()
    data = pyhepmc.GenEventData()
    setup = pyhepmc.Setup
    verbose = setup.print_errors, setup.print_warnings
    setup.print_errors = setup.print_warnings = False
    try:
        with pyiostream(io.BytesIO(text)) as stream, ReaderAscii(stream) as reader:
            understood = reader.read_event(record) and not reader.failed()
        record.write_data(data)
    except Exception as error:  # the library's errors have no common type
        raise InputError(f"{where} cannot be read", found=str(error), expected="a valid HepMC3 event") from error
    finally:
        setup.print_errors, setup.print_warnings = verbose
    particles, vertices = data.particles, data.vertices
    if not understood or len(particles) != block.particles:
        raise InputError(
            f"{where} is not consistent",
            found=f"{len(particles)} particles that HepMC3 could link",
            expected=f"{block.particles}, whose parents and vertices exist",
            remedy="The file is damaged; copy or generate it again.",
        )
    gev = 1.0 if data.momentum_unit == pyhepmc.Units.GEV else 1e-3
    mm = 1.0 if data.length_unit == pyhepmc.Units.MM else 10.0
    production, end, parents = _graph(
        where, np.asarray(data.links1), np.asarray(data.links2), len(particles), len(vertices)
    )
    at = _vertex_positions(vertices, data.event_pos, production, end) * mm  # last row: the event itself
    pdg = np.asarray(particles["pid"], np.int32)
    status = np.asarray(particles["status"], np.int32)
    mass = particles["mass"] * gev
    rounded = (status == STABLE) & (mass < 0.0) & (mass > -_MASS_ROUNDING_GEV)
    weights = np.asarray(data.weights, np.float64)
    event = GeneratorEvent(
        event_number=block.number,
        weight=float(weights[0]) if len(weights) else 1.0,
        weights=weights[1:],
        particles=MCParticles.create(
            pdg=pdg,
            generator_status=status,
            charge=charges(pdg, status),
            mass_gev=np.where(rounded, 0.0, mass),
            time_ns=at[production, 3] / _SPEED_OF_LIGHT_MM_PER_NS,
            vertex_mm=at[production, :3],
            endpoint_mm=np.where((end >= 0)[:, None], at[end, :3], at[production, :3]),
            momentum_gev=np.column_stack([particles[name] for name in ("px", "py", "pz")]) * gev,
            parents=parents,
        ),
    )
    event.check_finite()
    return event


def _graph(
    where: str, links1: npt.NDArray[np.int32], links2: npt.NDArray[np.int32], particles: int, vertices: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Ragged]:
    """Production vertex and end vertex (-1 = none) of each particle, and its parents.

    HepMC3 lists links (particle -> vertex) and (vertex -> particle); vertices are negative, all ids count from 1.
    """
    incoming = links1 > 0
    end = np.full(particles, -1, np.int64)
    end[links1[incoming] - 1] = -links2[incoming] - 1
    production = np.full(particles, -1, np.int64)
    production[links2[~incoming] - 1] = -links1[~incoming] - 1
    order = np.flatnonzero(end >= 0)
    order = order[np.argsort(end[order], kind="stable")]  # particles that end, by their vertex
    sizes = np.append(np.bincount(end[order], minlength=vertices), 0)  # last: no vertex
    first = np.concatenate(([0], np.cumsum(sizes)))[:-1]
    counts = sizes[production]
    offsets = np.concatenate(([0], np.cumsum(counts)))
    if offsets[-1] > _MAXIMUM_PARENT_LINKS:
        raise InputError(
            f"{where} has too many parents", found=str(offsets[-1]), expected=f"at most {_MAXIMUM_PARENT_LINKS} links"
        )
    picked = np.arange(offsets[-1]) + np.repeat(first[production] - offsets[:-1], counts)
    return production, end, Ragged(offsets, order[picked].astype(np.int32))


def _vertex_positions(
    vertices: npt.NDArray[Any], event: Any, production: npt.NDArray[np.int64], end: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """Positions x, y, z, t of the vertices, in the units of the file, and in the last row that of the event.

    HepMC3 finds missing positions by recursion over the ancestors, which loops in the histories of some generators.
    """
    at = np.empty((len(vertices) + 1, 4))
    for column, name in enumerate("xyzt"):
        at[:-1, column] = vertices[name]
        at[-1, column] = getattr(event, name)
    missing = ~at[:-1].any(axis=1)
    ancestor = np.full(len(at), len(vertices))
    ending = np.flatnonzero(end >= 0)[::-1]  # reversed: the first incoming particle is written last, and stays
    ancestor[end[ending]] = np.where(production[ending] >= 0, production[ending], len(vertices))
    source = np.where(np.append(missing, False), ancestor, np.arange(len(at)))
    for _ in range(len(at).bit_length()):  # pointer doubling; what is left in a loop has no position
        source = source[source]
    source[np.append(missing, False)[source]] = len(vertices)
    return at[source]
