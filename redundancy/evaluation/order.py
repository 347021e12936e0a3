"""How much an answer depends on the order of a video's frames, and on their number."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float, Shaped
from torch import Tensor

from redundancy.checks import require_type, whole_number
from redundancy.evaluation.prompts import prompts_of
from redundancy.evaluation.same_grid import on_one_grid
from redundancy.metrics.fidelity import next_token_kl, top1_agreement
from redundancy.models.video_llm import VideoLLM
from redundancy.recording.encode import encode
from redundancy.video import VideoClip


def shuffled(clip: VideoClip, *, seed: int) -> VideoClip:
    """The same frames in a random order, each at another's time.

    Source: FastVID (arXiv:2503.11187), figure 1.
    """
    order = torch.randperm(len(clip.frames), generator=torch.Generator().manual_seed(seed)).numpy()
    return replace(clip, frames=clip.frames[order])


def reversed_order(clip: VideoClip, *, seed: int = 0) -> VideoClip:
    """The same frames from the last to the first; the seed is not used."""
    return replace(clip, frames=clip.frames[::-1].copy())


def halved(clip: VideoClip, *, seed: int = 0) -> VideoClip:
    """Every second frame at its own time, the first among them; the seed is not used.

    Source: FastVID (arXiv:2503.11187), figure 1.
    """
    return replace(clip, frames=clip.frames[::2], timestamps=clip.timestamps[::2], indices=clip.indices[::2])


CONDITIONS: dict[str, Callable[..., VideoClip]] = {
    "shuffled": shuffled,
    "reversed": reversed_order,
    "half of the frames": halved,
}


def order_sensitivity(
    model: VideoLLM, clip: VideoClip, prompts: Sequence[str], *, seed: int = 0, draws: int = 4
) -> xr.Dataset:
    """What changes in the model's next-token distribution when frames are shuffled, reversed or halved in number.

    All are shown on the grid of the intact clip: where the family would give half of the frames another one (Qwen3-VL),
    `on_one_grid` holds it.

    Parameters
    ----------
    model
        A loaded model.
    clip
        The clip in its own order.
    prompts
        Questions about it.
    seed, draws
        Seed of the first shuffle and the number of shuffles, over which the mean is taken.

    Returns
    -------
    `kl` (condition, prompt) in nats, KL(intact || changed), and `changed` (condition, prompt), the share of draws in
    which the likeliest token is another one. Both 0 for a clip of one frame that is reversed or shuffled.

    Raises
    ------
    TypeError
        If the prompts are one text, or another argument is of another kind.
    ValueError
        If there is no prompt, `draws` is below 1, or the grid cannot be held.

    Source: FastVID (arXiv:2503.11187), figure 1, of which this is an extension.
    """
    require_type("model", model, VideoLLM, expected="what load_model returns")
    require_type("clip", clip, VideoClip, expected="what load_video returns")
    if isinstance(prompts, str):
        raise TypeError(f"prompts: {prompts!r} given, expected a list of texts")
    whole_number("draws", draws)
    if not prompts or draws < 1:
        raise ValueError(f"{len(prompts)} prompts and draws={draws} given, expected at least one of each")
    clip = on_one_grid(model, [clip, halved(clip)])[0]
    intact = _logits(model, clip, prompts)
    kl, changed = [], []
    for name, change in CONDITIONS.items():
        count = draws if name == "shuffled" else 1
        logits = [_logits(model, change(clip, seed=seed + i), prompts) for i in range(count)]
        kl.append(torch.stack([next_token_kl(intact, other) for other in logits]).mean(0))
        changed.append(torch.stack([1 - top1_agreement(intact, other).float() for other in logits]).mean(0))
    dims = ("condition", "prompt")
    return xr.Dataset(
        {
            "kl": (dims, _stacked(kl), {"units": "nat", "higher": "the answer depends more on the frames' order"}),
            "changed": (dims, _stacked(changed), {"units": "1", "higher": "more answers change"}),
        },
        coords={"condition": list(CONDITIONS), "prompt": list(prompts)},
        attrs={"seed": seed, "draws": draws, "source": "own; after FastVID (arXiv:2503.11187), figure 1"},
    )


@torch.no_grad()
def _logits(model: VideoLLM, clip: VideoClip, prompts: Sequence[str]) -> Float[Tensor, "prompts vocabulary"]:
    shown = prompts_of(
        model, clip, prompts, inputs=encode(model, model.prepare(clip, prompts[0]), salience=(), keys=False)
    )
    with model.family.state_kept():
        return torch.cat([model.prefill(shown.inputs_of(i)).logits[:, -1].float() for i in range(len(prompts))])


def _stacked(values: Sequence[Tensor]) -> Shaped[np.ndarray, "conditions prompts"]:
    return torch.stack(list(values)).cpu().numpy()
