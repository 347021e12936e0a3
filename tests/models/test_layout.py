"""What a family's layout says to methods, and layouts of stores that an older version wrote."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest

from redundancy.models import FAMILIES, VideoLLM
from redundancy.pruning import FastVID, VidCom2
from redundancy.recording import available_frame_features, available_salience
from redundancy.tokens import TokenLayout, VideoTokens
from tests.pruning.samples import LAYOUTS, video

OLD = ("family", "newline", "frame_text")  # what a layout held before


@pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f.name)
def test_layouts_of_old_stores_are_those_of_today(family: type) -> None:
    layout: TokenLayout = family.layout
    old = {name: value for name, value in asdict(layout).items() if name in OLD}
    assert TokenLayout.from_stored(old) == TokenLayout.from_stored(asdict(layout)) == layout


def test_a_capture_of_an_old_version_loads() -> None:
    tokens = video(layout="qwen")
    capture = tokens.to_xarray()
    stored = json.loads(capture.attrs["layout"])
    capture.attrs["layout"] = json.dumps({name: stored[name] for name in OLD})
    loaded = VideoTokens.from_capture(capture)
    assert loaded.layout == tokens.layout
    assert FastVID().needs(loaded.layout) == FastVID().needs(LAYOUTS["qwen"])


def test_other_old_layouts_are_refused_in_words() -> None:
    with pytest.raises(ValueError, match=r"the family 'mine' given without .*'fastvid'.*capture the clip again"):
        TokenLayout.from_stored({"family": "mine", "newline": "none"})
    with pytest.raises(ValueError, match=r"a layout with \['colour'\] given, expected .*newer version"):
        TokenLayout.from_stored({**asdict(TokenLayout("x")), "colour": 1})


def test_native_sources_are_given(family_model: VideoLLM) -> None:
    """A pooling head is native to a tower without being in every checkpoint."""
    layout = family_model.family.layout
    assert layout.salience in (*available_salience(family_model), "pooling_head")
    assert layout.frame_features in (*available_frame_features(family_model), "pooling_head")
    assert layout.grid_positions == (len(family_model.family.rotary().axes) > 1)


def test_methods_follow_the_layout_and_not_the_name() -> None:
    renamed = replace(LAYOUTS["qwen"], family="someones_model")
    assert FastVID().variant_of(renamed) == "qwen"
    assert VidCom2()(replace(video(), layout=renamed)).placement == "anchor"
    own = TokenLayout("qwen_like", salience="received", frame_features="mean")
    needs = FastVID().needs(own)
    assert (needs.salience, needs.frame_features, FastVID().variant_of(own)) == ("received", "mean", "onevision")
