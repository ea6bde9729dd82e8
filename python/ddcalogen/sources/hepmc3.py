# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Generator events out of HepMC3 ASCII files."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ddcalogen.edm4hep.records import MCParticles, Ragged
from ddcalogen.errors import InputError
from ddcalogen.sources.events import STABLE, GeneratorEvent, charges
from ddcalogen.sources.hepmc3_text import EventText, event_texts

__all__ = ["read_hepmc3"]

_SPEED_OF_LIGHT_MM_PER_NS = 299.792458
_MASS_ROUNDING_GEV = 1e-3  # masses from E^2 - p^2 come out below zero
_MAXIMUM_PARENT_LINKS = 10_000_000


def read_hepmc3(path: str | os.PathLike[str]) -> Iterator[GeneratorEvent]:
    """Events of a HepMC3 ASCII file ("Asciiv3"), one by one; plain or compressed (gzip, bzip2, xz, zstd).

    Units become GeV and mm, times ns. All particles are kept, with parents and daughters, generator status and
    production vertex (a vertex without position has that of its ancestors, else that of the event); the end point of a
    decayed particle is its end vertex. The first weight is the event's weight.

    Raises
    ------
    InputError
        The file is missing, empty, damaged, truncated or no HepMC3 ASCII file, a stable particle has no valid PDG code,
        or a number is not finite. The message names line and event.
    """
    path = Path(path)
    read = 0
    for text in event_texts(path):
        try:
            yield _event(text)
        except InputError as error:
            problem = error.problem if error.problem.startswith(str(text)) else f"{text}: {error.problem}"
            raise InputError(problem, found=error.found, expected=error.expected, remedy=error.remedy) from error
        read += 1
    if not read:
        raise InputError(f"{path} holds no event", expected="at least one event")


def _event(source: EventText) -> GeneratorEvent:
    import pyhepmc
    from pyhepmc.io import ReaderAscii, pyiostream

    record = pyhepmc.GenEvent()
    data = pyhepmc.GenEventData()
    setup = pyhepmc.Setup
    talk = setup.print_errors, setup.print_warnings, setup.debug_level
    setup.print_errors, setup.print_warnings, setup.debug_level = False, False, 0
    try:
        with pyiostream(io.BytesIO(source.text)) as stream, ReaderAscii(stream) as reader:
            understood = reader.read_event(record) and not reader.failed()
        record.write_data(data)
    except Exception as error:  # the library's errors have no common type
        raise InputError(f"{source} cannot be read", found=str(error), expected="a valid HepMC3 event") from error
    finally:
        setup.print_errors, setup.print_warnings, setup.debug_level = talk
    # Links count by id, the arrays are in the order of reading, which differs where a history has loops.
    particles = data.particles[np.argsort(record.numpy.particles.id)]
    vertices = data.vertices[np.argsort(-record.numpy.vertices.id)]
    if not understood or len(particles) != source.particles:
        raise InputError(
            f"{source} is not consistent",
            found=f"{len(particles)} particles that HepMC3 could link",
            expected=f"{source.particles}, whose parents and vertices exist",
            remedy="The file is damaged; copy or generate it again.",
        )
    gev = 1.0 if data.momentum_unit == pyhepmc.Units.GEV else 1e-3
    mm = 1.0 if data.length_unit == pyhepmc.Units.MM else 10.0
    production, end, parents = _graph(source, data.links1, data.links2, len(particles), len(vertices))
    at = _vertex_positions(vertices, data.event_pos, production, end) * mm  # last row: the event itself
    pdg = np.asarray(particles["pid"], np.int32)
    status = np.asarray(particles["status"], np.int32)
    mass = particles["mass"] * gev
    rounded = (status == STABLE) & (mass < 0.0) & (mass > -_MASS_ROUNDING_GEV)
    weights = np.asarray(data.weights, np.float64)
    event = GeneratorEvent(
        event_number=source.number,
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
    source: EventText, links1: npt.NDArray[np.int32], links2: npt.NDArray[np.int32], particles: int, vertices: int
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
            f"{source} has too many parents", found=str(offsets[-1]), expected=f"at most {_MAXIMUM_PARENT_LINKS} links"
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
