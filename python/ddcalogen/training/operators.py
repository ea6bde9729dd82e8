# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Building blocks of samplers that keep a shower bit-identical in every batch (docs/model_contract.md)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["PackedRows", "cosine_and_sine", "floor_layer", "matrix_product", "natural_log", "pack_rows"]


def natural_log(x: Tensor) -> Tensor:
    """Natural logarithm from operators whose result does not depend on an element's place in the tensor.

    The vectorised Log of onnxruntime's CPU provider rounds differently in the tail of a buffer, which would make a
    shower depend on its place in the batch. x > 0; accurate to float rounding between 1e-9 and 1e9.
    """
    p = torch.pow(x, 1.0 / 64.0)
    y = 32.0 * (p - 1.0 / p)
    for _ in range(2):  # Halley's iteration
        e = torch.exp(y)
        y = y + 2.0 * (x - e) / (x + e)
    return y


_PANEL = 128
"""Terms that onnxruntime's CPU provider adds up in one order, however a product is split among threads."""


def matrix_product(x: Tensor, weights: Tensor) -> Tensor:
    """Product of [..., B, K] and [..., K, N] whose bits do not depend on the number of threads.

    onnxruntime splits the columns of a product of few rows among threads and chooses by their number how many of the K
    terms it adds up before the next ones; up to 128 terms there is no choice.
    """
    size = weights.shape[-2]
    total = torch.matmul(x[..., :_PANEL], weights[..., :_PANEL, :])
    for start in range(_PANEL, size, _PANEL):
        total = total + torch.matmul(x[..., start : start + _PANEL], weights[..., start : start + _PANEL, :])
    return total


def cosine_and_sine(turn: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine and sine of 2 pi times a number of turns in [0, 1], to about 1e-4, from place-independent operators."""
    v = 2.0 * turn - 1.0
    w = v * v
    half = v * (1.5707963 + w * (-0.6459641 + w * (0.0796926 + w * (-0.0046818 + w * 0.00016044))))
    half = torch.clamp(half, -1.0, 1.0)
    # the angle of v is 2 pi turn - pi
    return 2.0 * half * half - 1.0, -2.0 * half * torch.sqrt(1.0 - half * half)


def floor_layer(layer: Tensor, layers: int) -> Tensor:
    """Turn a continuous layer coordinate into a layer index 0 .. layers - 1, as float32."""
    return torch.clamp(torch.floor(layer), 0.0, float(layers - 1))


class PackedRows:
    """Rows of slots (shower x layer, say) unrolled to packed spots: which slot a spot belongs to, and its noise.

    Attributes
    ----------
    counts
        int64 [B], spots of each shower.
    slot
        int64 [P], index of the slot of each spot, row * slots + slot.
    row
        int64 [P], shower of each spot.
    total
        P, a number (symbolic while the model is exported).
    """

    def __init__(self, number: Tensor, limit: Tensor) -> None:
        ends = torch.minimum(torch.cumsum(number, 1), limit)
        self.batch, self.slots = number.shape
        self.counts = ends[:, -1]
        before = torch.cumsum(self.counts, 0) - self.counts
        slot_ends = (ends + before[:, None]).reshape(-1)
        total: Any = slot_ends[-1].item()  # no int(): the exporter would have to trace the slow way
        torch._check(total >= 0)  # type: ignore[no-untyped-call]
        self.total = total
        steps = torch.zeros(total + 1, dtype=torch.int64, device=number.device)
        steps = torch.scatter_add(steps, 0, slot_ends[:-1], torch.ones_like(slot_ends[:-1]))
        self.slot = torch.cumsum(steps, 0)[:-1]
        self.row = torch.div(self.slot, self.slots, rounding_mode="floor")
        # place of each spot within its own shower
        self.place = torch.arange(total, device=number.device) - torch.gather(before, 0, self.row)

    def of_slot(self, value: Tensor) -> Tensor:
        """Value of each spot's slot: [B, slots], [B, 1] or [slots] to [P]."""
        return torch.gather(value.expand(self.batch, self.slots).reshape(-1), 0, self.slot)

    def of_row(self, value: Tensor) -> Tensor:
        """Values of each spot's shower: [B, F] to [P, F]."""
        return torch.index_select(value, 0, self.row)

    def noise(self, drawn: Tensor) -> Tensor:
        """Each spot's own noise: [B, N, K] to [P, K]."""
        flat = drawn.reshape(-1, drawn.shape[2])
        return torch.index_select(flat, 0, self.row * drawn.shape[1] + self.place)


def pack_rows(number: Tensor, limit: Tensor) -> PackedRows:
    """Unroll counts to packed spots.

    Parameters
    ----------
    number
        int64 [B, slots], spots in each slot, none negative.
    limit
        int64 [B, 1], capacity of each shower; slots beyond it lose their spots.
    """
    return PackedRows(number, limit)
