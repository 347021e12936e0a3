"""The vision tower run once, with all that is read inside it."""

from __future__ import annotations

from dataclasses import replace

import torch

from redundancy.models.encoded import PIXELS, Encoded, run_tower
from redundancy.models.video_llm import Prepared, VideoLLM
from redundancy.recording.salience import record_tower
from redundancy.recording.tokens import available_salience


@torch.no_grad()
def encode(model: VideoLLM, inputs: Prepared) -> Prepared:
    """The prompt or batch with what the vision tower makes of its videos: calls of the model begin behind the tower.

    What the model gives of salience and frame features, and the keys of the tower's last layer, are recorded with it,
    so that recordings and methods find them although the tower does not run again.

    Raises
    ------
    ValueError
        If the prompt shows no video.
    """
    sources = available_salience(model)
    with record_tower(model.family, sources, pooling_head=model.pooling_head, keys=True) as tower:
        features = run_tower(model.family, inputs.tensors)
    call = tower.calls.last
    if call is None:
        raise RuntimeError("get_video_features of the model did not call its vision tower")
    return replace(inputs, encoded=Encoded(features, inputs.tensors[PIXELS], call))
