#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Generate e+e- -> ZH events with Pythia 8 and write them as HepMC3.

Needs pythia8mc, pyhepmc and particle. The same seed and the same version of Pythia give the same file, byte for byte.
"""

from __future__ import annotations

import argparse
import gzip
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyhepmc
import pythia8mc
from particle import PDGID

SETTINGS = (
    "Print:quiet = on",
    "Beams:idA = 11",  # e- along +z
    "Beams:idB = -11",
    "Beams:frameType = 1",  # head-on, in the centre of mass system; no beam energy spread
    "PDF:lepton = on",  # initial state radiation
    "HiggsSM:ffbar2HZ = on",
    "Random:setSeed = on",
)
PRECISION = 9  # significant digits behind the point: 1e-9 relative, far below any detector effect


def generate(count: int, seed: int, energy_gev: float) -> Iterator[pyhepmc.GenEvent]:
    """`count` events, all decays by Pythia."""
    pythia = pythia8mc.Pythia("", False)
    for setting in (*SETTINGS, f"Random:seed = {seed}", f"Beams:eCM = {energy_gev}"):
        if not pythia.readString(setting):
            raise SystemExit(f"Pythia does not take the setting '{setting}'")
    if not pythia.init():
        raise SystemExit("Pythia cannot be initialised with these settings")
    run = pyhepmc.GenRunInfo()
    run.weight_names = ["Default"]
    run.tools = [("Pythia", version(pythia), "e+e- -> ZH")]
    number = 0
    while number < count:
        if pythia.next():  # it fails now and then, and wants to be called again
            yield to_hepmc(pythia.event, number, run)
            number += 1


def version(pythia: Any) -> str:
    """Version of Pythia, such as 8.317."""
    return f"{pythia.parm('Pythia:versionNumber'):.3f}"


def to_hepmc(record: Any, number: int, run: pyhepmc.GenRunInfo) -> pyhepmc.GenEvent:
    """The whole event record as HepMC graph.

    Particles that share a mother end in one vertex; that vertex takes all mothers of its particles.
    """
    event = pyhepmc.GenEvent(pyhepmc.Units.GEV, pyhepmc.Units.MM)
    event.run_info = run
    event.event_number = number
    event.weights = [1.0]
    particles = [None]  # entry 0 of Pythia's record is the system as a whole
    vertices = []  # particles only refer to their vertices, so they must be kept alive
    for i in range(1, record.size()):
        entry = record[i]
        momentum = pyhepmc.FourVector(entry.px(), entry.py(), entry.pz(), entry.e())
        particle = pyhepmc.GenParticle(momentum, entry.id(), entry.statusHepMC())
        particle.generated_mass = entry.m()
        particles.append(particle)
    for i in range(1, record.size()):
        mothers = [particles[mother] for mother in record[i].motherList() if mother > 0]
        if not mothers:
            continue
        vertex = next((mother.end_vertex for mother in mothers if mother.end_vertex), None)
        if vertex is None:
            entry = record[i]
            position = pyhepmc.FourVector(entry.xProd(), entry.yProd(), entry.zProd(), entry.tProd())
            vertex = pyhepmc.GenVertex(position)
            vertices.append(vertex)
        for mother in mothers:
            if not mother.end_vertex:
                vertex.add_particle_in(mother)
        vertex.add_particle_out(particles[i])
    event.add_tree(particles[1:3])  # the beams; sorts the graph as the file format wants it
    return event


def summary(events: list[pyhepmc.GenEvent]) -> str:
    """What the events look like: a cross check by eye."""
    final = [[p for p in event.particles if p.status == 1] for event in events]
    lines = [f"events: {len(events)}"]

    def add(what: str, values: list[float], unit: str = "") -> None:
        spread = np.std(values, ddof=1) / math.sqrt(len(values)) if len(values) > 1 else math.nan
        lines.append(f"{what}: {np.mean(values):.3f} +- {spread:.3f} {unit}".rstrip())

    add("stable particles", [len(particles) for particles in final])
    add("  charged", [sum(PDGID(p.pid).charge != 0 for p in particles) for particles in final])
    add("  photons", [sum(p.pid == 22 for p in particles) for particles in final])
    add("energy of stable particles", [sum(p.momentum.e for p in particles) for particles in final], "GeV")
    add("  of neutrinos", [sum(p.momentum.e for p in ps if abs(p.pid) in (12, 14, 16)) for ps in final], "GeV")
    add("  of photons", [sum(p.momentum.e for p in ps if p.pid == 22) for ps in final], "GeV")
    for name, pid in (("H", 25), ("Z", 23)):
        add(f"mass of the {name}", [first(event, pid).generated_mass for event in events], "GeV")
    recoil = []
    for event in events:
        z = first(event, 23).momentum
        beam = sum(p.momentum.e for p in event.particles if p.status == 4)
        recoil.append(math.sqrt(max(0.0, beam**2 - 2.0 * beam * z.e + z.m() ** 2)))
    lines.append(f"mass recoiling against the Z, median: {np.median(recoil):.3f} GeV")
    for name, pid in (("H", 25), ("Z", 23)):
        decays: dict[str, int] = {}
        for event in events:
            daughters = last(event, pid).end_vertex.particles_out
            decay = " ".join(sorted({str(abs(p.pid)) for p in daughters if p.pid != 22 or len(daughters) == 2}))
            decays[decay] = decays.get(decay, 0) + 1
        table = ", ".join(f"{decay}: {n}" for decay, n in sorted(decays.items(), key=lambda item: -item[1]))
        lines.append(f"decays of the {name} (|PDG code|: events): {table}")
    return "\n".join(lines)


def first(event: pyhepmc.GenEvent, pid: int) -> pyhepmc.GenParticle:
    """The boson as produced in the hard process."""
    return next(p for p in event.particles if p.pid == pid)


def last(event: pyhepmc.GenEvent, pid: int) -> pyhepmc.GenParticle:
    """The boson that decays: Pythia carries copies through the shower."""
    return next(p for p in event.particles if p.pid == pid and all(d.pid != pid for d in p.children))


def write(events: list[pyhepmc.GenEvent], path: Path) -> None:
    """HepMC3 ASCII, gzip without time stamp and name, put in place when complete."""
    partial = path.with_name(path.name + ".partial")
    with (
        partial.open("wb") as raw,
        gzip.GzipFile(filename="", mode="wb", compresslevel=9, fileobj=raw, mtime=0) as stream,
        pyhepmc.open(stream, "w", precision=PRECISION) as file,
    ):
        for event in events:
            file.write(event)
    os.replace(partial, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-n", "--events", type=int, default=100, help="number of events (default %(default)s)")
    parser.add_argument(
        "--seed", type=int, default=20260801, help="seed of Pythia, 1 to 900000000 (default %(default)s)"
    )
    parser.add_argument("--energy", type=float, default=250.0, metavar="GEV", help="default %(default)s GeV")
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).with_name("zh_250GeV_100.hepmc3.gz"))
    options = parser.parse_args()
    events = list(generate(options.events, options.seed, options.energy))
    write(events, options.output)
    print(f"{options.output}: {options.output.stat().st_size / 1e6:.2f} MB")
    print(summary(events))


if __name__ == "__main__":
    main()
