"""Which tokens show what a question asks about: attention is drawn there while training begins.

Where attention starts out even over hundreds of tokens, no gradient says which of them to look at: nothing is read from
them yet, and nothing is read because none is looked at. Skills that need one place ("where", a thing of one scene) then
stay at chance for a thousand steps and more, some for the whole training. A hint of 4 lets a token weigh e^4 times as
much as others. The first layer is given none: its queries are single words, which do not say what is asked about, so
that what it learnt to read by hints would be lost with them.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from redundancy.questions import Question
from redundancy.world.labels import CHANNELS, DIGIT, MOTION, THING
from redundancy.world.scene import BACKGROUNDS, COLORS, SHAPES

_ABOUT_DIGIT = ("digit", "when", "where")


def remaining(progress: float, until: float) -> float:
    """Share of hints left, from 1 to 0, when this share of the steps is done, if they fade over the first `until`."""
    return max(0.0, 1 - progress / until)


def asked_about(question: Question) -> tuple[Bool[Tensor, " channels"], int]:
    """Channels of `cell_labels` that show what is asked about, and the number of its scene's background, or -1.

    No channel: the question is about the whole video (`count`, `first`).
    """
    words, shown = set(question.text.split()), torch.zeros(CHANNELS, dtype=torch.bool)
    if question.skill in _ABOUT_DIGIT:
        shown[DIGIT] = True
    if question.skill == "direction":
        shown[MOTION] = True
    if question.skill in ("shape", "color"):
        kinds = [(shape, color) for shape in SHAPES for color in COLORS]
        shown[THING] = torch.tensor([shape in words or color in words for shape, color in kinds])
    scenes = [i for i, name in enumerate(BACKGROUNDS) if name in words]
    return shown, scenes[0] if shown.any() and scenes else -1


def relevant_tokens(
    labels: Bool[Tensor, "videos tokens channels"],
    shown: Bool[Tensor, "videos questions channels"],
    scene: Int64[Tensor, "videos questions"],
) -> Bool[Tensor, "videos questions tokens"]:
    """Which tokens show what each question is about: one of its channels, in its scene where `scene` is not -1."""
    seen = torch.einsum("vtc,vqc->vqt", labels.float(), shown.float()) > 0
    of_scene = labels.transpose(1, 2).gather(1, scene.clamp(min=0)[..., None].expand(-1, -1, labels.shape[1]))
    return seen & (of_scene | (scene < 0)[..., None])
