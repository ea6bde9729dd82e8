# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Where the latent variables of an autoencoder are sampled from, given the incident energy (and direction).

What an encoder makes of Geant4 showers is not the N(0, 1) that the decoder is trained for in theory. Sampling from a
model of the encoded distribution instead is what made the energy spectrum and the centre of gravity of generated
showers right: kernel density estimation (arXiv:2102.12491, arXiv:2112.09709), later a normalising flow
(arXiv:2303.18150). Both are modules of the exported graph here and take their noise as inputs.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from ddcalogen.errors import ModelError
from ddcalogen.training.splines import parameters_needed, rational_quadratic

__all__ = ["ConditionalFlow", "ConditionalKde"]


class ConditionalKde(nn.Module):
    """Samples of z given c from a Gaussian kernel density estimate of (c, z), as scipy.stats.gaussian_kde makes it.

    The kernels have the covariance of the data times `bandwidth`^2. A sample given c is exact: a kernel is chosen with
    the weight that it has at c, and z is drawn from that kernel's conditional distribution given c. Storage: all
    centres, as buffers.

    Parameters
    ----------
    centres
        Number of kernels.
    given, size
        Numbers of variables in c and in z.
    """

    def __init__(self, centres: int, given: int, size: int) -> None:
        super().__init__()
        self.centre_given: Tensor
        self.centre_mean: Tensor
        self.whiten: Tensor
        self.regress: Tensor
        self.spread: Tensor
        self.register_buffer("centre_given", torch.zeros(centres, given))
        # c whitened so that the kernel in c is N(0, 1); z less what regresses on c
        self.register_buffer("centre_mean", torch.zeros(centres, size))
        self.register_buffer("whiten", torch.eye(given))
        self.register_buffer("regress", torch.zeros(given, size))
        self.register_buffer("spread", torch.eye(size))

    @torch.no_grad()
    def fit(self, given: Tensor, value: Tensor, bandwidth: float | None = None) -> float:
        """Set the kernels.

        Parameters
        ----------
        given, value
            c [N, given] and z [N, size]; evenly spaced rows are used if there are more than kernels, and rows are
            repeated if there are fewer.
        bandwidth
            Factor on the standard deviations of the data; None: Scott's rule, n^(-1 / (d + 4)).

        Returns
        -------
        bandwidth
            The factor that was used.

        Raises
        ------
        ModelError
            The values are not finite, or too few.
        """
        centres, g = self.centre_given.shape
        joint = torch.cat([given, value], 1).double().cpu().numpy()
        if len(joint) <= joint.shape[1] or not np.all(np.isfinite(joint)):
            raise ModelError(
                "a kernel density estimate cannot be made of the encoded showers",
                found=f"{len(joint)} rows, {int((~np.isfinite(joint)).sum())} values not finite",
                expected=f"finite values, more than {joint.shape[1]} rows",
                remedy="Train with more showers; if values are not finite, lower the learning rate.",
            )
        distinct = min(centres, len(joint))
        factor = bandwidth if bandwidth is not None else distinct ** (-1.0 / (joint.shape[1] + 4))
        covariance = np.cov(joint.T) * factor**2 + 1e-12 * np.eye(joint.shape[1])
        cc, cz, zz = covariance[:g, :g], covariance[:g, g:], covariance[g:, g:]
        whiten = np.linalg.inv(np.linalg.cholesky(cc)).T
        regress = np.linalg.solve(cc, cz)
        rest = zz - cz.T @ regress
        spread = np.linalg.cholesky(rest + 1e-9 * np.trace(rest) / len(rest) * np.eye(len(rest))).T
        rows = np.linspace(0, len(joint) - 1, centres).round().astype(int) if len(joint) > centres else None
        chosen = joint[rows] if rows is not None else joint[np.arange(centres) % len(joint)]
        for buffer, values in (
            (self.centre_given, chosen[:, :g] @ whiten),
            (self.centre_mean, chosen[:, g:] - chosen[:, :g] @ regress),
            (self.whiten, whiten),
            (self.regress, regress),
            (self.spread, spread),
        ):
            buffer.copy_(torch.from_numpy(values).to(buffer))
        return float(factor)

    def forward(self, given: Tensor, pick: Tensor, noise: Tensor) -> Tensor:
        """Return z [B, size] for c [B, given]; uniform `pick` [B, 1] chooses kernels, `noise` is normal [B, size]."""
        distance = ((given @ self.whiten)[:, None, :] - self.centre_given).square().sum(-1)
        # relative to the nearest kernel, so that the weights do not vanish far from the data
        weight = torch.exp(-0.5 * (distance - distance.amin(1, keepdim=True)))
        upto = torch.cumsum(weight, 1)
        index = (upto < pick * upto[:, -1:]).to(torch.int64).sum(1).clamp(max=weight.shape[1] - 1)
        return torch.index_select(self.centre_mean, 0, index) + given @ self.regress + noise @ self.spread


class _Dense(nn.Sequential):
    """Two hidden layers; the last layer starts at zero, so that a transformation starts as the identity."""

    def __init__(self, inputs: int, hidden: int, outputs: int) -> None:
        last = nn.Linear(hidden, outputs)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        super().__init__(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), last)


class _Coupling(nn.Module):
    """Affine coupling after a fixed permutation; the logarithm of the scale is bounded by tanh."""

    def __init__(self, size: int, given: int, hidden: int) -> None:
        super().__init__()
        self.kept = size // 2
        self.order: Tensor
        self.back: Tensor
        order = torch.randperm(size)
        self.register_buffer("order", order)
        self.register_buffer("back", torch.argsort(order))
        self.network = _Dense(self.kept + given, hidden, 2 * (size - self.kept))

    def _scale_and_shift(self, kept: Tensor, given: Tensor) -> tuple[Tensor, Tensor]:
        scale, shift = self.network(torch.cat([kept, given], 1)).chunk(2, 1)
        return 2.0 * torch.tanh(scale), shift

    def forward(self, x: Tensor, given: Tensor) -> tuple[Tensor, Tensor]:
        x = torch.index_select(x, 1, self.order)
        kept, moved = x[:, : self.kept], x[:, self.kept :]
        scale, shift = self._scale_and_shift(kept, given)
        return torch.cat([kept, moved * torch.exp(scale) + shift], 1), scale.sum(1)

    def inverse(self, y: Tensor, given: Tensor) -> Tensor:
        kept, moved = y[:, : self.kept], y[:, self.kept :]
        scale, shift = self._scale_and_shift(kept, given)
        x = torch.cat([kept, (moved - shift) * torch.exp(-scale)], 1)
        return torch.index_select(x, 1, self.back)


class _Spline(nn.Module):
    """Element-wise rational-quadratic spline whose parameters are made of the condition."""

    def __init__(self, size: int, given: int, hidden: int, bins: int, bound: float) -> None:
        super().__init__()
        self.size, self.bound = size, bound
        self.network = _Dense(given, hidden, size * parameters_needed(bins))

    def forward(self, x: Tensor, given: Tensor) -> tuple[Tensor, Tensor]:
        free = self.network(given).reshape(len(x), self.size, -1)
        y, log_slope = rational_quadratic(x, free, bound=self.bound)
        return y, log_slope.sum(1)

    def inverse(self, y: Tensor, given: Tensor) -> Tensor:
        free = self.network(given).reshape(len(y), self.size, -1)
        return rational_quadratic(y, free, bound=self.bound, inverse=True)[0]


class ConditionalFlow(nn.Module):
    """Normalising flow of a few variables under a condition: blocks of affine couplings, a spline, affine couplings.

    As the flow over latent variables and visible energy of arXiv:2303.18150: in each block three affine couplings
    (tanh-bounded scale, a permutation before each), one spline whose parameters come from the condition, three affine
    couplings. Runs from data to noise in training and back in sampling, both in one pass.

    Parameters
    ----------
    size, given
        Numbers of variables and of conditions.
    blocks, hidden, bins, bound
        Blocks; width of the two hidden layers of the networks; bins and end of the splines.
    """

    def __init__(self, size: int, given: int, *, blocks: int, hidden: int, bins: int = 8, bound: float = 4.0) -> None:
        super().__init__()
        steps: list[_Coupling | _Spline] = []
        for _ in range(blocks):
            steps += [_Coupling(size, given, hidden) for _ in range(3)]
            steps.append(_Spline(size, given, hidden, bins, bound))
            steps += [_Coupling(size, given, hidden) for _ in range(3)]
        self.steps = nn.ModuleList(steps)
        self.size = size

    def negative_log_density(self, x: Tensor, given: Tensor) -> Tensor:
        """Minus the logarithm of the density of x [B, size] given [B, given], mean over B."""
        total = x.new_zeros(len(x))
        for step in self.steps:
            x, log_slope = step(x, given)
            total = total + log_slope
        return (0.5 * x.square().sum(1) + 0.5 * self.size * float(np.log(2.0 * np.pi)) - total).mean()

    def forward(self, noise: Tensor, given: Tensor) -> Tensor:
        """Turn N(0, 1) [B, size] into samples [B, size] under conditions [B, given]."""
        x = noise
        for step in reversed(self.steps):
            x = step.inverse(x, given)  # type: ignore[operator]
        return x
