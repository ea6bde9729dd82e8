# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""The amplification study from truth to report."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ddcalogen.engine import Generator
from ddcalogen.files import replace_when_complete
from ddcalogen.training.data import Showers
from ddcalogen.validation.amplification import project
from ddcalogen.validation.samples import generate

__all__ = ["incident_photons", "model_images"]

Floats = NDArray[np.float32]
_CHUNK = 8192


def incident_photons(number: int, energy_gev: float, pdg: int = 22) -> Showers:
    """Return incident particles of one energy along the layer normal, without showers."""
    return Showers(
        np.full(number, energy_gev, np.float32),
        np.tile(np.array([[0.0, 0.0, 1.0]], np.float32), (number, 1)),
        np.full(number, pdg, np.int32),
        np.zeros(number + 1, np.int64),
        *(np.zeros(0, t) for t in (np.float32, np.float32, np.int16, np.float32)),  # type: ignore[arg-type]
    )


def model_images(
    generator: Generator,
    energy_gev: float,
    number: int,
    cache: Path,
    advance: Callable[[int], None] = lambda _: None,
) -> Floats:
    """Return projections of showers that a model makes, float32 [number, 10, 10], MeV.

    Made in parts, which are kept in the folder `cache`: a run that was stopped goes on where it was.

    Parameters
    ----------
    generator
        The model; its seed and hash name the parts.
    energy_gev
        Of the photons, along the layer normal.
    advance
        Told how many showers were made.
    """
    cache.mkdir(parents=True, exist_ok=True)
    depth = np.array(generator.card.calorimeter.layer_depth_mm)
    cell_mm = generator.card.calorimeter.cell_size_mm[0]
    key = hashlib.sha256(f"{generator.hash} {generator.seed} {energy_gev!r}".encode()).hexdigest()[:12]
    parts = []
    for start in range(0, number, _CHUNK):
        size, path = min(_CHUNK, number - start), cache / f"truth_{key}_{start}.npy"
        if path.is_file() and len(part := np.load(path, allow_pickle=False)) >= size:
            parts.append(part[:size].astype(np.float32))
        else:
            incident = incident_photons(size, energy_gev)
            rng = np.random.default_rng([generator.seed, start])
            showers, _ = generate(generator, incident, rng=rng, first_event=start)
            images = project(showers, depth, cell_mm=cell_mm)
            with replace_when_complete(path) as partial, partial.open("wb") as file:
                np.save(file, images)
            parts.append(images)
        advance(size)
    return np.concatenate(parts)
