# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""The amplification study from truth to report."""

from __future__ import annotations

import dataclasses
import hashlib
import html
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ddcalogen.engine import Generator
from ddcalogen.errors import ConfigurationError
from ddcalogen.files import replace_when_complete
from ddcalogen.training.data import Showers, load_split, shower_ids, split_of
from ddcalogen.validation import plots, report
from ddcalogen.validation.amplification import (
    DEVIATIONS,
    LEAST_PER_REGION,
    OBSERVABLES,
    PIXELS,
    amplification,
    image_observables,
    project,
)
from ddcalogen.validation.samples import generate

__all__ = [
    "generated_images",
    "incident_photons",
    "model_images",
    "run_study",
    "training_images",
    "training_particles",
    "write_training_file",
]

Floats = NDArray[np.float32]
_CHUNK = 8192
_TRAINING_EVENT = 1 << 40
"""Events of the training showers: far from those of the truth."""


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


def training_particles(number: int, energy_gev: float) -> Showers:
    """Return incident particles of which `number` fall into the training split, and some into the others.

    The split hangs on the incident particle, so that the energies must differ: they rise in steps of a float32's last
    digit, by less than 0.02 % in all for 1000 showers.
    """
    first = np.float32(energy_gev)
    bits = first.view(np.int32) + np.arange(2 * number + 100, dtype=np.int32)
    energy = bits.view(np.float32)
    incident = dataclasses.replace(incident_photons(len(energy), energy_gev), energy_gev=energy)
    split = split_of(shower_ids(incident.energy_gev, incident.direction, incident.pdg))
    last = int(np.flatnonzero(np.cumsum(split == 0) == number)[0])
    return incident.select(np.arange(last + 1))


def write_training_file(generator: Generator, energy_gev: float, number: int, path: Path) -> None:
    """Write showers of a model, `number` of them in the training split, as a showerdata file.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    incident = training_particles(number, energy_gev)
    showers, _ = generate(generator, incident, rng=np.random.default_rng(generator.seed), first_event=_TRAINING_EVENT)
    table = np.column_stack([showers.x_mm, showers.y_mm, showers.layer, showers.point_energy_gev]).astype(np.float32)
    counts = np.diff(showers.offsets)
    with replace_when_complete(path) as partial, h5py.File(partial, "w") as file:
        rows = file.create_dataset("showers", (len(showers),), h5py.vlen_dtype(np.float32))
        for i in range(len(showers)):
            rows[i] = table[showers.offsets[i] : showers.offsets[i + 1]].ravel()
        file["energies"] = showers.energy_gev[:, None]
        file["directions"] = showers.direction
        file["pdg"] = showers.pdg
        file["shower_ids"] = np.arange(len(showers), dtype=np.int32)
        file["num_points"] = counts.astype(np.int32)
        file["shape"] = np.array([len(showers), int(counts.max()), 4], np.int32)
        file.attrs["source"] = f"{generator.card.name} {generator.card.version}, hash {generator.hash}"


def generated_images(checkpoint: Path, number: int, seed: int) -> dict[str, Floats]:
    """Return projections made by a trained VAE-GAN: by the ensemble, and by its first member alone, MeV."""
    import torch

    from ddcalogen.training.checkpoint import load_checkpoint, load_system
    from ddcalogen.training.systems.vae_gan import VaeGan

    system = load_system(load_checkpoint(checkpoint))
    if not isinstance(system, VaeGan):
        raise ConfigurationError("the checkpoint is of another system", found=type(system).__name__, expected="vae_gan")
    sampler = system.sampler().eval()
    result = {}
    for name in ("ensemble", "one network"):
        random, parts = torch.Generator().manual_seed(seed), []
        with torch.no_grad():
            for start in range(0, number, _CHUNK):
                size = min(_CHUNK, number - start)
                z, pixel = (torch.randn(size, n, generator=random) for n in (system.config.latent, PIXELS * PIXELS))
                member = torch.rand(size, 1, generator=random) * (1.0 if name == "ensemble" else 0.0)
                parts.append(sampler.images_mev(z, pixel, member).numpy())
        result[name] = np.concatenate(parts)
    return result


def training_images(path: Path, generator: Generator) -> Floats:
    """Return the projections of the training split of a file, float32 [N, 10, 10], MeV."""
    card = generator.card.calorimeter
    showers = load_split([path], "train")
    return project(showers, np.array(card.layer_depth_mm), cell_mm=card.cell_size_mm[0])


def plot_deviation(result: dict[str, list[dict[str, Any]]], trained_on: int, path: Path) -> None:
    """Draw the deviation against the number of quantiles, one panel for each observable."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 3, figsize=(12, 7), layout="constrained", sharex=True)
    colours = {"training": "#7f7f7f", "one network": "#ff7f0e", "ensemble": "#d62728"}
    for axis, (name, rows) in zip(axes.flat, result.items(), strict=True):
        x = np.array([row["regions"] for row in rows])
        for factor, dash in ((1, "-"), (5, "--"), (20, ":")):
            # the deviation of a truth-like sample falls with the root of its size
            y = np.array([row["expected"].value for row in rows]) / np.sqrt(factor)
            axis.plot(x, y, dash, color="k", lw=1, label=f"{factor * trained_on} showers like the truth")
        for key, colour in colours.items():
            y = np.array([row["samples"][key]["deviation"] for row in rows])
            label = f"{trained_on} training showers" if key == "training" else f"VAE-GAN, {key}"
            axis.plot(x, y, "o-", ms=4, color=colour, label=label)
        axis.set(xscale="log", yscale="log", title=OBSERVABLES.get(name, "all five together"))
    for axis in axes[1]:
        axis.set(xlabel="quantiles (regions)")
    for axis in axes[:, 0]:
        axis.set(ylabel=f"deviation {DEVIATIONS['mse_root']}")
    axes[0, 0].legend(fontsize=8)
    with replace_when_complete(path) as partial:
        figure.savefig(partial, format="png", dpi=110)
    plt.close(figure)


def run_study(
    generator: Generator,
    folder: Path,
    *,
    energy_gev: float = 50.0,
    truth_showers: int = 218_000,
    trained_on: int = 1000,
    generated: int = 1_000_000,
    checkpoint: Path | None = None,
    settings: Sequence[str] = (),
    say: Callable[[str], None] = lambda _: None,
) -> Path:
    """Do the whole study and write `amplification.html`, `amplification.json` and a plot; return the HTML file.

    The truth is the model of `generator`, not Geant4: the method needs hundreds of thousands of independent showers of
    one energy. It shows whether a network trained on few showers of a known distribution is worth more than these.

    Parameters
    ----------
    folder
        Gets everything; what is there is not made again.
    checkpoint
        Of a VAE-GAN trained on `folder`/training.h5; None: trained here.
    settings
        Changes of the training's configuration, SECTION.KEY=VALUE.

    Raises
    ------
    InputError, ConfigurationError, ModelError, OutputError
    """
    from ddcalogen.training.config import load_config
    from ddcalogen.training.loop import LAST, train

    plots.check_plotting()
    folder.mkdir(parents=True, exist_ok=True)
    say(f"truth: {truth_showers} photons of {energy_gev:g} GeV from {generator.card.name}")
    truth = model_images(generator, energy_gev, truth_showers, folder / "cache")
    file = folder / "training.h5"
    if not file.is_file():
        write_training_file(generator, energy_gev, trained_on, file)
    seen = training_images(file, generator)
    if checkpoint is None:
        say(f"training of the ensemble on {len(seen)} showers")
        limits = f"data.energy_gev=[{energy_gev - 1},{energy_gev + 1}]"
        run = folder / "run"
        config = load_config("vae_gan", None, [limits, *settings])
        checkpoint = train(config, [file], run, resume=(run / LAST).is_file(), accelerator="cpu")
    say(f"{generated} showers of the ensemble and of one network")
    rng = np.random.default_rng(generator.seed)
    made = {k: image_observables(v, rng) for k, v in generated_images(checkpoint, generated, generator.seed).items()}
    depths = [d for d in (3, 4, 5, 6, 7, 8, 10, 12, 14) if truth_showers >= LEAST_PER_REGION * 2**d]
    result = amplification(image_observables(truth, rng), image_observables(seen, rng), made, depths, rng)
    plot_deviation(result, len(seen), folder / "amplification.png")
    return _write(generator, folder, result, energy_gev, truth_showers, len(seen), generated, depths)


def _write(
    generator: Generator,
    folder: Path,
    result: dict[str, list[dict[str, Any]]],
    energy_gev: float,
    truth: int,
    trained_on: int,
    generated: int,
    depths: Sequence[int],
) -> Path:
    rows = []
    for name, entries in result.items():
        for row in entries:
            cells = [row["samples"][key] for key in ("training", "one network", "ensemble")]
            rows.append(
                [OBSERVABLES.get(name, "all five together"), str(row["regions"])]
                + [(">= " if c["is_limit"] else "") + str(c["factor"]) for c in cells]
            )
    name = f"{generator.card.name} {generator.card.version}"
    text = (
        f"How many showers is a sample of {generated} generated ones worth, in units of the {trained_on} showers the "
        f"networks were trained on? Quantile method of Calomplification (2202.07352). Truth: {truth} photons of "
        f"{energy_gev:g} GeV from the model {html.escape(name)}, which stands in for Geant4 (the method needs so many "
        "independent showers). Errors are statistical. 1: no amplification. The training showers themselves must give "
        "1 on average."
    )
    head = ["observable", "regions", "training showers", "one network", "ensemble"]
    section = report.Section("Amplification factor", text, [report.table(head, rows)])
    caption = "Deviation from the truth against the number of quantiles; black: expected for samples of the truth."
    section.pictures.append((folder / "amplification.png", caption))
    numbers = {
        "truth": {"model": name, "hash": generator.hash, "energy_gev": energy_gev, "showers": truth},
        "trained_on": trained_on,
        "generated": generated,
        "regions": [2**d for d in depths],
        "result": result,
    }
    report.write_json(numbers, folder / "amplification.json")
    page = folder / "amplification.html"
    report.write_html("Amplification study", "VAE-GAN of Calomplification.", [section], page)
    return page
