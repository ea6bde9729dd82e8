# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Batches from shower files: streamed, bounded in memory, in an order that depends on seed and epoch alone."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ddcalogen.errors import InputError
from ddcalogen.training.data import SPLITS, ShowerFile, Showers, Split
from ddcalogen.training.representations import Batch, Representation, mirrored
from ddcalogen.training.sampler import incident
from ddcalogen.training.stacks import Stack

__all__ = ["Selection", "ShowerStream", "key_seed"]

_CHUNK = 256
"""Showers read from a file at once; neighbours in a file stay together within a window."""


def key_seed(*key: int | str) -> int:
    """Return a seed (63 bits) from a key: the randomness of step n needs no state of the steps before."""
    return int.from_bytes(hashlib.sha256(repr(key).encode()).digest()[:8], "big") >> 1


@dataclasses.dataclass(frozen=True)
class Selection:
    """Which showers are used: PDG codes, energy range in GeV, range of the angle to the normal in degrees."""

    pdg: tuple[int, ...]
    energy_gev: tuple[float, float]
    theta_deg: tuple[float, float]

    def keep(self, file: ShowerFile) -> NDArray[np.bool_]:
        """Return which showers of a file are selected, bool [N]."""
        theta = np.degrees(np.arccos(np.clip(file.direction[:, 2], -1.0, 1.0)))
        return np.asarray(
            np.isin(file.pdg, self.pdg)
            & (file.energy_gev >= self.energy_gev[0])
            & (file.energy_gev <= self.energy_gev[1])
            & (theta >= self.theta_deg[0] - 1e-3)
            & (theta <= self.theta_deg[1] + 1e-3),
            np.bool_,
        )


class ShowerStream:
    """Batches of one split of shower files.

    An epoch goes through the chunks of all files in random order, gathers `window` showers at a time, shuffles these
    and cuts them into batches. Order and the representation's randomness come from (seed, epoch, batch), so a run that
    is taken up again at any batch sees what it would have seen.

    Parameters
    ----------
    paths
        Shower files.
    stack
        The calorimeter; of slab files its groups are read.
    split
        Which split.
    selection
        Which showers.
    window
        Showers in memory; if all fit, they are read once and kept.
    mirror
        Axes along which batches are mirrored at random, each with probability 1/2, see `representations.mirrored`.
        Only `batches` does this; `all`, `sample` and `showers` give showers as they are in the files.

    Raises
    ------
    InputError
        A file cannot be read, its layers do not fit the stack, or no shower is left.
    """

    def __init__(
        self,
        paths: Sequence[str | os.PathLike[str]],
        stack: Stack,
        split: Split,
        selection: Selection,
        *,
        window: int = 8192,
        seed: int = 0,
        mirror: Sequence[Literal["x", "y"]] = (),
    ) -> None:
        self.stack, self.split, self.window, self.seed, self.mirror = stack, split, window, seed, tuple(mirror)
        self.files = [ShowerFile(path, stack.name.lower()) for path in paths]
        number = SPLITS.index(split)
        self._chunks: list[tuple[int, NDArray[np.int64]]] = []
        self.size = 0
        for k, file in enumerate(self.files):
            chosen = np.flatnonzero(selection.keep(file) & (file.splits == number))
            self.size += len(chosen)
            for block in np.unique(chosen // _CHUNK):
                self._chunks.append((k, chosen[chosen // _CHUNK == block]))
        if not self.size:
            raise InputError(
                "no showers to work with",
                found=f"none of split '{split}' with {selection} in {', '.join(map(str, paths)) or 'no files'}",
                remedy="Give files of the particles, energies and angles of the configuration.",
            )
        self._kept: Showers | None = None

    def _read(self, chunk: int) -> Showers:
        k, rows = self._chunks[chunk]
        showers = self.files[k].read_layers(int(rows[0]), int(rows[-1]) + 1, self.stack)
        return showers.select(rows - rows[0])

    def _windows(self, rng: np.random.Generator) -> Iterator[Showers]:
        if self.size <= self.window:
            yield self.all()
            return
        parts: list[Showers] = []
        gathered = 0
        for chunk in rng.permutation(len(self._chunks)):
            parts.append(self._read(int(chunk)))
            gathered += len(parts[-1])
            if gathered >= self.window:
                yield Showers.join(parts)
                parts, gathered = [], 0
        if parts:
            yield Showers.join(parts)

    def all(self) -> Showers:
        """Return all showers, read once and kept in memory."""
        if self._kept is None:
            self._kept = Showers.join([self._read(i) for i in range(len(self._chunks))])
        return self._kept

    def sample(self, number: int) -> Showers:
        """Return up to `number` showers spread evenly over the files; always the same."""
        rng = np.random.default_rng(key_seed(self.seed, self.split, "sample"))
        chosen = np.sort(rng.choice(self.size, min(number, self.size), replace=False))
        parts, start = [], 0
        for i, (_, rows) in enumerate(self._chunks):
            inside = chosen[(chosen >= start) & (chosen < start + len(rows))] - start
            start += len(rows)
            if len(inside):
                parts.append(self._read(i).select(inside))
        return Showers.join(parts)

    def showers(self, epoch: int, batch: int) -> Iterator[Showers]:
        """Yield the showers of an epoch in batches; a short last one is left out, unless it is the only one."""
        rng = np.random.default_rng(key_seed(self.seed, self.split, "order", epoch))
        left: Showers | None = None
        given = 0
        for window in self._windows(rng):
            order = rng.permutation(len(window))
            start = 0
            while start < len(window):
                need = batch - (len(left) if left is not None else 0)
                part = window.select(order[start : start + need])
                start += need
                part = part if left is None else Showers.join([left, part])
                if len(part) < batch:
                    left = part
                    break
                left = None
                given += 1
                yield part
        if left is not None and not given:
            yield left

    def batches_per_epoch(self, batch: int) -> int:
        """Number of batches `showers` yields."""
        return max(1, self.size // batch)

    def batches(
        self,
        representation: Representation,
        *,
        epoch: int,
        batch: int,
        start: int = 0,
        rank: int = 0,
        ranks: int = 1,
    ) -> Iterator[Batch]:
        """Yield the batches of an epoch from number `start` on; of `ranks` processes each gets its share of a batch."""
        for number, showers in enumerate(self.showers(epoch, batch)):
            if number < start:
                continue
            mine = showers.select(np.arange(rank, len(showers), ranks)) if ranks > 1 else showers
            rng = np.random.default_rng(key_seed(self.seed, self.split, "place", epoch, number, rank))
            if self.mirror:
                mine = mirrored(mine, [axis for axis in self.mirror if rng.random() < 0.5])
            yield incident(mine) | representation(mine, self.stack, rng)
