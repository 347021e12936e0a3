"""Videos of random tokens that carry every source a method may read."""

from __future__ import annotations

import torch

from redundancy.tokens import TokenLayout, VideoTokens

LAYOUTS = {
    "onevision": TokenLayout("llava_onevision", newline="end"),
    "llava_video": TokenLayout("llava_video", newline="row", fastvid="llava_video"),
    "qwen": TokenLayout(
        "qwen2_5_vl", salience="mean_query", frame_features="mean", grid_positions=True, fastvid="qwen"
    ),
    "unknown": TokenLayout("unknown"),
}


def scenes(T: int, N: int, D: int, *, seed: int, cut: float = 0.3, change: float = 0.3) -> torch.Tensor:
    """Frames of a few scenes: most places stay nearly the same within a scene, some change."""
    g = torch.Generator().manual_seed(seed)
    scene = (torch.rand(T, generator=g) < cut).long().cumsum(0)
    base = torch.randn(int(scene[-1]) + 1, N, D, generator=g)[scene]
    moving = torch.rand(T, N, 1, generator=g) < change
    return base + torch.where(moving, 1.0, 0.05) * torch.randn(T, N, D, generator=g)


def video(
    T: int = 8,
    rows: int = 4,
    cols: int = 4,
    D: int = 8,
    *,
    seed: int = 0,
    layout: str = "unknown",
    features: torch.Tensor | None = None,
) -> VideoTokens:
    g = torch.Generator().manual_seed(seed + 1)
    x = scenes(T, rows * cols, D, seed=seed) if features is None else features
    salience = ("pooling_head", "received", "mean_query", "norm")
    return VideoTokens.from_features(
        x,
        rows=rows,
        cols=cols,
        layout=LAYOUTS[layout],
        salience={name: torch.rand(T, rows * cols, generator=g) for name in salience},
        frame_features={"mean": x.float().mean(1), "pooling_head": scenes(T, 1, 6, seed=seed)[:, 0]},
        extra={"keys": torch.randn(T, rows * cols, 4, generator=g)},
    )
