# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Bounded information bottleneck autoencoder with batch-statistics critics for pions in the hadronic calorimeter.

BIB-AE of "Hadrons, Better, Faster, Stronger" (Buhmann et al., arXiv:2112.09709): 48 x 25 x 25 cells; critics that also
see how a shower differs from the others of its batch; a second critic that starts anew every epoch, so that it cannot
be lived with; a post-processor of ten layers with two sorted-kernel MMDs, differences of sorted cells and a comparison
of whole batches; latents from a kernel density estimate of those of Geant4 showers, part of the exported graph.

Differs from the source: readout cells of 30 mm centred on the shower axis (source: 30.5 mm, crop off centre); critic
and autoencoder steps see new showers each (source: five critic steps on the showers of an autoencoder step); the
gradient penalty is on the judged image only; kernel and bandwidth of the density estimate are not published (Gaussian
with the covariance of the data, Scott's rule by default); cells below a threshold are set to zero in the exported
graph. Options, off by default: a short decoder, a residual post-processor, a loss of cells and of profiles; and those
of `systems._grid`.
"""

from __future__ import annotations

from torch import nn

from ddcalogen.card import Domain
from ddcalogen.training.grid_networks import Layer
from ddcalogen.training.stacks import Stack
from ddcalogen.training.systems._bib_ae import BatchStatisticsCritic, Coder, KdeBibAe, KdeBibAeConfig

__all__ = ["SYSTEM", "PionBibAe"]

SIZE = (48, 25, 25)


class PionBibAe(KdeBibAe):
    __doc__ = __doc__
    title = "BIB-AE with batch-statistics critics"

    def __init__(self, config: KdeBibAeConfig, stack: Stack, domain: Domain) -> None:
        super().__init__(config, stack, domain, SIZE)

    def _make_coder(self) -> Coder:
        c = self.config
        w = c.width
        down = [Layer(w, 2, (2, 1, 1)), Layer(2 * w, 2, 2), Layer(4 * w, 4, 2, 1), Layer(4 * w, 4, 1, 1)]
        up = [
            Layer(w, 4, 2, 1, transposed=True),
            Layer(w, 4, 2, 1, transposed=True),
            Layer(w, (1, 2, 2)),
            Layer(w, 3, 1, (1, 0, 0)),
            *(Layer(n * w, 3, 1, 1) for n in ((2,) if c.short else (1, 2, 4, 2))),
            Layer(1, 3, 1, 1),
        ]
        return Coder(SIZE, down, (12, 7, 7), up, self.conditions, c, self.profile_features)

    def _make_critic(self) -> nn.Module:
        w = self.config.critic_width
        first = Layer(w, (4, 3, 3), (4, 2, 2)) if self.config.short else Layer(w, 2, (2, 1, 1))
        down = [first, Layer(w, 2, 2), Layer(w, 4, 2, 1)]
        return BatchStatisticsCritic(
            SIZE, down, self.conditions, w, profiles=self.profile_features, view=self.config.critic_profile
        )


SYSTEM = PionBibAe
