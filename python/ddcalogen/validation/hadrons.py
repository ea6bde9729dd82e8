# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""What only hadron showers have: where they start, what leaks out at the back, how ECAL and HCAL share them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from ddcalogen.validation import plots
from ddcalogen.validation.metrics import Value, bootstrap, mu90_sigma90
from ddcalogen.validation.observables import LAST_LAYERS, Observables
from ddcalogen.validation.samples import Sample
from ddcalogen.validation.study import Figure

__all__ = ["LEAK_FRACTION", "calibration_text", "hadron_figures", "hadron_pictures", "start_length"]

Doubles = NDArray[np.float64]

LEAK_FRACTION = 0.05
"""A shower with more than this part of its energy in the last four layers counts as leaking."""
_FEWEST = 15


def start_length(start_layer: Doubles, first: int, last: int) -> float:
    """Return the mean number of layers until a shower starts, by maximum likelihood; NaN for fewer than 15 showers.

    An exponential law, cut off at both ends, of the showers that start in layers first..last-1: pairs of numbers of
    layers and showers in the first bins, where backscatter and the first layers' own conditions play in, are best left
    out by the choice of `first`.
    """
    x = start_layer[(start_layer >= first) & (start_layer < last)] - first
    if len(x) < _FEWEST:
        return math.nan
    mean, n = float(x.mean()), last - first
    # geometric law q^k (1 - q) / (1 - q^n), k = 0..n-1: the mean falls monotonically with the rate -ln q
    low, high = 1e-4, 10.0
    for _ in range(60):
        rate = math.sqrt(low * high)
        q = math.exp(-rate)
        expected = q / (1 - q) - n * q**n / (1 - q**n)
        low, high = (rate, high) if expected > mean else (low, rate)
    return 1.0 / rate


def _statistics(o: Observables) -> dict[str, tuple[str, Callable[[NDArray[np.int64]], float]]]:
    """Name -> (unit, value of the showers of an index array)."""
    s, layers = o.scalars, o.readout.layers
    start, last, response = s["start_layer"], s["last_layers"], s["response"]
    hcal = next(p for p in o.readout.parts if p.name == "hcal")
    # from the second layer on: the first holds what starts in front of the calorimeter, too
    first, end = hcal.layers.start + 1, hcal.layers.start + (hcal.layers.stop - hcal.layers.start) * 2 // 3
    scale, unit = (1.0, "") if o.readout.combined else (1e3, "MeV / GeV")
    leaking = last > LEAK_FRACTION

    def part(mask: NDArray[np.bool_]) -> Callable[[NDArray[np.int64]], float]:
        return lambda i: float(mask[i].mean())

    def mu90(mask: NDArray[np.bool_]) -> Callable[[NDArray[np.int64]], float]:
        return lambda i: scale * mu90_sigma90(response[i][mask[i]])[0].value

    def width(mask: NDArray[np.bool_]) -> Callable[[NDArray[np.int64]], float]:
        def value(i: NDArray[np.int64]) -> float:
            mu, sigma = mu90_sigma90(response[i][mask[i]])
            return sigma.value / mu.value if mu.value else math.nan

        return value

    found = {
        "layers until the shower starts, HCAL": ("layers", lambda i: start_length(start[i], first, end)),
        "showers that do not start": ("", part(start >= layers)),
        f"showers with over {100 * LEAK_FRACTION:.0f} % in the last {LAST_LAYERS} layers": ("", part(leaking)),
        "μ90 of the response, contained showers": (unit, mu90(~leaking)),
        "σ90/μ90 of the response, contained showers": ("", width(~leaking)),
        "μ90 of the response, leaking showers": (unit, mu90(leaking)),
    }
    if o.readout.combined:
        ecal = o.readout.parts[0].layers
        found["showers that start in the ECAL"] = ("", part(start < ecal.stop))
        found["σ90/μ90 of the response, start in the ECAL"] = ("", width(start < ecal.stop))
        found["σ90/μ90 of the response, start in the HCAL"] = ("", width((start >= ecal.stop) & (start < layers)))
    return found


def hadron_figures(samples: dict[str, Sample], reference: Sample, *, seed: int = 0) -> list[Figure]:
    """Return the figures of shower start, leakage and containment, each with its bootstrap error."""
    values: dict[str, dict[str, Value]] = {}
    units: dict[str, str] = {}
    for key, sample in (*samples.items(), ("reference", reference)):
        o = sample.observables
        for name, (unit, statistic) in _statistics(o).items():
            rng = np.random.default_rng([seed, 78])  # the same resampling for every sample
            values.setdefault(name, {})[key] = bootstrap(statistic, len(o), rng)
            units[name] = unit
    return [Figure("hadrons", name, units[name], "quantity", by_sample) for name, by_sample in values.items()]


def calibration_text(reference: Sample) -> str:
    """Say how the energies of the calorimeters were added."""
    o = reference.observables
    if not o.readout.combined:
        return "Energies are visible energies of the HCAL, not calibrated."
    said = []
    for p in o.readout.parts:
        low, high = o.weights[p.layers.start], o.weights[p.layers.stop - 1]
        said.append(
            f"{low:.2f} for the {p.name.upper()}" + (f" ({high:.2f} behind thick absorbers)" if high != low else "")
        )
    return (
        "Visible energies of the calorimeters are multiplied by constants before they are added: "
        + ", ".join(said)
        + f". The constants come from the {len(o)} Geant4 showers of the reference (least squares of (E − Σ c · "
        "visible)² / E, then scaled to μ90 = 1; ECAL layers behind thick absorbers count twice) and are the same for "
        "all samples; so the reference's own mean response is right by construction, but not that of any other sample."
    )


# ----------------------------------------------------------------------------------------------------- pictures


def hadron_pictures(reference: Sample, model: Sample, model_name: str) -> Iterator[plots.Picture]:
    """Profiles from the shower's start and of late showers, response against the start, ECAL against HCAL."""
    ref, mod = reference.observables, model.observables
    names = ("Geant4", model_name)
    layers = ref.readout.layers
    unit = "calibrated energy" if ref.readout.combined else "visible energy"
    for late in (False, True):
        limit = layers // 2
        profiles, numbers = [], []
        for o in (ref, mod):
            start = o.scalars["start_layer"]
            use = (start < layers) & (start >= limit) if late else start < layers
            profiles.append(_from_start(o, use))
            numbers.append(int(use.sum()))
        if min(numbers) < _FEWEST:
            continue
        length = layers - limit if late else layers
        yield plots.Picture(
            "late_showers" if late else "from_start",
            "Profile from the first layer of the shower on, per incident energy, "
            + (f"showers that start in layer {limit} or behind: their tail is cut off by the end of the calorimeter"
               if late else "showers that start anywhere")
            + f" ({numbers[0]} and {numbers[1]} showers).",
            "Hadron showers",
            plots.histogram_panels(
                np.arange(length + 1, dtype=np.float64) - 0.5,
                (profiles[0][0][:length], profiles[0][1][:length]),
                (profiles[1][0][:length], profiles[1][1][:length]),
                x_label="layers behind the start of the shower",
                y_label=f"{unit} / incident energy",
                log_y=True,
                names=names,
            ),
        )  # fmt: skip
    yield _response_by_start(ref, mod, model_name)
    if ref.readout.combined:
        yield _sharing(ref, mod, model_name)


def _from_start(o: Observables, use: NDArray[np.bool_]) -> tuple[Doubles, Doubles]:
    """Mean energy per incident energy in each layer behind the start, and its error; [layers] each."""
    energy = o.layer_gev[use] * o.weights / o.energy_gev[use, None]
    n, layers = energy.shape
    at = np.arange(layers) + o.scalars["start_layer"][use].astype(np.int64)[:, None]
    moved = np.where(at < layers, np.take_along_axis(energy, np.minimum(at, layers - 1), axis=1), 0.0)
    spread = moved.std(axis=0, ddof=1) if n > 1 else np.zeros(layers)
    return moved.mean(axis=0), spread / math.sqrt(max(n, 1))


def _response_by_start(ref: Observables, mod: Observables, model_name: str) -> plots.Picture:
    import matplotlib.pyplot as plt

    label, scale = plots.scalar_label(ref, "response")
    start = ref.scalars["start_layer"]
    inside = start < ref.readout.layers
    edges = np.unique(np.round(np.quantile(start[inside], np.linspace(0, 1, 9))))
    edges[-1] += 1
    with plots.style():
        figure, axis = plt.subplots(figsize=(5.2, 4.0), layout="constrained")
        for number, (o, name, colour) in enumerate(((ref, "Geant4", plots.GEANT4), (mod, model_name, plots.MODEL))):
            x, y, e = [], [], []
            for low, high in itertools.pairwise(edges):
                use = (o.scalars["start_layer"] >= low) & (o.scalars["start_layer"] < high)
                if use.sum() < 5:
                    continue
                mu, _ = mu90_sigma90(scale * o.scalars["response"][use])
                x.append((low + high - 1) / 2 + 0.3 * (number - 0.5))
                y.append(mu.value)
                e.append(mu.error)
            axis.errorbar(x, y, e, fmt="so"[number], ms=4, capsize=2, color=colour, label=name)
        axis.set(xlabel="first layer of the shower", ylabel=f"μ90 of {label}")
        axis.margins(y=0.3)
        axis.legend(loc="upper right")
    return plots.Picture(
        "response_by_start",
        "Response against the layer in which the shower starts (mean of the narrowest 90 %): what starts late leaks.",
        "Hadron showers",
        figure,
    )


def _sharing(ref: Observables, mod: Observables, model_name: str) -> plots.Picture:
    import matplotlib.pyplot as plt

    with plots.style():
        figure, axes = plt.subplots(1, 2, figsize=(9.5, 4.2), sharex=True, sharey=True, layout="constrained")
        for axis, o, name in ((axes[0], ref, "Geant4"), (axes[1], mod, model_name)):
            calibrated = o.layer_gev * o.weights
            sums = [calibrated[:, p.layers].sum(axis=1) / o.energy_gev for p in o.readout.parts[:2]]
            axis.scatter(*sums, c=o.energy_gev, s=9, cmap="viridis", vmin=0, vmax=100)
            axis.plot([0, 1], [1, 0], color="0.4", lw=0.8, ls="--")
            axis.set(xlabel="ECAL, calibrated / incident energy", title=name, xlim=(-0.03, 1.5), ylim=(-0.03, 1.7))
        axes[0].set(ylabel="HCAL, calibrated / incident energy")
        figure.colorbar(axes[0].collections[0], ax=axes, label="incident energy (GeV)")
    return plots.Picture(
        "sharing", "How ECAL and HCAL share the energy; the dashed line is their sum at the incident energy.",
        "Hadron showers", figure,
    )  # fmt: skip
