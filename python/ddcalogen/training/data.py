# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Shower data: packed slab, ``showerdata`` and grid files (HDF5), read through one door, split by shower id.

All layouts give the same `Showers`: points in the shower frame (x, y in mm in the layer's plane, layer index from 0,
visible energy in GeV), packed one shower after another.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
from numpy.typing import NDArray

from ddcalogen.card import Dataset, DatasetFile
from ddcalogen.errors import InputError
from ddcalogen.training.stacks import Stack, find_stack

__all__ = [
    "SPLITS",
    "ShowerFile",
    "Showers",
    "Split",
    "describe_dataset",
    "file_sha256",
    "load_split",
    "shower_ids",
    "split_of",
]

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
_SPLIT_EDGES = (0.70, 0.80, 1.0)
"""Upper edges of train, validation and test in the unit interval onto which shower ids are hashed."""

_GRID_TOLERANCE = 1e-6
"""Relative; programs round the pitch differently, which moves points of a shower by far less than a micrometre."""

_MOST_POINTS = 1 << 24
"""Of one shower."""

Floats = NDArray[np.float32]


@dataclasses.dataclass(frozen=True)
class Showers:
    """N showers with P points in all, packed.

    Attributes
    ----------
    energy_gev, direction, pdg
        Incident particles: float32 [N], float32 [N, 3] (unit vectors in the shower frame), int32 [N].
    offsets
        int64 [N + 1]; the points of shower i are offsets[i]:offsets[i + 1].
    x_mm, y_mm, layer, point_energy_gev
        Points: float32 [P], float32 [P], int16 [P], float32 [P].
    pitch_mm, grid_rotation_rad
        Grid on which the points were merged, turned against the shower frame; pitch 0 when the points are on no grid,
        float64 [layers] where it is not the same in all layers.
    """

    energy_gev: Floats
    direction: Floats
    pdg: NDArray[np.int32]
    offsets: NDArray[np.int64]
    x_mm: Floats
    y_mm: Floats
    layer: NDArray[np.int16]
    point_energy_gev: Floats
    pitch_mm: float | NDArray[np.float64] = 0.0
    grid_rotation_rad: float = 0.0

    def __len__(self) -> int:
        return len(self.energy_gev)

    @property
    def shower_of_point(self) -> NDArray[np.int64]:
        """Index of the shower each point belongs to, int64 [P]."""
        return np.repeat(np.arange(len(self)), np.diff(self.offsets))

    @property
    def point_pitch_mm(self) -> NDArray[np.float64]:
        """Pitch of the merging grid at each point, float64 [P]; 0 where there is none."""
        pitch = np.asarray(self.pitch_mm, np.float64)
        return pitch[self.layer] if pitch.ndim else np.full(len(self.layer), float(pitch))

    @property
    def on_grid(self) -> bool:
        """Whether points lie on a merging grid."""
        return bool(np.any(self.pitch_mm))

    def of_layers(self, layers: slice) -> Showers:
        """Return the same showers with the points of some layers only; these are then counted from 0."""
        keep = (self.layer >= layers.start) & (self.layer < layers.stop)
        counts = np.bincount(self.shower_of_point[keep], minlength=len(self))
        pitch = np.asarray(self.pitch_mm, np.float64)
        mine = pitch[layers] if pitch.ndim else pitch
        return dataclasses.replace(
            self,
            offsets=np.concatenate(([0], np.cumsum(counts))).astype(np.int64),
            x_mm=self.x_mm[keep],
            y_mm=self.y_mm[keep],
            layer=self.layer[keep] - np.int16(layers.start),
            point_energy_gev=self.point_energy_gev[keep],
            pitch_mm=mine if mine.ndim and np.ptp(mine) else float(mine.flat[0]),
        )

    def layer_energy_gev(self, layers: int) -> NDArray[np.float64]:
        """Visible energy per layer, float64 [N, layers], GeV."""
        cell = self.shower_of_point * layers + self.layer
        energy = np.bincount(cell, self.point_energy_gev, len(self) * layers)
        return energy.astype(np.float64).reshape(len(self), layers)

    def select(self, keep: NDArray[Any]) -> Showers:
        """Return the showers named by a boolean mask or by indices."""
        index = np.flatnonzero(keep) if keep.dtype == bool else np.asarray(keep, np.int64)
        counts = np.diff(self.offsets)[index]
        offsets = np.concatenate(([0], np.cumsum(counts)))
        points = np.repeat(self.offsets[index] - offsets[:-1], counts) + np.arange(offsets[-1])
        return dataclasses.replace(
            self,
            energy_gev=self.energy_gev[index],
            direction=self.direction[index],
            pdg=self.pdg[index],
            offsets=offsets,
            x_mm=self.x_mm[points],
            y_mm=self.y_mm[points],
            layer=self.layer[points],
            point_energy_gev=self.point_energy_gev[points],
        )

    @staticmethod
    def join(parts: Sequence[Showers]) -> Showers:
        """Join sets of showers that lie on the same grid.

        Raises
        ------
        InputError
            No parts, or parts on different grids.
        """
        if not parts:
            raise InputError("no showers to join")
        grids = [np.append(p.pitch_mm, p.grid_rotation_rad) for p in parts]
        if not all(len(g) == len(grids[0]) and np.allclose(g, grids[0], rtol=_GRID_TOLERANCE, atol=0.0) for g in grids):
            said = (f"{'/'.join(map(str, np.unique(g[:-1])))} mm at {g[-1]} rad" for g in grids)
            raise InputError(
                "showers on different grids cannot be joined",
                found=", ".join(dict.fromkeys(said)),
                remedy="Use files made with the same grid.",
            )
        counts = np.concatenate([np.diff(p.offsets) for p in parts])
        return Showers(
            np.concatenate([p.energy_gev for p in parts]),
            np.concatenate([p.direction for p in parts]),
            np.concatenate([p.pdg for p in parts]),
            np.concatenate(([0], np.cumsum(counts))),
            np.concatenate([p.x_mm for p in parts]),
            np.concatenate([p.y_mm for p in parts]),
            np.concatenate([p.layer for p in parts]),
            np.concatenate([p.point_energy_gev for p in parts]),
            parts[0].pitch_mm,
            parts[0].grid_rotation_rad,
        )


def shower_ids(energy_gev: Floats, direction: Floats, pdg: NDArray[np.int32]) -> NDArray[np.uint64]:
    """Return the id of each shower: first 8 bytes (big-endian) of the sha256 of pdg, energy and direction.

    The id rests on the incident particle (int32 and float32, little-endian), not on a place in a file, so a shower
    falls into the same split whichever file or layout it is read from.
    """
    columns = np.concatenate([energy_gev[:, None], direction], axis=1).astype("<f4")
    heads = np.ascontiguousarray(pdg.astype("<i4"))
    digests = [
        hashlib.sha256(head.tobytes() + row.tobytes()).digest()[:8] for head, row in zip(heads, columns, strict=True)
    ]
    return np.frombuffer(b"".join(digests), ">u8").astype(np.uint64)


def split_of(ids: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Return 0 (train, 70 %), 1 (validation, 10 %) or 2 (test, 20 %) for each shower id."""
    return np.searchsorted(_SPLIT_EDGES, ids / 2.0**64, side="right").clip(max=2)


def file_sha256(path: str | os.PathLike[str]) -> str:
    """Return the sha256 (hexadecimal) of a file."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


@dataclasses.dataclass(frozen=True)
class _Group:
    """A group of a slab file; its layers begin at `first` in the stack and are at most `layers`, if that is known."""

    name: str
    first: int
    layers: int | None
    offsets: NDArray[np.int64]
    pitch_mm: float
    rotation_rad: float

    def read(self, file: h5py.File, start: int, stop: int) -> tuple[NDArray[Any], ...]:
        """Shower (from 0), x, y, layer and energy (GeV) of the points of showers start..stop-1."""
        group = file[self.name]
        points = slice(int(self.offsets[start]), int(self.offsets[stop]))
        u, v = (group[k][points].astype(np.float64) * self.pitch_mm for k in ("ix", "iy"))
        cos, sin = np.cos(self.rotation_rad), np.sin(self.rotation_rad)
        layer = group["layer"][points].astype(np.int64)
        if self.layers is not None and len(layer) and layer.max() >= self.layers:
            raise InputError(
                f"a layer of the group '{self.name}' is not in the calorimeter",
                found=f"layer {layer.max()} in {file.filename}",
                expected=f"0..{self.layers - 1}",
            )
        row = np.repeat(np.arange(stop - start), np.diff(self.offsets[start : stop + 1]))
        energy = group["energy_mev"][points].astype(np.float32) * np.float32(1e-3)
        if not len(row) == len(u) == len(v) == len(layer) == len(energy):
            raise InputError("the points of the shower file are damaged", found=f"{file.filename}, '{self.name}'")
        return row, u * cos - v * sin, u * sin + v * cos, layer + self.first, energy


_PARTICLE_OF_GRIDS = {"ecal": 22, "hcal": 211}
"""The published grids, which do not say: photons in the ECAL (2005.05334), pi+ in the HCAL (2112.09709)."""


@dataclasses.dataclass(frozen=True)
class _Grid:
    """A group of regular grids, ``layers`` [N, layers, nx, ny] in MeV; a cell with energy is a point in its middle.

    A grid that says nothing of itself, as the published ones, has cells of the calorimeter's size and is centred on the
    entry point.
    """

    name: str
    cell_mm: float
    lower_edge_mm: tuple[float, float]
    follows_axis: bool
    depth_mm: NDArray[np.float64]

    @staticmethod
    def find(file: h5py.File, calorimeter: str) -> _Grid | None:
        """Return the grids of a file, if it has any."""
        for name, group in file.items():
            if not (isinstance(group, h5py.Group) and "layers" in group and "energy" in group):
                continue
            stack, shape = find_stack(calorimeter.upper()), group["layers"].shape
            if len(shape) != 4 or shape[1] != stack.layers:
                raise InputError(
                    "the grids of the file do not fit the calorimeter",
                    found=f"{file.filename}, '{name}/layers' of shape {shape}",
                    expected=f"[showers, {stack.layers}, nx, ny] ({stack.name})",
                )
            cell = float(group.attrs.get("cell_mm", stack.cell_mm[0]))
            edges = group.attrs.get("lower_edge_mm", [-n * cell / 2 for n in shape[2:]])
            depth = np.array(stack.layer_depth_mm)
            follows = bool(group.attrs.get("follows_axis", False))
            return _Grid(name, cell, (float(edges[0]), float(edges[1])), follows, depth)
        return None

    def particles(self, file: h5py.File, calorimeter: str) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """Energies, directions and PDG codes; published files give ``theta`` (rad, pi / 2 is the normal)."""
        group = file[self.name]
        energy = group["energy"][:].reshape(-1)
        n = len(energy)
        if group["layers"].shape[0] != n:
            raise InputError("grids and energies differ in number", found=f"{file.filename}, '{self.name}'")
        direction = np.tile(np.array([0.0, 0.0, 1.0], np.float32), (n, 1))
        if "direction" in file:
            direction = file["direction"][:]
        elif "theta" in group:
            theta = group["theta"][:].reshape(-1)
            phi = group["phi"][:].reshape(-1) if "phi" in group else np.zeros(n)
            across = np.cos(theta)
            direction = np.stack([across * np.cos(phi), across * np.sin(phi), np.sin(theta)], axis=1)
        pdg = file["pdg"][:] if "pdg" in file else np.full(n, _PARTICLE_OF_GRIDS.get(calorimeter, 0))
        return energy, direction, pdg

    def read(self, file: h5py.File, start: int, stop: int, direction: Floats) -> tuple[NDArray[Any], ...]:
        """As `_Group.read`; `direction` of these showers."""
        layers = file[self.name]["layers"][start:stop]
        row, layer, ix, iy = np.nonzero(layers)
        x, y = (edge + (i + 0.5) * self.cell_mm for edge, i in zip(self.lower_edge_mm, (ix, iy), strict=True))
        if self.follows_axis:
            slope = direction[row, :2] / direction[row, 2:]
            x, y = x + self.depth_mm[layer] * slope[:, 0], y + self.depth_mm[layer] * slope[:, 1]
        return row, x, y, layer, layers[row, layer, ix, iy] * np.float32(1e-3)

    def points_per_shower(self, file: h5py.File) -> NDArray[np.int64]:
        layers = file[self.name]["layers"]
        counts = [np.count_nonzero(layers[i : i + 64], axis=(1, 2, 3)) for i in range(0, len(layers), 64)]
        return np.concatenate([np.zeros(0, np.int64), *counts]).astype(np.int64)


class ShowerFile:
    """A shower file of any layout; the incident particles are in memory, points are read when asked for.

    Parameters
    ----------
    path
        Packed slab file, ``showerdata`` file, or regular grids in the layout of the published data sets
        (`ddcalogen.training.shower_files.write_grids`; each cell with energy is a point).
    calorimeter
        Group of a slab file, "ecal" or "hcal"; "ecal+hcal": both, one behind the other (`ddcalogen.training.stacks`).

    Attributes
    ----------
    energy_gev, direction, pdg
        Incident particles, as in `Showers`.
    layout
        "slab", "showerdata" or "grid".
    source
        How the showers were made, if the file says so.

    Raises
    ------
    ConfigurationError
        Several groups of a slab file are asked for that make up no known calorimeter.
    InputError
        The file cannot be read, is of no known layout, or holds values that make no sense.
    """

    def __init__(self, path: str | os.PathLike[str], calorimeter: str = "ecal") -> None:
        self.path = Path(path)
        self.calorimeter = calorimeter
        names = calorimeter.split("+")
        self._groups: list[_Group] = []
        self._grid: _Grid | None = None
        try:
            with h5py.File(self.path) as file:
                self.source = str(file.attrs.get("source", ""))
                if "showers" in file:
                    self.layout: Literal["slab", "showerdata", "grid"] = "showerdata"
                    energy, direction, pdg = file["energies"][:, 0], file["directions"][:], file["pdg"][:]
                elif all(name in file for name in names) and "incident_energy_gev" in file:
                    self.layout = "slab"
                    parts = find_stack(calorimeter.upper()).parts if len(names) > 1 else {}
                    energy, direction, pdg = file["incident_energy_gev"][:], file["direction"][:], file["pdg"][:]
                    for name in names:
                        layers, group = parts.get(name), file[name]
                        self._groups.append(
                            _Group(
                                name,
                                layers.start if layers else 0,
                                layers.stop - layers.start if layers else None,
                                group["offsets"][:].astype(np.int64),
                                float(group.attrs["pitch_mm"]),
                                float(group.attrs["grid_rotation_rad"]),
                            )
                        )
                elif grid := _Grid.find(file, calorimeter):
                    self.layout, self._grid = "grid", grid
                    energy, direction, pdg = grid.particles(file, calorimeter)
                else:
                    raise InputError(
                        "the file is of no known shower layout",
                        found=f"{self.path} with {', '.join(file) or 'nothing in it'}",
                        expected=f"a showerdata file, grids, or a slab file with {' and '.join(map(repr, names))}",
                    )
        except (OSError, KeyError, ValueError, IndexError) as error:
            raise InputError("the shower file cannot be read", found=f"{self.path}: {error}") from error
        self.energy_gev: Floats = energy.astype(np.float32)
        self.direction: Floats = direction.astype(np.float32)
        self.pdg: NDArray[np.int32] = pdg.astype(np.int32)
        n = len(self.energy_gev)
        norm = np.linalg.norm(self.direction, axis=1) if self.direction.shape == (n, 3) else np.zeros(n)
        if (
            self.pdg.shape != (n,)
            or not np.all(np.isfinite(self.energy_gev) & (self.energy_gev > 0))
            or not np.all(np.abs(norm - 1) < 1e-3)
            or any(g.offsets.shape != (n + 1,) or np.any(np.diff(g.offsets) < 0) for g in self._groups)
        ):
            raise InputError(
                "the incident particles of the shower file make no sense",
                found=f"{self.path} with {n} showers",
                expected="positive energies, unit directions, one PDG code each, increasing offsets",
            )
        self._pitch_mm: float | NDArray[np.float64] = self._groups[0].pitch_mm if self._groups else 0.0
        if self._grid:
            self._pitch_mm = self._grid.cell_mm
        if len(self._groups) > 1:
            layers_of_each = [group.layers or 0 for group in self._groups]
            self._pitch_mm = np.repeat([group.pitch_mm for group in self._groups], layers_of_each)
            turns = [group.rotation_rad for group in self._groups]
            if not np.allclose(turns, turns[0], rtol=_GRID_TOLERANCE, atol=0.0):
                raise InputError(
                    "the grids of the calorimeters are turned differently",
                    found=f"{self.path}: {', '.join(map(str, turns))} rad",
                    expected="the same angle in all groups",
                )

    def __len__(self) -> int:
        return len(self.energy_gev)

    @property
    def splits(self) -> NDArray[np.int64]:
        """Split of each shower, see `split_of`."""
        return split_of(shower_ids(self.energy_gev, self.direction, self.pdg))

    def read(self, start: int, stop: int) -> Showers:
        """Read showers start..stop-1 with their points.

        Raises
        ------
        InputError
            The points cannot be read or are damaged.
        """
        head, grid = slice(start, stop), (self._pitch_mm, self._groups[0].rotation_rad if self._groups else 0.0)
        try:
            with h5py.File(self.path) as file:
                if self.layout == "slab":
                    tables = [group.read(file, start, stop) for group in self._groups]
                    row, x, y, layer, energy = (np.concatenate(columns) for columns in zip(*tables, strict=True))
                    if len(tables) > 1:  # each shower's points of all calorimeters together
                        order = np.argsort(row, kind="stable")
                        row, x, y, layer, energy = row[order], x[order], y[order], layer[order], energy[order]
                    offsets = np.concatenate(([0], np.cumsum(np.bincount(row, minlength=stop - start))))
                elif self._grid:
                    row, x, y, layer, energy = self._grid.read(file, start, stop, self.direction[head])
                    count = len(self.energy_gev[head])
                    offsets = np.concatenate(([0], np.cumsum(np.bincount(row, minlength=count))))
                else:
                    table = [row.reshape(-1, int(file["shape"][-1])) for row in file["showers"][head]]
                    offsets = np.concatenate(([0], np.cumsum([len(row) for row in table])))
                    flat = np.concatenate(table) if table else np.zeros((0, 4), np.float32)
                    x, y, layer, energy = flat[:, 0], flat[:, 1], flat[:, 2], flat[:, 3]
        except (OSError, KeyError, ValueError, IndexError) as error:
            raise InputError("the points of the shower file cannot be read", found=f"{self.path}: {error}") from error
        if not all(np.all(np.isfinite(column)) for column in (x, y, energy)) or not np.all(
            (energy >= 0) & (np.abs(layer) < 1 << 15)
        ):
            raise InputError("the points of the shower file are damaged", found=f"{self.path}, showers {start}..{stop}")
        return Showers(
            self.energy_gev[head],
            self.direction[head],
            self.pdg[head],
            np.asarray(offsets - offsets[0], np.int64),
            x.astype(np.float32),
            y.astype(np.float32),
            layer.astype(np.int16),
            energy.astype(np.float32),
            *grid,
        )

    def read_layers(self, start: int, stop: int, stack: Stack) -> Showers:
        """Read showers start..stop-1, whose layers must be those of a stack.

        Raises
        ------
        InputError
            As `read`, or a layer is not in the stack.
        """
        showers = self.read(start, stop)
        if len(showers.layer) and not (showers.layer.min() >= 0 and showers.layer.max() < stack.layers):
            raise InputError(
                "the layers of the shower file do not fit the calorimeter",
                found=f"{self.path}, layers {showers.layer.min()}..{showers.layer.max()}",
                expected=f"0..{stack.layers - 1} ({stack.name})",
            )
        return showers

    def points_per_shower(self) -> NDArray[np.int64]:
        """Number of points of each shower, int64 [N].

        Raises
        ------
        InputError
            A ``showerdata`` file does not tell.
        """
        if self.layout == "slab":
            counts: NDArray[np.int64] = np.sum([np.diff(group.offsets) for group in self._groups], axis=0)
            return counts
        try:
            with h5py.File(self.path) as file:
                if self._grid:
                    return self._grid.points_per_shower(file)
                number: NDArray[np.int64] = file["num_points"][:].astype(np.int64)
        except (OSError, KeyError, ValueError, TypeError) as error:
            raise InputError("the numbers of points cannot be read", found=f"{self.path}: {error}") from error
        if number.shape != (len(self),) or np.any((number < 0) | (number > _MOST_POINTS)):
            raise InputError("the numbers of points make no sense", found=f"{self.path}: {number}")
        return number

    def chunks(self, size: int = 256) -> Iterator[Showers]:
        """Yield all showers in order, `size` at a time (bounded memory)."""
        for start in range(0, len(self), size):
            yield self.read(start, min(start + size, len(self)))


def load_split(paths: Sequence[str | os.PathLike[str]], split: Split, calorimeter: str = "ecal") -> Showers:
    """Read all showers of one split from several files.

    Raises
    ------
    InputError
        A file cannot be read, or no shower falls into the split.
    """
    number, parts = SPLITS.index(split), []
    for path in paths:
        file = ShowerFile(path, calorimeter)
        wanted, start = file.splits == number, 0
        for chunk in file.chunks():
            keep = wanted[start : start + len(chunk)]
            start += len(chunk)
            if keep.any():
                parts.append(chunk.select(keep))
    if not parts:
        raise InputError("no showers in the split", found=f"{', '.join(map(str, paths))}, split '{split}'")
    return Showers.join(parts)


def describe_dataset(paths: Sequence[str | os.PathLike[str]], name: str, calorimeter: str = "ecal") -> Dataset:
    """Return the description of shower files for a model card: hashes and counts per split.

    Raises
    ------
    InputError
        A file cannot be read.
    """
    files, counts, sources = [], np.zeros(len(SPLITS), np.int64), set()
    for path in paths:
        file = ShowerFile(path, calorimeter)
        files.append(DatasetFile(name=file.path.name, sha256=file_sha256(path), showers=len(file)))
        counts += np.bincount(file.splits, minlength=len(SPLITS))
        sources.add(file.source)
    lines = "".join(f"{digest}\n" for digest in sorted(f.sha256 for f in files))
    return Dataset(
        name=name,
        sha256=hashlib.sha256(lines.encode()).hexdigest(),
        showers=int(counts.sum()),
        training_showers=int(counts[0]),
        test_showers=int(counts[2]),
        description="; ".join(sorted(s for s in sources if s)),
        files=tuple(files),
    )
