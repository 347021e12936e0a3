"""The vision tower run once, with what is read inside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from redundancy.models.encoded import PIXELS, Encoded, run_tower
from redundancy.models.video_llm import Prepared, VideoLLM
from redundancy.recording.salience import record_tower
from redundancy.recording.tokens import available_salience


@torch.no_grad()
def encode(
    model: VideoLLM, inputs: Prepared, *, salience: Sequence[str] | None = None, keys: bool | None = None
) -> Prepared:
    """The prompt or batch with what the vision tower makes of its videos: calls of the model begin behind the tower.

    What is read inside the tower is recorded with it, so that recordings and methods find it although the tower does
    not run again.

    Parameters
    ----------
    model
        A loaded model.
    inputs
        What `model.prepare` made.
    salience
        Sources to record, those of frame features too; None: all that the model gives.
    keys
        Record the keys of the tower's last layer too; None: where all sources are recorded, if it sees whole frames.

    Raises
    ------
    ValueError
        If the prompt shows no video.
    """
    family = model.family
    sources = available_salience(model) if salience is None else tuple(salience)
    keys = salience is None if keys is None else keys
    if salience is None and not _last_layer_sees_frames(model):  # who asks for its attention is told so then
        sources, keys = tuple(s for s in sources if s not in family.attention_sources), False
    with record_tower(family, sources, pooling_head=model.pooling_head, keys=keys) as tower:
        features = run_tower(family, inputs.tensors)
    call = tower.calls.last
    if call is None:
        raise RuntimeError("get_video_features of the model did not call its vision tower")
    return replace(inputs, encoded=Encoded(features, inputs.tensors[PIXELS], call))


def _last_layer_sees_frames(model: VideoLLM) -> bool:
    try:
        model.family.attention_module(-1)
    except ValueError:
        return False
    return True
