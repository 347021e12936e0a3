"""One loaded model: prompts and clips in, answers and forwards out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import torch
from torch import Tensor, nn

from redundancy.models.base import Family
from redundancy.models.encoded import Encoded, features_given
from redundancy.models.logits import RequireNumbers
from redundancy.models.wrapped import float_dtype, input_device, parameters_loaded
from redundancy.video import VideoClip, load_video

Clips = VideoClip | Sequence[VideoClip] | Sequence[VideoClip | Sequence[VideoClip]]
NOT_TEXT = (
    "return_dict_in_generate",
    "output_scores",
    "output_logits",
    "output_attentions",
    "output_hidden_states",
)
"""Arguments of `generate` that ask for more than the answer."""


@dataclass(frozen=True)
class Prepared:
    """Model inputs for one or more prompts, and the clips they show.

    Parameters
    ----------
    tensors
        What the model's forward and `generate` take.
    clips
        One tuple of clips per row of the batch.
    encoded
        What the vision tower made of the clips; None: it is run.
    """

    tensors: dict[str, Tensor]
    clips: tuple[tuple[VideoClip, ...], ...]
    encoded: Encoded | None = None


@dataclass(frozen=True, eq=False)
class VideoLLM:
    """A video language model with its processor, behind the interface of its family.

    Parameters
    ----------
    model
        The Hugging Face model, unmodified, with what is wrapped around it.
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

    Examples
    --------
    >>> model = rd.load_model("tiny-llava-onevision", device="cpu")
    >>> model.generate(clip, "which digit flash ?", max_new_tokens=1)
    '3'
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
        """Where inputs go: the device of the parameters, or the first on which a dispatched model runs."""
        return input_device(self.model)

    @property
    def dtype(self) -> torch.dtype:
        """Floating-point type of the parameters."""
        return float_dtype(self.model)

    def load_video(self, path: str | Path, **arguments: Any) -> VideoClip:
        """Read a video by the sampling convention of the family, with its number of frames or rate unless one is given.

        Takes the arguments of `redundancy.load_video` and raises its errors.

        The conventions and their sources are `redundancy.video.SAMPLINGS`.
        """
        return load_video(path, **{"sampling": self.family.sampling, **arguments})

    def prepare(self, clips: Clips, prompts: str | Sequence[str | None] | None = None) -> Prepared:
        """Inputs for one prompt about one clip, or for a batch, padded on the left whatever the tokenizer says.

        Parameters
        ----------
        clips
            A clip that all prompts ask about; or one per prompt; or for each prompt the clips that it shows, in order,
            which may be none.
        prompts
            The user's text; None asks nothing (enough for a capture of tokens).

        Raises
        ------
        ValueError
            If there is not one entry of `clips` per prompt, if the family cannot take the clips in one call, if the
            processor has no chat template, if a prompt holds a placeholder of videos or images itself, or if the
            tokenizer has no pad token for a batch.
        """
        rows = _rows(clips, prompts)
        flat = [clip for row, _ in rows for clip in row]
        self.family.check_clips(flat)
        if getattr(self.processor, "chat_template", None) is None:
            raise ValueError(
                f"the processor of {self.name!r} has no chat template, which says where a video stands in a prompt; "
                "add chat_template.jinja to its folder"
            )
        batch = self.processor(
            text=[self._chat_of(row, prompt) for row, prompt in rows],
            return_tensors="pt",
            **self._padding(len(rows)),
            **(self._videos(flat) if flat else {}),
        )
        tensors = {
            key: value.to(device=self.device, dtype=self.dtype if key.startswith("pixel_values") else None)
            for key, value in batch.items()
            if isinstance(value, Tensor)
        }
        return Prepared(tensors, tuple(tuple(row) for row, _ in rows))

    def _chat_of(self, clips: Sequence[VideoClip], prompt: str | None) -> str:
        """The chat of one row, in which the placeholders are those of its clips: others would take a clip's place."""
        text = self.chat_text(clips, prompt)
        for kind, expected in (("video", len(clips)), ("image", 0)):
            token = getattr(self.processor, f"{kind}_token", None)
            if token is not None and text.count(token) != expected:
                raise ValueError(
                    f"the chat of the prompt {prompt!r} holds {text.count(token)} times {token!r}, which stands for a "
                    f"{kind}, expected {expected}; a prompt is plain text, and the chat template places the videos"
                )
        return text

    def _videos(self, clips: Sequence[VideoClip]) -> dict[str, Any]:
        """Arguments of the processor's call that hold the videos of all prompts."""
        return {
            "videos": [torch.from_numpy(clip.frames).permute(0, 3, 1, 2) for clip in clips],
            "video_metadata": [_metadata(clip) for clip in clips],
            "do_sample_frames": False,
            **self.family.processor_arguments(clips),
        }

    def _padding(self, rows: int) -> dict[str, Any]:
        """How the processor pads a batch: the next token follows the last column, so padding stands on the left."""
        if rows == 1:
            return {"padding": False}
        if self.processor.tokenizer.pad_token_id is None:
            raise ValueError(
                f"the tokenizer of {self.name!r} has no pad token, which a batch of {rows} prompts needs; set one, for "
                "example model.processor.tokenizer.pad_token = model.processor.tokenizer.eos_token"
            )
        return {"padding": True, "padding_side": "left"}

    def chat_text(self, clips: Sequence[VideoClip], prompt: str | None) -> str:
        """What the user says about the clips, in the model's chat format, before placeholders are multiplied.

        Raises
        ------
        ValueError
            If the checkpoint's chat template is faulty.
        """
        from jinja2 import TemplateError

        content = self.family.chat_content(clips, prompt)
        try:
            chat: str = self.processor.apply_chat_template(
                [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
            )
        except TemplateError as error:
            raise ValueError(f"the chat template of {self.name!r} cannot be filled in: {error}") from error
        return chat

    @torch.no_grad()
    def prefill(self, inputs: Prepared, **arguments: Any) -> Any:
        """One forward over the prompt; the output holds the logits `[B, 1, vocabulary]` of the next token.

        Raises
        ------
        ValueError
            If the inputs were made otherwise than by `prepare` and are padded on the right.
        """
        _require_left_padding(inputs)
        arguments = {"logits_to_keep": 1, **self.family.prefill_arguments(inputs.tensors), **arguments}
        with features_given(self.family, inputs.tensors, inputs.encoded) as tensors:
            return self.model(**tensors, **arguments)

    @overload
    def generate(
        self, clips: Clips | Prepared, prompt: str | None = None, *, max_new_tokens: int | None = None, **arguments: Any
    ) -> str: ...

    @overload
    def generate(
        self, clips: Clips, prompt: Sequence[str | None], *, max_new_tokens: int | None = None, **arguments: Any
    ) -> list[str]: ...

    @torch.no_grad()
    def generate(
        self,
        clips: Clips | Prepared,
        prompt: str | Sequence[str | None] | None = None,
        *,
        max_new_tokens: int | None = None,
        **arguments: Any,
    ) -> Any:
        """The model's answer to a prompt, or to each prompt of a list, greedy unless `arguments` say otherwise.

        Answers to a list are those that each prompt gets by itself; the prompts run as one batch.

        Parameters
        ----------
        clips
            With one prompt: a clip, or several clips shown in it. With a list of prompts: one clip that all ask about,
            or for each prompt its clip or clips. Or what `prepare` returned.
        prompt
            The user's text, or a list of texts.
        max_new_tokens
            Most tokens of an answer; None: 32, or what `arguments` say.
        arguments
            Of the model's `generate`.

        Returns
        -------
        A string for one prompt; a list of strings, one per prompt, for a list of prompts and for what `prepare` made of
        several. Where `arguments` ask for several sequences (`num_return_sequences`), each answer is the list of them.

        Raises
        ------
        ValueError
            If clips and prompts do not pair, see `prepare`; if a prompt is given beside prepared inputs; if `arguments`
            ask for more than text (`return_dict_in_generate`, `output_scores` ...).
        FloatingPointError
            If the model's logits are no numbers, with the names of the videos.

        Examples
        --------
        >>> model.generate(clip, "which digit ?")  # doctest: +SKIP
        '5'
        >>> model.generate(clip, ["which digit ?", "how many scenes ?"])  # doctest: +SKIP
        ['5', '3']
        >>> model.generate([first, second], ["which digit ?", "which digit ?"])  # doctest: +SKIP
        ['5', '7']
        """
        many = not (prompt is None or isinstance(prompt, str))
        inputs = clips if isinstance(clips, Prepared) else self._asked(clips, prompt)
        if isinstance(clips, Prepared) and prompt is not None:
            raise ValueError(
                f"prompt={prompt!r} given beside prepared inputs, which hold their prompts; give prompt=None"
            )
        _require_left_padding(inputs)
        generate: Any = getattr(self.model, "generate", None) or self.family.model.generate  # data parallelism has none
        given = features_given(self.family, inputs.tensors, inputs.encoded)
        with parameters_loaded(self.family.core), given as tensors:  # some parameters are read outside any forward
            ids = generate(**tensors, **self._choices(inputs, max_new_tokens, arguments))
        new = ids[:, inputs.tensors["input_ids"].shape[1] :]
        texts = [text.strip() for text in self.processor.batch_decode(new, skip_special_tokens=True)]
        rows = len(inputs.tensors["input_ids"])
        each = len(texts) // rows
        answers = texts if each == 1 else [texts[start : start + each] for start in range(0, len(texts), each)]
        return answers if many or rows > 1 else answers[0]

    def _asked(self, clips: Clips, prompt: str | Sequence[str | None] | None) -> Prepared:
        """One prompt shows all clips that are given; of a list, each shows its own."""
        if not (prompt is None or isinstance(prompt, str)):
            return self.prepare(clips, prompt)
        return self.prepare([_entries(clips)], [prompt])

    def _choices(self, inputs: Prepared, max_new_tokens: int | None, arguments: dict[str, Any]) -> dict[str, Any]:
        """Arguments of the model's `generate`: greedy and at most 32 tokens, unless the user says otherwise."""
        from transformers import LogitsProcessorList

        config = arguments.get("generation_config")
        code = [name for name in ("custom_generate", "trust_remote_code") if arguments.get(name)]
        if code:
            raise ValueError(
                f"{code[0]}={arguments[code[0]]!r} given, but code that comes with a checkpoint is never run"
            )
        more = [name for name in NOT_TEXT if arguments.get(name) or getattr(config, name, None)]
        if more:
            raise ValueError(
                f"{more[0]}=True given, but generate answers in text; for the rest call model.model.generate("
                f"**model.prepare(clips, prompts).tensors, {more[0]}=True)"
            )
        chosen: dict[str, Any] = {"return_dict_in_generate": False}  # whatever the checkpoint's own defaults are
        if config is None:
            chosen |= {"do_sample": False}
        if max_new_tokens is not None or not (config or "max_length" in arguments):
            chosen |= {"max_new_tokens": 32 if max_new_tokens is None else max_new_tokens}
        pad = self.processor.tokenizer.pad_token_id
        if pad is not None:  # with which answers that end early are filled up, and which is taken out of the text
            chosen |= {"pad_token_id": pad}
        checks = LogitsProcessorList([RequireNumbers(inputs.clips), *(arguments.get("logits_processor") or ())])
        return {**chosen, **arguments, "logits_processor": checks}


def _require_left_padding(inputs: Prepared) -> None:
    mask = inputs.tensors.get("attention_mask")
    if mask is not None and mask.dim() == 2 and not bool(mask[:, -1].all()):
        raise ValueError(
            "inputs padded on the right given, expected the left, as model.prepare pads: the next token "
            "follows the last column"
        )


def _rows(clips: Any, prompts: Any) -> list[tuple[list[VideoClip], str | None]]:
    """Clips and prompt of each row, whatever the user's nesting was."""
    texts = [None] if prompts is None else _entries(prompts)
    wrong = [text for text in texts if not (text is None or isinstance(text, str))]
    if wrong or not texts:
        raise ValueError(f"prompts={prompts!r} given, expected a text, or a list with at least one")
    entries = [clips] * len(texts) if isinstance(clips, VideoClip) else _entries(clips)
    rows = [_entries(entry) for entry in entries]
    strange = [clip for row in rows for clip in row if not isinstance(clip, VideoClip)]
    if strange:
        given = repr(strange[0]) if isinstance(strange[0], str | Path) else f"a {type(strange[0]).__name__}"
        raise ValueError(f"{given} given as a clip, expected what load_video returns")
    if len(rows) != len(texts):
        raise ValueError(
            f"one entry of clips per prompt is expected, given {len(rows)} for {len(texts)}; several clips in one "
            "prompt are a nested list: prepare([[first, second]], [prompt])"
        )
    return list(zip(rows, texts, strict=True))


def _entries(given: Any) -> list[Any]:
    """What a list holds, or the one thing that is given instead."""
    return list(given) if isinstance(given, Iterable) and not isinstance(given, str) else [given]


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
