"""What ablations say, against what sessions say, and against what must be so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import numpy as np
import pandas as pd
import pytest

from redundancy.evaluation import VideoSession
from redundancy.evaluation.ablation import explained
from redundancy.models import VideoLLM
from redundancy.pruning import VCast
from redundancy.pruning.parts.budget import CurvatureBudget
from redundancy.sources import list_videos
from studies import ablate_inner, ablate_merging, ablate_salience, frame_scaling, placement, temporal_order
from studies.core.ablation import AblationOptions, conditions_of, with_settings
from tests.studies.conftest import ALIKE, Ran


def own(ran: Ran, condition: str, variant: str = "own") -> pd.DataFrame:
    rows = ran.rows
    return rows[(rows["condition"] == condition) & (rows["variant"] == variant)].set_index("video")


def test_rows_are_what_a_session_says(ran: Callable[[str], Ran], tiny: VideoLLM):
    found = own(ran("ablate_budget"), "ends: as turns at 0.5")
    for source in list_videos(limit=2):
        questions = [q for q in source.questions if q.skill == "digit"]
        with VideoSession(tiny, source.load(tiny, frames=8), questions, source=source) as video:
            reduction = VCast(retention=0.5, budget=CurvatureBudget(keep_ends=True))(video.tokens)
            answers = video.answers(reduction)
            row = found.loc[source.name]
            assert row["achieved"] == reduction.achieved
            assert row["accuracy"] == answers["correct"].mean()
            assert row["kl"] == pytest.approx(answers["kl"].mean(), rel=1e-12, abs=1e-15)
            for name, value in explained(video, reduction, ["reconstruction_error", "attention_lost"]).items():
                assert row[name] == value


@pytest.mark.parametrize("name", ["ablate_budget", *(name for name in ALIKE if name != "parity_gap")])
def test_the_default_differs_from_itself_in_nothing(name: str, ran: Callable[[str], Ran]):
    summary = ran(name).summary
    defaults = summary["condition"].values[summary["default"].values == 1]
    assert len(defaults)
    change = summary["difference"].sel(condition=defaults, statistic="estimate")
    assert (change.fillna(0) == 0).all()
    alike = summary["value"].sel(condition=defaults, measure=["same_tokens", "same_answers"], statistic="estimate")
    assert (alike == 1).all()
    assert np.isnan(summary["difference_test"].sel(condition=defaults)).all()


def test_controls_keep_as_many(ran: Callable[[str], Ran]):
    for name in ("ablate_budget", *ALIKE):
        rows = ran(name).rows
        share = rows.pivot_table(index=["video", "condition"], columns="variant", values="share", aggfunc="first")
        assert (share["own"] == share["random tokens"]).all()
        if "anchors alone" in share:
            merged = share["anchors alone"].notna()
            assert (share["own"][merged] == share["anchors alone"][merged]).all()


def test_changes_stand_once_for_each_retention():
    changes = with_settings("d", ablate_salience.EVEN, {"a": {"d": 0.1}, "b": {"d": 0.2}})
    made = conditions_of(changes, AblationOptions(retentions=(0.5, 0.25)))
    assert [c.label for c in made] == ["d: a at 0.5", "d: a at 0.25", "d: b at 0.5", "d: b at 0.25"]
    assert [c.factors["requested"] for c in made] == [0.5, 0.25, 0.5, 0.25]


@pytest.mark.parametrize("study", [ablate_merging, ablate_salience, ablate_inner], ids=["merging", "salience", "inner"])
def test_settings_that_are_not_known_are_refused(study: Any):
    with pytest.raises(ValueError, match=r"only=\['e'\] given, expected some of \['"):
        study.Options(only=("e",))


def test_a_choice_of_settings_where_there_are_none_is_no_option():
    for study in (temporal_order, frame_scaling):
        assert "only" not in {f.name for f in fields(study.Options)}


def test_inside_the_model_one_retention_of_holitom_is_compared():
    with pytest.raises(ValueError, match=r"retentions=\[0.5, 0.25\] given, expected one"):
        ablate_inner.Options(retentions=(0.5, 0.25))


def test_renumbered_clusters_are_the_same_outputs():
    conditions = ablate_merging.Options().conditions()
    labels = [c.label for c in conditions]
    assert len(set(labels)) == len(labels)
    clusters, numbered = (
        next(c for c in conditions if c.label == f"context tokens: clusters{x} at 0.1") for x in ("", ", renumbered")
    )
    assert clusters.method == numbered.method
    assert clusters.digest != numbered.digest


# where outputs stand --------------------------------------------------------------------------------------------------


def test_moved_outputs_are_the_same_content(tiny: VideoLLM):
    source = list_videos(limit=1)[0]
    with VideoSession(tiny, source.load(tiny, frames=8), source.questions[:1], source=source) as video:
        reduction = VCast(retention=0.25)(video.tokens)
        positions = video.tokens.positions
        assert positions is not None
        at = positions.flatten(1)[:, reduction.anchor]
        for distance in (1, 16):
            moved = placement.Moved("time", distance)(video, reduction)
            assert moved is not None
            assert moved.positions is not None
            assert 0 < int((moved.positions - at).abs().max()) <= distance
            assert moved.anchor.equal(reduction.anchor)
            values = video.values(moved, ["reconstruction_error", "position_displacement_time"])
            assert (
                values["reconstruction_error"]
                == video.values(reduction, ["reconstruction_error"])["reconstruction_error"]
            )
            assert np.array_equal(values["position_displacement_time"], (moved.positions - at)[0].abs().numpy())
        exchanged = placement.Moved("time", 0)(video, reduction)
        assert exchanged is not None
        assert exchanged.positions is not None
        assert sorted(exchanged.positions[0].tolist()) == sorted(at[0].tolist())
        assert placement.Moved("space", 4)(video, reduction) is None  # one axis has no space


def test_placement_says_what_the_plain_reductions_say(ran: Callable[[str], Ran]):
    found = ran("placement")
    its_own, at_anchors = (own(found, f"fastvid: {name} at 0.5") for name in ("its own", "at anchors"))
    for name in ("kl", "accuracy", "alignment_all"):
        assert its_own[name].equals(at_anchors[name])
    moved = own(found, "fastvid: moved in time by 4 at 0.5")
    assert (moved["alignment_all"] < its_own["alignment_all"]).all()
    assert (moved["same_tokens"] == 1).all()


# frames and their order -----------------------------------------------------------------------------------------------


def test_equal_tokens_are_equal(ran: Callable[[str], Ran]):
    rows = ran("frame_scaling").rows
    tokens = rows.groupby("condition")["tokens"].first()
    assert tokens["all tokens, 4 frames"] == 4 * 49
    assert tokens["all tokens, 8 frames"] == 8 * 49
    assert tokens["vcast (equal tokens), 8 frames"] == 4 * 49
    whole = rows[rows["condition"].str.startswith("all tokens")]
    assert (whole["kl"] == 0).all()
    assert (whole["agreement"] == 1).all()
    with pytest.raises(ValueError, match=r"counts=\[8, 4\] given, expected at least two numbers of frames, ascending"):
        frame_scaling.Options(counts=(8, 4))
    with pytest.raises(ValueError, match="'dycoke' given, expected names of methods with a retention"):
        frame_scaling.Options(methods=("dycoke",))


def test_orders_do_to_metrics_what_they_must(ran: Callable[[str], Ran]):
    summary = ran("temporal_order").summary
    change = summary["difference"].sel(statistic="estimate")
    same = change.sel(condition="all tokens, reversed", measure=["transition_similarity", "arc_length"])
    assert np.allclose(same, 0, atol=1e-5)  # float32 sums in another order
    assert (change.sel(condition="all tokens, intact").dropna("measure") == 0).all()
    repeated = summary["value"].sel(condition="all tokens, one repeated", statistic="estimate")
    assert float(repeated.sel(measure="transition_similarity")) == pytest.approx(1, abs=1e-5)
    assert float(repeated.sel(measure="arc_length")) == pytest.approx(0, abs=1e-3)
    clip = list_videos(limit=1)[0].load(None, frames=8)
    changed = temporal_order.one_repeated(clip)
    assert (changed.frames == clip.frames[4]).all()
    assert changed.timestamps.tolist() == clip.timestamps.tolist()
