"""LLaVA-Video: LLaVA-OneVision's parts with average pooling and a newline after each grid row of each frame.

The published checkpoints are in the original LLaVA layout, for which transformers has no class. `llava_video_model.py`
holds the model and `llava_video_checkpoint.py` reads the folder; this is the adapter.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from jaxtyping import Float, Int
from torch import Tensor, nn

from redundancy.models.llava_onevision import LlavaOnevision
from redundancy.tokens import TokenGrid, TokenLayout
from redundancy.video import VideoClip


class LlavaVideo(LlavaOnevision):
    """Adapter of LLaVA-Video (arXiv:2410.02713)."""

    name = "llava_video"
    model_types: ClassVar[tuple[str, ...]] = ("llava_qwen", "llava_video")
    sampling: ClassVar[str] = "llava_video"
    layout: ClassVar[TokenLayout] = TokenLayout("llava_video", newline="row", fastvid="llava_video")

    @classmethod
    def load(cls, folder: Path, **arguments: Any) -> tuple[nn.Module, Any]:
        """Model and processor of a folder in the original LLaVA layout."""
        from redundancy.models.llava_video_checkpoint import load_checkpoint

        return load_checkpoint(folder, **arguments)

    @property
    def token_side(self) -> int:
        """Tokens along each side of a frame: pooling with stride 2 drops an odd last patch (27 gives 13)."""
        return self.patch_side // 2

    def chat_content(self, clips: Sequence[VideoClip], prompt: str | None) -> list[dict[str, str]]:
        """Each video is followed by its time instruction."""
        content = []
        for clip in clips:
            content += [{"type": "video"}, {"type": "text", "text": time_instruction(clip)}]
        return content if prompt is None else [*content, {"type": "text", "text": prompt}]

    def frames_of(self, length: int) -> int:
        """Frames of a video that takes so many placeholders."""
        return length // (self.token_side * (self.token_side + 1))

    def run_length(self, grid: TokenGrid) -> int:
        """T * rows * (cols + 1)."""
        return grid.frames * grid.rows * (grid.cols + 1)

    def split_run(self, run: Int[Tensor, "placeholders"], grid: TokenGrid) -> tuple[Tensor, Tensor]:
        """The last placeholder of each row is its newline."""
        rows = run.view(grid.frames, grid.rows, grid.cols + 1)
        return rows[..., :-1].reshape(grid.frames, -1), rows[..., -1].flatten()

    def patches_to_tokens(self, scores: Float[Tensor, "rows patches"], grid: TokenGrid) -> Tensor:
        """Mean over 2 x 2 patches, as the features are pooled."""
        image = scores.view(-1, 1, self.patch_side, self.patch_side)
        return nn.functional.avg_pool2d(image, 2).flatten(1)


def time_instruction(clip: VideoClip) -> str:
    """The sentence that tells the model when each frame was taken.

    Source: LLaVA-Video (arXiv:2410.02713), the prompt of its published model card.
    """
    times = ",".join(f"{seconds:.2f}s" for seconds in clip.timestamps)
    return (
        f"The video lasts for {clip.duration:.2f} seconds, and {len(clip.frames)} frames are uniformly sampled from "
        f"it. These frames are located at {times}.Please answer the following questions related to this video."
    )
