# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from ddcalogen.validation import plots

# Machado, Oliveira and Fernandes 2009, full severity, on linear RGB
VISION = {
    "normal": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}


def linear_rgb(colour: str) -> np.ndarray:
    c = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    """CIE L*a*b* (D65) of linear sRGB."""
    to_xyz = np.array([[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.072175],
                       [0.0193339, 0.119192, 0.9503041]])  # fmt: skip
    x = to_xyz @ np.clip(rgb, 0, 1) / [0.95047, 1, 1.08883]
    f = np.where(x > (6 / 29) ** 3, np.cbrt(x), x / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("vision", VISION)
def test_colours_are_told_apart(vision: str) -> None:
    matrix = np.array(VISION[vision])
    colours = [plots.GEANT4, plots.MODEL, plots.AGAIN, plots.SHIFTED, plots.OTHER]
    seen = [lab(matrix @ linear_rgb(c)) for c in colours]
    # 2.3 is just noticeable; plots have different marks besides
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)) > 15


@pytest.mark.parametrize(("away", "reach"), [(0.02, 0.1), (0.15, 0.2), (0.4, 0.5)])
def test_the_ratio_panel_shows_its_points(away: float, reach: float, tmp_path: Path) -> None:
    pytest.importorskip("mplhep")
    plots.check_plotting()
    edges, h = np.linspace(0, 10, 11), np.full(10, 100.0)
    m = h * (1 + away * np.where(np.arange(10) % 2, 1, -1))
    figure = plots.histogram_panels(edges, (h, 0.01 * h), (m, 0.01 * m), x_label="x (mm)", y_label="entries")
    below = figure.axes[1]
    assert below.get_ylim() == pytest.approx((1 - reach, 1 + reach))
    assert below.get_ylabel() == "model / Geant4"
    path = plots.save(plots.Picture("ratio", "", "", figure), tmp_path)
    assert path.read_bytes()[:4] == b"\x89PNG"


def test_points_beyond_the_ratio_panel_are_marked_at_its_edge() -> None:
    pytest.importorskip("mplhep")
    import matplotlib.pyplot as plt

    plots.check_plotting()
    edges, h = np.linspace(0, 10, 11), np.full(10, 100.0)
    m = h.copy()
    m[3], m[7] = 300.0, 5.0
    figure = plots.histogram_panels(edges, (h, 0.01 * h), (m, 0.01 * m), x_label="x (mm)", y_label="entries")
    marks = {line.get_marker(): line for line in figure.axes[1].lines if line.get_marker() in "^v"}
    assert marks["^"].get_xdata().tolist() == [3.5]
    assert marks["v"].get_xdata().tolist() == [7.5]
    low, high = figure.axes[1].get_ylim()
    assert low < marks["v"].get_ydata()[0] < marks["^"].get_ydata()[0] < high
    plt.close(figure)
