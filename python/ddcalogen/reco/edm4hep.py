# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Reconstructed clusters and particles out of EDM4hep files of Marlin or k4run, as `find_photons` gives its own."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from typing import Literal

import awkward as ak
import numpy as np
import uproot
from numpy.typing import NDArray

from ddcalogen.errors import InputError

__all__ = ["Reconstructed", "find_collections", "read_clusters", "read_particles"]


@dataclasses.dataclass(frozen=True)
class Reconstructed:
    """Objects of N events (CSR: those of event i are offsets[i]:offsets[i + 1]).

    offsets int64 [N + 1]; energy_gev float64 [M]; vector float64 [M, 3]: position of clusters in mm, momentum of
    particles in GeV; pdg int32 [M], 0 for clusters.
    """

    offsets: NDArray[np.int64]
    energy_gev: NDArray[np.float64]
    vector: NDArray[np.float64]
    pdg: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @staticmethod
    def join(parts: Sequence[Reconstructed]) -> Reconstructed:
        """Put the events of several files behind each other."""
        counts = np.concatenate([np.diff(p.offsets) for p in parts])
        columns = [np.concatenate([getattr(p, name) for p in parts]) for name in ("energy_gev", "vector", "pdg")]
        return Reconstructed(np.concatenate(([0], np.cumsum(counts))).astype(np.int64), *columns)

    @property
    def direction(self) -> NDArray[np.float64]:
        """Unit vectors along `vector`, float64 [M, 3]."""
        norm = np.linalg.norm(self.vector, axis=1, keepdims=True)
        return np.asarray(self.vector / np.where(norm > 0, norm, 1.0), np.float64)

    def leading(self) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return the largest energy of each event in GeV (0 where there is none), and the number of objects, [N]."""
        number = np.diff(self.offsets)
        event = np.repeat(np.arange(len(self)), number)
        largest = np.zeros(len(self))
        np.maximum.at(largest, event, self.energy_gev)
        return largest, number.astype(np.int64)


def find_collections(path: str | os.PathLike[str]) -> dict[Literal["particles", "clusters"], list[str]]:
    """Return the names of the collections of edm4hep::ReconstructedParticle and edm4hep::Cluster of a file.

    Raises
    ------
    InputError
        The file cannot be read.
    """
    try:
        with uproot.open(os.fspath(path)) as file:
            keys = {key.split("/")[-1] for key in file["events"].keys(recursive=True)}
    except (OSError, KeyError, ValueError) as error:
        raise InputError("the events cannot be read", found=f"{os.fspath(path)}: {error}") from error
    names = sorted(key.removesuffix(".energy") for key in keys if key.endswith(".energy"))
    return {
        "particles": [n for n in names if {f"{n}.PDG", f"{n}.momentum.x"} <= keys],
        # calorimeter hits have energy and position, too
        "clusters": [n for n in names if f"{n}.position.x" in keys and f"{n}.cellID" not in keys],
    }


def _read(path: str | os.PathLike[str], collection: str, vector: str, with_pdg: bool) -> Reconstructed:
    try:
        with uproot.open(os.fspath(path)) as file:
            tree = file["events"]
            keys = tree.keys(recursive=True)

            def column(name: str) -> ak.Array:
                wanted = f"{collection}.{name}"
                found = next((k for k in keys if k.split("/")[-1] == wanted), None)
                if found is None:
                    raise InputError(
                        "the file has no such collection",
                        found=f"{os.fspath(path)} without {wanted}",
                        expected="one that the reconstruction wrote",
                        remedy="Look at the collections with podio-dump.",
                    )
                return tree[found].array()

            energy = column("energy")
            parts = [column(f"{vector}.{axis}") for axis in "xyz"]
            pdg = column("PDG") if with_pdg else None
    except (OSError, KeyError, ValueError) as error:
        raise InputError("the reconstructed objects cannot be read", found=f"{os.fspath(path)}: {error}") from error
    flat = [ak.to_numpy(ak.flatten(a)).astype(np.float64) for a in (energy, *parts)]
    return Reconstructed(
        np.concatenate(([0], np.cumsum(ak.to_numpy(ak.num(energy))))).astype(np.int64),
        flat[0],
        np.stack(flat[1:], axis=1),
        np.zeros(len(flat[0]), np.int32) if pdg is None else ak.to_numpy(ak.flatten(pdg)).astype(np.int32),
    )


def read_clusters(path: str | os.PathLike[str], collection: str = "PandoraClusters") -> Reconstructed:
    """Read a collection of edm4hep::Cluster.

    Raises
    ------
    InputError
        The file cannot be read or has no such collection.
    """
    return _read(path, collection, "position", False)


def read_particles(path: str | os.PathLike[str], collection: str = "PandoraPFOs") -> Reconstructed:
    """Read a collection of edm4hep::ReconstructedParticle.

    Raises
    ------
    InputError
        The file cannot be read or has no such collection.
    """
    return _read(path, collection, "momentum", True)
