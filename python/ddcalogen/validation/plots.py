# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Plots of the report: model beside Geant4, statistical uncertainties, ratio below. Needs matplotlib and mplhep."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ddcalogen.errors import ConfigurationError
from ddcalogen.files import replace_when_complete
from ddcalogen.validation.metrics import Value
from ddcalogen.validation.observables import SPECTRUM_EDGES_GEV, Observables
from ddcalogen.validation.samples import Sample
from ddcalogen.validation.study import Bin

__all__ = [
    "Picture",
    "check_plotting",
    "fractions",
    "histogram_panels",
    "plot_position_curves",
    "plot_regions",
    "plot_response",
    "plot_samples",
    "plot_spectra",
    "save",
    "scalar_label",
    "shared_edges",
    "style",
]

Doubles = NDArray[np.float64]

GEANT4, MODEL, AGAIN, SHIFTED, OTHER = "#4d4d4d", "#d55e00", "#0072b2", "#cc79a7", "#009e73"
"""Dark grey, and vermilion, blue, reddish purple and bluish green of Okabe and Ito: told apart by any eye."""
_METHODS = {"truth": ("0.2", "s"), "nearest": (MODEL, "v"), "random": (OTHER, "o"), "overlap": (AGAIN, "^")}
_SCALAR_PLOTS = (
    "response", "hits", "cog_layer", "start_layer", "cog_along_mm", "cog_across_mm", "rms_along_mm", "rms_across_mm",
    "rms_layer", "radius_mm", "third_1", "third_3", "cell_mean_gev", "visible_gev",
)  # fmt: skip
_HADRON_PLOTS = ("depth_from_start", "last_layers", "single_hcal_gev", "single_ecal_gev", "ecal_fraction")

_LEAST_IN_WINDOW = 50
"""Showers a distribution at about fixed energy or angle must have."""


@dataclasses.dataclass(frozen=True)
class Picture:
    """A picture of the report: name of its file, what it shows, section, and the matplotlib figure."""

    name: str
    caption: str
    section: str
    figure: Any


def check_plotting() -> None:
    """Check that plots can be made, before the work.

    Raises
    ------
    ConfigurationError
        matplotlib, mplhep, torch or scipy is missing.
    """
    try:
        import matplotlib as mpl
        import mplhep
        import scipy
        import torch
    except ImportError as error:
        raise ConfigurationError(
            "validation needs matplotlib, mplhep, scipy and torch",
            found=f"no {error.name}",
            remedy="Install them: pip install 'ddcalogen[plot,train]'.",
        ) from error
    mpl.use("Agg")
    del mplhep, scipy
    # Small networks: threads only wait for each other.
    torch.set_num_threads(1)


def style() -> AbstractContextManager[None]:
    """Style of all plots of the report: that of ROOT as mplhep has it, in sizes for a page."""
    import matplotlib.pyplot as plt
    import mplhep

    ours = {
        "font.sans-serif": ["TeX Gyre Heros", "DejaVu Sans"],
        "font.size": 12,
        "axes.labelsize": 13,
        "axes.titlesize": 12,
        "axes.linewidth": 1.0,
        "axes.unicode_minus": True,
        "legend.fontsize": 11,
        "legend.frameon": False,
        "lines.linewidth": 1.4,
        "lines.markersize": 4,
        "xtick.labelsize": 11,
        "ytick.labelsize": 11,
        "xtick.major.size": 7,
        "xtick.minor.size": 3.5,
        "ytick.major.size": 7,
        "ytick.minor.size": 3.5,
        "figure.dpi": 150,
        "savefig.dpi": 150,
    }
    context: AbstractContextManager[None] = plt.style.context([mplhep.style.ROOT, ours])
    return context


def save(picture: Picture, folder: Path) -> Path:
    """Write a picture as PNG into a folder, close the figure and return the path."""
    import matplotlib.pyplot as plt

    path = folder / f"{picture.name}.png"
    with style(), replace_when_complete(path) as partial:  # fonts are chosen when the picture is drawn
        picture.figure.savefig(partial, format="png")
    plt.close(picture.figure)
    return path


def histogram_panels(
    edges: Doubles,
    reference: tuple[Doubles, Doubles],
    sample: tuple[Doubles, Doubles],
    *,
    x_label: str,
    y_label: str,
    title: str = "",
    log_x: bool = False,
    log_y: bool = False,
    whole: bool = False,
    names: tuple[str, str] = ("Geant4", "model"),
    lines: Sequence[tuple[float, str]] = (),
) -> Any:
    """Two histograms (height, error) over common edges, and their ratio below; returns the matplotlib figure.

    `lines` are marked in the upper panel; `whole`: x is a number of something, ticks at whole numbers.
    """
    import matplotlib.pyplot as plt
    import mplhep
    from matplotlib.ticker import MaxNLocator

    with style():
        figure, (top, below) = plt.subplots(
            2, 1, figsize=(5.2, 4.6), sharex=True, layout="constrained", gridspec_kw={"height_ratios": (3, 1)}
        )
        (h, eh), (m, em) = reference, sample
        mplhep.histplot(h, edges, ax=top, histtype="fill", color=GEANT4, alpha=0.3, label=names[0], yerr=False)
        mplhep.histplot(h, edges, ax=top, histtype="step", color=GEANT4, yerr=False, lw=1)
        _band(top, edges, h, eh)
        mplhep.histplot(m, edges, ax=top, histtype="step", color=MODEL, yerr=em, label=names[1], lw=1.2)
        _ratio(below, edges, reference, [(sample, MODEL, "o")], log_x=log_x)
        below.set(xlabel=x_label, ylabel=f"{names[1]} / {names[0]}")
        for x, text in lines:
            _mark(top, x, text)
        top.set(ylabel=y_label, title=title)
        if log_x:
            top.set_xscale("log")
        else:
            below.xaxis.set_major_locator(MaxNLocator(7, integer=whole))
        _heights(top, np.concatenate([h, m]), log_y)
        top.set_xlim(edges[0], edges[-1])
        top.legend(loc="upper right")
        figure.align_ylabels()
    return figure


def _band(axis: Any, edges: Doubles, height: Doubles, error: Doubles) -> None:
    """Statistical uncertainty of the reference."""
    axis.stairs(height + error, edges, baseline=height - error, fill=True, color=GEANT4, alpha=0.45, lw=0)


def _mark(axis: Any, x: float, text: str) -> None:
    axis.axvline(x, color="0.3", lw=0.8, ls="--")
    axis.annotate(text, (x, 0.97), xycoords=("data", "axes fraction"), rotation=90, fontsize=9, ha="right", va="top")


def _heights(axis: Any, heights: Doubles, log_y: bool) -> None:
    """Room above the histograms and their errors for the legend."""
    heights = heights[heights > 0]
    if log_y and len(heights):
        axis.set_yscale("log")
        axis.set_ylim(heights.min() / 2, heights.max() * 20)
    elif len(heights):
        axis.set_ylim(0, 1.7 * heights.max())


def _ratio(
    axis: Any,
    edges: Doubles,
    reference: tuple[Doubles, Doubles],
    samples: Sequence[tuple[tuple[Doubles, Doubles], str, str]],
    *,
    log_x: bool = False,
    reach: float | None = None,
) -> None:
    """Ratios to the reference with their uncertainties, its own as a band; points beyond the range at its edge.

    `samples` are ((height, error), colour, marker). `reach`: range on either side of one; None: the narrowest of a few
    that holds nearly all points.
    """
    h, eh = reference
    centre = np.sqrt(edges[1:] * edges[:-1]) if log_x else (edges[1:] + edges[:-1]) / 2
    shown = h > 0
    safe = np.where(shown, h, 1.0)
    away = np.concatenate([np.abs(m / safe - 1.0)[shown & (m > 0) & (em < 0.3 * m)] for (m, em), _, _ in samples])
    if reach is None:
        reach = next((r for r in (0.1, 0.2) if len(away) and np.quantile(away, 0.97) < 0.9 * r), 0.5)
    _band(axis, edges, np.where(shown, 1.0, math.nan), np.where(shown, eh / safe, 0.0))
    axis.axhline(1.0, color=GEANT4, lw=1)
    for (m, em), colour, marker in samples:
        ratio, error = m / safe, em / safe
        axis.errorbar(centre[shown], ratio[shown], error[shown], fmt=marker, ms=3, lw=1, capsize=0, color=colour)
        for side, sign in ((ratio > 1 + reach, 1), (ratio < 1 - reach, -1)):
            beyond = shown & side
            axis.plot(
                centre[beyond], np.full(int(beyond.sum()), 1 + 0.92 * sign * reach), ls="", ms=4, color=colour,
                marker="^" if sign > 0 else "v", mfc="none",
            )  # fmt: skip
    axis.set_ylim(1 - reach, 1 + reach)


def fractions(values: Doubles, edges: Doubles) -> tuple[Doubles, Doubles]:
    """Fraction of showers per bin and its Poisson error; values beyond the range go to the outermost bins."""
    n = np.histogram(np.clip(values, edges[0], np.nextafter(edges[-1], -math.inf)), edges)[0].astype(float)
    size = max(len(values), 1)
    return n / size, np.sqrt(n) / size


def _per_shower(table: NDArray[Any]) -> tuple[Doubles, Doubles]:
    """Mean over showers and its standard error of every column of [N, bins]."""
    rows = table.astype(float)
    return rows.mean(axis=0), rows.std(axis=0, ddof=1) / math.sqrt(len(rows))


def shared_edges(a: Doubles, b: Doubles, bins: int, whole: bool) -> Doubles:
    """Edges of about `bins` bins over the central 99.4 % of two samples; `whole`: values are whole numbers."""
    low = min(np.quantile(a, 0.003), np.quantile(b, 0.003))
    high = max(np.quantile(a, 0.997), np.quantile(b, 0.997))
    if whole:
        step = max(1.0, math.ceil((high - low + 1) / bins))
        return np.arange(math.floor(low), math.ceil(high) + 1 + step, step) - 0.5
    if not high > low:
        high = low + 1.0
    return np.linspace(low, high, bins + 1)


def plot_samples(reference: Sample, model: Sample, model_name: str) -> Iterator[Picture]:
    """Spectrum, profiles and distributions over all showers and in windows of energy and angle."""
    ref, mod = reference.observables, model.observables
    yield from _spectra(ref, mod, model_name)
    yield from _profiles(ref, mod, model_name)
    for name in (*_SCALAR_PLOTS, *_HADRON_PLOTS):
        if name not in ref.scalars:
            continue
        label, scale = scalar_label(ref, name)
        a, b = scale * ref.scalars[name], scale * mod.scalars[name]
        edges = shared_edges(a, b, min(30, max(12, len(ref) // 15)), name == "start_layer")
        title = ref.readout.scalars[name][0]
        yield Picture(
            name,
            f"{title[:1].upper()}{title[1:]}, all showers.",
            "Showers",
            histogram_panels(
                edges,
                fractions(a, edges),
                fractions(b, edges),
                x_label=label,
                y_label="fraction of showers",
                whole=name in ("start_layer", "hits"),
                names=("Geant4", model_name),
                log_y=name == "last_layers",
            ),
        )
    yield from _windows(ref, mod, model_name)


def scalar_label(o: Observables, name: str) -> tuple[str, float]:
    """Label of the axis of an observable, and what its values are multiplied by for it."""
    title, unit = o.readout.scalars[name]
    scale = 1.0
    if name == "response" and not o.readout.combined:
        scale, unit = 1e3, "MeV / GeV"
    elif name.startswith(("cell_", "single_")):
        scale, unit = 1e3, "MeV"
    return title + (f" ({unit})" if unit else ""), scale


def _spectra(ref: Observables, mod: Observables, model_name: str) -> Iterator[Picture]:
    for k, part in enumerate(ref.readout.parts):
        spectrum = [_per_shower(o.spectrum[:, k]) for o in (ref, mod)]
        seen = np.flatnonzero(spectrum[0][0] + spectrum[1][0])
        if len(seen) == 0:
            continue
        first, last = max(int(seen[0]), 10), int(seen[-1]) + 1
        yield Picture(
            f"cell_spectrum_{part.name}" if ref.readout.combined else "cell_spectrum",
            f"Energies of all {part.name.upper()} cells, before the cut at half a minimum-ionising particle (dashed), "
            "and the bump of single particles at twice that.",
            "Cells",
            histogram_panels(
                1e3 * SPECTRUM_EDGES_GEV[first : last + 1],
                (spectrum[0][0][first:last], spectrum[0][1][first:last]),
                (spectrum[1][0][first:last], spectrum[1][1][first:last]),
                x_label=f"{part.name.upper()} cell energy (MeV)",
                y_label="cells per shower and bin",
                log_x=True,
                log_y=True,
                lines=[(1e3 * part.threshold_gev, "cut")],
                names=("Geant4", model_name),
            ),
        )


def _profiles(ref: Observables, mod: Observables, model_name: str) -> Iterator[Picture]:
    names = ("Geant4", model_name)
    layers = np.arange(ref.layer_gev.shape[1] + 1) - 0.5
    (a, ea), (b, eb) = (_per_shower(1e3 * o.layer_gev) for o in (ref, mod))
    several = ref.readout.combined
    border = [(p.layers.start - 0.5, p.name.upper()) for p in ref.readout.parts[1:]]
    yield Picture(
        "longitudinal",
        "Visible energy in each layer"
        + ("; " + ", ".join(p.name.upper() for p in ref.readout.parts) + " follow each other." if several else ".")
        + (
            " The zig-zag in the ECAL is real: neighbouring layers lie behind different absorbers."
            if ref.readout.parts[0].name == "ecal"
            else ""
        ),
        "Profiles",
        histogram_panels(
            layers, (a, ea), (b, eb), x_label="layer", y_label="energy per shower (MeV)", names=names,
            log_y=several, lines=border, whole=True,
        ),
    )  # fmt: skip
    for k, part in enumerate(ref.readout.parts):
        rings = np.arange(ref.radial_gev.shape[2] + 1) * part.ring_mm
        (a, ea), (b, eb) = (_per_shower(1e3 * o.radial_gev[:, k]) for o in (ref, mod))
        yield Picture(
            f"radial_{part.name}" if several else "radial",
            f"Visible energy in rings around the shower axis, {part.name.upper()}.",
            "Profiles",
            histogram_panels(
                rings, (a, ea), (b, eb), x_label="distance from the axis (mm)",
                y_label="energy per shower and ring (MeV)", log_y=True, names=names,
            ),
        )  # fmt: skip


def _windows(ref: Observables, mod: Observables, model_name: str) -> Iterator[Picture]:
    """Response and number of hits at about fixed energies, and profiles at about fixed angles."""
    for centre in (20, 50, 80):
        for half in (5, 10):
            low, high = centre - half, centre + half
            a, b = (o.select((o.energy_gev >= low) & (o.energy_gev < high)) for o in (ref, mod))
            if min(len(a), len(b)) >= _LEAST_IN_WINDOW:
                break
        else:
            continue
        for name in ("response", "hits"):
            title, scale = scalar_label(ref, name)
            first, second = scale * a.scalars[name], scale * b.scalars[name]
            edges = shared_edges(first, second, 15, False)
            yield Picture(
                f"{name}_{centre}gev",
                f"{ref.readout.scalars[name][0].capitalize()}, {low} to {high} GeV ({len(a)} and {len(b)} showers).",
                "At fixed energies",
                histogram_panels(
                    edges,
                    fractions(first, edges),
                    fractions(second, edges),
                    x_label=title,
                    y_label="fraction of showers",
                    title=f"{low}–{high} GeV",
                    names=("Geant4", model_name),
                ),
            )
    if np.ptp(ref.theta_deg) < 5.0:
        return
    for smallest, largest in ((0, 15), (25, 35), (45, 60.5)):
        a, b = (
            o.select((o.theta_deg >= smallest) & (o.theta_deg < largest) & (o.energy_gev >= 10)) for o in (ref, mod)
        )
        if min(len(a), len(b)) < _LEAST_IN_WINDOW:
            continue
        layers = np.arange(a.layer_gev.shape[1] + 1) - 0.5
        scaled = [_per_shower(1e3 * o.layer_gev / o.energy_gev[:, None]) for o in (a, b)]
        yield Picture(
            f"longitudinal_{smallest}deg",
            f"Longitudinal profile at {smallest}° to {largest:g}° from the layer normal, above 10 GeV ({len(a)} and "
            f"{len(b)} "
            "showers).",
            "At fixed angles",
            histogram_panels(
                layers, scaled[0], scaled[1], x_label="layer", y_label="energy per layer (MeV / GeV)",
                whole=True, title=f"{smallest}°–{largest:g}°",
                names=("Geant4", model_name),
            ),
        )  # fmt: skip


def plot_response(
    bins: Sequence[Bin],
    along: str,
    samples: Sequence[tuple[str, str, str]],
    *,
    section: str,
    calibrated: bool = False,
) -> Picture:
    """Linearity and width of the response in bins of energy or angle; `samples` are (key, label, colour).

    The first sample is what the ratios refer to; `calibrated`: energies are on the scale of the incident ones.
    """
    import matplotlib.pyplot as plt

    with style():
        figure, axes = plt.subplots(
            2, 2, figsize=(9.5, 5.0), sharex=True, layout="constrained", gridspec_kw={"height_ratios": (2, 1)}
        )
        x = np.array([(b.low + b.high) / 2 for b in bins])
        half = np.maximum([(b.high - b.low) / 2 for b in bins], 0.05 * np.ptp(x))
        mu = ("mu90", "μ90 / E", 1.0) if calibrated else ("mu90", "μ90 / E (MeV / GeV)", 1e3)
        for column, (field, label, scale) in enumerate((mu, ("resolution", "σ90 / μ90 (%)", 1e2))):
            base = np.array([getattr(b, field)["reference"].value for b in bins])
            top, below = axes[0, column], axes[1, column]
            for number, ((key, name, colour), marker) in enumerate(zip(samples, "so^D", strict=False)):
                value = np.array([getattr(b, field)[key].value for b in bins])
                error = np.array([getattr(b, field)[key].error for b in bins])
                at = x + (number - (len(samples) - 1) / 2) * 0.2 * half
                look = {"fmt": marker, "ms": 4, "color": colour, "capsize": 0, "lw": 1.2}
                top.errorbar(at, scale * value, scale * error, label=name, **look)
                below.errorbar(at, value / base, error / base, **look)
            below.axhline(1.0, color=GEANT4, lw=1, zorder=0)
            top.set(ylabel=label)
            below.set(
                xlabel="energy (GeV)" if along == "energy" else "angle to the layer normal (°)",
                ylabel=f"ratio to {samples[0][1]}",
            )
            top.margins(y=0.25)
            below.margins(y=0.2)
        # above the panels: it never covers a point
        figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=len(samples))
        figure.align_ylabels()
    what = "energy" if along == "energy" else "angle (from 10 GeV on)"
    return Picture(
        f"response_{along}",
        f"Linearity and width of the visible energy against {what}: mean and rms of the narrowest 90 %.",
        section,
        figure,
    )


def plot_regions(panels: dict[str, dict[str, dict[str, Value]]], name: str, caption: str) -> Picture:
    """Figures in parts of the detector: label of the panel -> region -> "Geant4" or "model" -> value."""
    import matplotlib.pyplot as plt

    with style():
        figure, axes = plt.subplots(
            1, len(panels), figsize=(2.75 * len(panels), 3.6), layout="constrained", squeeze=False
        )
        for axis, (label, regions) in zip(axes[0], panels.items(), strict=True):
            x = np.arange(len(regions), dtype=float)
            for key, colour, marker, shift in (("Geant4", GEANT4, "s", -0.12), ("model", MODEL, "o", 0.12)):
                values = [found[key] for found in regions.values()]
                axis.errorbar(
                    x + shift, [v.value for v in values], [v.error for v in values], fmt=marker, ms=5, capsize=2,
                    color=colour, label=key,
                )  # fmt: skip
            axis.set_xticks(x, list(regions), rotation=35, ha="right", fontsize=10)
            axis.tick_params(axis="x", which="minor", bottom=False, top=False)
            axis.set_xlim(-0.5, len(regions) - 0.5)
            axis.set_ylabel(label)
            axis.margins(y=0.3)
        axes[0, 0].legend(fontsize=9, loc="best")
    return Picture(name, caption, "", figure)


def plot_position_curves(
    edges: Doubles,
    position: Sequence[tuple[str, Mapping[str, Sequence[Value]]]],
    hits: Sequence[Mapping[str, Sequence[Value]]],
) -> Any:
    """Bias of the position (mm), and number of cells relative to the truth below, over the entry point inside a cell.

    One column for each arrangement of the grid: `position` has its name and the values by method, `hits` the values by
    method. `edges` (mm) float64 [bins + 1].
    """
    import matplotlib.pyplot as plt

    with style():
        figure, axes = plt.subplots(
            2, len(position), figsize=(3.7 * len(position), 5.6), sharex=True, sharey="row", layout="constrained",
            gridspec_kw={"height_ratios": (3, 2)}, squeeze=False,
        )  # fmt: skip
        centre = (edges[1:] + edges[:-1]) / 2
        for column, ((name, curves), counts) in enumerate(zip(position, hits, strict=True)):
            for axis, values in ((axes[0, column], curves), (axes[1, column], counts)):
                for method, points in values.items():
                    colour, marker = _METHODS[method]
                    axis.errorbar(
                        centre, [v.value for v in points], [v.error for v in points], fmt=marker + "-", ms=4, lw=1,
                        capsize=0, color=colour, label=method,
                    )  # fmt: skip
            axes[0, column].axhline(0.0, color="0.7", lw=0.8, zorder=0)
            axes[1, column].axhline(1.0, color="0.7", lw=0.8, zorder=0)
            axes[0, column].set(title=name)
            axes[1, column].set(xlabel="entry point inside the cell (mm)", xlim=(edges[0], edges[-1]))
        axes[0, 0].set(ylabel="bias of the position (mm)")
        axes[1, 0].set(ylabel="cells / truth")
        figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
        figure.align_ylabels()
    return figure


def plot_spectra(spectra: Mapping[str, NDArray[Any]], edges_gev: Doubles, cut_mev: float) -> Any:
    """Cell spectra of back-projected grids, and ratios to the first, which is the truth.

    `spectra`: number of cells per bin of each shower, [N, bins], by method.
    """
    import matplotlib.pyplot as plt

    counts = {name: _per_shower(table) for name, table in spectra.items()}
    truth = next(iter(counts.values()))
    seen = np.flatnonzero(sum(mean for mean, _ in counts.values()))
    first, last = max(int(seen[0]), 10), int(seen[-1]) + 1
    edges = 1e3 * edges_gev[first : last + 1]
    with style():
        figure, (top, below) = plt.subplots(
            2, 1, figsize=(5.2, 4.6), sharex=True, layout="constrained", gridspec_kw={"height_ratios": (2, 1)}
        )
        for name, (mean, error) in counts.items():
            colour, _ = _METHODS[name]
            h, e = mean[first:last], error[first:last]
            if name == "truth":
                top.stairs(h, edges, fill=True, color=GEANT4, alpha=0.3, label=name)
                _band(top, edges, h, e)
            else:
                top.stairs(h, edges, color=colour, label=name, lw=1.2)
        part = [((m[first:last], e[first:last]), *_METHODS[k]) for k, (m, e) in counts.items() if k != "truth"]
        _ratio(below, edges, (truth[0][first:last], truth[1][first:last]), part, log_x=True, reach=0.9)
        _mark(top, cut_mev, "cut")
        top.set_xscale("log")
        _heights(top, np.concatenate([m for m, _ in counts.values()]), log_y=True)
        top.set(ylabel="cells per shower and bin", xlim=(edges[0], edges[-1]))
        below.set(xlabel="cell energy (MeV)", ylabel="ratio to truth")
        top.legend(loc="upper right")
        figure.align_ylabels()
    return figure
