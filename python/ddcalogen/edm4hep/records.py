# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Event records: plain numpy structures of arrays that mirror the EDM4hep types used here.

Units are those of EDM4hep: mm, GeV, ns, elementary charges. Constructors convert to the stated dtypes and raise
`InputError` when shapes, offsets or links do not fit together, so a record that exists is consistent.
Floating point values are checked by `Event.check_finite`, which `Writer` and `Reader` call.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from enum import IntFlag
from typing import Any, ClassVar, TypeAlias

import numpy as np
import numpy.typing as npt

from ddcalogen.errors import InputError

__all__ = [
    "FAST_SIMULATION_STEP_LENGTH_MM",
    "NO_HELICITY",
    "NO_PARTICLE",
    "CalorimeterHits",
    "Contributions",
    "Event",
    "MCParticles",
    "ParameterValue",
    "Ragged",
    "SimulatorStatus",
    "TrackerHits",
]

ParameterValue: TypeAlias = int | float | str | Sequence[int] | Sequence[float] | Sequence[str]

NO_PARTICLE = -1
"""Particle index of a contribution or tracker hit that belongs to no particle of the event."""
NO_HELICITY = 9
"""EDM4hep's value of `MCParticle.helicity` when it is not set."""
FAST_SIMULATION_STEP_LENGTH_MM = -1.0
"""DD4hep's mark of a contribution made by fast simulation (Geant4HitData::extractContribution of a spot)."""


class SimulatorStatus(IntFlag):
    """Bits of `edm4hep::MCParticle.simulatorStatus` (EDM4hep v01-01; bit 22 is new there, unused before)."""

    HANDLED_BY_FAST_SIM = 1 << 22
    OVERLAY = 1 << 23
    STOPPED = 1 << 24
    LEFT_DETECTOR = 1 << 25
    DECAYED_IN_CALORIMETER = 1 << 26
    DECAYED_IN_TRACKER = 1 << 27
    VERTEX_IS_NOT_ENDPOINT_OF_PARENT = 1 << 28
    BACKSCATTER = 1 << 29
    CREATED_IN_SIMULATION = 1 << 30


def _column(owner: str, name: str, values: Any, dtype: npt.DTypeLike, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """`values` as a contiguous array of `dtype` and `shape`, refusing what would change integer values."""
    wanted = np.dtype(dtype)
    try:
        array = np.asarray(values)
        if array.size == 0:
            array = array.astype(wanted).reshape((0, *shape[1:]) if array.ndim < len(shape) else array.shape)
        if wanted.kind in "iu" and array.dtype != wanted:
            if array.dtype.kind not in "iu":
                raise TypeError(f"dtype {array.dtype}")
            limits = np.iinfo(wanted)
            if array.size and (int(array.min()) < limits.min or int(array.max()) > limits.max):
                raise TypeError(f"values from {array.min()} to {array.max()}")
        with np.errstate(over="ignore"):  # what overflows becomes infinite, which check_finite refuses
            array = np.ascontiguousarray(array, dtype=wanted)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(
            f"{owner}.{name} cannot be used", found=str(error), expected=f"{wanted} of shape {shape}"
        ) from error
    if array.shape != shape:
        raise InputError(
            f"{owner}.{name} has the wrong shape", found=str(array.shape), expected=f"{shape} (one row per object)"
        )
    return array


def _check_offsets(owner: str, offsets: npt.NDArray[np.int64], total: int) -> None:
    if offsets[0] != 0 or offsets[-1] != total or np.any(np.diff(offsets) < 0):
        raise InputError(
            f"{owner} has inconsistent offsets",
            found=f"first {offsets[0]}, last {offsets[-1]}, smallest step {np.diff(offsets).min(initial=0)}",
            expected=f"offsets that rise from 0 to {total}",
        )


def _check_indices(owner: str, indices: npt.NDArray[np.int32], minimum: int, count: int) -> None:
    if indices.size and (indices.min() < minimum or indices.max() >= count):
        raise InputError(
            f"{owner} points to a particle that is not in the event",
            found=f"indices from {indices.min()} to {indices.max()}",
            expected=f"{minimum} to {count - 1}",
        )


def _check_finite(owner: str, record: Any) -> None:
    for item in fields(record):
        values = getattr(record, item.name)
        if isinstance(values, np.ndarray) and values.dtype.kind == "f" and not np.isfinite(values).all():
            bad = np.flatnonzero(~np.isfinite(values.reshape(len(values), -1)).all(axis=1))
            raise InputError(
                f"{owner}.{item.name} holds numbers that are not finite",
                found=f"{values[bad[0]]} at index {bad[0]} ({bad.size} of {len(values)} objects)",
                expected="finite numbers",
                remedy="The program that made these values has failed; reject the object there.",
            )


class _Columns:
    """A structure of arrays: `_COLUMNS` names each array with its dtype and its width (1 = a plain column)."""

    _COLUMNS: ClassVar[dict[str, tuple[type[np.generic], int]]]

    def __post_init__(self) -> None:
        owner = type(self).__name__
        names = iter(self._COLUMNS)
        count = np.size(getattr(self, next(names)))
        for name, (dtype, width) in self._COLUMNS.items():
            shape = (count,) if width == 1 else (count, width)
            object.__setattr__(self, name, _column(owner, name, getattr(self, name), dtype, shape))

    @classmethod
    def _no_rows(cls) -> dict[str, Any]:
        return {
            name: np.zeros((0,) if width == 1 else (0, width), dtype) for name, (dtype, width) in cls._COLUMNS.items()
        }

    def columns(self) -> list[npt.NDArray[Any]]:
        """The plain and three-wide columns in the order of their declaration."""
        return [getattr(self, name) for name in self._COLUMNS]

    def __len__(self) -> int:
        return len(getattr(self, next(iter(self._COLUMNS))))


@dataclass(frozen=True, eq=False)
class Ragged:
    """Lists of different length: list i is `indices[offsets[i]:offsets[i + 1]]`.

    offsets: int64 [N+1]; indices: int32 [M]. Iterating or indexing gives the lists.
    """

    offsets: npt.NDArray[np.int64]
    indices: npt.NDArray[np.int32]

    def __post_init__(self) -> None:
        offsets = _column("Ragged", "offsets", self.offsets, np.int64, (len(self.offsets),))
        indices = _column("Ragged", "indices", self.indices, np.int32, (len(self.indices),))
        if not len(offsets):
            raise InputError("Ragged.offsets is empty", expected="N+1 offsets for N lists")
        _check_offsets("Ragged", offsets, len(indices))
        object.__setattr__(self, "offsets", offsets)
        object.__setattr__(self, "indices", indices)

    @classmethod
    def empty(cls, count: int) -> Ragged:
        """`count` empty lists."""
        return cls(np.zeros(count + 1, np.int64), np.zeros(0, np.int32))

    @classmethod
    def of(cls, lists: Sequence[Sequence[int] | npt.NDArray[Any]]) -> Ragged:
        """From a sequence of integer lists."""
        offsets = np.concatenate(([0], np.cumsum([len(entry) for entry in lists], dtype=np.int64)))
        return cls(offsets, np.array([value for entry in lists for value in entry], dtype=np.int32))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> npt.NDArray[np.int32]:
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        index %= len(self)
        return self.indices[self.offsets[index] : self.offsets[index + 1]]

    def __iter__(self) -> Iterator[npt.NDArray[np.int32]]:
        return (self[index] for index in range(len(self)))

    def transposed(self, count: int) -> Ragged:
        """The inverse relation onto `count` objects: daughters from parents, or parents from daughters."""
        sources = np.repeat(np.arange(len(self), dtype=np.int32), np.diff(self.offsets))
        order = np.argsort(self.indices, kind="stable")
        sizes = np.bincount(self.indices, minlength=count)
        return Ragged(np.concatenate(([0], np.cumsum(sizes))), sources[order])


@dataclass(frozen=True, eq=False, kw_only=True)
class MCParticles(_Columns):
    """`edm4hep::MCParticle` collection of one event, N particles.

    pdg, generator_status, simulator_status (bits: `SimulatorStatus`), helicity (`NO_HELICITY` = unset): int32 [N];
    charge (e), time_ns: float32 [N]; mass_gev: float64 [N];
    vertex_mm, endpoint_mm, momentum_gev, momentum_at_endpoint_gev: float64 [N,3];
    parents, daughters: indices into this record.
    """

    pdg: npt.NDArray[np.int32]
    generator_status: npt.NDArray[np.int32]
    simulator_status: npt.NDArray[np.int32]
    charge: npt.NDArray[np.float32]
    time_ns: npt.NDArray[np.float32]
    mass_gev: npt.NDArray[np.float64]
    vertex_mm: npt.NDArray[np.float64]
    endpoint_mm: npt.NDArray[np.float64]
    momentum_gev: npt.NDArray[np.float64]
    momentum_at_endpoint_gev: npt.NDArray[np.float64]
    helicity: npt.NDArray[np.int32]
    parents: Ragged
    daughters: Ragged

    _COLUMNS: ClassVar[dict[str, tuple[type[np.generic], int]]] = {
        "pdg": (np.int32, 1),
        "generator_status": (np.int32, 1),
        "simulator_status": (np.int32, 1),
        "charge": (np.float32, 1),
        "time_ns": (np.float32, 1),
        "mass_gev": (np.float64, 1),
        "vertex_mm": (np.float64, 3),
        "endpoint_mm": (np.float64, 3),
        "momentum_gev": (np.float64, 3),
        "momentum_at_endpoint_gev": (np.float64, 3),
        "helicity": (np.int32, 1),
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        count = len(self)
        for name in ("parents", "daughters"):
            lists: Ragged = getattr(self, name)
            if len(lists) != count:
                raise InputError(
                    f"MCParticles.{name} has the wrong length", found=str(len(lists)), expected=f"{count} lists"
                )
            _check_indices(f"MCParticles.{name}", lists.indices, 0, count)

    @classmethod
    def create(
        cls,
        *,
        pdg: npt.ArrayLike,
        momentum_gev: npt.ArrayLike,
        mass_gev: npt.ArrayLike | None = None,
        charge: npt.ArrayLike | None = None,
        generator_status: npt.ArrayLike | None = None,
        simulator_status: npt.ArrayLike | None = None,
        time_ns: npt.ArrayLike | None = None,
        vertex_mm: npt.ArrayLike | None = None,
        endpoint_mm: npt.ArrayLike | None = None,
        momentum_at_endpoint_gev: npt.ArrayLike | None = None,
        helicity: npt.ArrayLike | None = None,
        parents: Ragged | None = None,
        daughters: Ragged | None = None,
    ) -> MCParticles:
        """Particles with defaults for what is left out.

        Defaults: zero, except generator_status 1 (stable), helicity `NO_HELICITY`, endpoint_mm = vertex_mm, and
        daughters = the inverse of parents (and the other way round).
        """
        count = len(np.atleast_1d(np.asarray(pdg)))
        zeros, zeros3 = np.zeros(count), np.zeros((count, 3))
        no_integers = np.zeros(count, np.int32)
        vertex = zeros3 if vertex_mm is None else vertex_mm
        if parents is None:
            parents = Ragged.empty(count) if daughters is None else daughters.transposed(count)
        if daughters is None:
            _check_indices("MCParticles.parents", parents.indices, 0, count)
            daughters = parents.transposed(count)
        columns: dict[str, Any] = {
            "pdg": pdg,
            "generator_status": no_integers + 1 if generator_status is None else generator_status,
            "simulator_status": no_integers if simulator_status is None else simulator_status,
            "charge": zeros if charge is None else charge,
            "time_ns": zeros if time_ns is None else time_ns,
            "mass_gev": zeros if mass_gev is None else mass_gev,
            "vertex_mm": vertex,
            "endpoint_mm": vertex if endpoint_mm is None else endpoint_mm,
            "momentum_gev": momentum_gev,
            "momentum_at_endpoint_gev": zeros3 if momentum_at_endpoint_gev is None else momentum_at_endpoint_gev,
            "helicity": no_integers + NO_HELICITY if helicity is None else helicity,
        }
        return cls(**columns, parents=parents, daughters=daughters)

    @classmethod
    def empty(cls) -> MCParticles:
        """No particles."""
        return cls(**cls._no_rows(), parents=Ragged.empty(0), daughters=Ragged.empty(0))

    @property
    def energy_gev(self) -> npt.NDArray[np.float64]:
        """Energy from momentum and mass, GeV, float64 [N]."""
        energy: npt.NDArray[np.float64] = np.sqrt((self.momentum_gev**2).sum(axis=1) + self.mass_gev**2)
        return energy

    def has_status(self, bits: SimulatorStatus) -> npt.NDArray[np.bool_]:
        """Which particles have all the given simulator status bits, bool [N]."""
        has: npt.NDArray[np.bool_] = (self.simulator_status & int(bits)) == int(bits)
        return has


@dataclass(frozen=True, eq=False, kw_only=True)
class Contributions(_Columns):
    """`edm4hep::CaloHitContribution` objects of one hit collection, M of them, ordered by hit.

    particle: int32 [M], index into the event's particles, `NO_PARTICLE` = none; pdg: int32 [M];
    energy_gev, time_ns: float32 [M]; step_position_mm: float32 [M,3];
    step_length_mm: float32 [M], `FAST_SIMULATION_STEP_LENGTH_MM` marks fast simulation (files of EDM4hep before
    v00-99-03, and layout "1.2", do not carry it: read back as 0).
    """

    particle: npt.NDArray[np.int32]
    pdg: npt.NDArray[np.int32]
    energy_gev: npt.NDArray[np.float32]
    time_ns: npt.NDArray[np.float32]
    step_position_mm: npt.NDArray[np.float32]
    step_length_mm: npt.NDArray[np.float32]

    _COLUMNS: ClassVar[dict[str, tuple[type[np.generic], int]]] = {
        "particle": (np.int32, 1),
        "pdg": (np.int32, 1),
        "energy_gev": (np.float32, 1),
        "time_ns": (np.float32, 1),
        "step_position_mm": (np.float32, 3),
        "step_length_mm": (np.float32, 1),
    }

    @classmethod
    def empty(cls) -> Contributions:
        """No contributions."""
        return cls(**cls._no_rows())


@dataclass(frozen=True, eq=False, kw_only=True)
class CalorimeterHits(_Columns):
    """One `edm4hep::SimCalorimeterHit` collection of one event with its contributions, N hits.

    cell_id: uint64 [N]; energy_gev: float32 [N]; position_mm: float32 [N,3] (cell centre, global frame);
    contribution_offsets: int64 [N+1], hit i owns `contributions[offsets[i]:offsets[i+1]]`.
    """

    cell_id: npt.NDArray[np.uint64]
    energy_gev: npt.NDArray[np.float32]
    position_mm: npt.NDArray[np.float32]
    contribution_offsets: npt.NDArray[np.int64]
    contributions: Contributions

    _COLUMNS: ClassVar[dict[str, tuple[type[np.generic], int]]] = {
        "cell_id": (np.uint64, 1),
        "energy_gev": (np.float32, 1),
        "position_mm": (np.float32, 3),
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        offsets = _column(
            "CalorimeterHits", "contribution_offsets", self.contribution_offsets, np.int64, (len(self) + 1,)
        )
        object.__setattr__(self, "contribution_offsets", offsets)
        _check_offsets("CalorimeterHits", offsets, len(self.contributions))

    @classmethod
    def empty(cls) -> CalorimeterHits:
        """No hits."""
        return cls(**cls._no_rows(), contribution_offsets=np.zeros(1, np.int64), contributions=Contributions.empty())


@dataclass(frozen=True, eq=False, kw_only=True)
class TrackerHits(_Columns):
    """One `edm4hep::SimTrackerHit` collection of one event, N hits. Record mode stores calorimeter entries in it.

    cell_id: uint64 [N]; energy_gev (eDep), time_ns: float32 [N]; path_length_mm: float32 [N]; quality: int32 [N];
    position_mm: float64 [N,3]; momentum_gev: float32 [N,3]; particle: int32 [N] (`NO_PARTICLE` = none).
    """

    cell_id: npt.NDArray[np.uint64]
    energy_gev: npt.NDArray[np.float32]
    time_ns: npt.NDArray[np.float32]
    path_length_mm: npt.NDArray[np.float32]
    quality: npt.NDArray[np.int32]
    position_mm: npt.NDArray[np.float64]
    momentum_gev: npt.NDArray[np.float32]
    particle: npt.NDArray[np.int32]

    _COLUMNS: ClassVar[dict[str, tuple[type[np.generic], int]]] = {
        "cell_id": (np.uint64, 1),
        "energy_gev": (np.float32, 1),
        "time_ns": (np.float32, 1),
        "path_length_mm": (np.float32, 1),
        "quality": (np.int32, 1),
        "position_mm": (np.float64, 3),
        "momentum_gev": (np.float32, 3),
        "particle": (np.int32, 1),
    }

    @classmethod
    def empty(cls) -> TrackerHits:
        """No hits."""
        return cls(**cls._no_rows())


@dataclass(frozen=True, eq=False, kw_only=True)
class Event:
    """One event.

    `weight` is the event weight, `weights` (float64 [W]) the further weights of a generator; `time_stamp` is EDM4hep's
    uint64 (0 = not set, which keeps files of equal seed equal). `calorimeter_hits` and `tracker_hits` map collection
    names to records; `parameters` are the event's generic parameters.
    """

    event_number: int
    run_number: int = 0
    weight: float = 1.0
    particles: MCParticles = field(default_factory=MCParticles.empty)
    calorimeter_hits: Mapping[str, CalorimeterHits] = field(default_factory=dict)
    tracker_hits: Mapping[str, TrackerHits] = field(default_factory=dict)
    parameters: Mapping[str, ParameterValue] = field(default_factory=dict)
    weights: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    time_stamp: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(
            self, "weights", _column("Event", "weights", self.weights, np.float64, np.shape(self.weights))
        )
        count = len(self.particles)
        for name, hits in self.calorimeter_hits.items():
            _check_indices(f"{name}.contributions.particle", hits.contributions.particle, NO_PARTICLE, count)
        for name, entries in self.tracker_hits.items():
            _check_indices(f"{name}.particle", entries.particle, NO_PARTICLE, count)

    def check_finite(self) -> None:
        """Raise `InputError` naming the record and index when a number of the event is NaN or infinite."""
        _check_finite("Event", self)
        if not np.isfinite(self.weight):
            raise InputError("Event.weight is not finite", found=str(self.weight), expected="a finite number")
        _check_finite("MCParticles", self.particles)
        for name, hits in self.calorimeter_hits.items():
            _check_finite(name, hits)
            _check_finite(f"{name}.contributions", hits.contributions)
        for name, entries in self.tracker_hits.items():
            _check_finite(name, entries)
