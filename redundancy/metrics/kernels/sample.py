"""Fixed random samples of tokens, for measurements that cannot look at all of them."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def fixed_sample(
    tokens: Float[Tensor, "frames tokens channels"], *, seed: int, sample: int
) -> Float[Tensor, "points channels"]:
    """At most `sample` tokens in their order, drawn without replacement; the same on every device.

    Raises
    ------
    ValueError
        If the sample is below 1.
    """
    if sample < 1:
        raise ValueError(f"sample={sample} given, expected at least 1 token")
    x = tokens.flatten(0, 1)
    if len(x) > sample:
        chosen = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))[:sample]
        x = x[chosen.sort().values.to(x.device)]
    return x.float()
