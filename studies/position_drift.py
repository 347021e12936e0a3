"""Where do methods put what they keep, and what do they no longer cover? Every method and control of the table.

For each clip, method and retention: how far the content of the outputs stands from where it came from (cells, seconds,
position ids, and in the rotary embedding's own terms), and what the outputs cover of the clip (frames, cells, turns of
the trajectory, the tokens themselves). Three comparisons on the same clip, each with the same number of tokens:

- merging against pruning: a method against its own anchors with nothing merged into them;
- renumbered against anchor placement of the same outputs;
- a method against as many tokens drawn at random over the whole video.

Alignment compares a place with the original one. Renumbering moves the question along with the video, so part of what
it costs in alignment is a shift that attention, which sees distances alone, does not feel: read it beside the distance
to the question. Intervals are over clips, differences are paired.

    python -m studies.position_drift
    python -m studies.position_drift --videos my_videos/ --model llava-hf/llava-onevision-qwen2-7b-ov-hf --frames 32
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
import xarray as xr

from redundancy import plot
from redundancy.evaluation.rows import grid_text
from redundancy.metrics import coverage, position
from redundancy.metrics.kernels.outputs import error_of_outputs, video_outputs
from redundancy.metrics.kernels.sample import fixed_sample
from redundancy.models import VideoLLM
from redundancy.pruning.table import METHODS
from redundancy.recording import open_dataset
from redundancy.recording.call_tokens import PromptEnd
from redundancy.recording.tokens import record_prompt
from redundancy.reduction import Reduction
from redundancy.sources import VideoSource
from redundancy.tokens import VideoTokens
from redundancy.video import VideoClip
from studies.conditions import (
    RETENTIONS,
    Condition,
    below_table,
    conditions_of,
    decisions,
    random_like,
    replaced_sources,
)
from studies.position_drift_summary import coverage_table, drift_table, summarise
from studies.runner import (
    StudyOptions,
    VideoResult,
    command_line,
    run_study,
    save_summary,
    say_what_ran,
    study_main,
)

NAME = "position_drift"
VERSION = 2
SAMPLE = 2000  # tokens on which k-means runs, as `reconstruction_gap` does by default


@dataclass(frozen=True, kw_only=True)
class Options(StudyOptions):
    """Measure position drift and coverage of methods.

    Parameters
    ----------
    prompt
        The question behind the video, to whose last token distances are measured.
    methods
        Names of the methods and controls.
    retentions
        Shares of the tokens that methods are asked to keep.
    seeds
        Draws of random controls per clip.
    """

    prompt: str = "how many scenes ?"
    methods: tuple[str, ...] = tuple(METHODS)
    retentions: tuple[float, ...] = RETENTIONS
    seeds: int = 3
    out: Path = Path("results") / NAME

    def __post_init__(self) -> None:
        super().__post_init__()
        conditions_of(self.methods, self.retentions)
        self.at_least(1, "seeds")


def tokens_and_end(model: VideoLLM, clip: VideoClip, prompt: str) -> tuple[VideoTokens, PromptEnd]:
    """The tokens of a clip, and where the prompt behind them ends."""
    recorded = record_prompt(model, model.prepare(clip, prompt))
    return recorded.tokens[0], recorded.ends[0]


# one video --------------------------------------------------------------------------------------------------------


class Bench:
    """One video, its measures, and the errors of k-means that many settings share.

    Parameters
    ----------
    tokens
        Of the video.
    end
        Where the prompt ends.
    """

    def __init__(self, tokens: VideoTokens, end: PromptEnd) -> None:
        self.tokens, self.end = tokens, end
        self.sampled = fixed_sample(tokens.features, seed=0, sample=SAMPLE)
        self.best = cache(self._best)

    def _best(self, kept: int) -> float:
        """Error of as many k-means centres as tokens are kept."""
        anything = Reduction.from_selection(torch.arange(kept), grid=self.tokens.grid)
        return coverage.kmeans_error(self.tokens.features.cpu(), anything, sample=SAMPLE).item()

    def drift(self, reduction: Reduction) -> dict[str, float]:
        """Measures of where outputs stand.

        The ratio of distances to the question is NaN where the family gives the question ids from before the video's
        end (Qwen2.5-VL with its ids in seconds).
        """
        t = self.tokens
        moved = position.grid_displacement(reduction, t.frame_time)
        row = {
            "moved_cells": _mean(moved.grid_displacement_space),
            "moved_seconds": _mean(moved.grid_displacement_seconds),
            "inversions": position.inversions(reduction).item(),
        }
        if t.positions is None or t.rotary is None:
            raise ValueError("tokens without position ids given, expected those of a model of a supported family")
        row["coherence"] = _mean(position.coherence(reduction, t.positions, t.rotary).coherence_all)
        ratio, (last, text_after) = float("nan"), self.end
        if last >= int(t.positions.max()):  # else text stands beside the video in time, not behind it
            to_text = position.distance_to_text(reduction, t.positions, last, text_after=text_after)
            ratio = _mean(to_text.distance_to_text_ratio)
        return row | {
            "moved_ids": _mean(position.position_displacement(reduction, t.positions).position_displacement_time),
            "alignment": _mean(position.alignment(reduction, t.positions, t.rotary).alignment_all),
            "time_warp": _mean(position.time_warp(reduction, t.positions, t.frame_time).time_warp.abs()),
            "distance_ratio": ratio,
        }

    def coverage(self, reduction: Reduction) -> dict[str, float]:
        """Measures of what the outputs cover."""
        t, best = self.tokens, self.best(reduction.kept)
        error = error_of_outputs(self.sampled, video_outputs(t.features, reduction)).item()
        return {
            "frames_covered": coverage.frames_covered(reduction).item(),
            "largest_gap": coverage.largest_gap(reduction, t.frame_time).largest_gap_seconds.item(),
            "turn_coverage": coverage.turn_coverage(reduction, t.frame_features_from("mean").float()).item(),
            "cells_covered": coverage.cells_covered(reduction).cells_covered.item(),
            "nearest_distance": coverage.nearest_distance(t.features, reduction).nearest_distance.item(),
            "reconstruction_error": coverage.reconstruction_error(t.features, reduction).item(),
            "reconstruction_gap": error / best if best > 0 else float("nan"),
        }


def _mean(values: torch.Tensor) -> float:
    """Mean over outputs or frames, NaN left out."""
    return values.double().nanmean().item()


def anchors_alone(reduction: Reduction) -> Reduction:
    """The outputs of a reduction with nothing merged into them: same anchors, order, placement and newlines.

    Source: own, the ablation of merging.
    """
    pruned = Reduction.from_selection(reduction.anchor, grid=reduction.grid, slots=reduction.slots)
    return replace(pruned, placement=reduction.placement, newline=reduction.newline, requested=reduction.requested)


def variants_of(reduction: Reduction, tokens: VideoTokens, *, seeds: int) -> Iterator[tuple[str, int, Reduction]]:
    """A reduction and what it is held against: name of the variant, seed of its draw (-1: none), reduction."""
    yield "own", -1, reduction
    if not reduction.is_selection:
        yield "anchors_alone", -1, anchors_alone(reduction)
    yield "at_anchors", -1, replace(reduction, placement="anchor")
    yield "renumbered", -1, replace(reduction, placement="renumbered")
    for seed in range(seeds):
        yield "random", seed, random_like(reduction, tokens, seed=seed)


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
    tokens, end = tokens_and_end(model, clip, options.prompt)
    bench = Bench(tokens, end)
    of_random: dict[tuple[int, int], dict[str, float]] = {}  # many settings keep equally many tokens
    rows: list[dict[str, Any]] = []
    for label in missing:
        for seed, reduction, note in decisions(conditions[label], tokens, seeds=options.seeds):
            about = {"setting": label, "seed": seed, "achieved": reduction.achieved, "replaced": note}
            about |= {"placement": reduction.placement, "merges": not reduction.is_selection}
            for variant, draw_seed, held in variants_of(reduction, tokens, seeds=options.seeds):
                row = about | {"variant": variant, "draw": draw_seed}
                if variant == "random":
                    key = (held.kept, draw_seed)
                    of_random[key] = of_random.get(key) or bench.coverage(held)
                    rows.append(row | of_random[key])
                    continue
                rows.append(row | bench.drift(held))
                if variant in ("own", "anchors_alone"):
                    rows[-1] |= bench.coverage(held)
    facts = {"last_position": end.last_position, "frames_read": len(clip.frames), "decoder": clip.decoder}
    return VideoResult(rows, {**facts, "grid": grid_text(tokens.grid)})


@study_main(NAME)
def main(options: Options) -> xr.Dataset:
    """Run what is missing, write rows, summary and figures, and print the tables.

    Raises
    ------
    NothingMeasuredError
        If every video failed.
    """
    conditions = {c.label: c for c in conditions_of(options.methods, options.retentions)}
    depends = {"frames": options.frames, "seeds": options.seeds, "prompt": options.prompt}
    run = run_study(
        options,
        conditions,
        partial(measure_video, conditions=conditions, options=options),
        name=NAME,
        version=VERSION,
        depends=depends,
        sort_by=("video", "setting", "seed", "variant", "draw"),
    )
    notes = replaced_sources(run.rows)
    summary = summarise(run, list(conditions.values()))
    summary = save_summary(summary, run, options.out, **depends, replaced=notes)
    draw(options.out)
    print("Where outputs stand (moved: with outputs at their anchors; distance to text: renumbered, new / old):")
    print(drift_table(summary).to_string(index=False))
    print("\nWhat outputs cover (random: as many tokens over the whole video; gap: error / that of k-means centres):")
    print(coverage_table(summary).to_string(index=False))
    print(f"\n{below_table(summary, len(run.facts))}; {options.seeds} draws of random controls.")
    print("\n".join([*notes, say_what_ran(run), f"Rows, summary and figures: {options.out}"]))
    return summary


def draw(out: Path) -> list[Path]:
    """Draw the study's figures from what is stored in `out`."""
    summary = open_dataset(out / "summary.zarr").load()
    drift = plot.save(plot.position_drift(summary), out / NAME)
    return drift + plot.save(plot.kept_coverage(summary), out / f"{NAME}_coverage")


if __name__ == "__main__":
    command_line(Options, main)
