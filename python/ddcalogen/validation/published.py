# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Published figures of other models of ILD's calorimeters, as printed in their sources; for orientation only.

They were measured with other Geant4 samples (perpendicular photons, 10 to 90 or 100 GeV), other sizes and other cells.
"""

from __future__ import annotations

__all__ = ["MEASURED_TIMES", "PUBLISHED", "PUBLISHED_OF_SYSTEM", "PUBLISHED_TIMES"]

PUBLISHED: tuple[tuple[str, str, str, str], ...] = (
    ("CaloClouds", "25 features, AUC", "0.99998", "CaloClouds-2 notebook (2309.05704)"),
    ("CaloClouds II", "25 features, AUC", "0.9281 ± 0.0014", "CaloClouds-2 notebook (2309.05704)"),
    ("CaloClouds II (CM)", "25 features, AUC", "0.9231 ± 0.0008", "CaloClouds-2 notebook (2309.05704)"),
    ("layer-to-layer flows", "10 features, AUC / accuracy / JSD", "0.71 / 0.65 / 0.11", "Buss, 23.03.2023"),
    ("BIB-AE", "10 features, AUC / accuracy / JSD", "0.90 / 0.81 / 0.43", "Buss, 23.03.2023"),
    (
        "Geant4",
        "W1 × 100 occupancy / sampling fraction / hits",
        "0.7 ± 0.2 / 0.8 ± 0.2 / 0.9 ± 0.4",
        "CaloClouds-2 notebook",
    ),
    ("CaloClouds", "W1 × 100 occupancy / sampling fraction / hits", "2.5 ± 0.3 / 11.4 ± 0.5 / 15.9 ± 0.7", "the same"),
    (
        "CaloClouds II",
        "W1 × 100 occupancy / sampling fraction / hits",
        "3.6 ± 0.5 / 26.4 ± 0.4 / 15.3 ± 0.6",
        "the same",
    ),
    (
        "CaloClouds II (CM)",
        "W1 × 100 occupancy / sampling fraction / hits",
        "6.1 ± 0.7 / 9.8 ± 0.5 / 16.0 ± 0.7",
        "the same",
    ),
    ("Geant4", "W1 × 100 E long / E rad", "0.7 ± 0.8 / 0.7 ± 0.6", "the same"),
    ("CaloClouds", "W1 × 100 E long / E rad", "2.0 ± 1.4 / 38.8 ± 1.4", "the same"),
    ("CaloClouds II", "W1 × 100 E long / E rad", "3.7 ± 1.6 / 11.6 ± 1.5", "the same"),
    ("CaloClouds II (CM)", "W1 × 100 E long / E rad", "2.0 ± 1.4 / 8.3 ± 1.9", "the same"),
    ("GAN", "mean |Δ correlation|", "0.058", "2005.05334"),
    ("WGAN", "mean |Δ correlation|", "0.187", "2005.05334"),
    ("BIB-AE", "mean |Δ correlation|", "0.132", "2005.05334"),
)
"""(model, figure, value, source); W1 with ten subsets of 50,000 showers."""

PUBLISHED_TIMES: tuple[tuple[str, str, str, str], ...] = (
    ("Geant4", "Xeon E5-2640 v4, one core", "4081.53 ± 169.92 (10–100 GeV)", "2005.05334"),
    ("WGAN", "the same, batch 1 / 100", "63.14 ± 0.34 / 58.11 ± 0.13", "2005.05334"),
    ("BIB-AE", "the same, batch 1 / 100", "426.32 ± 3.62 / 418.04 ± 0.20", "2005.05334"),
    ("WGAN", "V100, batch 1 / 100", "3.25 / 5.43", "2005.05334"),
    ("BIB-AE", "V100, batch 1 / 100", "3.19 ± 0.01 / 1.42 ± 0.01", "2005.05334"),
    (
        "CaloClouds 3 in ddsim",
        "one CPU thread",
        "15 to 33 (10 to 100 GeV), read off a figure",
        "CaloClouds-3 repository",
    ),
)
"""(model, machine, milliseconds per photon shower, source)."""

MEASURED_TIMES: tuple[tuple[str, str, str, str], ...] = (
    (
        "Geant4 11.4, whole ILD_l5_o1_v02 in ddsim, photons of 10 to 100 GeV into the barrel",
        "one thread of the machine of docs/ddsim.md",
        "1870",
        "docs/ddsim.md",
    ),
    (
        "Geant4 11.4, gap-free ECAL layers only, 30 perpendicular photons of 50 GeV / of 10 to 100 GeV",
        "one thread of the machine of the table above",
        "639 / 747",
        "the program that made training showers",
    ),
)
"""(system, machine, milliseconds of CPU time per shower, source), measured with this project's own runs."""

_CC2 = "(2309.05704, notebook)"

PUBLISHED_OF_SYSTEM: dict[tuple[str, str], dict[str, str]] = {
    ("ECAL", "gan"): {"correlations: mean |Δ correlation|": "0.058 (2005.05334)"},
    ("ECAL", "wgan"): {"correlations: mean |Δ correlation|": "0.187 (2005.05334)"},
    ("ECAL", "bib_ae"): {
        "correlations: mean |Δ correlation|": "0.132 (2005.05334)",
        "classifier 10 features (ConvL2LFlows): AUC": "0.90 (Buss, 23.03.2023)",
    },
    ("ECAL", "l2lflows"): {"classifier 10 features (ConvL2LFlows): AUC": "0.71 (Buss, 23.03.2023)"},
    ("ECAL", "point_cloud"): {
        "classifier 25 features (CaloClouds II): AUC": f"0.9281 ± 0.0014 {_CC2}",
        "W1 × 100: occupancy": f"3.6 ± 0.5 {_CC2}",
        "W1 × 100: sampling fraction": f"26.4 ± 0.4 {_CC2}",
        "W1 × 100: hits": f"15.3 ± 0.6 {_CC2}",
        "W1 × 100: E long": f"3.7 ± 1.6 {_CC2}",
        "W1 × 100: E rad": f"11.6 ± 1.5 {_CC2}",
    },
    ("ECAL", "point_cloud_distilled"): {
        "classifier 25 features (CaloClouds II): AUC": f"0.9231 ± 0.0008 {_CC2}",
        "W1 × 100: occupancy": f"6.1 ± 0.7 {_CC2}",
        "W1 × 100: sampling fraction": f"9.8 ± 0.5 {_CC2}",
        "W1 × 100: hits": f"16.0 ± 0.7 {_CC2}",
        "W1 × 100: E long": f"2.0 ± 1.4 {_CC2}",
        "W1 × 100: E rad": f"8.3 ± 1.9 {_CC2}",
    },
}
"""Figures that were published for the same kind of system, by (calorimeter, system) and name of our figure."""
