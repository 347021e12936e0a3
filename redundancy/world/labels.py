"""What each cell of each frame shows, for the dense supervision of a vision tower."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, one_hot

from redundancy.world.questions import DIGITS
from redundancy.world.render import FrameTables, common_config
from redundancy.world.scene import BACKGROUNDS, COLORS, DIRECTIONS, SHAPES, VideoScript

VISIBLE = 0.06  # share of a cell that a thing must cover
BACKGROUND = slice(0, len(BACKGROUNDS))
THING = slice(BACKGROUND.stop, BACKGROUND.stop + len(SHAPES) * len(COLORS))
DIGIT = slice(THING.stop, THING.stop + len(DIGITS))
MOTION = slice(DIGIT.stop, DIGIT.stop + len(DIRECTIONS))
CHANNELS = MOTION.stop


def cell_labels(
    scripts: Sequence[VideoScript], cells: int, *, device: torch.device | str = "cpu"
) -> Bool[Tensor, "videos frames cells cells channels"]:
    """Which backgrounds, things, digits and motions each cell of a square grid shows.

    A channel is true where more than `VISIBLE` of the cell is covered, hidden pixels left out; the background's is true
    in every cell of its frames, the motion's where the mover is seen. Channels: `BACKGROUND`, `THING` (shape-major:
    `shape * len(COLORS) + color`), `DIGIT`, `MOTION`. The tail repeats its last frame's.

    Parameters
    ----------
    scripts
        Videos of one size.
    cells
        Cells along each side.
    device
        Where they are computed.

    Raises
    ------
    ValueError
        If the scripts are of different size, there is none, or `cells` is not in [1, size].
    """
    config = common_config(scripts)
    if not 1 <= cells <= config.size:
        raise ValueError(f"cells={cells} given, expected a number in [1, {config.size}]")
    frames = FrameTables(scripts, config, torch.device(device))
    box, _ = frames.digit()
    still = frames.thing(1)
    mover = frames.thing(0) & ~still & ~box
    moving, resting, flashing = (_covered(mask, cells) for mask in (mover, still & ~box, box))
    names, colors, directions = list(BACKGROUNDS), list(COLORS), list(DIRECTIONS)
    place = frames.of_scenes([[(names.index(s.background),) for s in script.scenes] for script in scripts])
    labels = torch.zeros(*moving.shape, CHANNELS, dtype=torch.bool, device=moving.device)
    labels[..., BACKGROUND] = _hot(place, len(names)).expand(*moving.shape, -1)
    for which, seen in ((0, moving), (1, resting)):
        things = [[(s.mover, s.still)[which] for s in script.scenes] for script in scripts]
        kinds = [[(SHAPES.index(t.shape) * len(colors) + colors.index(t.color),) for t in row] for row in things]
        labels[..., THING] |= seen[..., None] & _hot(frames.of_scenes(kinds), THING.stop - THING.start)
    digits = torch.tensor([script.flash.digit for script in scripts], device=moving.device)
    labels[..., DIGIT] = flashing[..., None] & one_hot(digits, len(DIGITS)).bool()[:, None, None, None]
    ways = frames.of_scenes([[(directions.index(s.direction),) for s in script.scenes] for script in scripts])
    labels[..., MOTION] = moving[..., None] & _hot(ways, len(DIRECTIONS))
    return torch.cat([labels, labels[:, -1:].expand(-1, config.tail, -1, -1, -1)], 1)


def _hot(index: Float[Tensor, "videos frames 1"], count: int) -> Bool[Tensor, "videos frames 1 1 classes"]:
    return one_hot(index[..., 0].long(), count).bool()[:, :, None, None]


def _covered(mask: Bool[Tensor, "videos frames height width"], cells: int) -> Bool[Tensor, "videos frames cells cells"]:
    share = adaptive_avg_pool2d(mask.float().flatten(0, 1)[:, None], cells)[:, 0]
    return (share > VISIBLE).view(*mask.shape[:2], cells, cells)
