# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Stacks of conditional autoregressive flows: one flow per calorimeter layer, all evaluated at once or one by one.

A flow is a chain of blocks. In each, every variable goes through a rational-quadratic spline whose parameters a masked
network (MADE, arXiv:1502.03509) makes from the variables before it and from the condition; between blocks the order is
reversed. In the direction in which the network sees its own input, a block is one pass; the other way it takes as many
passes as there are groups of variables. A masked autoregressive flow (MAF, arXiv:1705.07057) has the quick direction
from data to noise: quick densities, slow samples. An inverse autoregressive flow (IAF, arXiv:1606.04934) has it from
noise to data. Both are this class.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from ddcalogen.training.operators import matrix_product
from ddcalogen.training.splines import parameters_needed, rational_quadratic

__all__ = ["AutoregressiveStack", "Weights", "negative_log_normal", "scan"]

Weights = tuple[Tensor, ...]
"""Of the masked networks: input, condition, first bias, middle, second bias, output, third bias; masks applied."""

Body = Callable[[Weights, Weights], tuple[Weights, Tensor]]


def scan(body: Body, carry: Weights, rows: Weights) -> tuple[Weights, Tensor]:
    """Loop over the first axis of `rows`: ``carry, out = body(carry, row)``; returns the last carry and all outs.

    An operator Scan in the exported graph, so that it stays small however long the loop; a loop in Python otherwise.
    Outs must not be views of what comes in.
    """
    if torch.compiler.is_exporting():
        from torch._higher_order_ops.scan import scan as scan_operator

        return scan_operator(body, carry, rows)
    outs = []
    for index in range(len(rows[0])):
        carry, out = body(carry, tuple(r[index] for r in rows))
        outs.append(out)
    return carry, torch.stack(outs)


def negative_log_normal(z: Tensor) -> Tensor:
    """Minus the logarithm of the density of N(0, 1) in all of z [..., D], summed over D."""
    return 0.5 * z.square().sum(-1) + 0.5 * z.shape[-1] * float(np.log(2.0 * np.pi))


class AutoregressiveStack(nn.Module):
    """Flows of `size` variables under a condition, one for each of `layers`, with the same structure.

    Parameters
    ----------
    layers
        Flows in the stack.
    size, given
        Variables of a flow; numbers in its condition.
    blocks, hidden, bins, bound
        Blocks; width of the two hidden layers of the networks; bins and end of the splines.
    groups
        Groups of neighbouring variables that are drawn at once, so passes of a block in the slow direction: `size` for
        a full autoregression. Variables of a group depend on the groups before, but not on each other.
    reverse_first
        Whether the order is reversed before or behind a block: False for a flow from data to noise, True for its mirror
        image from noise to data.
    """

    def __init__(
        self,
        layers: int,
        size: int,
        given: int,
        *,
        blocks: int,
        hidden: int,
        bins: int,
        bound: float,
        groups: int,
        reverse_first: bool = False,
    ) -> None:
        super().__init__()
        self.layers, self.size, self.given = layers, size, given
        self.blocks, self.hidden, self.bins, self.bound = blocks, hidden, bins, bound
        self.groups, self.reverse_first = min(groups, size), reverse_first
        self.free = parameters_needed(bins)
        group = torch.arange(size) * self.groups // size
        # hidden units see the groups up to theirs; those of group -1 see the condition only
        unit = torch.arange(hidden) % self.groups - 1
        see_in = (group[:, None] <= unit[None]).float()
        see_mid = (unit[:, None] <= unit[None]).float()
        see_out = (unit[:, None] < group[None]).float().repeat(1, self.free)
        self.see_in: Tensor
        self.see_mid: Tensor
        self.see_out: Tensor
        self.register_buffer("see_in", see_in, persistent=False)
        self.register_buffer("see_mid", see_mid, persistent=False)
        self.register_buffer("see_out", see_out, persistent=False)

        def weights(inputs: int, outputs: int, scale: float) -> nn.Parameter:
            return nn.Parameter(torch.randn(layers, blocks, inputs, outputs) * scale)

        self.w_in = weights(size, hidden, (2.0 / (size + given)) ** 0.5)
        self.w_given = weights(given, hidden, (2.0 / (size + given)) ** 0.5)
        self.w_mid = weights(hidden, hidden, (2.0 / hidden) ** 0.5)
        # nearly the identity to begin with
        self.w_out = weights(hidden, size * self.free, 1e-2 / hidden**0.5)
        self.b_in = nn.Parameter(torch.zeros(layers, blocks, hidden))
        self.b_mid = nn.Parameter(torch.zeros(layers, blocks, hidden))
        self.b_out = nn.Parameter(torch.zeros(layers, blocks, size * self.free))

    def weights(self) -> Weights:
        """Return all weights with the masks applied, [layers, blocks, ...] each."""
        return (
            self.w_in * self.see_in,
            self.w_given,
            self.b_in,
            self.w_mid * self.see_mid,
            self.b_mid,
            self.w_out * self.see_out,
            self.b_out,
        )

    @torch.no_grad()
    def start_as_inverse(self, other: AutoregressiveStack) -> None:
        """Take the weights of a stack of the same sizes whose `quick` goes the other way, splines turned round.

        The inverse of a spline is the spline with widths and heights exchanged and the logarithms of the slopes
        negated. What a spline has of the condition is then undone exactly; what it has of the variables before it only
        as far as these are alike before and behind the block.
        """
        bins = self.bins
        turned = torch.cat([torch.arange(bins, 2 * bins), torch.arange(bins), torch.arange(2 * bins, self.free)])
        sign = torch.where(torch.arange(self.free) < 2 * bins, 1.0, -1.0)
        for name, own in self.named_parameters():
            weights = dict(other.named_parameters())[name].flip(1)
            if name in ("w_out", "b_out"):
                parts = weights.reshape(*weights.shape[:-1], self.free, self.size)[..., turned.to(weights.device), :]
                weights = (parts * sign.to(weights)[:, None]).flatten(-2)
            own.copy_(weights)

    def parameters_of(self, weights: Sequence[Tensor], x: Tensor, given: Tensor) -> Tensor:
        """Parameters of the splines [..., B, size, free] from x [..., B, size] and the condition [..., B, given]."""
        w_in, w_given, b_in, w_mid, b_mid, w_out, b_out = weights
        h = torch.relu(matrix_product(x, w_in) + matrix_product(given, w_given) + b_in.unsqueeze(-2))
        h = torch.relu(matrix_product(h, w_mid) + b_mid.unsqueeze(-2))
        free: Tensor = matrix_product(h, w_out) + b_out.unsqueeze(-2)
        # one parameter after the other, each of all variables: see `rational_quadratic`
        return free.reshape(*free.shape[:-1], self.free, self.size).transpose(-1, -2)

    def spline(self, y: Tensor, free: Tensor) -> tuple[Tensor, Tensor]:
        """Undo the splines of a block."""
        return rational_quadratic(y, free, bound=self.bound, inverse=True)

    def quick(self, x: Tensor, given: Tensor, weights: Weights | None = None) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Go the quick way, all layers at once, or one.

        Parameters
        ----------
        x, given
            [layers, B, size] and [layers, B, given]; without the first axis if `weights` are those of one layer.
        weights
            Of one layer, [blocks, ...] each; None: all layers with their own.

        Returns
        -------
        y, log_slope, between
            [..., B, size], [..., B]: logarithm of the determinant of dy/dx; what comes out of each block.
        """
        if weights is None:
            return self.quick_with(x, given, self.weights())
        return self._blocks(x, given, weights)

    def quick_with(self, x: Tensor, given: Tensor, weights: Weights) -> tuple[Tensor, Tensor, list[Tensor]]:
        """`quick` of all layers with given weights, [layers, blocks, ...] each."""
        return self._blocks(x, given, tuple(w.transpose(0, 1) for w in weights))

    def _blocks(self, x: Tensor, given: Tensor, weights: Weights) -> tuple[Tensor, Tensor, list[Tensor]]:
        total = torch.zeros_like(x[..., 0])
        between = []
        # unbound at once: the gradient of a single selection is as large as all weights
        of_block = list(zip(*(torch.unbind(w) for w in weights), strict=True))
        for block in range(self.blocks):
            if self.reverse_first:
                x = x.flip(-1)
            free = self.parameters_of(of_block[block], x, given)
            x, log_slope = rational_quadratic(x, free, bound=self.bound)
            total = total + log_slope.sum(-1)
            if not self.reverse_first:
                x = x.flip(-1)
            between.append(x)
        return x, total, between

    def slow(self, y: Tensor, given: Tensor, weights: Weights) -> Tensor:
        """Undo `quick` for one layer: x [B, size] from y [B, size] by `blocks` x `groups` passes in a loop.

        Parameters
        ----------
        weights
            Of one layer, [blocks, ...] each.
        """
        order = torch.arange(self.blocks - 1, -1, -1).repeat_interleave(self.groups)
        first = (torch.arange(self.blocks * self.groups) % self.groups == 0).to(y.dtype)

        def body(carry: Weights, row: Weights) -> tuple[Weights, Tensor]:
            target, x = carry
            block, start = row
            own = [torch.index_select(w, 0, block.reshape(1)).squeeze(0) for w in weights]
            # where a block begins, what the one behind it gave is its target
            target = target + start * (x.flip(-1) - target)
            x = (1.0 - start) * x
            free = self.parameters_of(own, x, given)
            x, _ = self.spline(target, free)
            return (target, x), x[:, :1] * 1.0

        begin = y.flip(-1) if self.reverse_first else y * 1.0
        (_, x), _ = scan(body, (torch.zeros_like(y), begin), (order.to(y.device), first.to(y.device)))
        return x.flip(-1) if self.reverse_first else x
