"""Agreement of cuts with known ones, and what a segmentation holds together."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cosine

import redundancy as rd
from redundancy.evaluation.segmentation import (
    KEPT_MEASURES,
    SEGMENT_MEASURES,
    cut_agreement,
    fastvid_with_segments,
    kept_with_segments,
    known_cuts,
    segment_measures,
    segment_similarity,
    segmenter_sweep,
    similarity_over_time,
)
from redundancy.evaluation.session import VideoSession
from redundancy.metrics.coverage import reconstruction_error
from redundancy.sources import list_videos

cuts = st.lists(st.integers(0, 40), unique=True, max_size=12).map(lambda x: np.array(sorted(x), dtype=np.int64))


def test_known_answer():
    agreement = cut_agreement(np.array([3, 9, 20]), np.array([4, 12]), tolerance=1)
    assert agreement.precision == pytest.approx(1 / 3)
    assert agreement.recall == pytest.approx(1 / 2)
    assert agreement.f1 == pytest.approx(2 / 5)


def test_one_known_cut_is_matched_once():
    assert cut_agreement(np.array([3, 4, 5]), np.array([4]), tolerance=1).precision == pytest.approx(1 / 3)


def test_nothing_to_find_and_nothing_found():
    none = np.array([], dtype=np.int64)
    assert cut_agreement(none, none).f1 == 1.0
    assert np.isnan(cut_agreement(none, none).precision)
    assert cut_agreement(np.array([2]), none).f1 == 0.0
    assert cut_agreement(none, np.array([2])).f1 == 0.0


@given(cuts, cuts, st.integers(0, 3))
def test_matching_is_the_largest_one(found, known, tolerance):
    agreement = cut_agreement(found, known, tolerance=tolerance)
    if len(found) and len(known):
        fits = abs(found[:, None] - known[None]) <= tolerance
        rows, columns = linear_sum_assignment(-fits.astype(float))
        assert agreement.precision == pytest.approx(fits[rows, columns].sum() / len(found))
        assert agreement.recall == pytest.approx(fits[rows, columns].sum() / len(known))


def test_negative_tolerance_is_refused():
    with pytest.raises(ValueError, match="at least 0 frames"):
        cut_agreement(np.array([1]), np.array([1]), tolerance=-1)


def test_similarity_against_scipy():
    features = torch.randn(7, 5, generator=torch.Generator().manual_seed(0))
    got = segment_similarity(features, torch.tensor([3, 1, 3]))
    x = features.numpy()
    pairs = [(0, 1), (0, 2), (1, 2), (4, 5), (4, 6), (5, 6)]
    # float32 products of five terms: 1e-6 is ten roundings
    assert got.within == pytest.approx(np.mean([1 - cosine(x[i], x[j]) for i, j in pairs]), abs=1e-6)
    assert got.across_cut == pytest.approx(np.mean([1 - cosine(x[2], x[3]), 1 - cosine(x[3], x[4])]), abs=1e-6)


def test_undefined_similarities_are_nan():
    features = torch.eye(4)
    assert np.isnan(segment_similarity(features, torch.tensor([4])).across_cut)
    assert np.isnan(segment_similarity(features, torch.ones(4, dtype=torch.int64)).within)


def test_zero_features_have_no_direction():
    features = torch.tensor([[1.0, 0.0], [0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    got = segment_similarity(features, torch.tensor([3, 1]))
    assert got.within == 1.0
    assert got.across_cut == 0.0


def test_lengths_must_cover_the_frames():
    with pytest.raises(ValueError, match="add up to 3, but there are 4 frames"):
        segment_similarity(torch.randn(4, 2), torch.tensor([1, 2]))


@pytest.fixture(scope="module")
def session() -> Iterator[VideoSession]:
    model = rd.load_model("tiny-llava-onevision")
    source = next(s for s in list_videos(limit=8) if s.record is not None and len(s.record.scene_cuts) > 1)
    with VideoSession(model, source.load(model, frames=16), source=source) as video:
        yield video


def test_measures_of_segments(session: VideoSession) -> None:
    known = known_cuts(session)
    assert known is not None
    lengths = np.diff([-1, *known, 15]).tolist()  # the known scenes themselves
    found = segment_measures(session.tokens, lengths, known=known)
    assert set(found) == set(SEGMENT_MEASURES)
    assert (found["segments"], found["longest"]) == (len(known) + 1, max(lengths))
    assert found["mean_length"] == pytest.approx(16 / len(lengths))
    assert (found["precision"], found["recall"], found["f1"]) == (1, 1, 1)
    assert found["contrast"] == found["within"] - found["across_cut"] > 0
    assert "f1" not in segment_measures(session.tokens, lengths)
    shown = similarity_over_time(session)
    assert shown["known_cuts"] == known.tolist()
    assert shown["frame_time"] == session.tokens.frame_time.tolist()


def test_what_fastvid_keeps_with_given_segments(session: VideoSession) -> None:
    reduction = fastvid_with_segments(session, (8, 8), 0.25)
    assert reduction.stages["segments"].tolist() == [8, 8]
    kept = kept_with_segments(session, (8, 8), 0.25)
    assert set(kept) == set(KEPT_MEASURES)
    assert kept["kept"] == reduction.achieved <= 0.25
    assert kept["error"] == pytest.approx(reconstruction_error(session.tokens.features, reduction).item())
    assert kept["anchors"] == reduction.stages["context_budget"].sum().item() / 2


def test_sweeps_of_segmenters() -> None:
    dyseg = segmenter_sweep("dyseg", segments=[1, 4], thresholds=[0.8, 0.9])
    assert {c.label: (c.factors["series"], c.factors["by_number"]) for c in dyseg} == {
        "dyseg(c=1, tau=0.9)": ("dyseg, over tau", True),  # a point of both sweeps, and once
        "dyseg(c=4, tau=0.9)": ("dyseg", True),
        "dyseg(c=1, tau=0.8)": ("dyseg, over tau", False),
    }
    windows = segmenter_sweep("static_windows", segments=[2], thresholds=[0.8])
    assert [(c.label, c.factors["by_number"]) for c in windows] == [("static_windows(tau=0.8)", False)]
    ward = segmenter_sweep("agglomerative", segments=[2, 4], thresholds=[0.8], features="pooling_head")
    assert [c.label for c in ward] == ["agglomerative(segments=2)", "agglomerative(segments=4)"]
    assert {c.parts["segmenter"].features for c in ward} == {"pooling_head"}
    with pytest.raises(ValueError, match=r"segments=\[0\] given, expected numbers of at least 1"):
        segmenter_sweep("dyseg", segments=[0], thresholds=[])
