"""Stage 2: the language model learns to answer from cached video tokens, many of them dropped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from redundancy.models import wrap_model
from redundancy.models.hooks import Hooks
from redundancy.training.dropout import SHARES, Dropout, draw_dropout
from redundancy.training.hints import relevant_tokens
from redundancy.training.pool import IGNORED, Pool, Questions
from redundancy.training.small_models import ModelSize, frames_per_step
from redundancy.training.tower import TowerStage
from redundancy.world.clip import WorldVideo
from redundancy.world.labels import DIGIT, THING
from redundancy.world.questions import SKILLS
from redundancy.world.scene import WorldConfig

RENUMBER = {"llava_onevision": 0.25, "qwen2_5_vl": 0.1, "qwen3_vl": 0.1}
"""How often kept tokens are renumbered. On three axes that takes rows and columns away, so less often there."""
FEW = 0.25
HINTED_FROM = 1  # layer; what the first one reads by a hint it could never find by itself
STEPS_AT_ONCE, STEPS_AT_ONCE_ON_CPU = 512, 32  # temporal steps that the tower encodes together


@dataclass(frozen=True)
class TokenPool:
    """What the trained tower made of the pool.

    Parameters
    ----------
    tokens
        bfloat16 tokens of each video.
    deepstack
        Features for the first layers of the language model, or empty.
    labels
        What each token shows, see `cell_labels`.
    questions
        What is asked.
    """

    tokens: Tensor
    deepstack: tuple[Tensor, ...]
    labels: Bool[Tensor, "videos tokens channels"]
    questions: Questions

    def __len__(self) -> int:
        return len(self.tokens)


def encode_pool(pool: Pool, tower: TowerStage) -> Iterator[int | TokenPool]:
    """Run the tower over all videos; yields the number done so far, and the tokens at last."""
    joined = frames_per_step(tower.family)
    steps = pool.labels.shape[1]
    together = STEPS_AT_ONCE_ON_CPU if pool.frames.device.type == "cpu" else STEPS_AT_ONCE
    videos = max(1, together // steps)
    parts: list[tuple[Tensor, ...]] = []
    for start in range(0, len(pool), videos):
        frames = pool.frames[start : start + videos].unflatten(1, (-1, joined)).flatten(0, 1)  # type: ignore[no-untyped-call]
        with torch.no_grad():  # not around the function: a generator would leave it on between its values
            seen = tower(frames)
        levels = (seen.tokens, *seen.deepstack)
        parts.append(tuple(x.unflatten(0, (-1, steps)).flatten(1, 2).bfloat16() for x in levels))
        yield min(start + videos, len(pool))
    tokens, *deepstack = (torch.cat(levels) for levels in zip(*parts, strict=True))
    yield TokenPool(tokens, tuple(deepstack), pool.labels.flatten(1, 3), pool.questions)


def what_shows(labels: Bool[Tensor, "videos tokens channels"]) -> UInt8[Tensor, "videos tokens"]:
    """What each token shows: 0 the background, 1 a thing, 2 the digit."""
    thing, digit = (labels[..., part].any(-1) for part in (THING, DIGIT))
    return torch.where(digit, 2, thing.byte()).byte()


@dataclass(frozen=True)
class Prompt:
    """What stands before the question in every prompt.

    Parameters
    ----------
    ids
        Token ids of the prompt up to the end of the video.
    is_video
        Which are tokens of frames; LLaVA's newline is none.
    positions
        Of the prompt, then of as many text tokens as the question has; one row per axis.
    """

    ids: Int64[Tensor, " prompt"]
    is_video: Bool[Tensor, " prompt"]
    positions: Int64[Tensor, "axes prompt_and_question"]


def read_prompt(model: Any, processor: Any, size: ModelSize, *, question_words: int) -> Prompt:
    """The prompt that the processor makes for a video of the usual size, with the model's own positions."""
    whole = wrap_model(model, processor)
    clip = WorldVideo(0, WorldConfig(size.frames, size.pixels)).clip()
    inputs = whole.prepare(clip, " ".join(["?"] * (question_words - 2))).tensors
    ids = inputs["input_ids"]
    core = model.model
    if hasattr(core, "get_rope_index"):
        named = {k: inputs[k] for k in ("mm_token_type_ids", "video_grid_thw", "second_per_grid_ts") if k in inputs}
        positions = core.get_rope_index(ids, **named)[0][:, 0]
    else:
        positions = torch.arange(ids.shape[1])[None]
    start = ids.shape[1] - question_words
    video_id: int = getattr(model.config, "video_token_id", None) or model.config.video_token_index
    is_video = ids[0, :start].eq(video_id)
    if getattr(core, "image_newline", None) is not None:
        is_video[is_video.nonzero()[-1]] = False  # the last placeholder
    return Prompt(ids[0, :start], is_video, positions.to(ids.device))


class LanguageStage(nn.Module):
    """The language model, which answers questions about videos whose tokens are given.

    Several questions stand behind one video; a mask keeps them from seeing each other, and each has the positions that
    it would have alone. So a training step computes what answering does.

    Parameters
    ----------
    family, size
        Of the model.
    model, processor
        Of transformers.
    drop
        Probability that a step drops tokens.
    """

    def __init__(self, family: str, size: ModelSize, model: Any, processor: Any, *, drop: float = 0.7) -> None:
        super().__init__()
        self.family, self.size, self.model, self.processor, self.drop = family, size, model, processor, drop
        self._prompts: dict[int, Prompt] = {}

    def trained(self) -> dict[str, nn.Parameter]:
        """Parameters of the language model, and LLaVA's newline, by name."""
        newline = getattr(self.model.model, "image_newline", None)
        own = dict(self.model.model.language_model.named_parameters())
        return own if newline is None else {**own, "image_newline": newline}

    def prompt(self, question_words: int) -> Prompt:
        """The prompt before questions of one length."""
        if question_words not in self._prompts:
            self._prompts[question_words] = read_prompt(
                self.model, self.processor, self.size, question_words=question_words
            )
        return self._prompts[question_words]

    def forward(
        self,
        tokens: Float[Tensor, "videos tokens width"],
        deepstack: Sequence[Float[Tensor, "videos tokens width"]],
        words: Int64[Tensor, "videos questions words"],
        dropout: Dropout | None = None,
        hints: Float[Tensor, "videos questions tokens"] | None = None,
    ) -> Float[Tensor, "videos questions words vocabulary"]:
        """Logits of the word after each word of the questions.

        `hints` are added to the scores of video tokens, in the second layer and those behind it.
        """
        core = self.model.model
        language = core.language_model
        videos, questions, length = words.shape
        prompt = self.prompt(length)
        before = language.embed_tokens(prompt.ids)[None].repeat(videos, 1, 1)
        before[:, prompt.is_video] = tokens.to(before.dtype)
        if getattr(core, "image_newline", None) is not None:
            before[:, -1] = core.image_newline.to(before.dtype)
        place = prompt.positions[:, None].expand(-1, videos, -1)
        place, behind = place[..., :-length], place[..., -length:]
        shown = prompt.is_video[None].expand(videos, -1)
        if dropout is not None:
            columns = _kept_columns(prompt.is_video, dropout.keep)
            before = before.gather(1, columns[..., None].expand(-1, -1, before.shape[-1]))
            place, shown = place.gather(2, columns.expand(len(place), -1, -1)), shown.gather(1, columns)
            deepstack = [x.gather(1, dropout.keep[..., None].expand(-1, -1, x.shape[-1])) for x in deepstack]
            if hints is not None:
                hints = hints.gather(2, dropout.keep[:, None].expand(-1, questions, -1))
            if dropout.renumbered:
                place = torch.arange(place.shape[-1], device=place.device).expand_as(place)
                behind = place.shape[-1] + torch.arange(length, device=place.device).expand_as(behind)
        asked = language.embed_tokens(words.flatten(1))
        positions = torch.cat([place, behind.repeat(1, 1, questions)], 2)
        arguments: dict[str, Any] = {"position_ids": positions if len(positions) > 1 else positions[0]}
        if deepstack:
            shown = torch.cat([shown, shown.new_zeros(videos, questions * length)], 1)
            levels = [x.flatten(0, 1).to(before.dtype) for x in deepstack]
            arguments |= {"visual_pos_masks": shown, "deepstack_visual_embeds": levels}
        mask = question_mask(before.shape[1], questions, length).to(before.device).expand(videos, -1, -1, -1)
        with Hooks() as hooks:
            if hints is not None:
                scores = {"attention_mask": _with_hints(mask, shown[:, : before.shape[1]], hints)}
                for layer in language.layers[HINTED_FROM:]:
                    hooks.before(layer, lambda module, args, kwargs: (args, {**kwargs, **scores}))
            hidden = language(
                inputs_embeds=torch.cat([before, asked], 1),
                attention_mask=mask,
                use_cache=False,
                **arguments,
            ).last_hidden_state
        logits: Tensor = self.model.lm_head(hidden[:, before.shape[1] :])
        return logits.view(videos, questions, length, -1)

    def loss(
        self,
        pool: TokenPool,
        rows: Int64[Tensor, " videos"],
        columns: Tensor,
        dropout: Dropout | None,
        *,
        hint: float = 0.0,
    ) -> tuple[Float[Tensor, ""], Mapping[str, Tensor]]:
        """Cross-entropy of the answers, all skills alike however often they are asked, and accuracy per skill.

        `hint` is added to the scores of tokens that show what is asked about, see `redundancy.training.hints`.
        """
        asked = pool.questions
        words = asked.words[rows].gather(1, columns[..., None].expand(-1, -1, asked.words.shape[-1]))
        answers, at = asked.answers[rows].gather(1, columns), asked.asked_at[rows].gather(1, columns)
        hints = None
        if hint:
            shown = asked.shown[rows].gather(1, columns[..., None].expand(-1, -1, asked.shown.shape[-1]))
            hints = hint * relevant_tokens(pool.labels[rows], shown, asked.scenes[rows].gather(1, columns)).float()
        logits = self(pool.tokens[rows], [level[rows] for level in pool.deepstack], words, dropout, hints)
        logits = logits.gather(2, at[..., None, None].expand(-1, -1, 1, logits.shape[-1]))[:, :, 0].float()
        each = cross_entropy(logits.flatten(0, 1), answers.flatten(), ignore_index=IGNORED, reduction="none")
        right, valid = logits.detach().argmax(-1) == answers, answers != IGNORED
        skill = asked.skills[columns]
        of_skill = {name: valid & (skill == i) for i, name in enumerate(SKILLS)}
        asked_skills = [here for here in of_skill.values() if here.any()]
        loss = torch.stack([each.view_as(answers)[here].mean() for here in asked_skills]).mean()
        scores = {name: (right & here).sum() / here.sum() for name, here in of_skill.items()}  # NaN: not asked
        return loss, scores

    def draw(
        self, pool: TokenPool, count: int, questions: int, generator: torch.Generator, *, few: bool = False
    ) -> tuple[Tensor, Tensor, Dropout | None]:
        """Videos, the questions asked about each, and what is dropped; `few` keeps at most `FEW` of the tokens."""
        device = pool.tokens.device
        rows = torch.randint(len(pool), (count,), generator=generator).to(device)
        total = pool.questions.words.shape[1]
        columns = torch.rand(count, total, generator=generator).argsort(1)[:, :questions].to(device)
        dropout = draw_dropout(
            pool.tokens[rows],
            self.size.cells**2,
            generator,
            shows=what_shows(pool.labels[rows]),
            probability=1.0 if few else self.drop,
            shares=[share for share in SHARES if share <= FEW] if few else SHARES,
            renumber=RENUMBER[self.family],
        )
        return rows, columns, dropout


def question_mask(prompt: int, questions: int, words: int) -> Bool[Tensor, "1 1 length length"]:
    """Causal, and no question sees another."""
    length = prompt + questions * words
    block = torch.cat([torch.full((prompt,), -1), torch.arange(questions).repeat_interleave(words)])
    same = (block[:, None] == block[None]) | (block[None] == -1)
    return (same & torch.ones(length, length, dtype=torch.bool).tril())[None, None]


def _with_hints(
    mask: Bool[Tensor, "videos 1 length length"],
    shown: Bool[Tensor, "videos prompt"],
    hints: Float[Tensor, "videos questions tokens"],
) -> Float[Tensor, "videos 1 length length"]:
    """The mask as scores to add, with the hints between the questions' words and the video's tokens."""
    videos, questions, _ = hints.shape
    prompt = shown.shape[1]
    scores = torch.zeros(mask.shape, device=mask.device).masked_fill_(~mask, torch.finfo(hints.dtype).min)
    of_prompt = hints.new_zeros(videos, questions, prompt)
    of_prompt.masked_scatter_(shown[:, None].expand_as(of_prompt), hints)
    scores[:, 0, prompt:, :prompt] += of_prompt.repeat_interleave((mask.shape[2] - prompt) // questions, 1)
    return scores


def _kept_columns(
    is_video: Bool[Tensor, " prompt"], keep: Int64[Tensor, "videos kept"]
) -> Int64[Tensor, "videos columns"]:
    """Columns of the prompt that stay: everything but the dropped video tokens."""
    video = is_video.nonzero()[:, 0]
    rest = (~is_video).nonzero()[:, 0][None].expand(len(keep), -1)
    return torch.cat([rest, video[keep]], 1).sort(1).values
