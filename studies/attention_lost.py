"""What attention of the language model is thrown away, and does vision salience tell? Every method, layer by layer.

The whole model answers questions about each clip; its attention to the video tokens is recorded, and every method and
control is judged by it: the share of the attention (on the video) that falls on tokens that are dropped, per layer and
on all layers together. Beside it stand what a random choice of as many tokens would lose on average, which is exactly
the share dropped, and the least that any choice of as many would lose. For each source of salience: its rank
correlation with the attention, how well it finds the most attended tenth, and how much of the attention the top quarter
of each frame holds; beside it the mere order of the tokens, and the attention of the same layer to other questions
about the clip. Intervals are over clips.

    python -m studies.attention_lost
    python -m studies.attention_lost --rows question --videos my_videos/ --prompt "what happens in the video ?"
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor

import redundancy as rd
from redundancy import plot
from redundancy.evaluation.rows import grid_text
from redundancy.metrics.attention import attention_lost, salience_attention_agreement, top_mass, video_share
from redundancy.metrics.kernels.ranks import top_count
from redundancy.models import VideoLLM
from redundancy.pruning.table import METHODS
from redundancy.recording import open_dataset
from redundancy.sources import VideoSource
from redundancy.tokens import VideoTokens
from redundancy.video import VideoClip
from studies.attention_lost_summary import ALL, PREDICTION, lost_table, prediction_table, summarise
from studies.conditions import RETENTIONS, SALIENCE, Condition, below_table, conditions_of, decisions, replaced_sources
from studies.runner import (
    StudyOptions,
    VideoResult,
    command_line,
    run_study,
    save_summary,
    say_what_ran,
    study_main,
)

NAME = "attention_lost"
VERSION = 2


@dataclass(frozen=True, kw_only=True)
class Options(StudyOptions):
    """Measure the attention that methods throw away.

    Parameters
    ----------
    rows
        Whose attention counts: of the last prompt token, or of all tokens of the question (their mean).
    skills
        Of each clip's own questions the first one of each of these skills.
    prompt
        The question about videos that bring none of these.
    methods
        Names of the methods and controls.
    retentions
        Shares of the tokens that methods are asked to keep.
    seeds
        Draws of the random controls per clip.
    """

    rows: Literal["last", "question"] = "last"
    skills: tuple[str, ...] = ("digit", "when", "where")
    prompt: str = "what happens in the video ?"
    methods: tuple[str, ...] = tuple(METHODS)
    retentions: tuple[float, ...] = RETENTIONS
    seeds: int = 5
    out: Path = Path("results") / NAME

    def __post_init__(self) -> None:
        super().__post_init__()
        conditions_of(self.methods, self.retentions)
        if self.rows not in ("last", "question"):
            raise ValueError(f"rows={self.rows!r} given, expected 'last' or 'question'")
        self.at_least(1, "seeds")


class Asked(NamedTuple):
    """A question and the whole model's attention `[layer, query, T, N]` to the video while it reads it.

    The last layer of `attention` is the sum of the others: all layers together, each by what it gives the video. `mass`
    is the share of each layer's rows on the video, `[layer]`, without that sum.
    """

    skill: str
    text: str
    attention: Float[Tensor, "layers queries frames tokens"]
    mass: Float[Tensor, "real_layers"]


def questions_of(source: VideoSource, options: Options) -> list[tuple[str, str]]:
    """Skill and text of the questions about a video: its own, one per skill, or the prompt."""
    own = () if source.record is None else source.record.questions
    first = {q.skill: q.text for q in reversed(own) if q.skill in options.skills}
    return [(skill, first[skill]) for skill in options.skills if skill in first] or [("prompt", options.prompt)]


def ask(
    model: VideoLLM, clip: VideoClip, questions: Sequence[tuple[str, str]], *, rows: str
) -> tuple[VideoTokens, list[Asked]]:
    """The tokens of a clip, and the whole model's attention to them for every question."""
    asked, tokens = [], None
    for skill, text in questions:
        sources: dict[str, Any] = {} if tokens is None else {"salience": (), "frame_features": ()}
        capture = rd.capture(model, clip, prompt=text, attention_rows=rows, **sources)
        tokens = rd.VideoTokens.from_capture(capture) if tokens is None else tokens
        attention = torch.from_numpy(capture["attention"].transpose("layer", "query", "frame", "token").values).float()
        mass = video_share(torch.from_numpy(capture["attention_mass"].values)).mean(1)
        asked.append(Asked(skill, text, torch.cat([attention, attention.sum(0, keepdim=True)]), mass))
    assert tokens is not None
    return tokens, asked


def _layers(asked: Asked) -> list[str]:
    return [*map(str, range(len(asked.attention) - 1)), ALL]


def lost_rows(tokens: VideoTokens, asked: Sequence[Asked], condition: Condition, *, seeds: int) -> list[dict[str, Any]]:
    """Rows of one condition on one video: one per draw, question and layer."""
    rows = []
    for seed, reduction, note in decisions(condition, tokens, seeds=seeds):
        kept = len(torch.unique(reduction.anchor_token)) / (reduction.grid.frames * reduction.grid.tokens_per_frame)
        for one in asked:
            lost = attention_lost(one.attention, reduction)
            least = 1 - top_mass(one.attention, top=(kept,))[..., 0] if kept else torch.ones_like(lost.attention_lost)
            values = [x.mean(1).tolist() for x in (lost.attention_lost, lost.attention_lost_sources, least)]
            for layer, place, content, best in zip(_layers(one), *values, strict=True):
                possible = 1 - kept - best
                rows.append(
                    {
                        "setting": condition.label,
                        "seed": seed,
                        "skill": one.skill,
                        "layer": layer,
                        "attention_lost": place,
                        "attention_lost_sources": content,
                        "expected": 1 - kept,
                        "least": best,
                        "excess": place - (1 - kept),
                        "reached": (1 - kept - place) / possible if possible > 1e-6 else float("nan"),
                        "achieved": reduction.achieved,
                        "merges": not reduction.is_selection,
                        "replaced": note,
                    }
                )
    return rows


def held_by_top(attention: Float[Tensor, "queries frames tokens"], score: Float[Tensor, "frames tokens"]) -> float:
    """Share of the attention on the video that each frame's quarter of highest score holds: by chance a quarter.

    Ranks of all tokens say little where few of them hold most of the attention; this counts what is held.
    """
    top = score.sort(dim=1, descending=True, stable=True).indices[:, : top_count(0.25, score.shape[1])]
    held = attention.gather(2, top.expand(len(attention), -1, -1)).sum((1, 2))
    return (held / attention.sum((1, 2))).mean().item()


def prediction_rows(tokens: VideoTokens, asked: Sequence[Asked]) -> list[dict[str, Any]]:
    """Rows about what tells attention beforehand: one per question, layer and source."""
    T, N = tokens.grid.frames, tokens.grid.tokens_per_frame
    scores = {s: tokens.salience_from(s) for s in SALIENCE if s in tokens.salience}
    scores["order"] = torch.arange(T * N, dtype=torch.float32).view(T, N)
    rows = []
    for i, one in enumerate(asked):
        others = [a.attention.mean(1) for j, a in enumerate(asked) if j != i]
        for at, layer in enumerate(_layers(one)):
            sources = dict(scores)
            if others:
                shares = [o[at] / o[at].sum() for o in others]
                sources["other questions"] = torch.stack(shares).mean(0)
            mass = one.mass[at].item() if layer != ALL else one.mass.mean().item()
            for source, score in sources.items():
                agreement = salience_attention_agreement(one.attention[at], score)
                values = {name: getattr(agreement, name).nanmean().item() for name in agreement._fields}
                values["held"] = held_by_top(one.attention[at], score)
                row = {"setting": PREDICTION, "seed": -1, "skill": one.skill, "layer": layer, "source": source}
                rows.append(row | values | {"video_share": mass})
    return rows


def measure_video(
    source: VideoSource,
    missing: Sequence[str],
    *,
    model: VideoLLM,
    conditions: dict[str, Condition],
    options: Options,
) -> VideoResult:
    """Rows of one video for the settings that are missing.

    Raises
    ------
    VideoError
        If the video cannot be read.
    """
    clip = source.load(model, frames=options.frames)
    tokens, asked = ask(model, clip, questions_of(source, options), rows=options.rows)
    rows: list[dict[str, Any]] = []
    for label in missing:
        if label == PREDICTION:
            rows += prediction_rows(tokens, asked)
        else:
            rows += lost_rows(tokens, asked, conditions[label], seeds=options.seeds)
    facts = {"questions": [a.text for a in asked], "frames_read": len(clip.frames), "decoder": clip.decoder}
    return VideoResult(rows, {**facts, "grid": grid_text(tokens.grid)})


@study_main(NAME)
def main(options: Options) -> xr.Dataset:
    """Run what is missing, write rows, summary and figure, and print the tables.

    Raises
    ------
    NothingMeasuredError
        If every video failed.
    """
    conditions = {c.label: c for c in conditions_of(options.methods, options.retentions)}
    depends = {name: getattr(options, name) for name in ("frames", "seeds", "rows", "skills", "prompt")}
    run = run_study(
        options,
        {**conditions, PREDICTION: None},
        partial(measure_video, conditions=conditions, options=options),
        name=NAME,
        version=VERSION,
        depends=depends,
        sort_by=("video", "setting", "seed", "skill", "layer", "source"),
    )
    notes = replaced_sources(run.rows)
    summary = summarise(run, list(conditions.values()))
    attributes = {"frames": options.frames, "seeds": options.seeds, "replaced": notes, "rows": options.rows}
    summary = save_summary(summary, run, options.out, **attributes)
    draw(options.out)
    print("Attention on the video that is thrown away, all layers together:")
    print(lost_table(summary).to_string(index=False))
    print("\nWhat tells the attention beforehand:")
    print(prediction_table(summary).to_string(index=False))
    print(f"\n{below_table(summary, len(run.facts))}; {options.seeds} draws of random controls.")
    mass = summary["video_share"].sel(statistic="mean").drop_sel(layer=ALL).values
    print(f"Attention on the video, layer by layer: {', '.join(f'{share:.3f}' for share in mass)}.")
    print("held: attention on the quarter of each frame's tokens that score highest; by chance a quarter.")
    print(
        "beyond chance: minus the share of tokens dropped; reached: 0 is a random choice, 1 the most attended tokens."
    )
    print("\n".join([*notes, say_what_ran(run), f"Rows, summary and figure: {options.out}"]))
    return summary


def draw(out: Path) -> list[Path]:
    """Draw the study's figure from what is stored in `out`."""
    summary = open_dataset(out / "summary.zarr").load()
    return plot.save(plot.attention_lost(summary), out / NAME)


if __name__ == "__main__":
    command_line(Options, main)
