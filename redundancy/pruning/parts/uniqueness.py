"""How unlike a video its frames and tokens are, as VidCom2 measures it, and the shares that frames get for it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

KERNEL_WIDTHS = (1 / 8, 1 / 4, 1 / 2, 1.0, 2.0)
TEMPERATURE = 0.01
EPSILON = 1e-12


class Uniqueness(NamedTuple):
    """Likeness `[T, N]` of each token to the video and to its frame, budgets `[T]`, and what led to them."""

    video: Float[Tensor, "frames tokens"]
    frame: Float[Tensor, "frames tokens"]
    rate: Float[Tensor, "frames"]
    budget: Int64[Tensor, "frames"]
    channels: Int64[Tensor, "kept_channels"]


def uniqueness(features: Float[Tensor, "frames tokens channels"], *, retention: float) -> Uniqueness:
    """Global uniqueness: how like each token is to the video and to its frame, and the budgets that follow.

    1. Half of the channels, those of smallest variance over all tokens, are kept; tokens get unit length on them.
    2. Likeness to a centre is a sum of Gaussian kernels of `KERNEL_WIDTHS`; centres are plain means.
    3. A frame's score is minus its mean likeness to the video; `p = softmax(score / 0.01)`.
    4. `rate[t] = min(1, retention * (1 + p[t] - mean p))`, `budget[t] = max(1, round(rate[t] * N))`, half to even.

    Source: VidCom2 (arXiv:2505.14454), section 3, eq. 1 to 5; details from the authors' code.
    """
    _, N, D = features.shape
    x = features.float()
    variance = x.flatten(0, 1).var(dim=0, correction=0)
    channels = variance.argsort(stable=True)[: max(int(D * 0.5), 1)].sort().values
    x = x[..., channels]
    x = x / torch.linalg.vector_norm(x, dim=-1, keepdim=True).clamp_min(EPSILON)
    to_video = _kernel(x, x.mean((0, 1)))
    to_frame = _kernel(x, x.mean(1, keepdim=True))
    rate = (retention * frame_rates(to_video)).clamp_max(1.0)
    budget = (rate * N).round().long().clamp(1, N)
    return Uniqueness(to_video, to_frame, rate, budget, channels)


def frame_rates(to_video: Float[Tensor, "frames tokens"]) -> Float[Tensor, "frames"]:
    """How much more than others each frame keeps, from the likeness of its tokens to the video; their mean is 1.

    Source: VidCom2 (arXiv:2505.14454), section 3, eq. 2 and 3.
    """
    score = -to_video.mean(1)
    p = ((score - score.max()) / TEMPERATURE).softmax(0)
    return 1 + p - p.mean()


def _kernel(x: Tensor, centre: Tensor) -> Float[Tensor, "frames tokens"]:
    squared = (x - centre).square().sum(-1)
    widths = torch.tensor(KERNEL_WIDTHS, dtype=x.dtype, device=x.device)
    return torch.exp(-squared[..., None] / (2 * widths)).sum(-1)
