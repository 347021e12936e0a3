"""One loaded model: prompts and clips in, answers and forwards out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from redundancy.models.base import Family
from redundancy.video import VideoClip, load_video


@dataclass(frozen=True)
class Prepared:
    """Model inputs for one or more prompts, and the clips they show.

    Parameters
    ----------
    tensors
        What the model's forward and `generate` take.
    clips
        One tuple of clips per row of the batch.
    """

    tensors: dict[str, Tensor]
    clips: tuple[tuple[VideoClip, ...], ...]


@dataclass(frozen=True, eq=False)
class VideoLLM:
    """A video language model with its processor, behind the interface of its family.

    Parameters
    ----------
    model
        The Hugging Face model, unmodified.
    processor
        The checkpoint's own processor.
    family
        The adapter of the model's family.
    name
        What the user called it.
    folder
        Where the weights lie, or None for a model object that was given.
    pooling_head
        The SigLIP pooling head that fits the vision tower, or None.
    """

    model: nn.Module
    processor: Any
    family: Family
    name: str
    folder: str | None = None
    pooling_head: nn.Module | None = None

    def __repr__(self) -> str:
        count = sum(p.numel() for p in self.model.parameters())
        head = "" if self.pooling_head is None else ", with a salience head"
        kind = f"{count / 1e6:,.1f} M parameters of {str(self.dtype).removeprefix('torch.')}, {self.device}"
        return f"VideoLLM({self.name!r}, {self.family.name}, {kind}{head})"

    @property
    def device(self) -> torch.device:
        """Device of the parameters."""
        return next(self.model.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Floating-point type of the parameters."""
        return next(self.model.parameters()).dtype

    def load_video(self, path: str | Path, **arguments: Any) -> VideoClip:
        """Read a video by the sampling convention of the family, with its number of frames or rate unless one is given.

        Takes the arguments of `redundancy.load_video` and raises its errors.

        Source: own; the conventions and their sources are `redundancy.video.SAMPLINGS`.
        """
        return load_video(path, **{"sampling": self.family.sampling, **arguments})

    def prepare(
        self,
        clips: VideoClip | Sequence[VideoClip] | Sequence[Sequence[VideoClip]],
        prompts: str | Sequence[str | None] | None = None,
    ) -> Prepared:
        """Inputs for one prompt about one clip, or for a batch.

        Parameters
        ----------
        clips
            A clip; or one per prompt; or for each prompt the clips that it shows, in order.
        prompts
            The user's text; None asks nothing (enough for a capture of tokens).

        Raises
        ------
        ValueError
            If there is not one entry of `clips` per prompt, if the family cannot take the clips in one call, or if the
            processor has no chat template.

        Source: own.
        """
        rows = _rows(clips, prompts)
        flat = [clip for row, _ in rows for clip in row]
        self.family.check_clips(flat)
        if getattr(self.processor, "chat_template", None) is None:
            raise ValueError(
                f"the processor of {self.name!r} has no chat template, which says where a video stands in a prompt; "
                "add chat_template.jinja to its folder"
            )
        text = [self.chat_text(row, prompt) for row, prompt in rows]
        batch = self.processor(
            text=text,
            videos=[torch.from_numpy(clip.frames).permute(0, 3, 1, 2) for clip in flat],
            video_metadata=[_metadata(clip) for clip in flat],
            do_sample_frames=False,
            padding=True,
            return_tensors="pt",
            **self.family.processor_arguments(flat),
        )
        tensors = {
            key: value.to(device=self.device, dtype=self.dtype if key.startswith("pixel_values") else None)
            for key, value in batch.items()
            if isinstance(value, Tensor)
        }
        return Prepared(tensors, tuple(tuple(row) for row, _ in rows))

    def chat_text(self, clips: Sequence[VideoClip], prompt: str | None) -> str:
        """What the user says about the clips, in the model's chat format, before placeholders are multiplied.

        Source: own; the template is the checkpoint's.
        """
        content = self.family.chat_content(clips, prompt)
        chat: str = self.processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
        )
        return chat

    @torch.no_grad()
    def prefill(self, inputs: Prepared, **arguments: Any) -> Any:
        """One forward over the prompt; the output holds the logits `[B, 1, vocabulary]` of the next token.

        Source: own.
        """
        arguments = {"logits_to_keep": 1, **self.family.prefill_arguments(inputs.tensors), **arguments}
        return self.model(**inputs.tensors, **arguments)

    @torch.no_grad()
    def generate(
        self,
        clips: VideoClip | Sequence[VideoClip] | Prepared,
        prompt: str | None = None,
        *,
        max_new_tokens: int = 32,
        **arguments: Any,
    ) -> str:
        """The model's answer to one prompt, greedy unless `arguments` of `generate` say otherwise.

        Parameters
        ----------
        clips
            A clip, several clips shown in one prompt, or what `prepare` returned for one prompt.
        prompt
            The user's text.

        Raises
        ------
        ValueError
            If a batch of several prompts is given; `model.model.generate(**model.prepare(...).tensors)` takes those.

        Source: own.
        """
        if not isinstance(clips, Prepared):
            clips = self.prepare([[clips] if isinstance(clips, VideoClip) else list(clips)], [prompt])
        if len(clips.clips) != 1:
            raise ValueError(
                f"generate answers one prompt, given {len(clips.clips)}; call model.model.generate instead"
            )
        arguments = {"do_sample": False, "max_new_tokens": max_new_tokens, **arguments}
        ids = self.model.generate(**clips.tensors, **arguments)  # type: ignore[operator]
        new = ids[:, clips.tensors["input_ids"].shape[1] :]
        answer: str = self.processor.batch_decode(new, skip_special_tokens=True)[0]
        return answer.strip()


def _rows(clips: Any, prompts: Any) -> list[tuple[list[VideoClip], str | None]]:
    """Clips and prompt of each row, whatever the user's nesting was."""
    if isinstance(clips, VideoClip):
        clips = [clips]
    if prompts is None or isinstance(prompts, str):
        prompts = [prompts]
    rows = [[entry] if isinstance(entry, VideoClip) else list(entry) for entry in clips]
    if len(rows) != len(prompts):
        raise ValueError(
            f"one entry of clips per prompt is expected, given {len(rows)} for {len(prompts)}; several clips in one "
            "prompt are a nested list: prepare([[first, second]], [prompt])"
        )
    return list(zip(rows, prompts, strict=True))


def _metadata(clip: VideoClip) -> Any:
    from transformers.video_utils import VideoMetadata

    return VideoMetadata(
        total_num_frames=_frames_covered(clip),
        fps=clip.fps,
        height=int(clip.frames.shape[1]),
        width=int(clip.frames.shape[2]),
        duration=clip.duration,
        video_backend=clip.decoder.split()[0],
        frames_indices=_frame_numbers(clip),
    )


def _frames_covered(clip: VideoClip) -> int:
    """Frames of the file, or of the part of it that the clip was cut from.

    Processors divide the number of frames by it to learn how far apart the frames are.
    """
    count = len(clip.indices)
    if count < 2:
        return clip.total_frames
    step = float(clip.indices[-1] - clip.indices[0]) / (count - 1)
    reaches_both_ends = clip.indices[0] <= step and clip.total_frames - 1 - clip.indices[-1] <= step
    return clip.total_frames if reaches_both_ends else round(step * count)


def _frame_numbers(clip: VideoClip) -> list[Any]:
    """Frame numbers; at a variable rate fractional ones, so that number / rate is the true time that prompts name."""
    at_mean_rate = clip.timestamps * clip.fps
    constant = bool((abs(at_mean_rate - clip.indices) < 0.5).all())
    return list((clip.indices if constant else at_mean_rate).tolist())
