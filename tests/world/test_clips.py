"""The bundled clips are what their records say, and the bundled model answers about them as its README says."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest

from redundancy.models import load_model
from redundancy.paths import data_folder
from redundancy.provenance import file_sha256
from redundancy.video import load_video
from redundancy.world.clips import ENLARGE, balanced_seeds, load_clips, make_clips, script_of
from redundancy.world.questions import ask_all
from redundancy.world.render import render_frames
from redundancy.world.scene import WorldConfig

FOLDER = data_folder() / "clips"
# data/models/README.md, all tokens; 512 videos
PUBLISHED = {
    "shape": 0.37,
    "direction": 0.29,
    "color": 0.49,
    "digit": 0.73,
    "when": 1.0,
    "where": 1.0,
    "count": 1.0,
    "first": 1.0,
}


def test_records_agree_with_the_seeds():
    records = load_clips(FOLDER)
    assert Counter(r.kind for r in records) == {"1 scene": 16, "2 scenes": 16, "3 scenes": 16, "4 scenes": 16}
    assert [r.seed for r in records] == balanced_seeds(64, WorldConfig())
    for record in records:
        script = script_of(record.seed, WorldConfig(record.frames, record.size))
        assert record.scene_cuts == script.scene_cuts
        assert record.questions == ask_all(script, seed=record.seed)
        assert record.sha256 == file_sha256(FOLDER / record.file)


def test_decoded_frames_are_the_rendered_ones():
    for record in load_clips(FOLDER)[::16]:
        clip = load_video(FOLDER / record.file, frames=record.frames)
        size = record.size
        small = clip.frames.reshape(record.frames, size, ENLARGE, size, ENLARGE, 3).mean((2, 4))
        frames = render_frames(script_of(record.seed, WorldConfig(record.frames, size)), seed=record.seed)
        error = np.abs(small - frames)
        assert error.mean() < 2.5  # quantisation at crf 23 takes away half of the pixel noise; 1.9 is measured
        assert np.quantile(error, 0.99) < 12  # and blurs edges of things, which are few; 7.6 is measured
        assert clip.timestamps.tolist() == pytest.approx(np.arange(record.frames) / record.fps, abs=1e-4)


def test_clips_can_be_made_again(tmp_path: Path):
    first = make_clips(tmp_path / "a", count=4)
    again = make_clips(tmp_path / "b", count=4)
    assert [r.sha256 for r in first] == [r.sha256 for r in again]
    assert load_clips(tmp_path / "a") == first


def test_wrong_input_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="multiple of 4, given 6"):
        make_clips(tmp_path, count=6)
    with pytest.raises(FileNotFoundError, match=r"clips\.json does not exist"):
        load_clips(tmp_path / "absent")
    (tmp_path / "clips.json").write_text('{"clips": [{"file": "x"}]}')
    with pytest.raises(ValueError, match="is no record of clips"):
        load_clips(tmp_path)


def test_bundled_model_is_as_good_on_the_clips_as_its_readme_says():
    model = load_model("tiny-llava-onevision", device="cpu")
    right: dict[str, list[bool]] = defaultdict(list)
    for record in load_clips(FOLDER):
        clip = load_video(FOLDER / record.file, frames=record.frames)
        inputs = model.prepare([clip] * len(record.questions), [q.text for q in record.questions])
        best = model.prefill(inputs).logits[:, -1].argmax(-1)
        for question, word in zip(record.questions, best.tolist(), strict=True):
            right[question.skill].append(model.processor.tokenizer.decode([word]).strip() == question.answer)
    for skill, published in PUBLISHED.items():
        n = len(right[skill])
        # two samples of a proportion, 512 and n videos; 3.3 standard deviations, once in 2,000 tests
        spread = 3.3 * np.sqrt(max(published * (1 - published), 0.01) * (1 / n + 1 / 512))
        assert np.mean(right[skill]) > published - spread, skill
    assert np.mean([np.mean(r) for r in right.values()]) > 0.734 - 0.04
