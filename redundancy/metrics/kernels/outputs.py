"""What a reduction makes of a video's tokens, and how well that stands for them."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from redundancy.metrics.kernels.placement import on_device, video_sources
from redundancy.reduction import Reduction

CHUNK = 4096


def error_of_outputs(
    features: Float[Tensor, "*given channels"], outputs: Float[Tensor, "kept channels"]
) -> Float[Tensor, ""]:
    """Relative error of replacing every token by the nearest of any outputs: `||X - X~||_F / ||X||_F`.

    Parameters
    ----------
    features
        Tokens before the reduction, `[T, N, D]` or `[S, D]`.
    outputs
        `[K, D]` what stands for them.

    Returns
    -------
    A scalar, 0 if every token is among the outputs. The nearest is found in float32 on centred tokens, squared
    differences are summed in float64. NaN where all tokens are zero; 1 without any output.
    """
    tokens = features.reshape(-1, features.shape[-1]).float()
    total = tokens.double().square().sum()
    if not len(outputs):
        return (total / total).sqrt().float()
    kept, centre = outputs.float(), tokens.mean(0)
    residual = total.new_zeros(())
    for part in torch.split(tokens, CHUNK):
        nearest = kept[torch.cdist(part - centre, kept - centre).argmin(1)]
        residual += (part - nearest).double().square().sum()  # exact where a token is an output
    return (residual / total).sqrt().float()


def video_outputs(
    tokens: Float[Tensor, "frames tokens channels"], reduction: Reduction
) -> Float[Tensor, "outputs channels"]:
    """The outputs that a reduction makes of a video's tokens, float32.

    A reduction inside the model works on a span: there, outputs are made of the video tokens in its slots alone, their
    weights rescaled to the row's sum, and outputs without such a source are left out.

    Raises
    ------
    ValueError
        If the tokens are not those of the reduction's video.
    """
    grid, device = reduction.grid, tokens.device
    size = grid.frames * grid.tokens_per_frame
    if tokens.shape[:2] != (grid.frames, grid.tokens_per_frame):
        raise ValueError(f"tokens {tuple(tokens.shape)} given, expected [{grid.frames}, {grid.tokens_per_frame}, D]")
    x = tokens.float().flatten(0, 1)
    if torch.equal(reduction.slots.cpu(), torch.arange(size)):
        return reduction.apply(tokens.float())
    reduction = on_device(reduction, device)
    sources = video_sources(reduction)
    scale = (reduction.row_sums / sources.total).nan_to_num(0)
    weight = (sources.weight * scale[sources.output]).float()
    outputs = x.new_zeros(reduction.kept, x.shape[1]).index_add(0, sources.output, weight[:, None] * x[sources.token])
    return outputs[torch.unique(sources.output)]
