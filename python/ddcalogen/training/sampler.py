# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""What every system gives in the end: a network from physics in to physics out, as the model contract has it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ddcalogen.card import Capacity, Domain, GridOutput, NoiseInput, SpotsOutput
from ddcalogen.errors import ModelError
from ddcalogen.training.data import Showers
from ddcalogen.validation.samples import grid_points

__all__ = [
    "SPOT_COLUMNS",
    "Sampler",
    "capacity_limit",
    "draw_noise",
    "example_inputs",
    "generate",
    "incident",
    "noise_shape",
    "simulated_showers",
    "spots_output",
]

SPOT_COLUMNS = ("x_mm", "y_mm", "layer", "energy_gev")


class Sampler(nn.Module):
    """Incident particle and noise to shower; `forward` takes the inputs and noise in the order declared, by name.

    ``forward(energy, direction[, pdg], noise...)`` returns ``(spots, counts)`` or ``grid`` (docs/model_contract.md).

    Attributes
    ----------
    inputs
        Physics inputs.
    noise
        Noise inputs.
    output
        What comes out.
    bit_identical
        Whether a shower alone must have the same bits as in a batch (padded as the runtime does). False where an
        operator cannot promise it: the export then measures the deviation and writes it into the card.
    """

    inputs: tuple[Literal["energy", "direction", "pdg"], ...]
    noise: tuple[NoiseInput, ...]
    output: SpotsOutput | GridOutput
    bit_identical: bool = True

    def __init__(
        self,
        *,
        noise: tuple[NoiseInput, ...],
        output: SpotsOutput | GridOutput,
        inputs: tuple[Literal["energy", "direction", "pdg"], ...] = ("energy", "direction"),
    ) -> None:
        super().__init__()
        self.inputs, self.noise, self.output = inputs, noise, output

    def capacity(self, energy_gev: float) -> int:
        """Return the largest number of spots at an energy in GeV; 0 for grids."""
        return self.output.capacity.spots(energy_gev) if isinstance(self.output, SpotsOutput) else 0


def spots_output(base: float, per_gev: float, maximum: int) -> SpotsOutput:
    """Return the output description of packed spots with a capacity of min(maximum, ceil(base + per_gev * E))."""
    return SpotsOutput(
        kind="spots", columns=SPOT_COLUMNS, capacity=Capacity(base=base, per_gev=per_gev, maximum=maximum)
    )


def capacity_limit(capacity: Capacity, energy: Tensor) -> Tensor:
    """Capacity of each shower inside a graph, int64 [B, 1]; one below the runtime's, whatever the rounding."""
    limit = torch.floor(capacity.base - 1.0 + capacity.per_gev * energy)
    return torch.clamp(limit, 0.0, float(capacity.maximum)).to(torch.int64)


def noise_shape(entry: NoiseInput, batch: int, capacity: int) -> tuple[int, ...]:
    """Shape of a noise tensor with its batch axis."""
    return (batch, *(capacity if n == "spots" else int(n) for n in entry.shape))


def draw_noise(sampler: Sampler, batch: int, capacity: int, generator: torch.Generator) -> dict[str, Tensor]:
    """Draw all noise inputs for a batch, on the CPU (so that it is the same on every device)."""
    drawn = {}
    for entry in sampler.noise:
        shape = noise_shape(entry, batch, capacity)
        if entry.distribution == "normal":
            drawn[entry.name] = torch.randn(*shape, generator=generator)
        else:
            drawn[entry.name] = torch.rand(*shape, generator=generator).clamp(2.0**-25, 1.0 - 2.0**-24)
    return drawn


def incident(showers: Showers) -> dict[str, Tensor]:
    """Return energy [N, 1], direction [N, 3] and pdg [N, 1] of a set of showers."""
    return {
        "energy": torch.from_numpy(showers.energy_gev)[:, None],
        "direction": torch.from_numpy(showers.direction),
        "pdg": torch.from_numpy(showers.pdg.astype(np.int64))[:, None],
    }


def example_inputs(sampler: Sampler, domain: Domain, batch: int, seed: int) -> dict[str, Tensor]:
    """Incident particles over the whole domain (first rows: its corners), with noise; only the sampler's inputs."""
    generator = torch.Generator().manual_seed(seed)
    low, high = domain.energy_gev
    energy = low * (high / low) ** torch.rand(batch, 1, generator=generator)
    near, far = (math.cos(math.radians(t)) for t in domain.theta_deg)
    cos = far + (near - far) * torch.rand(batch, 1, generator=generator)
    phi = 2.0 * torch.pi * torch.rand(batch, 1, generator=generator)
    sin = torch.sqrt(1.0 - cos * cos)
    direction = torch.cat([sin * torch.cos(phi), sin * torch.sin(phi), cos], 1)
    if batch > 1:
        direction[0] = torch.tensor([math.sqrt(1.0 - near * near), 0.0, near])
        energy[0], energy[1] = low, high
    pdg = torch.tensor(domain.pdg)[torch.randint(0, len(domain.pdg), (batch, 1), generator=generator)]
    physics = {"energy": energy, "direction": direction, "pdg": pdg}
    noise = draw_noise(sampler, batch, sampler.capacity(float(energy.max())), generator)
    return {name: physics[name] for name in sampler.inputs} | noise


def generate(
    sampler: Sampler,
    like: Showers,
    depth_mm: NDArray[np.float64],
    *,
    seed: int,
    batch: int = 64,
    device: torch.device | None = None,
    run: Callable[..., tuple[Tensor, Tensor] | Tensor] | None = None,
) -> Showers:
    """Make showers of the incident particles of `like` in PyTorch.

    Parameters
    ----------
    depth_mm
        float64 [layers], where grids that follow the axis are put.
    run
        Called instead of the sampler, for example in reduced precision.

    Raises
    ------
    ModelError
        The showers are not finite or negative in energy.
    """
    generator, rng = torch.Generator().manual_seed(seed), np.random.default_rng(seed)
    values: list[NDArray[np.float32]] = []
    counts: list[NDArray[np.int64]] = []
    was_training = sampler.training
    sampler.eval()
    physics = incident(like)
    with torch.no_grad():
        for start in range(0, len(like), batch):
            rows = slice(start, start + batch)
            inputs: dict[str, Tensor] = {name: physics[name][rows] for name in sampler.inputs}
            size = len(inputs["energy"])
            inputs |= draw_noise(sampler, size, sampler.capacity(float(inputs["energy"].max())), generator)
            result = (run or sampler)(*(v.to(device) if device else v for v in inputs.values()))
            if isinstance(sampler.output, GridOutput):
                assert isinstance(result, Tensor)
                grid = result.float().cpu().numpy()
                _check(grid)
                points, n = grid_points(
                    sampler.output, np.ones(size, np.int64), grid, like.direction[rows], depth_mm, rng
                )
            else:
                points, n = result[0].float().cpu().numpy(), result[1].cpu().numpy()
                _check(points[:, 3])
            values.append(points)
            counts.append(n)
    sampler.train(was_training)
    return simulated_showers(like, np.concatenate(values), np.concatenate(counts))


def simulated_showers(like: Showers, spots: NDArray[np.float32], counts: NDArray[np.int64]) -> Showers:
    """Return packed spots and counts as showers of the incident particles of `like`."""
    return Showers(
        like.energy_gev,
        like.direction,
        like.pdg,
        np.concatenate(([0], np.cumsum(counts))).astype(np.int64),
        np.ascontiguousarray(spots[:, 0]),
        np.ascontiguousarray(spots[:, 1]),
        spots[:, 2].astype(np.int16),
        np.ascontiguousarray(spots[:, 3]),
    )


def _check(energy: NDArray[np.float32]) -> None:
    if not np.all(np.isfinite(energy)) or np.any(energy < 0):
        raise ModelError(
            "the network makes showers that are not finite or negative in energy",
            found=f"{int((~np.isfinite(energy)).sum())} values not finite, lowest {np.nanmin(energy, initial=0.0):.3g}",
            remedy="The training diverged: lower the learning rate or clip gradients.",
        )
