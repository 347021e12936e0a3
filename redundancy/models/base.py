"""The interface behind which every model family looks the same to capture, apply and evaluation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from redundancy.models.cache_name import cache_in
from redundancy.models.checkpoint import load_texts, load_weights
from redundancy.models.wrapped import unwrapped
from redundancy.tokens import RotaryLayout, TokenGrid, TokenLayout
from redundancy.video import VideoClip


@dataclass(frozen=True, eq=False)
class VideoSpan:
    """Where one video sits in one row of the prompt.

    Parameters
    ----------
    row
        Row of the batch.
    grid
        Temporal steps, rows and columns of the video's tokens.
    columns
        `[T, N]` sequence columns of the video tokens, raster order.
    newlines
        Sequence columns of newline embeddings inside the placeholder run.
    """

    row: int
    grid: TokenGrid
    columns: Int[Tensor, "frames tokens"]
    newlines: Int[Tensor, "newlines"]


def layer_at(layers: nn.ModuleList, index: int) -> nn.Module:
    """One layer of a vision tower; negative numbers count from the last.

    Raises
    ------
    ValueError
        If there is no such layer.
    """
    if not -len(layers) <= index < len(layers):
        raise ValueError(f"salience_layer={index} does not exist: the vision tower has {len(layers)} layers")
    return layers[index]


class Family(ABC):
    """What differs between model families; one subclass and one file per family.

    Parameters
    ----------
    model
        The Hugging Face model, unmodified; wrappers around it (`torch.compile`, PEFT) are looked through.

    Notes
    -----
    `sampling` names the convention of `redundancy.video` by which the family was made to read videos; `layout` says
    what stands around its tokens; `clip_frames_per_step` how many frames of a clip make one temporal step.
    """

    name: ClassVar[str]
    model_types: ClassVar[tuple[str, ...]]
    clip_frames_per_step: ClassVar[int] = 1
    sampling: ClassVar[str] = "linspace"
    layout: ClassVar[TokenLayout]
    position_axes: ClassVar[tuple[str, ...]] = ("position",)
    attention_sources: ClassVar[tuple[str, ...]] = ("received",)

    def __init__(self, model: nn.Module) -> None:
        self.model = unwrapped(model)

    @classmethod
    def load(cls, folder: Path, **arguments: Any) -> tuple[nn.Module, Any]:
        """Model and processor of a folder; `arguments` are `dtype` and `attn_implementation`.

        Raises
        ------
        ValueError
            If the weights are not exactly those of the model, or the folder holds no processor of videos.
        """
        from transformers import AutoModelForImageTextToText, AutoProcessor

        model = load_weights(AutoModelForImageTextToText, folder, **arguments)
        processor = load_texts(AutoProcessor, folder)
        if getattr(processor, "video_processor", None) is None:
            raise ValueError(
                f"{folder} gives a {type(processor).__name__}, expected the processor of a video model: "
                "processor_config.json or video_preprocessor_config.json is missing"
            )
        return model, processor

    # where the parts of the model are ---------------------------------------------------------------------------

    @property
    def config(self) -> Any:
        """Configuration of the full model."""
        return self.model.config

    @property
    def core(self) -> nn.Module:
        """The module whose forward puts vision features into the prompt and calls the text model."""
        return unwrapped(self.model.model)  # type: ignore[arg-type]

    @property
    def text_model(self) -> nn.Module:
        """The language model without its head."""
        text: nn.Module = self.core.language_model  # type: ignore[assignment]
        return text

    @property
    @abstractmethod
    def tower(self) -> nn.Module:
        """The vision tower."""

    @property
    def video_token_id(self) -> int:
        """Id of the placeholder that stands for one video token in the prompt."""
        config = self.config
        newer = getattr(config, "video_token_id", None)
        return int(newer if newer is not None else config.video_token_index)

    @property
    def patches_per_token(self) -> int:
        """Patches that one token is made of, where these are whole groups of neighbours in the tower's order."""
        return 1

    # inputs -----------------------------------------------------------------------------------------------------

    def chat_content(self, clips: Sequence[VideoClip], prompt: str | None) -> list[dict[str, str]]:
        """What the user's message holds: the clips in order, then the prompt."""
        content = [{"type": "video"} for _ in clips]
        return content if prompt is None else [*content, {"type": "text", "text": prompt}]

    def processor_arguments(self, clips: Sequence[VideoClip]) -> dict[str, Any]:
        """Family-specific arguments of the processor's call, beside text, videos and metadata."""
        return {}

    def check_clips(self, clips: Sequence[VideoClip]) -> None:
        """Refuse clips that the family cannot put into one call.

        Raises
        ------
        ValueError
            With what was given and what is expected.
        """

    def prefill_arguments(self, inputs: Mapping[str, Tensor]) -> dict[str, Any]:
        """Further arguments with which a plain forward sees the positions that `generate` gives."""
        return {}

    @contextmanager
    def state_kept(self) -> Iterator[None]:
        """Put back, on leaving, what a forward leaves behind in the model."""
        yield

    # where the video is -----------------------------------------------------------------------------------------

    def carries_video(self, core_arguments: Mapping[str, Any]) -> bool:
        """Whether a call of `core` brings video pixels, or features already computed from them, with it."""
        encoded = core_arguments.get("mm_encoder_outputs") or {}
        return core_arguments.get("pixel_values_videos") is not None or encoded.get("video") is not None

    def tower_grid(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """What a call of the tower tells about the grids of its videos; None where it does not tell."""
        return None

    @abstractmethod
    def video_grids(self, core_arguments: Mapping[str, Any], tower_grid: Any) -> list[TokenGrid]:
        """Token grid of every video of a call, in order; each once, if the tower's call is known."""

    def encoded_videos(self, core_arguments: Mapping[str, Any]) -> int | None:
        """Videos whose features a call of `core` brings ready-made, those of repeated rows too; None for pixels."""
        encoded = (core_arguments.get("mm_encoder_outputs") or {}).get("video")
        return None if encoded is None else len(encoded.pooler_output)

    def run_length(self, grid: TokenGrid) -> int:
        """Placeholders that one video takes in the prompt, newlines included."""
        return grid.frames * grid.tokens_per_frame

    def split_run(self, run: Int[Tensor, "placeholders"], grid: TokenGrid) -> tuple[Tensor, Tensor]:
        """Columns of video tokens `[T, N]` and of newlines among the placeholders of one video."""
        return run.view(grid.frames, grid.tokens_per_frame), run[:0]

    def spans(self, input_ids: Int[Tensor, "batch length"], grids: Sequence[TokenGrid]) -> list[VideoSpan]:
        """Where each video sits, by rows and in order within a row.

        Raises
        ------
        ValueError
            If the prompt's placeholders are not exactly those of the videos.
        """
        if any(grid.frames < 1 for grid in grids):
            raise ValueError(f"every video needs at least one frame, given {list(grids)}")
        is_video = input_ids == self.video_token_id
        counts = is_video.sum(1).tolist()
        remaining = list(grids)
        spans = []
        for row, count in enumerate(counts):
            columns = is_video[row].nonzero().flatten()
            start = 0
            while start < count and remaining:
                grid = remaining.pop(0)
                stop = start + self.run_length(grid)
                if stop > count:
                    break
                tokens, newlines = self.split_run(columns[start:stop], grid)
                spans.append(VideoSpan(row, grid, tokens, newlines))
                start = stop
            if start != count:
                raise ValueError(f"row {row} holds {count} video placeholders, which are not those of {list(grids)}")
        if remaining:
            raise ValueError(f"{len(grids)} videos are given, the prompt has placeholders for {len(spans)}")
        return spans

    def frame_members(self, grid: TokenGrid, clip_frames: int) -> Int[Tensor, "frames members"]:
        """`[T, 1 or 2]` clip frames behind each temporal step; an odd last frame is its own partner."""
        step = self.clip_frames_per_step
        return torch.arange(grid.frames * step).clamp(max=clip_frames - 1).view(grid.frames, step)

    # positions --------------------------------------------------------------------------------------------------

    @abstractmethod
    def rotary(self) -> RotaryLayout:
        """Inverse frequencies and axes of the text model's rotary embedding, read from its own module."""

    def position_ids(self, text_arguments: Mapping[str, Any]) -> Int[Tensor, "axes batch length"]:
        """Position ids `[A, B, L]` with which the text model rotates queries and keys in this call."""
        given = text_arguments.get("position_ids")
        embeds = text_arguments["inputs_embeds"]
        if given is None:
            past = cache_in(text_arguments)
            start = 0 if past is None else int(past.get_seq_length())
            given = torch.arange(start, start + embeds.shape[1], device=embeds.device).expand(embeds.shape[0], -1)
        if given.dim() == 2:
            return given[None].expand(-1, embeds.shape[0], -1)
        return given[-len(self.position_axes) :]

    def text_position_ids(
        self, positions: Int[Tensor, "axes batch length"], contiguous: Int[Tensor, "batch length"]
    ) -> Int[Tensor, "..."]:
        """Position ids in the form the text model takes.

        `contiguous` counts the places that are not padding; families that give the text model a row of plain text
        positions beside the rotary ones put it there, because packed sequences are told by its gaps.
        """
        return positions[0]

    # extras of single families ----------------------------------------------------------------------------------

    def deepstack(self, text_arguments: Mapping[str, Any], span: VideoSpan) -> tuple[Tensor, ...]:
        """DeepStack features of one video, `[T, N, D]` per level; empty where the family has none."""
        return ()

    def deepstack_columns(self, text_arguments: Mapping[str, Any]) -> list[Tensor]:
        """DeepStack features per column `[B, L, D]` and level, 0 at text; empty where the family has none."""
        return []

    def without_deepstack(self, text_arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Arguments with which the text model adds no DeepStack features by itself."""
        return {}

    def shorten_extras(
        self,
        text_arguments: Mapping[str, Any],
        gather: Callable[[Tensor], Tensor],
        is_visual: Callable[[Tensor], Tensor],
    ) -> dict[str, Any]:
        """Further arguments of the text model for a shortened prompt, such as DeepStack features.

        `gather` takes per-column features `[B, L, D]` of the whole prompt to the shortened one, reducing videos;
        `is_visual` takes a mask `[B, L]` of visual columns there.
        """
        return {}

    # vision attention -------------------------------------------------------------------------------------------

    @abstractmethod
    def attention_module(self, layer: int) -> nn.Module:
        """Attention module of one layer of the vision tower; negative counts from the last."""

    @abstractmethod
    def queries_and_keys(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], grid: Any
    ) -> list[tuple[Tensor, Tensor]]:
        """Queries and keys `[T, heads, patches, d]` of each video or frame batch, from the inputs of that module.

        Queries are scaled, so that softmax of their product with the keys is the attention.
        """

    @abstractmethod
    def patches_to_tokens(self, scores: Float[Tensor, "rows patches"], grid: TokenGrid) -> Tensor:
        """Scores of patches on the token grid `[T, N]`, pooled exactly as the features are."""

    def keys_to_tokens(self, keys: Float[Tensor, "frames patches channels"], grid: TokenGrid) -> Tensor:
        """Keys of patches on the token grid `[T, N, d]`, each channel pooled as the features are."""
        T, _, d = keys.shape
        channels = self.patches_to_tokens(keys.movedim(-1, 0).flatten(0, 1), grid)
        return self.raster_order(channels, grid).view(d, T, -1).movedim(0, -1).contiguous()

    def raster_order(self, tokens: Float[Tensor, "rows tokens"], grid: TokenGrid) -> Tensor:
        """Token scores in raster order, from the order in which the tower works on them."""
        return tokens

    def pooling_input(self) -> nn.Module | None:
        """Module whose output the SigLIP pooling head reads, or None where the tower knows no such head."""
        return None

    def own_pooling_head(self) -> nn.Module | None:
        """The tower's own pooling head, or None."""
        return None
