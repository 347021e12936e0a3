"""Logits that are no numbers are an error, never an answer: the largest of NaN is whatever stands first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from redundancy.video import VideoClip


def require_numbers(logits: Float[Tensor, "rows vocabulary"], about: Sequence[Sequence[VideoClip]]) -> None:
    """Refuse logits from which no token can be chosen.

    Parameters
    ----------
    logits
        `[rows, vocabulary]`; some may be -inf, which excludes a token.
    about
        The clips of each prompt, to be named; rows are prompts in order, each as often as the others (beams).

    Raises
    ------
    FloatingPointError
        If a row holds NaN or +inf, or -inf alone, with the names of its videos.
    """
    bad = (~logits.amax(-1).isfinite()).nonzero().flatten().tolist()
    if bad:
        copies = max(1, len(logits) // len(about))
        named = dict.fromkeys(clip.source for row in bad for clip in about[row // copies])
        raise FloatingPointError(
            f"the model gives no numbers (NaN or infinite logits) about {', '.join(map(repr, named)) or 'the prompt'}, "
            "so there is no answer; half precision that overflows does that: load the model with dtype=torch.bfloat16 "
            "or torch.float32, or see whether its weights are whole"
        )


@dataclass(frozen=True)
class RequireNumbers:
    """`require_numbers` in the form in which `generate` calls processors of logits.

    Parameters
    ----------
    about
        The clips of each prompt.
    """

    about: Sequence[Sequence[VideoClip]]

    def __call__(self, input_ids: Tensor, scores: Float[Tensor, "rows vocabulary"]) -> Float[Tensor, "rows vocabulary"]:
        """The scores as they are."""
        require_numbers(scores, self.about)
        return scores
