# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""The amplification study from truth to report."""

from __future__ import annotations

import dataclasses
import hashlib
import html
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ddcalogen.engine import Generator
from ddcalogen.errors import ConfigurationError
from ddcalogen.files import make_folder, replace_when_complete
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

if TYPE_CHECKING:
    from ddcalogen.training.loop import Observer

__all__ = [
    "generated_observables",
    "incident_photons",
    "model_images",
    "run_study",
    "training_images",
    "training_particles",
    "write_training_file",
]

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
_CHUNK = 8192
"""Truth showers in a part."""
_DRAWN = 1000
"""Showers of a network made at once."""
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
    make_folder(cache)
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


def generated_observables(
    checkpoint: Path, number: int, seed: int, advance: Callable[[int], None] = lambda _: None
) -> dict[str, Doubles]:
    """Return the observables of showers made by a trained VAE-GAN, float64 [., 5], MeV and cells.

    By each member of the ensemble alone, `number` / members showers each, and of all of them together ("ensemble").
    """
    import torch

    from ddcalogen.training.checkpoint import load_checkpoint, load_system
    from ddcalogen.training.systems.vae_gan import Member, VaeGan

    system = load_system(load_checkpoint(checkpoint)).eval()
    if not isinstance(system, VaeGan):
        raise ConfigurationError("the checkpoint is of another system", found=type(system).__name__, expected="vae_gan")
    result: dict[str, Doubles] = {}
    for k, member in enumerate(system.members):
        assert isinstance(member, Member)
        random, rng, parts = torch.Generator().manual_seed(seed + k), np.random.default_rng([seed, k]), []
        each = number * (k + 1) // len(system.members) - number * k // len(system.members)
        for start in range(0, each, _DRAWN):
            size = min(_DRAWN, each - start)
            z, pixel = (torch.randn(size, n, generator=random) for n in (system.config.latent, PIXELS * PIXELS))
            with torch.no_grad():
                parts.append(image_observables(member.decoder.images_mev(z, pixel).numpy(), rng))
            advance(size)
        result[f"network {k + 1}"] = np.concatenate(parts)
    result["ensemble"] = np.concatenate(list(result.values()))
    return result


def training_images(path: Path, generator: Generator) -> Floats:
    """Return the projections of the training split of a file, float32 [N, 10, 10], MeV."""
    card = generator.card.calorimeter
    showers = load_split([path], "train")
    return project(showers, np.array(card.layer_depth_mm), cell_mm=card.cell_size_mm[0])


def _colour(name: str) -> str:
    return {"training": "#7f7f7f", "ensemble": "#d62728"}.get(name, "#ff7f0e")


def _label(name: str, trained_on: int) -> str:
    if name == "training":
        return f"{trained_on} training showers"
    return "VAE-GAN, ensemble" if name == "ensemble" else "VAE-GAN, single networks"


def _style(name: str, trained_on: int) -> dict[str, Any]:
    """How a sample is drawn: single networks of the ensemble thinly."""
    thin = name not in ("training", "ensemble")
    return {
        "ms": 2 if thin else 4,
        "lw": 0.8 if thin else 1.5,
        "color": _colour(name),
        "label": _label(name, trained_on),
    }


def _panels() -> tuple[Any, Any]:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 3, figsize=(12, 7), layout="constrained", sharex=True)
    for axis in axes[1]:
        axis.set(xlabel="quantiles (regions)")
    return figure, axes


def _write_panels(figure: Any, axes: Any, path: Path) -> None:
    import matplotlib.pyplot as plt

    handles, labels = axes.flat[0].get_legend_handles_labels()
    once = dict(zip(reversed(labels), reversed(handles), strict=True))
    figure.legend(once.values(), once.keys(), loc="outside lower center", ncols=3, fontsize=9)
    with replace_when_complete(path) as partial:
        figure.savefig(partial, format="png", dpi=110)
    plt.close(figure)


def plot_factor(result: dict[str, list[dict[str, Any]]], trained_on: int, path: Path) -> None:
    """Draw the amplification factor against the number of quantiles, one panel for each observable."""
    figure, axes = _panels()
    for axis, (name, rows) in zip(axes.flat, result.items(), strict=True):
        x = np.array([row["regions"] for row in rows])
        axis.axhline(1.0, color="k", lw=1, label="no amplification")
        axis.axhline(rows[0]["truth"] / trained_on, color="k", lw=1, ls=":", label="limit of the truth sample")
        for key in rows[0]["samples"]:
            factors = [row["samples"][key]["factor"] for row in rows]
            axis.errorbar(
                x, [f.value for f in factors], [f.error for f in factors], fmt="o-", **_style(key, trained_on)
            )
        axis.set(xscale="log", yscale="log", title=OBSERVABLES.get(name, "all five together"))
    for axis in axes[:, 0]:
        axis.set(ylabel="amplification factor")
    _write_panels(figure, axes, path)


def plot_deviation(result: dict[str, list[dict[str, Any]]], trained_on: int, path: Path) -> None:
    """Draw the deviation against the number of quantiles, one panel for each observable."""
    figure, axes = _panels()
    for axis, (name, rows) in zip(axes.flat, result.items(), strict=True):
        x = np.array([row["regions"] for row in rows])
        for factor, dash in ((1, "-"), (5, "--"), (20, ":")):
            # the deviation of a truth-like sample falls with the root of its size
            y = np.array([row["expected"].value for row in rows]) / np.sqrt(factor)
            axis.plot(x, y, dash, color="k", lw=1, label=f"{factor * trained_on} showers like the truth")
        for key in rows[0]["samples"]:
            y = np.array([row["samples"][key]["deviation"] for row in rows])
            axis.plot(x, y, "o-", **_style(key, trained_on))
        axis.set(xscale="log", yscale="log", title=OBSERVABLES.get(name, "all five together"))
    for axis in axes[:, 0]:
        axis.set(ylabel=f"deviation {DEVIATIONS['mse_root']}")
    _write_panels(figure, axes, path)


def run_study(
    generator: Generator,
    folder: Path,
    *,
    energy_gev: float = 50.0,
    truth_showers: int = 218_000,
    trained_on: int = 1000,
    generated: int = 400_000,
    checkpoint: Path | None = None,
    settings: Sequence[str] = (),
    observer: Observer | None = None,
) -> Path:
    """Do the whole study and write `amplification.html`, `amplification.json` and plots; return the HTML file.

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
    observer
        Told how it goes on.

    Raises
    ------
    InputError, ConfigurationError, ModelError, OutputError
    """
    from ddcalogen.training.config import load_config
    from ddcalogen.training.loop import LAST, Silent, train

    plots.check_plotting()
    make_folder(folder)
    watch = observer or Silent()

    def advance(number: int) -> None:
        for _ in range(number):
            watch.step("")

    watch.stage(f"truth, {energy_gev:g} GeV photons of {generator.card.name}", 0, truth_showers)
    truth = model_images(generator, energy_gev, truth_showers, folder / "cache", advance)
    file = folder / "training.h5"
    if not file.is_file():
        write_training_file(generator, energy_gev, trained_on, file)
    seen = training_images(file, generator)
    if checkpoint is None:
        limits = f"data.energy_gev=[{energy_gev - 1},{energy_gev + 1}]"
        run = folder / "run"
        config = load_config("vae_gan", None, [limits, *settings])
        checkpoint = train(config, [file], run, resume=(run / LAST).is_file(), accelerator="cpu", observer=watch)
    watch.stage("showers of the networks", 0, generated)
    rng = np.random.default_rng(generator.seed)
    made = generated_observables(checkpoint, generated, generator.seed, advance)
    depths = [d for d in (3, 4, 5, 6, 7, 8, 10, 12, 14) if truth_showers >= LEAST_PER_REGION * 2**d]
    watch.say(f"what the samples are worth at {2 ** depths[0]} to {2 ** depths[-1]} regions")
    result = amplification(image_observables(truth, rng), image_observables(seen, rng), made, depths, rng)
    plot_factor(result, len(seen), folder / "amplification.png")
    plot_deviation(result, len(seen), folder / "deviation.png")
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
            samples = row["samples"]
            single = [c["factor"].value for k, c in samples.items() if k not in ("training", "ensemble")]
            cells = [samples["training"], samples["ensemble"]]
            rows.append(
                [OBSERVABLES.get(name, "all five together"), str(row["regions"])]
                + [(">= " if c["is_limit"] else "") + str(c["factor"]) for c in cells]
                + [", ".join(f"{value:.3g}" for value in single), f"{np.std(single, ddof=1):.2g}" if single[1:] else ""]
            )
    name = f"{generator.card.name} {generator.card.version}"
    text = (
        f"How many showers is a sample of {generated} generated ones worth, in units of the {trained_on} showers the "
        f"networks were trained on? Quantile method of Calomplification (2202.07352). Truth: {truth} photons of "
        f"{energy_gev:g} GeV from the model {html.escape(name)}, which stands in for Geant4 (the method needs so many "
        "independent showers). Errors are statistical; how much the factor changes from one training to the next "
        "is seen from the single networks of the ensemble, which differ in their random numbers only. 1: no "
        "amplification. The training showers themselves must give 1 on average."
    )
    head = ["observable", "regions", "training showers", "ensemble", "single networks", "their spread"]
    section = report.Section("Amplification factor", text, [report.table(head, rows)])
    captions = {
        "amplification.png": "Amplification factor against the number of quantiles, with statistical errors.",
        "deviation.png": "Deviation from the truth; black: expected for samples of the truth.",
    }
    section.pictures.extend((folder / name, caption) for name, caption in captions.items())
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
