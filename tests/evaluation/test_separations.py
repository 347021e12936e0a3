"""Which skills separate methods: rows whose difference is known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from redundancy.evaluation.statistics.intervals import MARKED
from redundancy.evaluation.statistics.scores import separating, separation_text, separations


def made_up(right: dict[str, dict[str, float]], kept: dict[str, int], videos: int = 40) -> pd.DataFrame:
    """Rows in which a method answers the first `share` of the clips' questions of a skill rightly."""
    return pd.DataFrame(
        [
            {
                "condition": f"{name}(0.25)",
                "video": f"v{v:02d}",
                "question": q,
                "text": skill,
                "skill": skill,
                "seed": -1,
                "kept": kept[name],
                "correct": float(v < share * videos),
            }
            for name, skills in right.items()
            for v in range(videos)
            for q, (skill, share) in enumerate(skills.items())
        ]
    )


LABELS = {name: f"{name}(0.25)" for name in ("fastvid", "holitom", "vcast")}
TWO = {name: LABELS[name] for name in ("fastvid", "holitom")}


def test_a_known_difference_separates_and_equal_answers_do_not():
    right = {"fastvid": {"digit": 0.75, "where": 0.5}, "holitom": {"digit": 0.25, "where": 0.5}}
    table = separations(made_up(right, {"fastvid": 64, "holitom": 64}), TWO)
    assert list(table["skill"]) == ["digit", "where", "all"]
    digit, where, both = (table.set_index("skill").loc[s] for s in ("digit", "where", "all"))
    assert (digit["first"], digit["second"], digit["difference"]) == pytest.approx((0.75, 0.25, 0.5))
    # 20 of 40 clips differ by 1: the standard error of the mean is sqrt(0.25 / 40) = 0.079
    assert (digit["low"], digit["high"]) == pytest.approx((0.5 - 1.96 * 0.079, 0.5 + 1.96 * 0.079), abs=0.03)
    assert (digit["first_only"], digit["second_only"]) == (20, 0)
    assert digit["p"] == pytest.approx(2 * 0.5**20)
    assert (where["difference"], where["low"], where["high"], where["p"]) == (0, 0, 0, 1)
    assert both["difference"] == pytest.approx(0.25)
    clear = separating(table)
    assert clear[["skill", "one", "other", "clips"]].values.tolist() == [["digit", "fastvid", "holitom", 40]]


def test_a_difference_within_chance_does_not_separate():
    table = separations(
        made_up({"fastvid": {"digit": 0.525}, "holitom": {"digit": 0.5}}, {"fastvid": 64, "holitom": 64}),
        TWO,
    )
    one = table.set_index("skill").loc["digit"]
    assert one["difference"] == pytest.approx(0.025)
    assert one["low"] <= 0 < one["high"]  # a single clip differs
    assert not len(separating(table))


def test_the_worse_method_separates_as_well():
    table = separations(
        made_up({"fastvid": {"digit": 0.1}, "holitom": {"digit": 0.9}}, {"fastvid": 64, "holitom": 64}),
        TWO,
    )
    assert list(separating(table)["difference"]) == pytest.approx([-0.8])


@pytest.mark.parametrize(("videos", "listed"), [(MARKED - 1, 0), (MARKED, 1)])
def test_a_difference_of_few_clips_is_not_listed(videos: int, listed: int):
    """Clips that have a question of the skill count, not all that are compared."""
    rows = made_up(
        {"fastvid": {"digit": 1.0, "where": 0.5}, "holitom": {"digit": 0.0, "where": 0.5}},
        {"fastvid": 64, "holitom": 64},
    )
    rows = rows[(rows["skill"] == "where") | (rows["video"] < f"v{videos:02d}")]
    table = separations(rows, TWO)
    assert table.set_index("skill").loc["digit", ["low", "high", "clips"]].tolist() == [1, 1, 40]
    assert len(separating(table)) == listed


def test_only_clips_on_which_both_keep_as_many_tokens_are_compared():
    right = {"fastvid": {"digit": 1.0}, "holitom": {"digit": 0.0}, "vcast": {"digit": 0.0}}
    rows = made_up(right, {"fastvid": 64, "holitom": 64, "vcast": 65})
    rows.loc[(rows["condition"] == "holitom(0.25)") & (rows["video"] >= "v10"), "kept"] = 30
    table = separations(rows, LABELS)
    assert set(zip(table["one"], table["other"], strict=True)) == {("fastvid", "holitom")}
    assert set(table["clips"]) == {10}
    assert set(table["videos"]) == {10}
    nothing = separations(rows[rows["condition"] != "holitom(0.25)"], {n: LABELS[n] for n in ("fastvid", "vcast")})
    assert nothing.empty
    assert separating(nothing).empty
    assert separations(rows, {}).empty  # nobody was asked for that


def test_draws_of_a_control_are_averaged_before_they_are_compared():
    rows = made_up({"fastvid": {"digit": 1.0}, "holitom": {"digit": 1.0}}, {"fastvid": 64, "holitom": 64}, videos=8)
    other = rows[rows["condition"] == "holitom(0.25)"]
    drawn = [other.assign(seed=0), other.assign(seed=1, correct=0.0)]
    table = separations(pd.concat([rows[rows["condition"] == "fastvid(0.25)"], *drawn]), TWO)
    digit = table.set_index("skill").loc["digit"]
    assert (digit["first"], digit["second"], digit["difference"]) == (1, 0.5, 0.5)
    assert np.isnan(digit["p"])  # right in one draw and wrong in the other is no count


def test_a_draw_that_keeps_another_number_is_not_compared():
    rows = made_up({"fastvid": {"digit": 1.0}, "holitom": {"digit": 0.0}}, {"fastvid": 64, "holitom": 64}, videos=4)
    other = rows[rows["condition"] == "holitom(0.25)"]
    drawn = [other.assign(seed=0), other.assign(seed=1, kept=66)]
    assert separations(pd.concat([rows[rows["condition"] == "fastvid(0.25)"], *drawn]), TWO).empty


def test_the_text_says_what_separates_or_none() -> None:
    rows = made_up({"fastvid": {"digit": 1.0}, "holitom": {"digit": 0.0}}, {"fastvid": 64, "holitom": 64})
    assert "digit fastvid holitom" in " ".join(separation_text(rows, TWO, "0.25").split())
    assert separation_text(rows[rows["video"] < "v03"], TWO, "0.25").endswith("\nnone")
