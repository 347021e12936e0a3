"""Stage 1: the vision tower learns what each cell of a frame shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from redundancy.training.pool import Pool
from redundancy.training.small_models import MERGE, PATCH, ModelSize, frames_per_step
from redundancy.world.labels import CHANNELS, DIGIT, MOTION, THING

SEEN_WEIGHT = 8.0  # of a true label, beside 1
NAME_WEIGHT = 0.3  # of telling apart what a cell shows
PLACE_WEIGHT = 0.3  # of naming a token's row, and its column
FRAME_WEIGHT = 0.3
SCALE_WEIGHT = 0.1  # of the tokens' root mean square, which is to be 1: words are no longer
FLASHING = 0.5  # share of the temporal steps drawn in which the digit shows; at random a tenth


@dataclass(frozen=True)
class SeenTokens:
    """What a tower makes of temporal steps.

    Parameters
    ----------
    tokens
        Inputs of the language model.
    deepstack
        Features for its first layers (Qwen3-VL), else empty.
    pooled
        Output of the SigLIP pooling head, where one is trained.
    """

    tokens: Float[Tensor, "steps tokens width"]
    deepstack: tuple[Tensor, ...] = ()
    pooled: Float[Tensor, "steps tower_width"] | None = None


class TowerStage(nn.Module):
    """The tower, with linear probes that read the labels from its tokens.

    The probes read, in each token, what its cell shows and where it lies; for SigLIP, what the frame shows from the
    pooling head, which is trained with the tower. The motion's channels are left out for towers that see one frame.

    Parameters
    ----------
    family, size
        Of the model.
    model
        The Hugging Face model.
    """

    def __init__(self, family: str, size: ModelSize, model: Any) -> None:
        super().__init__()
        self.family, self.size, self.model = family, size, model
        self.classes = CHANNELS if frames_per_step(family) > 1 else MOTION.start
        self.probe = nn.Linear(size.width, self.classes + 2 * size.cells)
        self.pooling_head = _pooling_head(model) if family == "llava_onevision" else None
        self.frame_probe = nn.Linear(size.tower_width, self.classes) if self.pooling_head is not None else None

    def trained(self) -> dict[str, nn.Parameter]:
        """Parameters of the tower, its projector, head and probes, by name."""
        language = ("language_model", "lm_head", "image_newline")
        return {k: p for k, p in self.named_parameters() if not any(name in k for name in language)}

    def forward(self, frames: UInt8[Tensor, "steps frames 3 height width"]) -> SeenTokens:
        """Tokens of temporal steps that know nothing of each other."""
        pixels = (frames.float() / 255 - 0.5) / 0.5
        if self.family == "llava_onevision":
            return self._siglip(pixels[:, 0])
        patches, grid = patchify(pixels)
        seen = self.model.model.visual(patches, grid_thw=grid)
        shape = (len(frames), self.size.cells**2, self.size.width)
        deepstack = getattr(seen, "deepstack_features", None) or ()
        return SeenTokens(seen.pooler_output.view(shape), tuple(level.view(shape) for level in deepstack))

    def _siglip(self, pixels: Float[Tensor, "steps 3 height width"]) -> SeenTokens:
        core = self.model.model
        seen = core.vision_tower(pixels, output_hidden_states=True)
        tokens = core.apply_pooling(core.multi_modal_projector(seen.hidden_states[-1]))
        assert self.pooling_head is not None
        return SeenTokens(tokens, pooled=self.pooling_head(seen.last_hidden_state))

    def loss(
        self,
        frames: UInt8[Tensor, "steps frames 3 height width"],
        labels: Bool[Tensor, "steps cells cells channels"],
    ) -> tuple[Float[Tensor, ""], Mapping[str, Tensor]]:
        """What the probes get wrong, and scores: precision, and the share of cells whose place or content is named."""
        seen = self(frames)
        target = labels.flatten(1, 2)[..., : self.classes].float()
        read = self.probe(seen.tokens).float()
        weight = 1 + SEEN_WEIGHT * target
        loss = (weight * binary_cross_entropy_with_logits(read[..., : self.classes], target, reduction="none")).mean()
        where = read[..., self.classes :].unflatten(-1, (2, -1))
        place = _places(self.size.cells).to(where.device).expand(len(where), -1, -1)
        loss = loss + PLACE_WEIGHT * 2 * cross_entropy(where.flatten(0, 2), place.flatten())
        if self.frame_probe is not None:
            whole = self.frame_probe(seen.pooled).float()
            loss = loss + FRAME_WEIGHT * binary_cross_entropy_with_logits(whole, target.amax(1))
        for level in (seen.tokens, *seen.deepstack):
            loss = loss + SCALE_WEIGHT * (level.float().square().mean(-1).sqrt() - 1).square().mean()
        found = where.detach().argmax(-1) == place
        said = read[..., : self.classes].detach() > 0
        right = said & (target > 0)
        scores = {"precision": right.sum() / said.sum().clamp(min=1), "place": found.all(-1).float().mean()}
        for name, part in (("thing", THING), ("digit", DIGIT), ("motion", MOTION)):
            if part.start < self.classes:
                error, scores[name] = _named(read[..., part], target[..., part])
                loss = loss + NAME_WEIGHT * error
        return loss, scores

    def draw(self, pool: Pool, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Frames and labels of temporal steps of all videos, half of them drawn from those with a digit."""
        joined = frames_per_step(self.family)
        video = torch.randint(len(pool), (count,), generator=generator)
        step = torch.randint(pool.labels.shape[1], (count,), generator=generator)
        flashing = torch.randint(len(pool.flashes), (int(count * FLASHING),), generator=generator)
        video[: len(flashing)], step[: len(flashing)] = pool.flashes[flashing].T
        video, step = video.to(pool.frames.device), step.to(pool.frames.device)
        return pool.frames.unflatten(1, (-1, joined))[video, step], pool.labels[video, step]  # type: ignore[no-untyped-call]


def patchify(
    pixels: Float[Tensor, "steps frames 3 height width"],
) -> tuple[Float[Tensor, "patches values"], Tensor]:
    """Patches in the order of the Qwen towers, as their processors cut them, of steps that are seen one by one.

    Source: `Qwen2VLVideoProcessor` of transformers 5, whose layout this reproduces.
    """
    steps, joined, channels, height, width = pixels.shape
    rows, columns = height // (PATCH * MERGE), width // (PATCH * MERGE)
    cut = pixels.reshape(steps, joined, channels, rows, MERGE, PATCH, columns, MERGE, PATCH)
    order = cut.permute(0, 3, 6, 4, 7, 2, 1, 5, 8)
    patches = order.reshape(steps * rows * columns * MERGE**2, channels * joined * PATCH**2)
    return patches, torch.tensor([[steps, rows * MERGE, columns * MERGE]], device=pixels.device)


def _places(cells: int) -> Int64[Tensor, "tokens 2"]:
    """Row and column of each token."""
    index = torch.arange(cells)
    return torch.stack([index.repeat_interleave(cells), index.repeat(cells)], 1)


def _named(
    read: Float[Tensor, "steps tokens classes"], target: Float[Tensor, "steps tokens classes"]
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Cross-entropy and accuracy of naming the class of each cell that shows exactly one; 0 and NaN without such."""
    one = target.sum(-1) == 1
    truth = target[one].argmax(-1)
    error = cross_entropy(read[one], truth, reduction="sum") / one.sum().clamp(min=1)
    return error, (read[one].detach().argmax(-1) == truth).float().mean()


def _pooling_head(model: Any) -> nn.Module:
    """A fresh SigLIP pooling head for the model's tower."""
    import transformers as hf

    config = {**model.config.vision_config.to_dict(), "vision_use_head": True}
    tower = hf.SiglipVisionModel(hf.SiglipVisionConfig(**config))
    head: nn.Module = getattr(tower, "vision_model", tower).head
    return head
