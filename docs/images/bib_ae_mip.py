# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Cell spectrum of a trained BIB-AE with and without its post-processor, beside Geant4 on the same grid.

python docs/images/bib_ae_mip.py RUN/best.ckpt PICTURE.png SHOWERS.h5 [SHOWERS.h5 ...]
"""

import sys

import matplotlib as mpl
import numpy as np
import torch
from ddcalogen.training.checkpoint import load_checkpoint, load_system
from ddcalogen.training.sampler import draw_noise, incident
from ddcalogen.training.stream import ShowerStream

mpl.use("Agg")
from matplotlib import pyplot as plt

checkpoint = load_checkpoint(sys.argv[1])
system = load_system(checkpoint).eval()
stream = ShowerStream(sys.argv[3:], system.stack, "test", checkpoint.config.data.selection(), seed=1)
showers = stream.all()
true = system.grids(showers, system.stack, np.random.default_rng(1))["grid"].numpy() * 1e3
energy, direction = incident(showers)["energy"], incident(showers)["direction"]


def cells(with_post: bool) -> np.ndarray:
    """Cell energies in MeV, without calibration."""
    sampler, generator, made = system.sampler().eval(), torch.Generator().manual_seed(1), []
    sampler.calibration = None
    if not with_post:
        sampler.post = torch.nn.Identity()
        sampler.post.forward = lambda image, condition: image
    with torch.no_grad():
        for start in range(0, len(energy), 64):
            rows = slice(start, start + 64)
            noise = draw_noise(sampler, len(energy[rows]), 0, generator)
            made.append(sampler(energy[rows], direction[rows], *noise.values()).numpy() * 1e3)
    return np.concatenate(made)


edges = np.geomspace(0.01, 300.0, 91)
width, middle = np.diff(edges), np.sqrt(edges[1:] * edges[:-1])
figure, axes = plt.subplots(figsize=(7, 4.6), constrained_layout=True)
for label, values, style in (
    ("Geant4, same grid", true, {"color": "0.6", "fill": True, "alpha": 0.4}),
    ("BIB-AE with post-processor", cells(True), {"color": "C3", "linewidth": 1.6}),
    ("BIB-AE without post-processor", cells(False), {"color": "C0", "linewidth": 1.6, "linestyle": "--"}),
):
    count = np.histogram(values, edges)[0]
    fine = np.histogram(values, np.linspace(0.1, 1.0, 46))[0]
    peak = 0.1 + 0.02 * (fine.argmax() + 0.5)
    hits = (values > 0.1).sum() / len(values)
    share = ((values > 0.15) & (values < 0.25)).sum() / (values > 0.1).sum()
    print(
        f"{label}: {len(values)} showers, highest dN/dE at {peak:.2f} MeV, {hits:.0f} cells above 0.1 MeV, "
        f"{100 * share:.1f} % of them in 0.15 to 0.25 MeV, {(values > 0).sum() / len(values):.0f} cells in all"
    )
    axes.stairs(count / len(values) / width, edges, label=label, **style)
axes.axvline(0.1, color="k", linewidth=0.8, linestyle=":")
axes.set(
    xscale="log",
    yscale="log",
    xlabel="cell energy [MeV]",
    ylabel="cells per shower and MeV",
    xlim=(0.02, 20),
    ylim=(1, 3e4),
)
axes.legend()
figure.savefig(sys.argv[2], dpi=130)
