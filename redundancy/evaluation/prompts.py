"""Prompts of several questions about one video, and what has been run of them: one prefill for what they share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import takewhile

import torch
from jaxtyping import Float, Int
from torch import Tensor

from redundancy.apply.turns import continuing
from redundancy.models.cache_name import cache_of, named_cache
from redundancy.models.hooks import TextEntry, on_text_entry
from redundancy.models.logits import require_numbers
from redundancy.models.video_llm import Prepared, VideoLLM
from redundancy.video import VideoClip


@dataclass(frozen=True, eq=False)
class Prompts:
    """Prompts of several questions about one video.

    Parameters
    ----------
    inputs
        Model inputs of a prompt about the video, whose pixels are those of all.
    ids
        `[length]` token ids of each prompt.
    video_end
        Columns up to and including the last placeholder of the video.
    """

    inputs: Prepared
    ids: tuple[Int[Tensor, "_"], ...]
    video_end: int

    @property
    def common(self) -> int:
        """Columns that all prompts begin with, at most all but the last of the shortest."""
        length = min(len(ids) for ids in self.ids) - 1
        alike = torch.stack([ids[:length] == self.ids[0][:length] for ids in self.ids]).all(0)
        return int(alike.long().cumprod(0).sum())

    def tensors(self, ids: Int[Tensor, "_"]) -> dict[str, Tensor]:
        """Model inputs for ids that begin as the prompts do up to the end of the video."""
        given, length = self.inputs.tensors, len(ids)
        tensors = {**given, "input_ids": ids[None], "attention_mask": torch.ones_like(ids)[None]}
        if "mm_token_type_ids" in given:  # 0 for text, which is all that follows the video
            kinds = given["mm_token_type_ids"].new_zeros(1, length)
            kinds[:, : self.video_end] = given["mm_token_type_ids"][:, : self.video_end]
            tensors["mm_token_type_ids"] = kinds
        return tensors

    def inputs_of(self, index: int) -> Prepared:
        """Model inputs of one prompt."""
        return replace(self.inputs, tensors=self.tensors(self.ids[index]))


def prompts_of(
    model: VideoLLM, clip: VideoClip, texts: Sequence[str | None], *, inputs: Prepared | None = None
) -> Prompts:
    """Prompts of several questions about a clip; its frames go through the processor once.

    Parameters
    ----------
    model, clip, texts
        What is asked about what; None is a prompt without text.
    inputs
        Of the first text, as `model.prepare` made them; None: they are made.

    The processor's placeholders stand before the place where two prompts begin to differ, so the ids of further
    questions are those of the first with another end. Where that end is not found again in the first prompt, the
    processor is called for the question, which gives the same ids and takes longer.

    Raises
    ------
    ValueError
        If there is no question, or the video is not part of the prompt.
    """
    if not texts:
        raise ValueError("texts=[] given, expected at least one question")
    inputs = model.prepare(clip, texts[0]) if inputs is None else inputs
    first = inputs.tensors["input_ids"][0]
    places = (first == model.family.video_token_id).nonzero().flatten()
    if not len(places):
        raise ValueError(f"the prompt of {model.name!r} has no placeholder of the video")
    plain = [model.processor.tokenizer(model.chat_text([clip], text))["input_ids"] for text in texts]
    ids = [first]
    image = getattr(model.processor, "image_token", None)
    for text, own in zip(texts[1:], plain[1:], strict=True):
        strange = image is not None and image in (text or "")  # `prepare` says why it is refused
        end = None if strange else _other_end(first, plain[0], own, model.family.video_token_id)
        ids.append(model.prepare(clip, text).tensors["input_ids"][0] if end is None else end)
    return Prompts(inputs, tuple(ids), int(places[-1]) + 1)


def _other_end(
    first: Int[Tensor, "_"], plain: Sequence[int], other: Sequence[int], video: int
) -> Int[Tensor, "_"] | None:
    """The first prompt's ids with the end of the other; None where the ids before placeholders do not tell it."""
    common = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(plain, other, strict=False)))
    end = torch.tensor(plain[common:], dtype=first.dtype, device=first.device)
    kept = len(first) - len(end)
    if video not in plain[:common] or video in plain[common:] or not torch.equal(first[kept:], end):
        return None
    return torch.cat([first[:kept], torch.tensor(other[common:], dtype=first.dtype, device=first.device)])


class Running:
    """A prompt in the model's cache, to which tokens are added and taken away again.

    Inside `prune` the same hooks that serve `generate` serve this: positions of added tokens follow the last one of the
    prompt, and every layer's cache has the length that its reduction left.

    Parameters
    ----------
    model
        A loaded model.
    inputs
        The prompt, one row.

    Raises
    ------
    FloatingPointError
        If logits of the prompt or of added tokens are no numbers, with the name of the video.
    """

    def __init__(self, model: VideoLLM, inputs: Prepared) -> None:
        self.model = model
        self.clips = inputs.clips
        seen: list[tuple[Int[Tensor, "axes"], int]] = []

        def note(entry: TextEntry) -> None:
            tokens = sum(span.columns.numel() for span in entry.spans)
            seen.append((model.family.position_ids(entry.kwargs)[:, 0, -1], tokens))

        with on_text_entry(model.family, note):
            output = model.prefill(inputs, use_cache=True)
        self.cache = cache_of(output)
        self._again = named_cache(output)
        self.logits: Float[Tensor, "vocabulary"] = output.logits[0, -1]
        require_numbers(self.logits[None], self.clips)
        last, self.video_tokens = seen[0]
        self.next_position = last.amax() + 1
        self.added = 0

    @torch.no_grad()
    def add(self, ids: Int[Tensor, "tokens"], *, keep: int = 1) -> Float[Tensor, "kept vocabulary"]:
        """Run tokens after those that are there; logits behind the last `keep` of them."""
        family, new = self.model.family, torch.arange(len(ids), device=ids.device)
        positions = (self.next_position + self.added + new).expand(len(family.position_axes), 1, -1)
        contiguous = int(self.cache.get_seq_length()) + new[None]
        with continuing(self.cache):
            output = self.model.model(
                input_ids=ids[None],
                position_ids=family.text_position_ids(positions, contiguous),
                **self._again,
                use_cache=True,
                logits_to_keep=keep,
            )
        self.added += len(ids)
        logits: Tensor = output.logits[0]
        require_numbers(logits, self.clips)
        return logits

    def take_away(self, count: int) -> None:
        """Forget the last tokens that were added.

        Raises
        ------
        ValueError
            If there are not so many.
        """
        if not 0 <= count <= self.added:
            raise ValueError(f"count={count} given, expected at most the {self.added} tokens that were added")
        self.cache.crop(-count)
        self.added -= count
