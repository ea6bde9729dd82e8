# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Layer stacks of the calorimeters that showers are made for."""

from __future__ import annotations

import dataclasses

from ddcalogen.card import Calorimeter
from ddcalogen.errors import ConfigurationError

__all__ = ["ILD_ECAL_LAYER_DEPTH_MM", "STACKS", "Stack", "find_stack"]

_ECAL_FACE_MM, _HCAL_FACE_MM = 1804.8, 2058.0
"""Radius of the front faces in the ILD barrel, mm."""

ILD_ECAL_LAYER_DEPTH_MM = tuple(
    round(lower + 0.2625 - _ECAL_FACE_MM, 4)
    for lower in (
        *(1811.340, 1814.465, 1823.810, 1826.935, 1836.280, 1839.405, 1848.750, 1851.875, 1861.220, 1864.345),
        *(1873.690, 1876.815, 1886.160, 1889.285, 1898.630, 1901.755, 1911.100, 1914.225, 1923.570, 1926.695),
        *(1938.140, 1943.365, 1954.810, 1960.035, 1971.480, 1976.705, 1988.150, 1993.375, 2004.820, 2010.045),
    )
)
"""Depth of the silicon mid-planes of the ILD ECAL behind its face, mm (radii of the barrel layers less 1804.8)."""

_HCAL_LAYER_RADIUS_MM = tuple(2082.5 + 26.5 * layer for layer in range(48))
"""Radius of the scintillator mid-planes of the ILD HCAL barrel, mm."""


@dataclasses.dataclass(frozen=True)
class Stack:
    """A calorimeter as showers see it: layers one behind the other.

    Attributes
    ----------
    name
        As in a card and in `ddcalogen.calorimeters`.
    detector
        Detector model.
    layer_depth_mm
        Depth of the mid-plane of each sensitive layer behind the face.
    cell_mm
        Side of a readout cell, for each layer.
    threshold_gev
        Half a minimum-ionising particle, for each layer: cells below are cut.
    """

    name: str
    detector: str
    layer_depth_mm: tuple[float, ...]
    cell_mm: tuple[float, ...]
    threshold_gev: tuple[float, ...]

    @property
    def layers(self) -> int:
        """Number of layers."""
        return len(self.layer_depth_mm)

    @property
    def parts(self) -> dict[str, slice]:
        """Layers of each calorimeter of the stack, by the names of groups in slab files ("ecal", "hcal")."""
        parts, first = {}, 0
        for name in self.name.split("+"):
            layers = self.layers if name == self.name else STACKS[name].layers
            parts[name.lower()] = slice(first, first + layers)
            first += layers
        return parts

    def calorimeter(self) -> Calorimeter:
        """Description for a model card; of two calorimeters in a row, the cells are those of the first."""
        return Calorimeter(
            name=self.name,
            detector=self.detector,
            layer_depth_mm=self.layer_depth_mm,
            cell_size_mm=(self.cell_mm[0], self.cell_mm[0]),
        )


def _hcal_depth_mm(face_mm: float) -> tuple[float, ...]:
    return tuple(round(radius - face_mm, 4) for radius in _HCAL_LAYER_RADIUS_MM)


_ECAL_CELL_MM, _HCAL_CELL_MM = (5.088333,) * 30, (30.0,) * 48
_ECAL_CUT_GEV, _HCAL_CUT_GEV = (1e-4,) * 30, (2.5e-4,) * 48
_ILD = "ILD_l5_o1_v02"

STACKS: dict[str, Stack] = {
    s.name: s
    for s in (
        Stack("ECAL", _ILD, ILD_ECAL_LAYER_DEPTH_MM, _ECAL_CELL_MM, _ECAL_CUT_GEV),
        Stack("HCAL", _ILD, _hcal_depth_mm(_HCAL_FACE_MM), _HCAL_CELL_MM, _HCAL_CUT_GEV),
        Stack(
            "ECAL+HCAL",
            _ILD,
            ILD_ECAL_LAYER_DEPTH_MM + _hcal_depth_mm(_ECAL_FACE_MM),
            _ECAL_CELL_MM + _HCAL_CELL_MM,
            _ECAL_CUT_GEV + _HCAL_CUT_GEV,
        ),
    )
}
"""Stacks by name, those of ILD; "ECAL+HCAL" are both behind the face of the ECAL."""


def find_stack(name: str) -> Stack:
    """Return the stack of a calorimeter.

    Raises
    ------
    ConfigurationError
        There is none of that name.
    """
    if name not in STACKS:
        raise ConfigurationError("no such calorimeter", found=name, expected=", ".join(STACKS))
    return STACKS[name]
