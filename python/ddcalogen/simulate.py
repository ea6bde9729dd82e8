# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""The Geant4-free host: events -> calorimeter faces -> generated showers -> EDM4hep events.

Events with recorded calorimeter entries (`ddcalogen.entries`) start from these instead.
"""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ddcalogen import __version__
from ddcalogen.calorimeters import find_calorimeter
from ddcalogen.edm4hep import (
    FAST_SIMULATION_STEP_LENGTH_MM,
    CalorimeterHits,
    Contributions,
    Event,
    MCParticles,
    ParameterValue,
    SimulatorStatus,
    Writer,
)
from ddcalogen.engine import GUARD_DECISIONS, SHOWER_STATUSES, Account, Generator, IncidentParticles, Showers
from ddcalogen.entries import ENTRIES_COLLECTION, incident_particles
from ddcalogen.errors import ConfigurationError, InputError
from ddcalogen.geometry import Geometry
from ddcalogen.sources import CalorimeterEntries, EntryStatus, GeneratorEvent, transport

__all__ = ["RunSummary", "Simulator", "add_hits", "collections_of", "detectors_of", "output_writer"]

_FATES = {
    EntryStatus.BEAM_HOLE: "leaves through the beam hole",
    EntryStatus.GAP: "leaves between the calorimeters",
    EntryStatus.CURLS: "curls in the tracker",
    EntryStatus.INVISIBLE: "neutrino or the like",
    EntryStatus.AT_REST: "at rest",
    EntryStatus.DECAYS: "decays before the calorimeter",
    EntryStatus.OUTSIDE: "starts behind the calorimeter face",
}
_PDG_NOT_COVERED = GUARD_DECISIONS.index("particle type not covered")
_HANDLED = int(SimulatorStatus.HANDLED_BY_FAST_SIM | SimulatorStatus.STOPPED | SimulatorStatus.DECAYED_IN_CALORIMETER)


@dataclass(frozen=True, eq=False)
class _Arrivals:
    """An event and its particles at the calorimeters.

    `link` int32 [N]: the MCParticle that stands for each, -1 for none. `entries` is None when they were recorded.
    """

    event: Event
    particles: IncidentParticles
    link: npt.NDArray[np.int32]
    entries: CalorimeterEntries | None


@dataclass
class RunSummary:
    """What happened in a run. Energies in GeV, times in seconds.

    `fates` counts stable particles by what became of them, `fate_energy_gev` adds up their kinetic energies; `account`
    is the visible energy of all good showers; `collection_gev` the energy written per hit collection.
    """

    events: int = 0
    particles: int = 0
    showers: int = 0
    hits: int = 0
    fates: Counter[str] = field(default_factory=Counter)
    fate_energy_gev: dict[str, float] = field(default_factory=dict)
    account: Account = field(default_factory=Account)
    collection_gev: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def spend(self, what: str, seconds: float) -> None:
        """Book time on a part of the chain."""
        self.seconds[what] = self.seconds.get(what, 0.0) + seconds


def detectors_of(geometry: Geometry, calorimeters: Iterable[str]) -> list[str]:
    """Names of the detectors that make up some calorimeters, each once."""
    present = [detector.name for detector in geometry.detectors]
    groups = [g for name in calorimeters for g in find_calorimeter(geometry.name, name, present).groups]
    return list(dict.fromkeys(member.detector for group in groups for member in group))


def collections_of(geometry: Geometry, calorimeters: Iterable[str]) -> dict[str, str]:
    """Hit collections of the detectors of some calorimeters: name -> CellIDEncoding string.

    All collections of a readout are listed, also those of technologies that showers do not fill, as ddsim writes them.
    """
    wanted = detectors_of(geometry, calorimeters)
    return {
        collection.name: detector.encoding.canonical
        for detector in geometry.surfaces.detectors
        if detector.name in wanted
        for collection in detector.hit_collections
    }


class Simulator:
    """Runs events through one or more models placed in one detector and writes EDM4hep.

    A particle goes to the first generator that accepts it.

    Parameters
    ----------
    generators
        At least one; all of the same geometry and seed.
    chunk_particles
        Particles gathered across events before the networks run; bounds the memory.

    Raises
    ------
    ConfigurationError
        No generator, or generators of different detectors or seeds.
    """

    def __init__(self, generators: list[Generator], *, chunk_particles: int = 2048) -> None:
        if not generators:
            raise ConfigurationError("no model was given", expected="at least one", remedy="Name a model with --model.")
        if len({(id(g.geometry), g.seed) for g in generators}) != 1:
            raise ConfigurationError("the models of a run must share one detector and one seed")
        self.generators = generators
        self.geometry = generators[0].geometry
        self.seed = generators[0].seed
        self.chunk_particles = chunk_particles
        self.summary = RunSummary()
        calorimeters = [g.card.calorimeter.name for g in generators]
        self.detectors = detectors_of(self.geometry, calorimeters)
        self.collections = collections_of(self.geometry, calorimeters)
        detectors = self.geometry.surfaces.detectors
        self._collection_names = [[c.name for c in d.hit_collections] for d in detectors]
        present = [detector.name for detector in detectors]
        self._face_detectors = {
            group[0].detector
            for name in calorimeters
            for group in find_calorimeter(self.geometry.name, name, present).groups
        }

    def run_parameters(self) -> dict[str, ParameterValue]:
        """Run metadata: program, detector, seed, models, and the counters as they stand now."""
        s = self.summary
        parameters: dict[str, ParameterValue] = {
            "DDCaloGenVersion": __version__,
            "detectorName": self.geometry.name,
            "DDCaloGenGeometryHash": self.geometry.sha256,
            "DDCaloGenSeed": str(self.seed),
            "DDCaloGenModelName": [str(g.describe()["name"]) for g in self.generators],
            "DDCaloGenModelVersion": [str(g.describe()["version"]) for g in self.generators],
            "DDCaloGenModelHash": [g.hash for g in self.generators],
            "DDCaloGenModelSchema": [g.card.schema_version for g in self.generators],
            "DDCaloGenProvider": [g.provider for g in self.generators],
            "DDCaloGenShowers": s.showers,
            "DDCaloGenEnergyGenerated_GeV": s.account.generated_gev,
            "DDCaloGenEnergyPlaced_GeV": s.account.placed_gev,
            "DDCaloGenEnergyDead_GeV": s.account.dead_gev,
            "DDCaloGenEnergyOutside_GeV": s.account.outside_gev,
        }
        if s.fates:
            parameters["DDCaloGenFateNames"] = list(s.fates)
            parameters["DDCaloGenFateCounts"] = list(s.fates.values())
        return parameters

    def write(
        self,
        events: Iterable[GeneratorEvent],
        writer: Writer,
        *,
        progress: Callable[[int], None] | None = None,
    ) -> RunSummary:
        """Simulate all events and write them; `progress` is called with the number of events just finished.

        Raises
        ------
        InputError, InferenceError, OutputError
        """
        for event in self.simulate(events):
            start = time.perf_counter()
            writer.write(event)
            self.summary.spend("write", time.perf_counter() - start)
            if progress is not None:
                progress(1)
        writer.run_parameters.update(self.run_parameters())
        return self.summary

    def simulate(self, events: Iterable[GeneratorEvent]) -> Iterator[Event]:
        """Give back every event, in order, with hits added and its particles marked; bounded memory.

        Recorded calorimeter entries are used up: the events given back do not have them.
        """
        chunk: list[_Arrivals] = []
        waiting = 0
        seen: set[int] = set()
        clock = time.perf_counter()
        for event in events:
            if event.event_number in seen:
                raise InputError(
                    "two events have the same number, so their showers would share their noise",
                    found=f"event number {event.event_number} twice",
                    expected="different numbers",
                    remedy="Number the events by their place in the file: --renumber.",
                )
            seen.add(event.event_number)
            self.summary.spend("read", time.perf_counter() - clock)
            clock = time.perf_counter()
            chunk.append(self._arrive(event))
            self.summary.spend("transport", time.perf_counter() - clock)
            waiting += len(chunk[-1].particles)
            if waiting >= self.chunk_particles:
                yield from self._simulate_chunk(chunk)
                chunk, waiting = [], 0
            clock = time.perf_counter()
        if chunk:
            yield from self._simulate_chunk(chunk)

    # ------------------------------------------------------------------------------------------------- one chunk

    def _arrive(self, event: Event) -> _Arrivals:
        recorded = event.tracker_hits.get(ENTRIES_COLLECTION)
        if recorded is not None:
            return _Arrivals(event, incident_particles(recorded, event.event_number), recorded.particle, None)
        entries = transport(event, self.geometry, detectors=self._face_detectors)
        entered = entries.entered
        link = entries.particle[entered]
        particles = IncidentParticles(
            pdg=entries.pdg[entered],
            energy_gev=entries.kinetic_energy_gev[entered],
            position_mm=entries.position_mm[entered],
            direction=entries.direction[entered],
            time_ns=entries.time_ns[entered],
            event=np.full(len(link), event.event_number, np.uint64),
            particle=link.astype(np.uint32),
        )
        return _Arrivals(event, particles, link, entries)

    def _simulate_chunk(self, chunk: list[_Arrivals]) -> list[Event]:
        particles = IncidentParticles.concatenate([arrivals.particles for arrivals in chunk])
        link = np.concatenate([arrivals.link for arrivals in chunk])
        slot = np.concatenate([np.full(len(arrivals.particles), n, np.int64) for n, arrivals in enumerate(chunk)])
        start = time.perf_counter()
        parts: list[tuple[npt.NDArray[np.int64], Showers]] = []
        guard = np.full(len(particles), _PDG_NOT_COVERED, np.uint8)
        status = np.zeros(len(particles), np.uint8)
        left = np.arange(len(particles))
        taken_by = np.full(len(particles), -1, np.int16)
        for number, generator in enumerate(self.generators):
            showers = generator.simulate(particles.take(left))
            accepted = showers.guard == 0
            # What kept a particle out says more than "not this type of particle", which every other model answers.
            tells = accepted | (guard[left] == _PDG_NOT_COVERED)
            guard[left[tells]] = showers.guard[tells]
            status[left[accepted]] = showers.status[accepted]
            taken_by[left[accepted]] = number
            self.summary.account += showers.account()
            for what in ("noise", "network", "placement"):
                self.summary.spend(what, getattr(showers, f"{what}_seconds"))
            parts.append((left, showers))
            left = left[~accepted]
        self.summary.spend("showers", time.perf_counter() - start)
        start = time.perf_counter()
        self._count(chunk, particles, guard, status, taken_by)
        hits = self._hits(len(chunk), particles, link, slot, parts)
        done = (guard == 0) & (status == 0)
        events = []
        for number, arrivals in enumerate(chunk):
            event, added = arrivals.event, hits[number]
            handled = link[(slot == number) & done]
            events.append(
                replace(
                    event,
                    particles=_with_truth(event.particles, arrivals.entries, handled[handled >= 0]),
                    calorimeter_hits={
                        **event.calorimeter_hits,
                        **{n: add_hits(event.calorimeter_hits.get(n), h) for n, h in added.items()},
                    },
                    tracker_hits={n: h for n, h in event.tracker_hits.items() if n != ENTRIES_COLLECTION},
                )
            )
        self.summary.events += len(chunk)
        self.summary.spend("collect", time.perf_counter() - start)
        return events

    def _count(
        self,
        chunk: list[_Arrivals],
        particles: IncidentParticles,
        guard: npt.NDArray[np.uint8],
        status: npt.NDArray[np.uint8],
        taken_by: npt.NDArray[np.int16],
    ) -> None:
        s = self.summary

        def book(fate: str, number: int, energy_gev: float) -> None:
            if number:
                s.fates[fate] += number
                s.fate_energy_gev[fate] = s.fate_energy_gev.get(fate, 0.0) + energy_gev

        for arrivals in chunk:
            entries = arrivals.entries
            if entries is None:
                s.particles += len(arrivals.particles)
                continue
            s.particles += len(entries)
            energy = entries.kinetic_energy_gev
            for entry_status, fate in _FATES.items():
                mine = entries.status == entry_status
                book(f"not simulated: {fate}", int(mine.sum()), float(energy[mine].sum()))
        for number, generator in enumerate(self.generators):
            mine = (taken_by == number) & (status == 0)
            book(f"shower by {generator.card.name}", int(mine.sum()), float(particles.energy_gev[mine].sum()))
            s.showers += int(mine.sum())
        for code, decision in enumerate(GUARD_DECISIONS):
            mine = (guard == code) & (taken_by < 0)
            book(f"not simulated: {decision}", int(mine.sum()), float(particles.energy_gev[mine].sum()))
        for code, text in enumerate(SHOWER_STATUSES):
            mine = (status == code) & (taken_by >= 0) & (status > 0)
            book(f"shower rejected: {text}", int(mine.sum()), float(particles.energy_gev[mine].sum()))

    def _hits(
        self,
        events: int,
        particles: IncidentParticles,
        link: npt.NDArray[np.int32],
        slot: npt.NDArray[np.int64],
        parts: list[tuple[npt.NDArray[np.int64], Showers]],
    ) -> list[dict[str, CalorimeterHits]]:
        """One hit per cell and event, one contribution per shower in it; hits ordered by cellID."""
        index = np.concatenate([np.repeat(left, s.cells_per_shower) for left, s in parts])
        cell = np.concatenate([s.cell_id for _, s in parts])
        detector = np.concatenate([s.detector for _, s in parts])
        energy = np.concatenate([s.energy_gev for _, s in parts])
        time_ns = np.concatenate([s.time_ns for _, s in parts])
        position = np.concatenate([s.spot_position_mm for _, s in parts])
        collection = self.geometry.surfaces.collection_of(cell)
        order = np.lexsort((index, cell, collection, detector, slot[index]))
        index, cell, detector, collection = index[order], cell[order], detector[order], collection[order]
        energy, time_ns, position = energy[order], time_ns[order], position[order]
        event = slot[index]
        new = np.ones(len(cell), bool)
        new[1:] = (cell[1:] != cell[:-1]) | (event[1:] != event[:-1])
        first = np.flatnonzero(new)
        hit_energy = np.add.reduceat(energy.astype(np.float64), first) if len(first) else np.zeros(0)
        centre = self.geometry.surfaces.cell_centres(cell[first])
        self.summary.hits += len(first)

        out: list[dict[str, CalorimeterHits]] = [{} for _ in range(events)]
        # borders between (event, detector, collection) blocks, in units of hits
        keys = np.stack([event[first], detector[first], collection[first]], axis=1)
        change = np.flatnonzero(np.any(keys[1:] != keys[:-1], axis=1)) + 1
        borders = np.concatenate([[0], change, [len(first)]]) if len(first) else np.zeros(1, np.int64)
        ends = np.append(first, len(cell))
        for low, high in itertools.pairwise(borders):
            number, det, col = (int(k) for k in keys[low])
            name = self._collection_names[det][col]
            a, b = int(ends[low]), int(ends[high])
            out[number][name] = CalorimeterHits(
                cell_id=cell[first[low:high]],
                energy_gev=hit_energy[low:high].astype(np.float32),
                position_mm=centre[low:high].astype(np.float32),
                contribution_offsets=ends[low : high + 1] - a,
                contributions=Contributions(
                    particle=link[index[a:b]],
                    pdg=particles.pdg[index[a:b]],
                    energy_gev=energy[a:b],
                    time_ns=time_ns[a:b],
                    step_position_mm=position[a:b],
                    step_length_mm=np.full(b - a, FAST_SIMULATION_STEP_LENGTH_MM, np.float32),
                ),
            )
            total = float(hit_energy[low:high].sum())
            self.summary.collection_gev[name] = self.summary.collection_gev.get(name, 0.0) + total
        return out


def add_hits(old: CalorimeterHits | None, new: CalorimeterHits) -> CalorimeterHits:
    """Hits of two collections in one: the cells of `old` in their order, then those that only `new` has.

    A cell that both have gets the contributions of both and the sum of their energies.
    """
    if old is None or not len(old):
        return new
    order = np.argsort(old.cell_id, kind="stable")
    place = np.searchsorted(old.cell_id, new.cell_id, sorter=order).clip(max=len(old) - 1)
    known = old.cell_id[order[place]] == new.cell_id
    # the hit of the result to which each hit of `new` belongs
    target = np.where(known, order[place], len(old) + np.cumsum(~known) - 1)
    energy = np.concatenate([old.energy_gev.astype(np.float64), np.zeros(int((~known).sum()))])
    np.add.at(energy, target, new.energy_gev.astype(np.float64))
    sizes = np.concatenate([np.diff(old.contribution_offsets), np.zeros(len(energy) - len(old), np.int64)])
    np.add.at(sizes, target, np.diff(new.contribution_offsets))
    owner = np.concatenate(
        [
            np.repeat(np.arange(len(old), dtype=np.int64), np.diff(old.contribution_offsets)),
            np.repeat(target.astype(np.int64), np.diff(new.contribution_offsets)),
        ]
    )
    by_hit = np.argsort(owner, kind="stable")
    return CalorimeterHits(
        cell_id=np.concatenate([old.cell_id, new.cell_id[~known]]),
        energy_gev=energy.astype(np.float32),
        position_mm=np.concatenate([old.position_mm, new.position_mm[~known]]),
        contribution_offsets=np.concatenate([[0], np.cumsum(sizes)]),
        contributions=Contributions(
            **{
                column.name: np.concatenate([getattr(h.contributions, column.name) for h in (old, new)])[by_hit]
                for column in fields(Contributions)
            }
        ),
    )


def _with_truth(
    particles: MCParticles, entries: CalorimeterEntries | None, handled: npt.NDArray[np.int32]
) -> MCParticles:
    """End points at the calorimeter face; those with a shower marked as ddsim marks particles killed there.

    Where the entries were recorded, the simulation that stopped the particles has told the rest of the truth.
    """
    status = particles.simulator_status.copy()
    if entries is None:
        status[handled] |= int(SimulatorStatus.HANDLED_BY_FAST_SIM)
        return replace(particles, simulator_status=status)
    endpoint = particles.endpoint_mm.copy()
    momentum = particles.momentum_at_endpoint_gev.copy()
    crossed = np.isfinite(entries.position_mm).all(axis=1)
    endpoint[entries.particle[crossed]] = entries.position_mm[crossed]
    momentum[entries.particle[crossed]] = entries.momentum_gev[crossed]
    momentum[handled] = 0.0
    status[handled] |= _HANDLED
    return replace(particles, endpoint_mm=endpoint, momentum_at_endpoint_gev=momentum, simulator_status=status)


def output_writer(simulator: Simulator, path: str | Path, **options: Any) -> Writer:
    """A `Writer` with the collections of a simulator; `options` go to `Writer`."""
    return Writer(path, simulator.collections, run_parameters=simulator.run_parameters(), **options)
