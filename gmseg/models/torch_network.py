"""The networks as plain ``torch.nn.Module``, without Keras.

This file does not need gmseg: copy it to the weights that ``gmseg models export NAME
--format torch`` writes, and ::

    network = GrayMatterNetwork()  # outputs=2 for GM and cord, filters=64 for the later release
    network.load_state_dict(torch.load("published.pt", weights_only=True))
    soft = network.eval()(windows)

A U-Net (``gmseg models export unet``) is loaded in the same way into ``UNet``; the JSON written
beside the weights has the sizes under ``network``.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.functional import max_pool2d


class GrayMatterNetwork(nn.Module):
    """The dilated-convolution network of Perone, Calabrese & Cohen-Adad (2018).

    With the same weights it computes the same as `gmseg.core.network.build_network`, whose layer
    names it shares; new weights are initialised as PyTorch does. The authors' own PyTorch port
    differs from their Keras network: its dropout drops whole channels, its batch normalisation
    has momentum 0.1 (Keras' 0.1 is PyTorch's 0.9) and epsilon 1e-5, and its global branch starts
    after the rate-2 convolutions.

    Parameters
    ----------
    filters : int
        Channels of every convolution but the last two.
    dilation_rates : sequence of int
        Rates of the dilated branches, in pixels.
    dropout : float
        Share of elements that each dropout sets to 0 in training.
    batchnorm_momentum : float
        In Keras' sense, as everywhere in gmseg and in the paper:
        ``moving = momentum * moving + (1 - momentum) * batch``.
    outputs : int
        1: GM, as in the paper; 2: GM and cord.
    """

    def __init__(
        self,
        filters: int = 32,
        dilation_rates: Sequence[int] = (6, 12, 18, 24),
        dropout: float = 0.4,
        batchnorm_momentum: float = 0.1,
        outputs: int = 1,
    ):
        super().__init__()
        self.dilation_rates = tuple(dilation_rates)
        self.dropout = nn.Dropout(dropout)

        def norm(name: str, channels: int) -> None:
            self.add_module(
                f"{name}_norm", nn.BatchNorm2d(channels, eps=1e-3, momentum=1 - batchnorm_momentum)
            )

        def conv(name: str, channels: int, kernel: int = 3, rate: int = 1, to: int = filters):
            layer = nn.Conv2d(channels, to, kernel, dilation=rate, padding=rate * (kernel // 2))
            self.add_module(name, layer)
            norm(name, to)

        conv("stem_1", 1)
        conv("stem_2", filters)
        conv("rate2_1", filters, rate=2)
        conv("rate2_2", filters, rate=2)
        conv("branch1x1_1", filters)
        conv("branch1x1_2", filters, kernel=1)
        for rate in self.dilation_rates:
            conv(f"rate{rate}_1", filters, rate=rate)
            conv(f"rate{rate}_2", filters, rate=rate)
        joined = filters * (len(self.dilation_rates) + 2)
        norm("branches", joined)
        conv("amort", joined, kernel=1, to=64)
        self.logits = nn.Conv2d(64, outputs, 1)

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        """Return the soft segmentation of standardised windows.

        Parameters
        ----------
        windows : torch.Tensor
            float32, (n, 1, height, width): rows from the body's right to its left, columns from
            posterior to anterior (LAS), as gmseg cuts them; 200 x 200 in the paper.

        Returns
        -------
        torch.Tensor
            float32, (n, outputs, height, width), 0 to 1.
        """
        return torch.sigmoid(self.forward_logits(windows))

    def forward_logits(self, windows: torch.Tensor) -> torch.Tensor:
        """Return the output before the sigmoid."""
        stem = self._step(self._step(windows, "stem_1"), "stem_2")
        trunk = self._step(self._step(stem, "rate2_1"), "rate2_2")
        names = ["branch1x1", *(f"rate{rate}" for rate in self.dilation_rates)]
        branches = [self._step(self._step(trunk, f"{name}_1"), f"{name}_2") for name in names]
        # the released weights expect the global branch before the last dilated one
        branches.insert(-1, stem.mean(dim=(2, 3), keepdim=True).expand_as(stem))
        joined = self.dropout(self.get_submodule("branches_norm")(torch.cat(branches, dim=1)))
        return self.logits(self._step(joined, "amort"))

    def _step(self, x: torch.Tensor, name: str) -> torch.Tensor:
        x = torch.relu(self.get_submodule(name)(x))
        return self.dropout(self.get_submodule(f"{name}_norm")(x))


class UNet(nn.Module):
    """A U-Net with the layers and layer names of `gmseg.models.unet.build_unet`.

    Parameters
    ----------
    widths : sequence of int
        Channels at each scale, from full resolution down.
    dropout, batchnorm_momentum, outputs
        As in `GrayMatterNetwork`.
    """

    def __init__(
        self,
        widths: Sequence[int] = (26, 48, 98, 192),
        dropout: float = 0.4,
        batchnorm_momentum: float = 0.1,
        outputs: int = 1,
    ):
        super().__init__()
        self.dropout = nn.Dropout(dropout)

        def conv(name: str, channels: int, to: int) -> None:
            self.add_module(name, nn.Conv2d(channels, to, 3, padding=1))
            norm = nn.BatchNorm2d(to, eps=1e-3, momentum=1 - batchnorm_momentum)
            self.add_module(f"{name}_norm", norm)

        *upper, bottom = widths
        self.scales = len(upper)
        channels = 1
        for scale, width in enumerate(upper, 1):
            conv(f"down{scale}_1", channels, width)
            conv(f"down{scale}_2", width, width)
            channels = width
        conv("bottom", channels, bottom)
        channels = bottom
        for scale, width in reversed(list(enumerate(upper, 1))):
            self.add_module(f"rise{scale}", nn.ConvTranspose2d(channels, width, 2, stride=2))
            conv(f"up{scale}_1", 2 * width, width)
            conv(f"up{scale}_2", width, width)
            channels = width
        self.logits = nn.Conv2d(channels, outputs, 1)

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        """Return the soft segmentation of standardised windows, see `GrayMatterNetwork`.

        Height and width are multiples of 2 ** (scales - 1).
        """
        return torch.sigmoid(self.forward_logits(windows))

    def forward_logits(self, windows: torch.Tensor) -> torch.Tensor:
        """Return the output before the sigmoid."""
        x, left = windows, []
        for scale in range(1, self.scales + 1):
            left.append(self._steps(x, f"down{scale}"))
            x = max_pool2d(left[-1], 2)
        x = self._step(x, "bottom")
        for scale in range(self.scales, 0, -1):
            x = torch.cat([self.get_submodule(f"rise{scale}")(x), left[scale - 1]], dim=1)
            x = self._steps(x, f"up{scale}")
        return self.logits(x)

    def _steps(self, x: torch.Tensor, name: str) -> torch.Tensor:
        return self._step(self._step(x, f"{name}_1"), f"{name}_2")

    def _step(self, x: torch.Tensor, name: str) -> torch.Tensor:
        x = torch.relu(self.get_submodule(name)(x))
        return self.dropout(self.get_submodule(f"{name}_norm")(x))
