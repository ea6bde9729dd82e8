# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Bounded information bottleneck autoencoder with post-processor for photons.

BIB-AE of "Getting High" (Buhmann et al., arXiv:2005.05334, section 4.3, after Voloshynovskiy et al., arXiv:1912.00830):
encoder and decoder with 24 encoded latent variables and 488 that are only noise; critics (Wasserstein, gradient
penalty) of image and of each latent variable; divergence and MMD of the latents to N(0, 1). A post-processor network
of 1 x 1 x 1 convolutions learns the cell spectrum, with the peak of minimum-ionising particles, by sorted-kernel MMD.
Latents are sampled from a kernel density estimate of those of Geant4 showers at the wanted energy ("Decoding Photons",
arXiv:2102.12491), which is part of the exported graph.

Differs from the source: each layer's grid follows the shower axis; critic and autoencoder steps see new showers each
(source: five critic steps on the showers of an autoencoder step); the gradient penalty is on the judged image only;
kernel and bandwidth of the density estimate are not published (Gaussian with the covariance of the data, Scott's rule
by default); cells below a threshold are set to zero in the exported graph. Options, off by default: a short decoder, a
residual post-processor, a loss of cells and of profiles; and those of `systems._grid`.
"""

from __future__ import annotations

from torch import nn

from ddcalogen.card import Domain
from ddcalogen.training.grid_networks import Layer
from ddcalogen.training.stacks import Stack
from ddcalogen.training.systems._bib_ae import Coder, KdeBibAe, KdeBibAeConfig, StreamCritic

__all__ = ["SYSTEM", "PhotonBibAe"]

SIZE = (30, 30, 30)


class PhotonBibAe(KdeBibAe):
    __doc__ = __doc__
    title = "BIB-AE with post-processor"

    def __init__(self, config: KdeBibAeConfig, stack: Stack, domain: Domain) -> None:
        super().__init__(config, stack, domain, SIZE)

    def _make_coder(self) -> Coder:
        c = self.config
        w = c.width
        down = [Layer(w, 4, 2, 2), Layer(2 * w, 4, 2, 2), Layer(4 * w, 4, 2, 2), Layer(8 * w, 3, 1, 1)]
        up = [
            Layer(w, 3, 3, 1, transposed=True, extra=2),
            *([] if c.short else [Layer(2 * w, 3, 2, 1, transposed=True, extra=1), Layer(w, 2, 2)]),
            *(Layer(n * w, 3, 1, 1) for n in ((2,) if c.short else (2, 4, 2))),
            Layer(1, 3, 1, 1),
        ]
        return Coder(SIZE, down, (10, 10, 10), up, self.conditions, c, self.profile_features)

    def _make_critic(self) -> nn.Module:
        c = self.config
        return StreamCritic(
            SIZE, self.conditions, c.critic_width, profiles=self.profile_features, view=c.critic_profile
        )


SYSTEM = PhotonBibAe
