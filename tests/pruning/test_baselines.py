"""Baselines on inputs whose answer is known, where their authors' code fails, and what the repair reports."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from redundancy.pruning import DyCoke, PruneVid, VidCom2, VisionZip
from redundancy.pruning.methods.dycoke import dycoke
from redundancy.pruning.methods.prunevid import clusters_of, frame_segments, static_places
from redundancy.pruning.methods.prunevid_stage2 import prunevid_stage2
from redundancy.pruning.methods.vidcom2 import uniqueness
from redundancy.pruning.methods.visionzip import visionzip
from redundancy.pruning.parts.segment import FixedInterval
from redundancy.tokens import TokenLayout, VideoTokens


def video(T: int, rows: int, cols: int, D: int, *, seed: int = 0, layout: str = "llava_onevision") -> VideoTokens:
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(T, rows * cols, D, generator=generator)
    newline = {"llava_onevision": "end", "llava_video": "row"}.get(layout, "none")
    return VideoTokens.from_features(
        features,
        rows=rows,
        cols=cols,
        salience={"received": torch.rand(T, rows * cols, generator=generator)},
        layout=TokenLayout(layout, newline=newline, grid_positions=layout.startswith("qwen")),
    )


def test_vidcom2_keeps_the_odd_token_and_gives_more_to_the_odd_frame():
    features = torch.tensor([1.0, 0.0, 0.0, 0.0]).expand(6, 8, 4).clone()
    features[..., 2:] = torch.linspace(-5, 5, 2)  # half of the channels vary between tokens and play no part
    features[:, ::2, 2:] *= -1
    features[3, 5, 1] = 2.0
    unique = uniqueness(features, retention=0.25)
    assert unique.channels.tolist() == [0, 1]
    assert unique.rate.argmax() == 3
    assert unique.budget.tolist() == [2, 2, 2, unique.budget[3].item(), 2, 2]
    reduction = VidCom2(retention=0.25)(VideoTokens.from_features(features, rows=2, cols=4))
    assert 3 * 8 + 5 in reduction.anchor.tolist()


def test_vidcom2_places_outputs_as_its_families_do():
    at = {name: VidCom2()(video(4, 2, 3, 8, layout=name)) for name in ("llava_onevision", "llava_video", "qwen2_5_vl")}
    assert {k: r.placement for k, r in at.items()} == {
        "llava_onevision": "renumbered",
        "llava_video": "renumbered",
        "qwen2_5_vl": "anchor",
    }
    assert (at["llava_video"].newline, at["llava_onevision"].newline) == ("all", "none")


def test_dycoke_keeps_what_changed():
    features = torch.randn(8, 5, 6, generator=torch.Generator().manual_seed(0))
    features[1] = features[0]
    features[1, [1, 4]] *= -1  # frame 1 differs from frame 0 at two places
    features[2] = features[0]
    features[2, [0, 3]] *= -1  # and frame 2 from frame 0 at two others
    kept = dycoke(features, K=0.6)
    by_frame = {t: (kept[kept // 5 == t] % 5).tolist() for t in range(8)}
    assert by_frame[0] == list(range(5))
    assert by_frame[1] == [1, 4]
    assert by_frame[2] == [0, 3]
    assert [len(by_frame[t]) for t in range(8)] == [5, 2, 2, 2, 5, 2, 5, 2]


def test_dycoke_odd_and_short_videos():
    tokens = video(7, 2, 3, 8)
    literal, repaired = DyCoke(parity=True)(tokens), DyCoke()(tokens)
    assert int(literal.anchor.max()) < 6 * 6
    assert repaired.anchor[repaired.anchor >= 36].tolist() == list(range(36, 42))
    assert repaired.stages["clamped"] == ["odd number of frames: the last one stays whole"]
    short = video(4, 2, 3, 8)
    assert "fewer than five frames: only every second frame is reduced" in DyCoke()(short).stages["clamped"]
    with pytest.raises(ValueError, match="at least 5 frames, given 4"):
        DyCoke(parity=True)(short)


def test_visionzip_adds_the_mean_of_what_it_merges():
    metric = torch.tensor([[[1.0, 0], [0, 1], [1, 0.1], [0.1, 1], [1, -0.1], [0, 1]]])
    salience = torch.tensor([[0.0, 9, 0, 0, 0, 0]])
    entries = visionzip(metric, salience, dominant=1, contextual=2)
    # others 0 2 3 4 5, every second of them a target: 0 and 3; 2 and 4 go to 0, 5 goes to 3
    rows = torch.zeros(3, 6, dtype=torch.float64).index_put((entries.target, entries.source), entries.weight)
    assert entries.anchor.tolist() == [0, 1, 3]
    assert rows.tolist() == [[1, 0, 0.5, 0, 0.5, 0], [0, 1, 0, 0, 0, 0], [0, 0, 0, 1, 0, 1]]


def test_visionzip_compares_by_what_its_metric_says():
    tokens = video(3, 4, 4, 8)
    keys = torch.randn(3, 16, 5, generator=torch.Generator().manual_seed(9))
    both = replace(tokens, extra={"keys": keys})
    by_keys, by_features = VisionZip(retention=0.75, metric="keys")(both), VisionZip(retention=0.75)(both)
    assert (by_keys.stages["metric"], by_features.stages["metric"]) == ("keys", "features")
    assert not torch.equal(by_keys.target, by_features.target)
    assert torch.equal(by_features.target, VisionZip(retention=0.75)(tokens).target)  # keys at hand change nothing
    with pytest.raises(ValueError, match=r"carry no keys of the tower\. Capture them with keys=True"):
        VisionZip(metric="keys")(tokens)


def test_visionzip_counts():
    assert VisionZip().counts(196) == (54, 10, [])
    assert VisionZip(retention=0.01).counts(16)[:2] == (0, 1)
    assert VisionZip(retention=1.0).counts(1)[:2] == (0, 1)
    needs = VisionZip().needs()
    assert needs.salience == "received"
    with pytest.raises(ValueError, match="carry no salience of source 'received'"):
        VisionZip()(VideoTokens.from_features(torch.randn(2, 4, 3), rows=2, cols=2))


def test_prunevid_static_places_against_all_pairs():
    segment = torch.randn(4, 6, 5, generator=torch.Generator().manual_seed(1))
    segment[:, 2] = segment[0, 2]
    segment[1:, 4] = segment[0, 4] + 0.05 * segment[1:, 4]
    unit = torch.nn.functional.normalize(segment, dim=-1)
    pairs = torch.einsum("tnd,snd->tsn", unit, unit)
    mean = (pairs.sum((0, 1)) - 4) / 12
    assert static_places(segment, tau=0.8).tolist() == (mean > 0.8).tolist()
    assert static_places(segment, tau=0.8).tolist()[2]
    assert not static_places(segment[:1], tau=-1.0).any()


def test_prunevid_means_static_places_over_the_segment():
    tokens = video(6, 3, 3, 8)
    features = tokens.features.clone()
    features[:3, 4] = features[0, 4]
    reduction = PruneVid(segmenter=FixedInterval(segments=2))(replace(tokens, features=features))
    assert reduction.stages["static"].tolist() == [1, 0]
    assert reduction.stages["dynamic"].tolist() == [3 * 8, 3 * 9]
    assert reduction.anchor[0] == 4
    assert reduction.source[reduction.target == 0].tolist() == [4, 13, 22]
    assert reduction.placement == "renumbered"


def test_prunevid_clusters_large_sets_only():
    points = torch.randn(2, 14, 4, generator=torch.Generator().manual_seed(2))
    centre, label = clusters_of(points, ratio=0.1, k=7)
    assert torch.equal(centre, label)
    assert centre.shape == (2, 14)
    more = torch.cat([points, points[:, :6] + 0.01], 1)
    centre, label = clusters_of(more, ratio=0.2, k=7)
    assert centre.shape == (2, 4)
    distance = torch.cdist(more, more).gather(2, centre[:, None].expand(-1, 20, -1))
    assert torch.equal(label, distance.argmin(-1))


def test_prunevid_short_videos():
    tokens = video(3, 2, 2, 8)
    with pytest.raises(ValueError, match="needs at least 7 frames and one cluster, given 3 and 0"):
        PruneVid(parity=True)(tokens)
    assert PruneVid()(tokens).kept == 12
    assert int(frame_segments(tokens.features, ratio=0.25).sum()) == 3


def test_prunevid_second_stage_keeps_the_best_of_each_set():
    attention = torch.zeros(2, 3, 10)
    attention[1, 2, [0, 4, 5, 8]] = 1.0
    kept = prunevid_stage2(
        attention, segments=torch.tensor([2]), static=torch.tensor([4]), dynamic=torch.tensor([6]), alpha=0.4
    )
    # one of four static outputs, one of three in each of two frames
    assert kept.tolist() == [0, 4, 8]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: VidCom2(retention=0.0), "retention=0.0"),
        (lambda: DyCoke(K=1.2), "K=1.2"),
        (lambda: VisionZip(retention=1.1), "retention=1.1"),
        (lambda: PruneVid(cluster_ratio=0.0), "cluster_ratio=0.0"),
        (lambda: PruneVid(k=0), "k=0"),
    ],
)
def test_settings_outside_their_range_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
