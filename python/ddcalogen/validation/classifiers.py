# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Classifiers told to separate two samples: what they cannot separate, no analysis can. Needs torch and scipy.

Three of them: the 25 features of CaloClouds II (2309.05704), the high-level set of ConvL2LFlows (2405.20407), and a
low-level one on the cells themselves. Published settings are for 10⁵ to 10⁶ showers; with fewer, training stops by the
loss on held-back showers, and each result is cross-validated.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from ddcalogen.validation.metrics import Value
from ddcalogen.validation.observables import Cells, Observables, Readout

__all__ = [
    "IMAGE_PIXELS",
    "Separation",
    "area_under_curve",
    "caloclouds_features",
    "convl2l_features",
    "hadron_features",
    "physics_features",
    "separate_features",
    "separate_images",
    "shower_images",
]

Doubles = NDArray[np.float64]
Floats = NDArray[np.float32]

IMAGE_PIXELS = 18
"""Pixels along and across the axis that the low-level classifier sees, as wide as a bin of the radial profile: ±46 mm
in ILD's ECAL, ±92 mm there before an HCAL, ±270 mm in the HCAL."""


@dataclasses.dataclass(frozen=True)
class Separation:
    """How well two samples can be told apart; values over the held-out folds of the cross-validation.

    `auc`: area under the ROC curve, 0.5 none; `accuracy` of the best guess; `jsd`: (ln 2 − binary cross-entropy)/ln 2
    after isotonic calibration, 0 none, 1 always. The error of the AUC is the larger of the spread over folds / √folds
    and the statistical error of an AUC of 0.5 for as many showers.
    """

    auc: Value
    accuracy: Value
    jsd: Value


# ---------------------------------------------------------------------------------------------------- features


def _equal_bins(weight: Doubles, number: int) -> NDArray[np.int64]:
    """Bin index of each of the M columns so that every bin has about the same part of the weight, int64 [M]."""
    part = (np.cumsum(weight) - weight / 2) / max(float(weight.sum()), 1e-300)
    return np.minimum((part * number).astype(np.int64), number - 1)


def caloclouds_features(o: Observables, reference: Observables) -> Doubles:
    """Return the 25 features of CaloClouds II, float64 [N, 25].

    Three centres of gravity, occupancy, sampling fraction, and the energy in 10 longitudinal and 10 radial bins that
    hold about the same energy in the reference (whole layers and rings, so that bins may stay empty), per visible
    energy. The rings of several calorimeters follow each other, and energies are calibrated.
    """
    s = o.scalars
    visible = np.where(s["visible_gev"] > 0, s["visible_gev"], 1.0)[:, None]
    columns = [s[name] for name in ("cog_along_mm", "cog_across_mm", "cog_layer", "hits", "response")]
    parts = []
    for mine, theirs in (
        (o.layer_gev * o.weights, reference.layer_gev * reference.weights),
        (_rings(o), _rings(reference)),
    ):
        to_bin = np.zeros((mine.shape[1], 10))
        to_bin[np.arange(mine.shape[1]), _equal_bins(theirs.sum(axis=0), 10)] = 1.0
        parts.append(mine @ to_bin / visible)
    return np.concatenate([np.stack(columns, axis=1), *parts], axis=1)


def _rings(o: Observables) -> Doubles:
    """Energy in the rings of all parts, float64 [N, parts x 24], calibrated by the mean constant of each part."""
    scale = []
    for part in o.readout.parts:
        seen = o.layer_gev[:, part.layers].sum(axis=0)
        total = seen.sum()
        scale.append(float(seen @ o.weights[part.layers] / total) if total > 0 else 1.0)
    rings: Doubles = (o.radial_gev * np.array(scale)[:, None]).reshape(len(o), -1)
    return rings


def hadron_features(o: Observables, reference: Observables) -> Doubles:
    """Return the 25 features of CaloClouds II and what tells hadrons: where the shower starts, its centre behind that,
    width in depth, leakage, the energy of single particles, and the sharing between ECAL and HCAL where there are both.
    float64 [N, 30 or 32]."""
    names = (
        "start_layer", "depth_from_start", "rms_layer", "last_layers", "single_hcal_gev", "single_ecal_gev",
        "ecal_fraction",
    )  # fmt: skip
    columns = [o.scalars[name] for name in names if name in o.scalars]
    return np.concatenate([caloclouds_features(o, reference), np.stack(columns, axis=1)], axis=1)


def convl2l_features(o: Observables) -> Doubles:
    """Return the high-level set of ConvL2LFlows, float64 [N, 10].

    Ratio of visible to incident energy, occupancy, mean and width of the three coordinates and of the cell energies.
    """
    names = (
        "response", "hits", "cog_along_mm", "rms_along_mm", "cog_across_mm", "rms_across_mm", "cog_layer", "rms_layer",
        "cell_mean_gev", "cell_rms_gev",
    )  # fmt: skip
    return np.stack([o.scalars[name] for name in names], axis=1)


def physics_features(o: Observables) -> Doubles:
    """Return the features of FPD and KPD: incident energy and all observables of a shower, float64 [N, 19 to 24]."""
    return np.stack([o.energy_gev, *o.scalars.values()], axis=1)


def shower_images(cells: Cells, readout: Readout) -> Floats:
    """Return cells above threshold around the axis as images, float32 [N, layers, 18, 18]: log10(1 + E / threshold).

    A cell goes to the pixel that holds its centre; cells outside the window are left out.
    """
    threshold = readout.of_layers([p.threshold_gev for p in readout.parts])
    hit = cells.above(threshold)
    layers, n = readout.layers, IMAGE_PIXELS
    width = readout.of_layers([p.ring_mm for p in readout.parts])[hit.layer]
    ix = np.floor(hit.along_mm / width).astype(np.int64) + n // 2
    iy = np.floor(hit.across_mm / width).astype(np.int64) + n // 2
    keep = (ix >= 0) & (ix < n) & (iy >= 0) & (iy < n)
    pixel = ((hit.shower * layers + hit.layer) * n + ix) * n + iy
    energy = np.bincount(pixel[keep], (hit.energy_gev / threshold[hit.layer])[keep], cells.showers * layers * n * n)
    images: Floats = np.log10(1.0 + energy).astype(np.float32).reshape(cells.showers, layers, n, n)
    return images


# ---------------------------------------------------------------------------------------------------- training


def area_under_curve(score: Doubles, truth: NDArray[np.bool_]) -> float:
    """Return the area under the ROC curve; ties count half."""
    from scipy.stats import rankdata

    ones, zeros = int(truth.sum()), int((~truth).sum())
    rank = rankdata(score)
    return float((rank[truth].sum() - ones * (ones + 1) / 2) / (ones * zeros))


def _information(
    score: Doubles, truth: NDArray[np.bool_], calibration_score: Doubles, calibration_truth: NDArray[np.bool_]
) -> float:
    """(ln 2 − BCE)/ln 2 after isotonic calibration on other showers; below 0 only by chance."""
    from scipy.optimize import isotonic_regression

    order = np.argsort(calibration_score, kind="stable")
    # one made-up shower of each kind at the ends: a few showers must not make the calibration certain
    steps = isotonic_regression(np.concatenate(([1.0], calibration_truth[order].astype(float), [0.0]))).x[1:-1]
    p = np.clip(np.interp(score, calibration_score[order], steps), 1e-2, 1 - 1e-2)
    entropy = -float(np.mean(np.where(truth, np.log(p), np.log1p(-p))))
    return (math.log(2.0) - entropy) / math.log(2.0)


def _train(
    network: torch.nn.Module,
    inputs: tuple[torch.Tensor, ...],
    truth: torch.Tensor,
    train: torch.Tensor,
    stop: torch.Tensor,
    *,
    rate: float,
    batch: int,
    epochs: int,
    patience: int,
    generator: torch.Generator,
) -> None:
    """Train in place; the weights of the epoch with the lowest loss on the `stop` showers are kept."""
    loss_of = torch.nn.BCEWithLogitsLoss()
    optimiser = torch.optim.Adam(network.parameters(), rate)
    best, kept, waited = math.inf, network.state_dict(), 0
    for _ in range(epochs):
        network.train()
        order = train[torch.randperm(len(train), generator=generator)]
        for part in torch.split(order, batch):
            loss = loss_of(network(*(x[part] for x in inputs))[:, 0], truth[part])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        network.eval()
        with torch.no_grad():
            now = float(loss_of(network(*(x[stop] for x in inputs))[:, 0], truth[stop]))
        if now < best - 1e-5:
            best, waited = now, 0
            kept = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        else:
            waited += 1
            if waited >= patience:
                break
    network.load_state_dict(kept)


def _cross_validate(
    make: Callable[[], torch.nn.Module],
    inputs: tuple[torch.Tensor, ...],
    truth: torch.Tensor,
    *,
    standardise: bool,
    folds: int,
    used_folds: int,
    seed: int,
    rate: float,
    batch: int,
    epochs: int,
    patience: int,
    progress: Callable[[], None],
) -> Separation:
    generator = torch.Generator().manual_seed(seed)
    fold = torch.randperm(len(truth), generator=generator) % folds
    aucs, accuracies, divergences = [], [], []
    for k in range(used_folds):
        test = torch.nonzero(fold == k)[:, 0]
        stop = torch.nonzero(fold == (k + 1) % folds)[:, 0]
        train = torch.nonzero((fold != k) & (fold != (k + 1) % folds))[:, 0]
        x = inputs
        if standardise:
            centre, width = inputs[0][train].mean(0), inputs[0][train].std(0).clamp_min(1e-9)
            x = (((inputs[0] - centre) / width).clamp(-10, 10), *inputs[1:])
        with torch.random.fork_rng():
            torch.manual_seed(seed + k)
            network = make()
        _train(
            network,
            x,
            truth,
            train,
            stop,
            rate=rate,
            batch=batch,
            epochs=epochs,
            patience=patience,
            generator=generator,
        )
        scored = []
        for chosen in (test, stop):
            with torch.no_grad():
                score = torch.cat([network(*(i[part] for i in x))[:, 0] for part in torch.split(chosen, 512)])
            scored += [score.numpy().astype(float), truth[chosen].numpy() > 0.5]
        values, is_sample, calibration, calibration_truth = scored
        aucs.append(area_under_curve(values, is_sample))
        accuracies.append(float(((values > 0) == is_sample).mean()))
        divergences.append(_information(values, is_sample, calibration, calibration_truth))
        progress()

    def summary(values: list[float], floor: float) -> Value:
        spread = float(np.std(values, ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else 0.0
        return Value(float(np.mean(values)), max(spread, floor) or math.nan)

    tested = max(2.0, len(truth) * used_folds / folds / 2)
    chance = math.sqrt((2 * tested + 1) / (12 * tested * tested))
    return Separation(
        summary(aucs, chance), summary(accuracies, 0.5 / math.sqrt(2 * tested)), summary(divergences, 0.0)
    )


def _nothing() -> None:
    return


def separate_features(
    sample: Doubles,
    reference: Doubles,
    layers: tuple[int, ...],
    *,
    rate: float = 1e-3,
    batch: int = 128,
    epochs: int = 60,
    folds: int = 10,
    seed: int = 0,
    progress: Callable[[], None] = _nothing,
) -> Separation:
    """Train a fully connected network (LeakyReLU 0.2, Adam) on features [N, F], [M, F] and cross-validate it.

    Parameters
    ----------
    layers
        Widths of the hidden layers: (32, 16) for CaloClouds II, (512, 512, 128, 32) for ConvL2LFlows.
    progress
        Called after each fold.
    """
    x = torch.from_numpy(np.concatenate([sample, reference]).astype(np.float32))
    truth = torch.cat([torch.ones(len(sample)), torch.zeros(len(reference))])

    def make() -> torch.nn.Module:
        parts: list[torch.nn.Module] = []
        width = x.shape[1]
        for next_width in layers:
            parts += [torch.nn.Linear(width, next_width), torch.nn.LeakyReLU(0.2)]
            width = next_width
        return torch.nn.Sequential(*parts, torch.nn.Linear(width, 1))

    return _cross_validate(
        make, (x,), truth, standardise=True, folds=folds, used_folds=folds, seed=seed, rate=rate, batch=batch,
        epochs=epochs, patience=8, progress=progress,
    )  # fmt: skip


class _ImageNetwork(torch.nn.Module):
    """Four 3-D convolutions of 16 filters; the incident energy joins before the dense layers 128-64-32-1."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        steps = ((1, 2, 2, 2), (16, 2, 1, 1), (16, 1, 2, 2), (16, 2, 1, 1))
        parts: list[torch.nn.Module] = []
        for channels, *(deep, wide, high) in steps:
            parts += [torch.nn.Conv3d(channels, 16, 3, (deep, wide, high), 1), torch.nn.LeakyReLU(0.2)]
        self.convolutions = torch.nn.Sequential(*parts, torch.nn.Flatten())
        with torch.no_grad():
            width = self.convolutions(torch.zeros(1, 1, layers, IMAGE_PIXELS, IMAGE_PIXELS)).shape[1]
        dense: list[torch.nn.Module] = []
        width += 1
        for next_width in (128, 64, 32):
            dense += [torch.nn.Linear(width, next_width), torch.nn.LeakyReLU(0.2)]
            width = next_width
        self.dense = torch.nn.Sequential(*dense, torch.nn.Linear(width, 1))

    def forward(self, image: torch.Tensor, log_energy: torch.Tensor) -> torch.Tensor:
        seen = self.convolutions(image[:, None])
        result: torch.Tensor = self.dense(torch.cat([seen, log_energy], dim=1))
        return result


def separate_images(
    sample: tuple[Floats, Doubles],
    reference: tuple[Floats, Doubles],
    *,
    epochs: int = 10,
    used_folds: int = 1,
    seed: int = 0,
    progress: Callable[[], None] = _nothing,
) -> Separation:
    """Train a small 3-D convolutional network on images and incident energies of two samples.

    Parameters
    ----------
    sample, reference
        (images float32 [N, layers, 18, 18] of `shower_images`, incident energies float64 [N] GeV).
    used_folds
        How many of the five folds are tested, each with a network of its own.
    """
    images = torch.from_numpy(np.concatenate([sample[0], reference[0]]))
    energy = torch.from_numpy(np.log(np.concatenate([sample[1], reference[1]])).astype(np.float32))[:, None] / 3.0
    truth = torch.cat([torch.ones(len(sample[0])), torch.zeros(len(reference[0]))])
    layers = images.shape[1]
    return _cross_validate(
        lambda: _ImageNetwork(layers), (images, energy), truth, standardise=False, folds=5, used_folds=used_folds,
        seed=seed, rate=1e-3, batch=64, epochs=epochs, patience=4, progress=progress,
    )  # fmt: skip
