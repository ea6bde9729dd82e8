# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Second pass over a simulation: showers for recorded calorimeter entries, batched across events.

The first pass (ddsim in record mode) stops the particles that a model covers at the calorimeter and records them as
entries (`ddcalogen.entries`). Here the showers are generated and added to the hits that the events already have.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ddcalogen.edm4hep import Event, ParameterValue, Reader, TrackerHits, Writer
from ddcalogen.edm4hep.schema import ENCODING_SUFFIX
from ddcalogen.engine import Generator, IncidentParticles, Showers
from ddcalogen.entries import ENTRIES_COLLECTION, cells_hashes
from ddcalogen.errors import ConfigurationError, InputError
from ddcalogen.simulate import Simulator

__all__ = [
    "ShowersFromFile",
    "check_geometry",
    "fill_events",
    "fill_parameters",
    "fill_writer",
    "open_record",
    "recorded_seed",
]

_ENERGY_TOLERANCE = 1e-3
_DIRECTION_TOLERANCE = 0.01
_KNOWN_TYPES = {
    "edm4hep::EventHeader",
    "edm4hep::MCParticle",
    "edm4hep::SimCalorimeterHit",
    "edm4hep::CaloHitContribution",
    "edm4hep::SimTrackerHit",
}


def open_record(path: str | os.PathLike[str], *, drop: Collection[str] = ()) -> Reader:
    """Open a file with recorded entries, and make sure that nothing in it would be lost.

    Parameters
    ----------
    drop
        Collections that may be lost.

    Raises
    ------
    InputError
        No EDM4hep file, no entries, filled already, several runs, or a collection that cannot be copied.
    """
    reader = Reader(path)
    try:
        if ENTRIES_COLLECTION not in reader.tracker_collections:
            raise InputError(
                f"{path} has no recorded calorimeter entries",
                found=", ".join(sorted(reader.collections)) or "no events",
                expected=f"a SimTrackerHit collection {ENTRIES_COLLECTION}",
                remedy="Make it with ddsim and ddcalogen.ddsim.setup(..., mode='record').",
            )
        if reader.run_parameters.get("DDCaloGenMode", "record") != "record":
            raise InputError(
                f"{path} has its showers already",
                found=f"DDCaloGenMode = {reader.run_parameters['DDCaloGenMode']}",
                expected="record",
                remedy="Fill the file that ddsim wrote in record mode.",
            )
        if len(reader.runs) > 1:
            raise InputError(
                f"{path} has several runs",
                found=str(len(reader.runs)),
                expected="one",
                remedy="Fill the files before they are merged.",
            )
        foreign = sorted(n for n, kind in reader.collections.items() if kind not in _KNOWN_TYPES and n not in drop)
        if foreign:
            raise InputError(
                f"{path} has collections that cannot be copied",
                found=", ".join(f"{n} ({reader.collections[n]})" for n in foreign),
                expected=", ".join(sorted(k.removeprefix("edm4hep::") for k in _KNOWN_TYPES)),
                remedy="If they are not needed, leave them out with --drop NAME.",
            )
    except BaseException:
        reader.close()
        raise
    return reader


def recorded_seed(reader: Reader) -> int | None:
    """Seed of the showers as the run that recorded the entries wrote it down, or None."""
    value = reader.run_parameters.get("DDCaloGenSeed")
    return None if value is None else int(str(value))


def check_geometry(reader: Reader, simulator: Simulator) -> None:
    """Make sure that the entries were recorded in a detector with the same cells.

    Raises
    ------
    ConfigurationError
        They were not.
    """
    value = reader.run_parameters.get("DDCaloGenCells", [])
    entries = [value] if isinstance(value, str) else list(value)  # type: ignore[arg-type]
    recorded = {name: digest for name, _, digest in (str(entry).partition(":") for entry in entries)}
    cells = cells_hashes(simulator.geometry, simulator.detectors)
    here = {name: digest for name, _, digest in (entry.partition(":") for entry in cells)}
    other = sorted(name for name in here.keys() & recorded.keys() if here[name] != recorded[name])
    if other:
        raise ConfigurationError(
            f"'{simulator.geometry.name}' has other cells than the detector in which the entries were recorded",
            found=", ".join(f"{name}:{here[name]}" for name in other),
            expected=", ".join(f"{name}:{recorded[name]}" for name in other),
            remedy="Export a snapshot from the compact file that ddsim used ('ddcalogen geometry export'), and name it "
            "with --detector.",
        )


def fill_events(events: Iterable[Event], simulator: Simulator) -> Iterator[Event]:
    """Events with the showers of their entries added; all else, the entries included, stays as it is."""
    trackers: deque[Any] = deque()

    def remembered() -> Iterator[Event]:
        for event in events:
            trackers.append(event.tracker_hits)
            # an event in which ddsim recorded nothing must not fall back to its generator particles
            given = {ENTRIES_COLLECTION: TrackerHits.empty(), **event.tracker_hits}
            yield replace(event, tracker_hits=given)

    for event in simulator.simulate(remembered()):
        yield replace(event, tracker_hits=trackers.popleft())


def fill_writer(reader: Reader, simulator: Simulator, output: str | os.PathLike[str], **options: Any) -> Writer:
    """A writer for the filled events of `reader`: its collections, encodings, parameters, and the layout of its file.

    `options` go to `Writer`; its run parameters are those of `reader` and `run_parameters`.
    """
    collections = {
        **{name: reader.encodings.get(name, "") for name in reader.calorimeter_collections},
        **simulator.collections,
    }
    options.setdefault("layout", "1.2" if reader.schema < 3 else "current")
    return Writer(
        Path(output),
        collections,
        tracker_collections={name: reader.encodings.get(name, "") for name in reader.tracker_collections},
        run_parameters={**reader.run_parameters, **fill_parameters(simulator)},
        metadata={k: v for k, v in reader.metadata.items() if not k.endswith(ENCODING_SUFFIX)},
        **options,
    )


def fill_parameters(simulator: Simulator) -> dict[str, ParameterValue]:
    """Run parameters of a filled file; the counters as they stand now."""
    return {**simulator.run_parameters(), "DDCaloGenMode": "fill"}


class ShowersFromFile(Generator):
    """Places showers of a file, one after the other, instead of generated ones: for closure tests.

    The n-th entry (in order of events) gets the n-th shower of the file, whose incident particle must be the same.

    Parameters
    ----------
    showers
        showerdata file, or packed slab file.
    model, geometry, options
        As for `Generator`; of the model only the calorimeter and its layers are used.

    Raises
    ------
    InputError
        The file cannot be read.
    """

    def __init__(self, showers: str | os.PathLike[str], model: str | os.PathLike[str], geometry: Any, **options: Any):
        from ddcalogen.training.data import ShowerFile

        super().__init__(model, geometry, **options)
        self._file = ShowerFile(showers, self.card.calorimeter.name.lower())
        self.used = 0

    def simulate(self, particles: IncidentParticles) -> Showers:
        """Place the next showers of the file.

        Raises
        ------
        InputError
            The file has too few showers, or one was made by another incident particle than the entry.
        """
        stop = self.used + len(particles)
        if stop > len(self._file):
            raise InputError(
                f"{self._file.path} has too few showers",
                found=str(len(self._file)),
                expected=f"one for each entry, at least {stop}",
            )
        showers = self._file.read(self.used, stop)
        self._check(particles, showers.pdg, showers.energy_gev, showers.direction)
        self.used = stop
        columns = [showers.x_mm, showers.y_mm, showers.layer.astype(np.float32), showers.point_energy_gev]
        return self.place(particles, np.stack(columns, axis=1), np.diff(showers.offsets))

    def _check(
        self,
        particles: IncidentParticles,
        pdg: npt.NDArray[np.int32],
        energy_gev: npt.NDArray[np.float32],
        direction: npt.NDArray[np.float32],
    ) -> None:
        for i in range(len(particles)):
            entry = self.stacks.find_entry(particles.position_mm[i], particles.direction[i])
            if entry["decision"] != "accepted":
                continue  # not placed, but counted
            same = (
                pdg[i] == particles.pdg[i]
                and abs(energy_gev[i] - particles.energy_gev[i]) < _ENERGY_TOLERANCE * particles.energy_gev[i]
                and np.abs(direction[i] - entry["direction"]).max() < _DIRECTION_TOLERANCE
            )
            if not same:
                wanted = ", ".join(f"{d:.3f}" for d in entry["direction"])
                found = ", ".join(f"{d:.3f}" for d in direction[i])
                raise InputError(
                    f"shower {self.used + i} of {self._file.path} does not belong to entry {self.used + i}",
                    found=f"PDG {pdg[i]}, {energy_gev[i]:.4g} GeV, direction ({found})",
                    expected=f"PDG {particles.pdg[i]}, {particles.energy_gev[i]:.4g} GeV, direction ({wanted})",
                    remedy="Give the showers in the order of the entries: event by event, in each as recorded.",
                )
