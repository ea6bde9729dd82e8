# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Training data from EDM4hep files of ddsim: one particle per event shot into a stack of planes (steering/compact).

Every deposit goes into a sub-cell of a regular grid in the planes, so that a shower can later be placed into cells at
any position (the clustering of CaloClouds, arXiv:2305.04847). The shower frame has its origin where the particle enters
the front face and its z axis along the normal; the grid, which follows the axes of the stack, may be turned in it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from ddcalogen import _core
from ddcalogen.edm4hep import Event, Reader
from ddcalogen.errors import ConfigurationError, InputError
from ddcalogen.files import replace_when_complete
from ddcalogen.training.data import ShowerFile
from ddcalogen.training.shower_files import write_showerdata
from ddcalogen.training.stacks import STACKS

__all__ = ["ECAL", "HCAL", "ShowerLayout", "SlabTable", "Stack", "convert", "join", "read_slab", "write_slab"]

ShowerLayout = Literal["slab", "showerdata"]

_NOTE = (
    "sub-cell centres: u=ix*pitch_mm, v=iy*pitch_mm on a grid turned by grid_rotation_rad; in the shower frame "
    "x=u cos-v sin, y=u sin+v cos (mm), origin at the entry point; layer from 0; visible energy in MeV"
)


class Stack(NamedTuple):
    """A calorimeter of the stack: group in the shower file, hit collection, pitch of the sub-cells."""

    name: str
    collection: str
    pitch_mm: float


ECAL = Stack("ecal", "EcalStackHits", float(np.float32(91.59 / 18 / 5)))
"""A fifth of a cell of ILD's silicon ECAL (in single precision, so that all files agree on it)."""
HCAL = Stack("hcal", "HcalStackHits", 10.0)
"""A third of a tile of ILD's scintillator HCAL."""


class Points(NamedTuple):
    """Packed sub-cells of N showers: offsets int64 [N+1]; ix, iy int16 [P]; layer uint8 [P]; energy_mev float16 [P]."""

    offsets: NDArray[np.int64]
    ix: NDArray[np.int16]
    iy: NDArray[np.int16]
    layer: NDArray[np.uint8]
    energy_mev: NDArray[np.float16]


class SlabTable(NamedTuple):
    """Content of a packed slab file.

    energy_gev: float32 [N], kinetic energy; direction: float32 [N,3], unit vectors in the shower frame; pdg: int32 [N];
    job: bytes [N], what made the shower; points: by calorimeter; pitch_mm: by calorimeter; source: how it was made.
    """

    energy_gev: NDArray[np.float32]
    direction: NDArray[np.float32]
    pdg: NDArray[np.int32]
    job: NDArray[np.bytes_]
    points: Mapping[str, Points]
    pitch_mm: Mapping[str, float]
    grid_rotation_rad: float
    source: str


def read_slab(
    paths: Sequence[str | os.PathLike[str]],
    *,
    stacks: Sequence[Stack] = (ECAL,),
    grid_rotation_rad: float = np.pi / 8,
    face_z_mm: float = 0.0,
    steps: bool = False,
    job: str = "",
    source: str = "",
) -> SlabTable:
    """Read EDM4hep files of single particles that ddsim shot into a stack.

    Parameters
    ----------
    paths
        Files, in order. The particle of an event is its first with generator status 1.
    stacks
        Calorimeters to read.
    grid_rotation_rad
        Angle of the axes of the stack (and of the sub-cells) in the shower frame.
    face_z_mm
        Place of the front face.
    steps
        Cluster the positions of the steps (ddsim with `enableDetailedShowerMode`) instead of those of the cells, for
        readouts whose cells are larger than the sub-cells.
    job, source
        Written with the showers.

    Raises
    ------
    InputError
        A file is none of this kind: other collections, no particle or one that does not fly towards the face, a layer
        or distance that does not fit, steps without positions.
    EDM4hepError
        A file cannot be read.
    """
    if not paths:
        raise ConfigurationError("no file was given", expected="at least one EDM4hep file")
    energy: list[float] = []
    direction: list[NDArray[np.float64]] = []
    pdg: list[int] = []
    parts: dict[str, list[tuple[NDArray[Any], ...]]] = {s.name: [] for s in stacks}
    for path in paths:
        with Reader(path) as reader:
            encodings = {s: _encoding(path, reader, s) for s in stacks}
            for event in reader:
                kinetic, unit, code, entry = _incident(path, event, face_z_mm)
                energy.append(kinetic)
                direction.append(_turn(unit, grid_rotation_rad))
                pdg.append(code)
                for stack in stacks:
                    parts[stack.name].append(_cluster(path, event, stack, encodings[stack], entry, steps=steps))
    points = {}
    for name, showers in parts.items():
        offsets = np.concatenate(([0], np.cumsum([len(s[0]) for s in showers]))).astype(np.int64)
        points[name] = Points(offsets, *(np.concatenate(column) for column in zip(*showers, strict=True)))
    return SlabTable(
        np.array(energy, np.float32),
        np.array(direction, np.float32).reshape(-1, 3),
        np.array(pdg, np.int32),
        np.full(len(pdg), job.encode(), "S16"),
        points,
        {s.name: s.pitch_mm for s in stacks},
        grid_rotation_rad,
        source,
    )


def _encoding(path: str | os.PathLike[str], reader: Reader, stack: Stack) -> _core.CellIDEncoding:
    if stack.collection not in reader.encodings:
        raise InputError(
            f"the file has no hits of the {stack.name} stack",
            found=f"{path} with " + (", ".join(reader.calorimeter_collections) or "no calorimeter hits"),
            expected=f"a collection '{stack.collection}' with its encoding",
            remedy="Name the collections that the file has.",
        )
    return _core.CellIDEncoding(reader.encodings[stack.collection])


def _incident(
    path: str | os.PathLike[str], event: Event, face_z_mm: float
) -> tuple[float, NDArray[np.float64], int, NDArray[np.float64]]:
    """Kinetic energy in GeV, unit vector, PDG code and entry point in mm of the particle of an event."""
    first = np.flatnonzero(event.particles.generator_status == 1)
    if len(first) == 0:
        raise InputError("an event has no incident particle", found=f"event {event.event_number} of {path}")
    i = int(first[0])
    momentum, mass = event.particles.momentum_gev[i], float(event.particles.mass_gev[i])
    size = float(np.linalg.norm(momentum))
    vertex = event.particles.vertex_mm[i]
    if not momentum[2] > 0.0 or vertex[2] > face_z_mm:
        raise InputError(
            "the incident particle does not fly towards the front face",
            found=f"momentum {momentum} GeV at z = {vertex[2]:g} mm, event {event.event_number} of {path}",
            expected=f"towards z = {face_z_mm:g} mm from below",
        )
    entry = vertex + momentum * (face_z_mm - vertex[2]) / momentum[2]
    return size**2 / (np.hypot(size, mass) + mass), momentum / size, int(event.particles.pdg[i]), entry


def _turn(vector: NDArray[np.float64], angle_rad: float) -> NDArray[np.float64]:
    cos, sin = np.cos(angle_rad), np.sin(angle_rad)
    return np.array([vector[0] * cos - vector[1] * sin, vector[0] * sin + vector[1] * cos, vector[2]])


def _cluster(
    path: str | os.PathLike[str],
    event: Event,
    stack: Stack,
    encoding: _core.CellIDEncoding,
    entry: NDArray[np.float64],
    *,
    steps: bool,
) -> tuple[NDArray[Any], ...]:
    """Sub-cells of one event: ix, iy, layer, energy_mev, ordered by layer."""
    hits = event.calorimeter_hits[stack.collection]
    layer = encoding.get_array(hits.cell_id, "layer")
    position, energy = hits.position_mm, hits.energy_gev
    if steps:
        contributions = hits.contributions
        layer = np.repeat(layer, np.diff(hits.contribution_offsets))
        position, energy = contributions.step_position_mm, contributions.energy_gev
        if len(position) and not position.any():
            raise InputError(
                "the hits have no positions of steps",
                found=f"event {event.event_number} of {path}",
                expected="a file made with SIM.enableDetailedShowerMode = True",
            )
    index = np.rint((position[:, :2].astype(np.float64) - entry[:2]) / stack.pitch_mm).astype(np.int64)
    if len(index) and (np.abs(index).max() > 32767 or layer.min() < 0 or layer.max() > 255):
        raise InputError(
            "a deposit is outside of what shower files can hold",
            found=f"sub-cell index up to {np.abs(index).max()}, layer {layer.min()} .. {layer.max()}",
            expected="indices up to 32767, layers 0 .. 255",
        )
    keys, inverse = np.unique(np.column_stack([layer, index]), axis=0, return_inverse=True)
    total = 1e3 * np.bincount(inverse.reshape(-1), energy.astype(np.float64), len(keys))
    packed = total.astype(np.float16)
    keep = packed > 0
    return (
        keys[keep, 1].astype(np.int16),
        keys[keep, 2].astype(np.int16),
        keys[keep, 0].astype(np.uint8),
        packed[keep],
    )


def write_slab(table: SlabTable, path: str | os.PathLike[str]) -> None:
    """Write a packed slab file, which `ddcalogen.training.data.ShowerFile` reads.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    with replace_when_complete(path) as partial, h5py.File(partial, "w") as file:
        file.attrs["source"] = table.source
        file["incident_energy_gev"] = table.energy_gev
        file["direction"] = table.direction
        file["pdg"] = table.pdg
        file["job"] = table.job
        for name, points in table.points.items():
            group = file.create_group(name)
            group.attrs["pitch_mm"] = table.pitch_mm[name]
            group.attrs["grid_rotation_rad"] = table.grid_rotation_rad
            group.attrs["note"] = _NOTE
            group["offsets"] = points.offsets
            for column in ("ix", "iy", "layer", "energy_mev"):
                group.create_dataset(column, data=getattr(points, column), compression="gzip", shuffle=True)


def join(paths: Sequence[str | os.PathLike[str]], output: str | os.PathLike[str]) -> int:
    """Join packed slab files of one kind, in order; return the number of showers.

    Raises
    ------
    InputError
        A file cannot be read, or they are not of one kind.
    OutputError
        The file cannot be written.
    """
    tables = [_load(path) for path in paths]
    if not tables:
        raise ConfigurationError("no file was given", expected="at least one slab file")
    first = tables[0]
    for path, table in zip(paths, tables, strict=True):
        kind = (dict(table.pitch_mm), table.grid_rotation_rad, table.source)
        if kind != (dict(first.pitch_mm), first.grid_rotation_rad, first.source):
            raise InputError(
                "shower files of different kinds cannot be joined",
                found=f"{path}: {kind}",
                expected="the calorimeters, pitches, rotation and source of the first file",
            )
    points = {}
    for name in first.points:
        mine = [t.points[name] for t in tables]
        lengths = np.concatenate([np.diff(p.offsets) for p in mine])
        points[name] = Points(
            np.concatenate(([0], np.cumsum(lengths))).astype(np.int64),
            *(np.concatenate([p[column] for p in mine]) for column in range(1, 5)),
        )
    joined = first._replace(
        energy_gev=np.concatenate([t.energy_gev for t in tables]),
        direction=np.concatenate([t.direction for t in tables]),
        pdg=np.concatenate([t.pdg for t in tables]),
        job=np.concatenate([t.job for t in tables]),
        points=points,
    )
    write_slab(joined, output)
    return len(joined.pdg)


def _load(path: str | os.PathLike[str]) -> SlabTable:
    try:
        with h5py.File(path) as file:
            names = [name for name in file if isinstance(file[name], h5py.Group) and "pitch_mm" in file[name].attrs]
            if not names:
                raise InputError("the file is no packed slab file", found=f"{path} with {', '.join(file) or 'nothing'}")
            columns = ("offsets", "ix", "iy", "layer", "energy_mev")
            return SlabTable(
                file["incident_energy_gev"][:],
                file["direction"][:],
                file["pdg"][:],
                file["job"][:],
                {name: Points(*(file[name][c][:] for c in columns)) for name in names},
                {name: float(file[name].attrs["pitch_mm"]) for name in names},
                float(file[names[0]].attrs["grid_rotation_rad"]),
                str(file.attrs.get("source", "")),
            )
    except (OSError, KeyError) as error:
        raise InputError("the shower file cannot be read", found=f"{path}: {error}") from error


def convert(
    paths: Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    *,
    layout: ShowerLayout = "slab",
    stacks: Sequence[Stack] = (ECAL,),
    **options: Any,
) -> int:
    """Convert EDM4hep files to one shower file; return the number of showers. Options as for `read_slab`.

    Raises
    ------
    ConfigurationError
        Calorimeters that do not stand in a row are asked for in a ``showerdata`` file.
    InputError, EDM4hepError, OutputError
        As `read_slab`; the file cannot be written.
    """
    name = "+".join(s.name for s in stacks)
    if layout == "showerdata" and len(stacks) != 1 and name.upper() not in STACKS:
        raise ConfigurationError(
            "a showerdata file holds one calorimeter, or several that are known to stand in a row",
            found=", ".join(s.name for s in stacks),
            expected=f"one of {', '.join(s.lower() for s in STACKS)}",
            remedy="Convert them into separate files, or use the slab layout.",
        )
    table = read_slab(paths, stacks=stacks, **options)
    if layout == "slab":
        write_slab(table, output)
    else:
        slab = Path(output).with_name(f".{Path(output).name}.slab.h5")
        try:
            write_slab(table, slab)
            write_showerdata([ShowerFile(slab, name)], output, source=table.source)
        finally:
            slab.unlink(missing_ok=True)
    return len(table.pdg)
