# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Regular grids and clustered point clouds as files, in the layouts of the published data sets.

Everything is streamed: memory holds one chunk of showers, whatever the size of the files.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import h5py
import numpy as np
from numpy.typing import NDArray

from ddcalogen.errors import ConfigurationError, InputError
from ddcalogen.files import replace_when_complete
from ddcalogen.training.data import SPLITS, ShowerFile, Showers, Split
from ddcalogen.training.stacks import Stack, find_stack

__all__ = [
    "GRID_PRESETS",
    "CloudLevel",
    "GridPreset",
    "GridReport",
    "write_clouds",
    "write_grids",
    "write_showerdata",
]

CloudLevel = Literal["subcell", "cell"]
Change = Callable[[Showers], Showers]

_CHUNK = 64
_BYTES = 1 << 25
"""Of the grids or padded points that are in memory at once."""


@dataclasses.dataclass(frozen=True)
class GridPreset:
    """A grid of a published data set.

    Attributes
    ----------
    calorimeter
        Whose layers.
    group
        Group of the HDF5 file.
    cells
        Cells along x and y.
    angles
        Whether the file gives ``theta`` and ``phi``.
    what
        One line about it.
    """

    calorimeter: str
    group: str
    cells: tuple[int, int]
    angles: bool
    what: str


GRID_PRESETS = {
    "ecal": GridPreset("ECAL", "30x30", (30, 30), False, "photons at perpendicular incidence (2005.05334)"),
    "ecal-angles": GridPreset("ECAL", "ecal", (60, 60), True, "photons with angles up to 60 degrees"),
    "hcal-core": GridPreset("HCAL", "hcal_only", (25, 25), False, "pions, the core of the shower (2112.09709)"),
    "hcal": GridPreset("HCAL", "hcal_only", (48, 48), False, "pions, the whole shower"),
}
"""Grids by name."""


@dataclasses.dataclass(frozen=True)
class GridReport:
    """What was written: showers, visible energy of the points, and of that what lies beyond the edges (GeV)."""

    showers: int
    visible_gev: float
    beyond_gev: float


def _open(
    paths: Sequence[str | os.PathLike[str]], stack: Stack, split: Split | Literal["all"]
) -> list[tuple[ShowerFile, NDArray[np.bool_]]]:
    """Open the files; with each goes which of its showers are wanted."""
    if not paths:
        raise ConfigurationError("no file was given", expected="at least one shower file")
    opened = []
    for path in paths:
        file = ShowerFile(path, stack.name.lower())
        wanted = np.ones(len(file), np.bool_) if split == "all" else file.splits == SPLITS.index(split)
        opened.append((file, wanted))
    if not any(wanted.any() for _, wanted in opened):
        raise InputError("no showers in the split", found=f"{', '.join(map(str, paths))}, split '{split}'")
    return opened


def _stream(
    opened: Sequence[tuple[ShowerFile, NDArray[np.bool_]]],
    stack: Stack | None,
    size: int,
    advance: Callable[[int], None] = lambda _: None,
) -> Iterator[Showers]:
    for file, wanted in opened:
        for start in range(0, len(file), size):
            stop = min(start + size, len(file))
            if wanted[start:stop].any():
                chunk = file.read_layers(start, stop, stack) if stack else file.read(start, stop)
                yield chunk.select(wanted[start:stop])
            advance(stop - start)


def _source(files: Sequence[ShowerFile]) -> str:
    return "; ".join(dict.fromkeys(s for s in (file.source for file in files) if s))


# --------------------------------------------------------------------------------------------------------------- grids


def write_grids(
    paths: Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    preset: GridPreset,
    *,
    cells: tuple[int, int] | None = None,
    cell_mm: float | None = None,
    follows_axis: bool = False,
    split: Split | Literal["all"] = "all",
    seed: int = 1,
    advance: Callable[[int], None] = lambda _: None,
) -> GridReport:
    """Write showers as regular grids, in the layout of the published data sets.

    Datasets of the group: ``layers`` float32 [N, layers, nx, ny], MeV; ``energy`` float32 [N, 1], GeV; with a preset of
    angles ``theta`` (rad; pi / 2 is perpendicular incidence, as in the published data) and ``phi`` (of the inclination
    in the shower frame) float32 [N, 1]. At the top, which the published files do not have: ``direction`` and ``pdg``.
    The grid is centred on the entry point. Points that were merged on a grid are spread over their merging cell.

    Parameters
    ----------
    cells, cell_mm
        Cells along x and y, and their side; None: the preset's, and that of the calorimeter's cells.
    follows_axis
        Centre each layer's grid on the shower axis instead.
    split
        Which showers.
    seed
        Of the places in the merging cells.
    advance
        Told how many showers were looked at.

    Raises
    ------
    ConfigurationError
        No file, or a size that makes no sense.
    InputError
        A file cannot be read, does not fit the calorimeter, or has no shower of the split.
    OutputError
        The file cannot be written; nothing is left under its name.
    """
    from ddcalogen.training.representations import Grids

    stack = find_stack(preset.calorimeter)
    nx, ny = cells or preset.cells
    side = cell_mm or stack.cell_mm[0]
    if not (1 <= nx <= 4096 and 1 <= ny <= 4096 and 1e-3 <= side <= 1e4):
        raise ConfigurationError("the grid makes no sense", found=f"{nx} x {ny} cells of {side} mm")
    grids = Grids(nx, ny, side, follows_axis=follows_axis)
    opened = _open(paths, stack, split)
    number = int(sum(wanted.sum() for _, wanted in opened))
    shape = (stack.layers, nx, ny)
    size = max(1, min(_CHUNK, _BYTES // (4 * int(np.prod(shape)))))
    rng = np.random.default_rng(seed)
    visible = inside = 0.0
    with replace_when_complete(output) as partial, h5py.File(partial, "w") as file:
        group = file.create_group(preset.group)
        layers = group.create_dataset(
            "layers", (number, *shape), np.float32, chunks=(1, *shape), compression="gzip", compression_opts=4,
            shuffle=True,
        )  # fmt: skip
        columns = {"energy": group.create_dataset("energy", (number, 1), np.float32)}
        if preset.angles:
            columns |= {name: group.create_dataset(name, (number, 1), np.float32) for name in ("theta", "phi")}
        columns["direction"] = file.create_dataset("direction", (number, 3), np.float32)
        columns["pdg"] = file.create_dataset("pdg", (number,), np.int32)
        start = 0
        for showers in _stream(opened, stack, size, advance):
            part = slice(start, start + len(showers))
            grid = grids.fill(showers, stack, rng)
            visible += float(showers.point_energy_gev.sum(dtype=float))
            inside += float(grid.sum(dtype=float))
            layers[part] = grid * np.float32(1e3)
            for name, dataset in columns.items():
                dataset[part] = _column(showers, name)
            start += len(showers)
        file.attrs["source"] = _source([f for f, _ in opened])
        group.attrs["unit"] = "layers: visible energy in MeV; energy: GeV"
        group.attrs["axes"] = "shower, layer, x, y of the shower frame"
        group.attrs["cell_mm"] = side
        group.attrs["lower_edge_mm"] = grids.lower_edge_mm
        group.attrs["follows_axis"] = follows_axis
        group.attrs["energy_beyond_the_edges"] = (visible - inside) / max(visible, 1e-12)
    return GridReport(number, visible, visible - inside)


def _column(showers: Showers, name: str) -> NDArray[np.float32] | NDArray[np.int32]:
    d = showers.direction
    if name == "direction":
        return d
    if name == "pdg":
        return showers.pdg
    if name == "energy":
        return showers.energy_gev[:, None]
    if name == "theta":
        return (np.pi / 2 - np.arccos(np.clip(d[:, 2:3], -1.0, 1.0))).astype(np.float32)
    return np.arctan2(d[:, 1:2], d[:, 0:1])


# -------------------------------------------------------------------------------------------------------- point clouds


def write_clouds(
    paths: Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    calorimeter: str,
    *,
    level: CloudLevel = "subcell",
    split: Split | Literal["all"] = "all",
    seed: int = 1,
    advance: Callable[[int], None] = lambda _: None,
) -> tuple[int, int, int]:
    """Write showers as clustered point clouds, a ``showerdata`` file that `ShowerFile` reads.

    Points are in the shower frame (not relative to the axis), energies in GeV.

    Parameters
    ----------
    calorimeter
        Name of the stack: "ECAL", "HCAL" or "ECAL+HCAL".
    level
        "subcell": squares of a fifth of a cell (layers merged on coarser ones stay as they are); "cell": squares of a
        readout cell. Squares lie at a random offset for each shower.
    split, seed, advance
        As for `write_grids`.

    Returns
    -------
    showers, points before, points after

    Raises
    ------
    ConfigurationError, InputError, OutputError
        As `write_grids`.
    """
    from ddcalogen.training.representations import Clouds

    stack = find_stack(calorimeter)
    clouds, rng = Clouds(level, relative=False), np.random.default_rng(seed)
    opened = _open(paths, stack, split)
    before = 0

    def merge(showers: Showers) -> Showers:
        nonlocal before
        before += len(showers.layer)
        return clouds.merge(showers, stack, rng)

    showers, after = _write_showerdata(opened, output, stack=stack, change=merge, advance=advance, source="")
    return showers, before, after


def write_showerdata(files: Sequence[ShowerFile], output: str | os.PathLike[str], *, source: str = "") -> int:
    """Write all showers of files, as they are, to one ``showerdata`` file (x, y in mm, layer, energy in GeV).

    Returns
    -------
    showers

    Raises
    ------
    InputError
        A file cannot be read.
    OutputError
        The file cannot be written.
    """
    opened = [(file, np.ones(len(file), np.bool_)) for file in files]
    return _write_showerdata(opened, output, source=source)[0]


def _write_showerdata(
    opened: Sequence[tuple[ShowerFile, NDArray[np.bool_]]],
    output: str | os.PathLike[str],
    *,
    stack: Stack | None = None,
    change: Change = lambda showers: showers,
    advance: Callable[[int], None] = lambda _: None,
    source: str,
) -> tuple[int, int]:
    """Return the numbers of showers and points written."""
    try:
        import showerdata
    except ImportError as error:
        raise ConfigurationError(
            "showerdata files need a package that is missing", found=str(error), remedy="Install the extra 'train'."
        ) from error

    number = int(sum(wanted.sum() for _, wanted in opened))
    # merging only makes fewer points
    most = max((int(f.points_per_shower()[wanted].max(initial=0)) for f, wanted in opened), default=0)
    size = max(1, min(_CHUNK, _BYTES // (16 * max(most, 1))))
    start = points = longest = 0
    with replace_when_complete(output) as partial:
        showerdata.create_empty_file(partial, (number, most, 4))
        for chunk in _stream(opened, stack, size, advance):
            showers = change(chunk)
            counts = np.diff(showers.offsets)
            if counts.max(initial=0) > most:
                raise InputError(
                    "a shower has more points than its file says", found=f"{counts.max()}", expected=f"at most {most}"
                )
            padded = np.zeros((len(showers), most, 4), np.float32)
            padded[np.arange(most)[None, :] < counts[:, None]] = np.column_stack(
                [showers.x_mm, showers.y_mm, showers.layer, showers.point_energy_gev]
            )
            showerdata.save_batch(
                showerdata.Showers(
                    points=padded,
                    energies=showers.energy_gev[:, None],
                    directions=showers.direction,
                    pdg=showers.pdg,
                    shower_ids=np.arange(start, start + len(showers), dtype=np.int32),
                    num_points=counts,
                ),
                partial,
                start,
            )
            start, points = start + len(showers), points + int(counts.sum())
            longest = max(longest, int(counts.max(initial=0)))
        with h5py.File(partial, "r+") as file:
            file["shape"][1] = longest
            file.attrs["source"] = source or _source([f for f, _ in opened])
    return start, points
