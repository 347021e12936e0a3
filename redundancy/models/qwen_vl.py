"""What Qwen2-VL, Qwen2.5-VL and Qwen3-VL share: temporal patches, merged 2 x 2 patches, positions on three axes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from redundancy.models.base import Family, layer_at
from redundancy.models.rotary import MROPE_AXES, mrope_layout
from redundancy.tokens import RotaryLayout, TokenGrid, TokenLayout
from redundancy.video import VideoClip

NARROWEST = 200
"""Long over short side of a picture, from which on the processors of the Qwen families refuse it."""


def qwen_layout(family: str, *, frame_text: bool = False) -> TokenLayout:
    """The layout of a Qwen family: no newline, the attention of the mean query, mean tokens, positions on the grid."""
    return TokenLayout(
        family,
        frame_text=frame_text,
        salience="mean_query",
        frame_features="mean",
        grid_positions=True,
        fastvid="qwen",
    )


class QwenVL(Family):
    """Base of the adapters of the Qwen families."""

    clip_frames_per_step: ClassVar[int] = 2
    attention_sources: ClassVar[tuple[str, ...]] = ("mean_query", "received")
    position_axes: ClassVar[tuple[str, ...]] = MROPE_AXES

    @property
    def tower(self) -> nn.Module:
        """The vision transformer with its merger."""
        tower: nn.Module = self.core.visual  # type: ignore[assignment]
        return tower

    @property
    def merge(self) -> int:
        """Patches along each side of a token."""
        return int(self.config.vision_config.spatial_merge_size)

    @property
    def patches_per_token(self) -> int:
        """Patches that the merger makes one token of."""
        return self.merge**2

    # inputs -----------------------------------------------------------------------------------------------------

    def check_clips(self, clips: Sequence[VideoClip]) -> None:
        """Refuse pictures that are so narrow that the checkpoints' processors do."""
        for clip in clips:
            height, width = clip.frames.shape[1:3]
            if max(height, width) > NARROWEST * min(height, width):
                raise ValueError(
                    f"{self.name} takes pictures whose sides are at most 1 to {NARROWEST}, given {clip.source!r} of "
                    f"{width} x {height} pixels"
                )

    @contextmanager
    def state_kept(self) -> Iterator[None]:
        """Put back the offset between columns and positions, which the model keeps for decoding."""
        core: Any = self.core
        before = core.rope_deltas
        try:
            yield
        finally:
            core.rope_deltas = before

    # where the video is -----------------------------------------------------------------------------------------

    def tower_grid(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Int[Tensor, "videos 3"] | None:
        """Temporal steps, patch rows and patch columns of each video of the call."""
        grid: Tensor | None = kwargs.get("grid_thw", args[1] if len(args) > 1 else None)
        return grid

    def video_grids(self, core_arguments: Mapping[str, Any], tower_grid: Any) -> list[TokenGrid]:
        """Grids of merged patches; `generate` of newer versions has taken `video_grid_thw` out, the tower saw it."""
        grid = core_arguments.get("video_grid_thw")
        grid = tower_grid if grid is None else grid
        if grid is None:
            raise ValueError(
                "the call carries video, but neither video_grid_thw nor a call of the tower gives its grid"
            )
        return [TokenGrid(t, h // self.merge, w // self.merge) for t, h, w in grid.tolist()]

    # positions --------------------------------------------------------------------------------------------------

    def rotary(self) -> RotaryLayout:
        """Three axes: t, h, w."""
        return self._rotary

    @cached_property
    def _rotary(self) -> RotaryLayout:
        return mrope_layout(self.text_model)

    def text_position_ids(
        self, positions: Int[Tensor, "axes batch length"], contiguous: Int[Tensor, "batch length"]
    ) -> Int[Tensor, "rows batch length"]:
        """Row 0 counts places without gaps, rows 1 to 3 are t, h, w."""
        return torch.cat([contiguous[None], positions])

    # vision attention -------------------------------------------------------------------------------------------

    def attention_module(self, layer: int) -> nn.Module:
        """Attention of one block."""
        module: nn.Module = layer_at(self.tower.blocks, layer).attn  # type: ignore[arg-type, assignment]
        return module

    def queries_and_keys(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], grid: Any
    ) -> list[tuple[Tensor, Tensor]]:
        """One entry per video; queries scaled, both rotated, float32."""
        attention: Any = module
        hidden = kwargs.get("hidden_states", args[0] if args else None)
        if hidden is None or grid is None:
            raise ValueError("the vision attention was called without hidden_states, or the tower without grid_thw")
        projected = attention.qkv(hidden).view(len(hidden), 3, attention.num_heads, -1).float()
        cosine, sine = (x.float()[:, None] for x in kwargs["position_embeddings"])
        query, key = (_rotated(projected[:, i], cosine, sine) for i in (0, 1))
        shapes = grid.tolist()
        parts = [x.split([t * h * w for t, h, w in shapes]) for x in (query * attention.scaling, key)]
        by_frame = [
            [x.view(t, h * w, *x.shape[1:]).transpose(1, 2) for x, (t, h, w) in zip(part, shapes, strict=True)]
            for part in parts
        ]
        return list(zip(*by_frame, strict=True))

    def patches_to_tokens(self, scores: Float[Tensor, "rows patches"], grid: TokenGrid) -> Tensor:
        """Mean over the patches that the merger makes one token of; they are neighbours in the tower's order."""
        return scores.view(len(scores), -1, self.patches_per_token).mean(-1)


def _rotated(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Rotary embedding on pairs (i, i + d / 2)."""
    first, second = x.chunk(2, -1)
    return x * cosine + torch.cat((-second, first), -1) * sine
