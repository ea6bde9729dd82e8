# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Pictures of events. Needs matplotlib (extra "plot")."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ddcalogen.edm4hep import Event
from ddcalogen.errors import ConfigurationError, InputError
from ddcalogen.files import replace_when_complete
from ddcalogen.geometry import CalorimeterFace, Geometry

__all__ = ["check_picture_name", "plot_event"]

_FORMATS = (".png", ".pdf", ".svg")


def check_picture_name(path: Path) -> None:
    """Check that a picture can be made under this name, before hours of work.

    Raises
    ------
    InputError
        The ending is not .png, .pdf or .svg.
    ConfigurationError
        matplotlib is missing.
    """
    if path.suffix not in _FORMATS:
        raise InputError("unknown picture format", found=str(path), expected="a name ending in " + ", ".join(_FORMATS))
    try:
        import matplotlib as mpl
    except ImportError as error:
        raise ConfigurationError(
            "pictures need matplotlib", found="no matplotlib", remedy="Install it: pip install 'ddcalogen[plot]'."
        ) from error
    mpl.use("Agg")


def _polygon(face: CalorimeterFace, apothem_mm: float) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    angle = face.phi0_rad + (np.arange(face.symmetry + 1) - 0.5) * 2 * np.pi / face.symmetry
    radius = apothem_mm / np.cos(np.pi / face.symmetry)
    return radius * np.cos(angle), radius * np.sin(angle)


def _hits(event: Event, geometry: Geometry) -> dict[str, npt.NDArray[Any]]:
    """Position mm, energy GeV, depth mm behind the face along the layer normal and layer of every hit."""
    filled = [h for h in event.calorimeter_hits.values() if len(h.cell_id)]
    if not filled:
        return {}
    cell = np.concatenate([h.cell_id for h in filled])
    position = np.concatenate([h.position_mm for h in filled]).astype(float)
    energy = np.concatenate([h.energy_gev for h in filled]).astype(float)
    first = np.concatenate(
        [h.contributions.particle[h.contribution_offsets[:-1]] for h in filled]
    )  # the particle that reached the cell first in the list; good enough for a picture
    planes = geometry.surfaces.planes
    plane = geometry.surfaces.plane_of(cell)
    layer = np.array([planes[i].layer if i >= 0 else -1 for i in plane])
    return {"position": position, "energy": energy, "particle": first, "layer": layer}


def plot_event(event: Event, geometry: Geometry, path: Path) -> None:
    """Draw one event: cells in 3-D and seen along the beam, energy per layer, energy around the shower axes.

    Parameters
    ----------
    event
        With hits and the end points of the particles at the calorimeter face.
    geometry
        The detector the hits are in.
    path
        Picture to write (.png, .pdf, .svg).

    Raises
    ------
    InputError, ConfigurationError, OutputError
    """
    check_picture_name(path)
    import matplotlib.pyplot as plt
    from matplotlib.colors import LogNorm

    hits = _hits(event, geometry)
    figure = plt.figure(figsize=(15, 8), layout="constrained")
    grid = figure.add_gridspec(2, 3, width_ratios=(1.6, 1, 1))
    space = figure.add_subplot(grid[:, 0], projection="3d")
    beam, side = figure.add_subplot(grid[0, 1]), figure.add_subplot(grid[1, 1])
    layers, radial = figure.add_subplot(grid[0, 2]), figure.add_subplot(grid[1, 2])
    figure.suptitle(
        f"{geometry.name}, event {event.event_number}: {len(hits.get('energy', []))} cells, "
        f"{1e3 * hits['energy'].sum() if hits else 0:.1f} MeV visible"
    )

    for face in geometry.faces:
        if not face.detector.lower().startswith("ecal"):
            continue
        if face.kind == "barrel":
            for apothem in (face.distance_mm, face.r_outer_mm):
                x, y = _polygon(face, apothem)
                beam.plot(x, y, color="0.6", lw=0.8)
                for z in (-face.z_max_mm, face.z_max_mm):
                    space.plot(z / 1e3, x / 1e3, y / 1e3, color="0.7", lw=0.6)
                for sign in (-1, 1):
                    side.plot([-face.z_max_mm, face.z_max_mm], [sign * apothem] * 2, color="0.6", lw=0.8)
            for a, b in zip(*_polygon(face, face.distance_mm), strict=True):
                ends = [-face.z_max_mm / 1e3, face.z_max_mm / 1e3]
                space.plot(ends, [a / 1e3] * 2, [b / 1e3] * 2, color="0.8", lw=0.6)
        else:
            for sign in (-1, 1):
                for z in (face.z_min_mm, face.z_max_mm):
                    for r in (-1, 1):
                        side.plot([sign * z] * 2, [r * face.r_inner_mm, r * face.r_outer_mm], color="0.6", lw=0.8)
    if hits:
        position, energy = hits["position"], hits["energy"]
        order = np.argsort(energy)  # strong cells on top
        p, mev = position[order], 1e3 * energy[order]
        norm = LogNorm(max(mev.min(), 1e-2), max(mev.max(), 2e-2))
        size = np.clip(2.0 + 2.5 * np.log10(np.maximum(mev, 0.1) / 0.1), 1.0, 12.0)
        m = p / 1e3
        space.computed_zorder = False  # within one call matplotlib sorts by distance; strong cells go in front
        for number, part in enumerate(np.array_split(np.arange(len(m)), 12)):
            shown = space.scatter(
                m[part, 2],
                m[part, 0],
                m[part, 1],
                c=mev[part],
                s=size[part],
                norm=norm,
                cmap="plasma",
                linewidths=0,
                depthshade=False,
                zorder=5 + number,
            )
        beam.scatter(p[:, 0], p[:, 1], c=mev, s=size, norm=norm, cmap="plasma", linewidths=0)
        side.scatter(p[:, 2], p[:, 1], c=mev, s=size, norm=norm, cmap="plasma", linewidths=0)
        figure.colorbar(shown, ax=space, label="energy in the cell (MeV)", shrink=0.5, location="bottom", pad=0.02)
        count = (np.arange(hits["layer"].max() + 2) - 0.5).tolist()
        layers.hist(hits["layer"], bins=count, weights=1e3 * energy, histtype="stepfilled", alpha=0.3, color="C0")
        layers.hist(hits["layer"], bins=count, weights=1e3 * energy, histtype="step", color="C0")
        known = hits["particle"] >= 0
        owner = hits["particle"][known]
        start = event.particles.endpoint_mm[owner]
        momentum = event.particles.momentum_gev[owner]
        # the flight direction at the vertex; exact for photons, close for the stiff charged particles that shower
        axis = momentum / np.linalg.norm(momentum, axis=1, keepdims=True)
        away = position[known] - start
        distance = np.linalg.norm(away - (away * axis).sum(axis=1, keepdims=True) * axis, axis=1)
        rings = np.arange(0, 105, 5.0).tolist()
        radial.hist(distance, bins=rings, weights=1e3 * energy[known], histtype="step", color="C1")
        radial.set_yscale("log")
    ticks = np.arange(-2, 3)
    space.set(xlabel="z (m)", ylabel="x (m)", zlabel="y (m)", xticks=ticks, yticks=ticks, zticks=ticks)
    space.set_box_aspect((1.25, 1, 1), zoom=1.1)
    space.view_init(elev=18, azim=-62)
    beam.set(xlabel="x (mm)", ylabel="y (mm)", title="along the beam", aspect="equal")
    side.set(xlabel="z (mm)", ylabel="y (mm)", title="from the side", aspect="equal")
    layers.set(xlabel="layer", ylabel="visible energy (MeV)", title="longitudinal profile")
    radial.set(
        xlabel="distance from the shower axis (mm)", ylabel="visible energy (MeV / 5 mm)", title="radial profile"
    )
    with replace_when_complete(path) as partial:
        figure.savefig(partial, dpi=130, format=path.suffix[1:])
    plt.close(figure)
