# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ddcalogen.engine import Generator
from ddcalogen.geometry import Geometry
from ddcalogen.validation.backprojection import compare_back_projection
from toy_showers import toy_showers


def test_sharing_by_area_makes_hits_and_fine_bins_do_not(ild: Geometry, toy_model: Callable[..., Path]) -> None:
    section, numbers = compare_back_projection(Generator(toy_model(), ild), toy_showers(60, theta_deg=20))
    assert section.title == "From a grid into real cells"
    grids = {(round(g["grid_mm"], 2), g["method"]): g for g in numbers}
    assert grids[5.09, "overlap"]["hits_ratio"].value > 1.1
    assert abs(grids[1.7, "random"]["hits_ratio"].value - 1) < 0.05
