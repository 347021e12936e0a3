"""From scripts to pixels, all frames of all videos at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

from redundancy.world.scene import (
    BACKGROUNDS,
    COLORS,
    DIRECTIONS,
    QUADRANTS,
    SHAPES,
    SWING,
    Scene,
    Thing,
    VideoScript,
    WorldConfig,
)

NOISE = 0.015
TRAVEL = 0.5
_GLYPHS = (
    "01110 10001 10011 10101 11001 10001 01110",
    "00100 01100 00100 00100 00100 00100 01110",
    "01110 10001 00001 00110 01000 10000 11111",
    "11110 00001 00001 01110 00001 00001 11110",
    "00010 00110 01010 10010 11111 00010 00010",
    "11111 10000 11110 00001 00001 10001 01110",
    "00110 01000 10000 11110 10001 10001 01110",
    "11111 00001 00010 00100 01000 01000 01000",
    "01110 10001 10001 01110 10001 10001 01110",
    "01110 10001 10001 01111 00001 00010 01100",
)
GLYPHS = torch.tensor([[[c == "1" for c in row] for row in glyph.split()] for glyph in _GLYPHS])


def render(
    scripts: Sequence[VideoScript],
    *,
    generator: torch.Generator | None = None,
    device: torch.device | str = "cpu",
) -> Float[Tensor, "videos frames 3 height width"]:
    """Draw videos of one size, values in [0, 1].

    Parameters
    ----------
    scripts
        What happens in each video.
    generator
        Draws the pixel noise, on its own device; None draws none.
    device
        Where the pixels are computed.

    Raises
    ------
    ValueError
        If the scripts are of different size, or there is none.
    """
    config = common_config(scripts)
    frames = FrameTables(scripts, config, torch.device(device))
    image = frames.background()
    empty = torch.ones_like(frames.progress, dtype=torch.bool)[..., None, None]  # where the background is seen
    for which in (0, 1):
        thing = frames.thing(which)
        image = torch.where(thing[:, :, None], frames.color(which)[..., None, None], image)
        empty = empty & ~thing
    box, glyph = frames.digit()
    image = torch.where(box[:, :, None], glyph[:, None, None].to(image), image)
    if generator is not None:
        noise = NOISE * torch.randn(image.shape, generator=generator, device=generator.device).to(image.device)
        image = image + noise * torch.where((empty & ~box)[:, :, None], float(config.noise), 1.0)
    tail = image[:, -1:].expand(-1, config.tail, -1, -1, -1)
    return torch.cat([image, tail], 1).clamp(0, 1)


def common_config(scripts: Sequence[VideoScript]) -> WorldConfig:
    """The size and options that all scripts share.

    Raises
    ------
    ValueError
        If the scripts are of different size, or there is none.
    """
    sizes = {script.config for script in scripts}
    if len(sizes) != 1:
        raise ValueError(f"videos of one size are expected, given {len(scripts)} scripts of {len(sizes)} sizes")
    return sizes.pop()


def render_frames(script: VideoScript, *, seed: int) -> UInt8[np.ndarray, "frames height width 3"]:
    """One video with its pixel noise, as bytes."""
    image = render([script], generator=torch.Generator().manual_seed(seed))[0]
    return (image * 255).round().byte().permute(0, 2, 3, 1).numpy()


class FrameTables:
    """Per-frame quantities `[B, T, ...]` of a batch of scripts, and the masks drawn from them.

    Parameters
    ----------
    scripts
        What happens in each video, all of one config.
    config
        Their config.
    device
        Where masks and pixels are computed.
    """

    def __init__(self, scripts: Sequence[VideoScript], config: WorldConfig, device: torch.device) -> None:
        self.scripts, self.config, self.device = scripts, config, device
        lengths = [torch.tensor([s.length for s in script.scenes]) for script in scripts]
        self.per_frame = [torch.repeat_interleave(torch.arange(len(x)), x) for x in lengths]
        starts = [x.cumsum(0) - x for x in lengths]
        time = torch.arange(config.moving)
        self.progress = torch.stack(
            [(time - s[i]) / (x[i] - 1).clamp(min=1) for s, x, i in zip(starts, lengths, self.per_frame, strict=True)]
        ).to(device)
        axis = torch.linspace(0, 1, config.size, device=device)
        self.y, self.x = torch.meshgrid(axis, axis, indexing="ij")
        self.seen_x, self.seen_y = self.x, self.y
        if config.drift:
            way = torch.tensor([script.camera for script in scripts]) / config.drift
            path = _swing(config.drift / (config.size - 1) * (time - (config.moving - 1) / 2))
            offset = (path[:, None] * way[:, None])[..., None, None].to(device)
            self.seen_x, self.seen_y = self.x + offset[:, :, 0], self.y + offset[:, :, 1]

    def of_scenes(self, values: Sequence[Sequence[Sequence[float | int]]]) -> Float[Tensor, "videos frames channels"]:
        """A vector per scene, as a vector per frame."""
        vectors = (torch.tensor(v, dtype=torch.float32) for v in values)
        return torch.stack([v[i] for v, i in zip(vectors, self.per_frame, strict=True)]).to(self.device)

    def background(self) -> Float[Tensor, "videos frames 3 height width"]:
        """Colour and texture of each frame's background."""
        base = self.of_scenes([[BACKGROUNDS[s.background] for s in script.scenes] for script in self.scripts])
        phase = self.of_scenes([[s.phases for s in script.scenes] for script in self.scripts])[..., None, None]
        x, y = self.seen_x, self.seen_y
        coarse = torch.sin(18 * x + phase[:, :, 0]) * torch.sin(14 * y + phase[:, :, 1])
        texture = 0.04 * (coarse + torch.sin(28 * (x + y) + phase[:, :, 2]))
        return base[..., None, None] + texture[:, :, None]

    def color(self, which: int) -> Float[Tensor, "videos frames 3"]:
        """Of the mover (0) or of the still thing (1)."""
        return self.of_scenes([[COLORS[_thing(s, which).color] for s in script.scenes] for script in self.scripts])

    def thing(self, which: int) -> Bool[Tensor, "videos frames height width"]:
        """Pixels of the mover (0) or of the still thing (1)."""
        place = self.of_scenes(
            [[(t.x, t.y, t.radius) for t in (_thing(s, which) for s in script.scenes)] for script in self.scripts]
        )
        centre, radius = place[..., :2], place[..., 2:, None]
        if which == 0:
            way = self.of_scenes([[DIRECTIONS[s.direction] for s in script.scenes] for script in self.scripts])
            along = 0.5 + (self.progress[..., None] - 0.5) * TRAVEL * way
            centre = torch.where(way != 0, along, centre)
        dx = self.seen_x - centre[..., 0, None, None]
        dy = self.seen_y - centre[..., 1, None, None]
        index = self.of_scenes(
            [[[SHAPES.index(_thing(s, which).shape)] for s in script.scenes] for script in self.scripts]
        )
        masks = _shape_masks(dx, dy, radius)
        chosen = index.long()[..., None, None].expand(-1, -1, 1, *self.x.shape)
        return masks.gather(2, chosen)[:, :, 0]

    def digit(self) -> tuple[Bool[Tensor, "videos frames height width"], Bool[Tensor, "videos height width"]]:
        """Where and when the digit's box shows, and its strokes inside the box."""
        side = 0.24 if self.config.is_small else 0.16
        flashes = [script.flash for script in self.scripts]
        corner = torch.tensor([_corner(f.quadrant, f.offset) for f in flashes], device=self.device)[..., None, None]
        u, v = (self.x - corner[:, 0]) / side, (self.y - corner[:, 1]) / side
        inside = (u >= 0) & (u < 1) & (v >= 0) & (v < 1)
        glyph = GLYPHS[torch.tensor([f.digit for f in flashes])].flatten(1).to(self.device)
        cell: Int64[Tensor, "videos height width"] = (v * 7).long().clamp(0, 6) * 5 + (u * 5).long().clamp(0, 4)
        strokes = glyph.gather(1, cell.flatten(1)).view(cell.shape)
        time = torch.arange(self.config.moving)
        on = torch.stack([(time >= f.onset) & (time < f.onset + f.length) for f in flashes])
        return inside[:, None] & on[..., None, None].to(self.device), strokes


def _swing(path: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """A straight path folded to and fro between plus and minus `SWING`."""
    around = torch.remainder(path + SWING, 4 * SWING)
    return torch.minimum(around, 4 * SWING - around) - SWING


def _thing(scene: Scene, which: int) -> Thing:
    return (scene.mover, scene.still)[which]


def _corner(quadrant: str, offset: tuple[float, float]) -> tuple[float, float]:
    index = QUADRANTS.index(quadrant)
    return index % 2 * 0.5 + 0.06 + offset[0], index // 2 * 0.5 + 0.06 + offset[1]


def _shape_masks(dx: Tensor, dy: Tensor, r: Tensor) -> Bool[Tensor, "videos frames shapes height width"]:
    """Pixels of every shape of radius r around the centre, in the order of `SHAPES`."""
    distance = (dx**2 + dy**2).sqrt()
    wide, tall = dx.abs() < r, dy.abs() < r
    return torch.stack(
        [
            distance < r,
            (dx.abs() < 0.85 * r) & (dy.abs() < 0.85 * r),
            (dy < 0.8 * r) & (dy > 2 * dx.abs() - r),
            ((dx.abs() < 0.3 * r) & tall) | ((dy.abs() < 0.3 * r) & wide),
            (distance < r) & (distance > 0.6 * r),
        ],
        dim=2,
    )
