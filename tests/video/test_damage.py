"""Damaged files end in an error or in right pixels; whole files are never called damaged."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from redundancy import video
from redundancy.video import load_video, pyav_reader
from redundancy.video.damage import Damage
from redundancy.video.packets import packet_table
from tests.video_clips import copy_packets, encode, frame_numbers, grainy_frame

FORMATS = {
    "CABAC": ("a.mp4", "libx264", {"g": "12"}),
    "CAVLC": ("a.mp4", "libx264", {"g": "12", "profile": "baseline"}),
    "MPEG-TS": ("a.ts", "libx264", {"g": "12"}),
    "MPEG-4": ("a.mp4", "mpeg4", {"g": "12", "bf": "2"}),
    "JPEG": ("a.mov", "mjpeg", {"strict": "unofficial"}),
}


# Elsewhere damaged bits can be right ones for the decoder: CAVLC falls into step again, MPEG-TS loses whole packets.
@pytest.mark.parametrize("kind", ["CABAC", "MPEG-4", "JPEG"])
def test_damaged_pictures_are_not_given(kind: str, tmp_path: Path) -> None:
    name, codec, options = FORMATS[kind]
    path = encode(tmp_path / name, codec, options=options, picture=grainy_frame)
    whole, data = load_video(path, 60), path.read_bytes()
    start = data.find(b"mdat") + 800
    stop = data.find(b"moov") if data.find(b"moov") > start else len(data)
    given = 0
    for seed in range(12):
        rng, damaged = random.Random(seed), bytearray(data)
        at = rng.randrange(start, stop - 64)
        damaged[at : at + 64] = rng.randbytes(64)
        path.write_bytes(damaged)
        try:
            clip = load_video(path, 10)
        except video.VideoError:
            continue
        given += 1
        wrong = np.abs(clip.frames.astype(int) - whole.frames[clip.indices]).mean(axis=(1, 2, 3)).max()
        assert wrong <= 3  # grey values: bits that mean something near the truth cannot be told from the truth
    assert given < 12


def test_frames_before_the_damage_are_given(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mp4", options={"g": "12", "bf": "0"}, picture=grainy_frame)
    whole, data = load_video(path, 60), bytearray(path.read_bytes())
    middle = (data.find(b"mdat") + 4 + data.find(b"moov")) // 2
    data[middle : middle + 200] = bytes(200)
    path.write_bytes(data)
    clip = load_video(path, 10, end=0.4)
    np.testing.assert_array_equal(clip.frames, whole.frames[clip.indices])
    with pytest.raises(video.CorruptVideoError, match=r"of \d+ frames asked for, at 0.960, "):
        load_video(path, 60)


@pytest.mark.parametrize("whole_up_to", [300, 0])
@pytest.mark.parametrize("name", ["a.ts", "a.mkv"])
def test_a_lost_key_frame_is_told(name: str, whole_up_to: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pyav_reader, "ALWAYS_WHOLE", whole_up_to)
    options = {"g": "12", "bf": "3", "b_strategy": "0", "x264-params": "open-gop=1:scenecut=0"}
    path = encode(tmp_path / "a.mp4", options=options, picture=grainy_frame)
    key = int(np.flatnonzero(packet_table(path).key)[2])
    lossy = copy_packets(path, tmp_path / name, drop=lambda number: number == key)
    assert frame_numbers(load_video(lossy, 5, end=0.36).frames).tolist() == [0, 2, 4, 6, 9]
    for count in (1, 5):
        with pytest.raises(video.CorruptVideoError):
            load_video(lossy, count, start=25 / 25, end=29 / 25)


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("count", [1, 60])
def test_whole_files_are_not_called_damaged(kind: str, count: int, tmp_path: Path) -> None:
    name, codec, options = FORMATS[kind]
    path = encode(tmp_path / name, codec, options=options, picture=grainy_frame, ticks=list(range(0, 40 * count, 40)))
    assert load_video(path, 60).total_frames == count


@pytest.mark.parametrize("fill", [0, 128, 255])
def test_pixels_that_are_cropped_away_are_made_of_data_as_well(fill: int, tmp_path: Path) -> None:
    def noise(number: int) -> np.ndarray:  # 50 = 3 blocks and 2 pixels: the last block is hardly seen
        image = np.random.default_rng(number).integers(0, 256, (50, 50, 3), dtype=np.uint8)
        image[:40] = fill
        return image

    for preset in ("ultrafast", "medium"):
        path = encode(tmp_path / "a.mp4", options={"g": "1", "preset": preset, "crf": "10"}, picture=noise)
        assert load_video(path, 60).total_frames == 60


@pytest.mark.parametrize(
    ("failed", "reached"),
    [
        (set(), ""),
        ({0}, "0 1 2 3 4"),  # up to the frames that lead the next key frame
        ({2}, "2 3 4"),
        ({3}, "3 4 5 6 7"),  # the key frame: the leading ones need it too
        ({4}, "3 4"),  # a leading frame: those after the key frame do not need it
        ({7}, "7"),
    ],
)
def test_damage_reaches_up_to_the_next_key_frame(failed: set[int], reached: str, tmp_path: Path) -> None:
    # Packets 0 1 2 | 3 4 5 6 7, the second key frame 3 is shown after 4 and 5, which lead it.
    table = replace(packet_table(encode(tmp_path / "a.mkv", ticks=[0])), pts=(0, 1, 2, 5, 3, 4, 6, 7))
    damage = Damage(table, packets=[0, 1, 2, 4, 5, 3, 6, 7], keys=[0, 5], failed=failed)
    assert " ".join(str(frame) for frame in range(8) if damage.reaches(frame)) == reached
