"""What a user may name as videos, and known cuts on the steps that a model sees."""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from redundancy.digest import file_sha256
from redundancy.models import load_model
from redundancy.paths import data_folder
from redundancy.sources import SEED_STEP, WORLD_SEED, cuts_on_steps, list_videos
from redundancy.video import MismatchedVideoError, RemoteVideoError, VideoError, VideoReader, load_video
from redundancy.world.scene import WorldConfig
from tests.tiny_models import make_clip


def test_bundled_clips_come_with_their_records():
    sources = list_videos()
    assert len(sources) == 64
    assert len({s.name for s in sources}) == 64
    assert all(s.path.is_file() and s.record is not None for s in sources)
    assert list_videos(limit=3) == sources[:3]


def test_files_and_folders(tmp_path: Path):
    for name in ("b.mp4", "a.MKV", "notes.txt"):
        (tmp_path / name).write_bytes(b"")
    assert [s.name for s in list_videos([tmp_path])] == ["a.MKV", "b.mp4"]
    twice = list_videos([tmp_path / n for n in ("b.mp4", "b.mp4", "absent.mp4", "b.mp4 (2)", "b.mp4")])
    assert [s.name for s in twice] == ["b.mp4", "b.mp4 (2)", "absent.mp4", "b.mp4 (2) (2)", "b.mp4 (3)"]
    assert list_videos(str(tmp_path)) == list_videos([tmp_path])


@pytest.mark.parametrize("suffix", ["flv", "M2TS", "mts", "3gp", "ogv", "vob", "wmv", "mxf"])
def test_folders_pass_over_no_container(tmp_path: Path, suffix: str):
    (tmp_path / f"a.{suffix}").write_bytes(b"")
    assert [s.name for s in list_videos(tmp_path)] == [f"a.{suffix}"]


def test_a_folder_without_video_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="holds no video"):
        list_videos([tmp_path])
    with pytest.raises(ValueError, match="at least 1 video, given 0"):
        list_videos(limit=0)


def test_names_of_every_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Home, `file://`, bytes that are no UTF-8, characters that no screen shows: read, and named in plain text."""
    monkeypatch.setenv("HOME", str(tmp_path))
    files = [os.fsdecode(b"m\xff.mp4"), os.fsdecode(b"m\xfe.mp4"), "a\nb\x1b[1m.mp4", "per cent %20.mp4", "x:y.mp4"]
    for file in files:
        shutil.copy(list_videos(limit=1)[0].path, tmp_path / file)
    named = [
        f"~/{files[0]}",
        "~",
        tmp_path.as_uri() + "/per%20cent%20%2520.mp4",
        f"file://localhost{tmp_path}/x%3Ay.mp4",
    ]
    sources = list_videos(named)
    assert len({s.name for s in sources}) == len(sources) == 8
    assert {s.path.name for s in sources} == set(files)
    for source in sources:
        assert source.name.isprintable()
        assert source.name.encode()
        assert source.load(frames=1).source.encode()
        assert source.digest == list_videos(limit=1)[0].digest


@pytest.mark.parametrize("name", ["https://example.org/a.mp4", Path("s3://bucket/a.mp4"), "rtsp://camera/1"], ids=str)
def test_urls_are_refused_by_name(name: str | Path):
    with pytest.raises(RemoteVideoError, match=r"(example.org|bucket|camera).*is no local file"):
        list_videos([name])


def test_what_is_no_regular_file_is_listed_and_neither_read_nor_hashed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    shutil.copy(list_videos(limit=1)[0].path, tmp_path / "a.mp4")
    os.mkfifo(tmp_path / "fifo.mp4")
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "loop.mp4").symlink_to("loop.mp4")
    (tmp_path / "lost.mp4").symlink_to("absent.mp4")
    (tmp_path / "zero.mp4").symlink_to("/dev/zero")
    (tmp_path / "._a.mp4").write_bytes(b"attributes of a.mp4")
    with socket.socket(socket.AF_UNIX) as one, VideoReader() as reader:
        monkeypatch.chdir(tmp_path)  # a socket's path is short
        one.bind("socket.mp4")
        sources = list_videos([tmp_path], reader=reader)
        assert [s.path.stem for s in sources] == ["a", "fifo", "folder", "loop", "lost", "socket", "zero"]
        for source in [*sources[1:], *list_videos([tmp_path / "fifo.mp4", "/dev/zero"], reader=reader)]:
            for way in (source, replace(source, reader=None)):
                with pytest.raises(VideoError, match=r"fifo|folder|loop|lost|absent|socket|zero"):
                    way.load(frames=1)
                with pytest.raises(VideoError):
                    _ = way.digest
        assert sources[0].load(frames=2).indices.tolist() == [0, 31]


def test_folders_that_cannot_be_listed_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / ".b.mp4").write_bytes(b"")
    with pytest.raises(ValueError, match="holds no video, and 1 that are hidden"):
        list_videos([tmp_path])
    monkeypatch.setattr(Path, "iterdir", lambda self: (_ for _ in ()).throw(PermissionError(13, "Permission denied")))
    with pytest.raises(ValueError, match=rf"the folder {tmp_path} cannot be listed: Permission denied"):
        list_videos([tmp_path])


def test_a_reader_reads_the_files_and_the_world_needs_none():
    with VideoReader() as reader:
        model = load_model("tiny-qwen3-vl", device="cpu")
        source, drawn = list_videos(["data/clips/clip_000.mp4", "world:1"], reader=reader)
        assert source.digest == replace(source, reader=None).digest
        assert np.array_equal(source.load(model, frames=6).frames, model.load_video(source.path, frames=6).frames)
        reader.close()
        assert drawn.load(model, frames=4).frames.shape[0] == 4
        assert reader._child is None


def clips_folder(folder: Path, edit: Callable[[list[dict[str, Any]]], None] = lambda clips: None) -> Path:
    """Two bundled clips with their records, after an edit."""
    folder.mkdir()
    known = data_folder() / "clips"
    told = json.loads((known / "clips.json").read_text())
    told["clips"] = told["clips"][:2]
    for clip in told["clips"]:
        shutil.copy(known / clip["file"], folder)
    edit(told["clips"])
    (folder / "clips.json").write_text(json.dumps(told))
    return folder


def test_questions_are_about_the_bytes_they_were_made_for(tmp_path: Path):
    folder = clips_folder(tmp_path / "a")
    first, second = list_videos([folder])
    assert first.load(frames=2).sha256 == first.record.sha256
    shutil.copy(second.path, first.path)
    with VideoReader() as reader:
        for source in (first, replace(first, reader=reader)):
            with pytest.raises(MismatchedVideoError, match=rf"{second.record.sha256}.*{first.record.sha256}"):
                source.load(frames=2)
    assert second.load(frames=2).sha256 == second.record.sha256


@pytest.mark.parametrize(
    "file", ["../a.mp4", "/etc/passwd", "x/../../a.mp4", "", ".", "link.mp4", "links/a.mp4", "a\0.mp4"]
)
def test_recorded_files_stay_inside_their_folder(tmp_path: Path, file: str):
    (tmp_path / "a.mp4").write_bytes(b"")
    folder = clips_folder(tmp_path / "clips", lambda clips: clips[1].update(file=file))
    (folder / "link.mp4").symlink_to("../a.mp4")
    (folder / "links").symlink_to("..")
    with pytest.raises(ValueError, match=r"clips\.json is no record of clips: (clips\[1\]\.file|embedded null)"):
        list_videos([folder])


def drop(field: str) -> Callable[[list[dict[str, Any]]], None]:
    return lambda clips: clips[1].pop(field) and None


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (drop("sha256"), r"clips\[1\] has no field 'sha256'"),
        (drop("questions"), r"clips\[1\] has no field 'questions'"),
        (lambda clips: clips[0].update(color=1), r"clips\[0\] has an unknown field 'color'"),
        (lambda clips: clips[0].update(sha256="12"), r"clips\[0\].sha256 is '12', expected 64"),
        (lambda clips: clips[0].update(frames="32"), r"clips\[0\].frames is '32' \(str\), expected int"),
        (lambda clips: clips[0].update(scene_cuts=[1.5]), r"clips\[0\].scene_cuts is \[1.5\]"),
        (lambda clips: clips[0].update(scene_cuts=None), r"clips\[0\].scene_cuts is 'None'"),
        (lambda clips: clips[0]["questions"][1].update(answer="?"), r"clips\[0\].questions\[1\].options.*answer '\?'"),
        (lambda clips: clips[0]["questions"].append("what ?"), r"clips\[0\].questions\[\d\] is 'what \?' \(str\)"),
        (lambda clips: clips.clear(), "clips is empty"),
        (lambda clips: clips.append([]), r"clips\[2\] is '\[\]' \(list\), expected dict"),
    ],
)
def test_a_record_that_is_none_is_refused(tmp_path: Path, edit: Callable[[list[dict[str, Any]]], None], message: str):
    folder = clips_folder(tmp_path / "clips", edit)
    with pytest.raises(ValueError, match=rf"clips\.json is no record of clips: {message}"):
        list_videos([folder])


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"null", b'{"clips": 3}', b"\xff\xfe", b"[" * 100_000, None])
def test_a_file_of_records_that_is_none_is_refused(tmp_path: Path, text: bytes | None):
    folder = clips_folder(tmp_path / "clips")
    (folder / "clips.json").unlink()
    if text is None:
        os.mkfifo(folder / "clips.json")
    else:
        (folder / "clips.json").write_bytes(text)
    with pytest.raises(ValueError, match=r"clips\.json is no record of clips"):
        list_videos([folder])


def test_cuts_between_steps():
    clip = make_clip(frames=6)  # file frames 0, 2, ..., 10
    single = np.arange(6)[:, None]
    assert cuts_on_steps([1, 4, 10], clip, single).tolist() == [0, 2]  # after the last frame there is no transition
    assert cuts_on_steps([0, 1], clip, single).tolist() == [0]
    pairs = np.arange(6).reshape(3, 2)
    assert cuts_on_steps([2, 6], clip, pairs).tolist() == [0, 1]
    assert cuts_on_steps([], clip, single).tolist() == []


def test_known_cuts_are_where_the_pictures_change():
    for source in list_videos(limit=12):
        clip = load_video(source.path, frames=16)
        assert source.record is not None
        known = cuts_on_steps(source.record.scene_cuts, clip, np.arange(16)[:, None])
        corner = clip.frames[:, -40:, -40:].astype(float).mean((1, 2))  # background: things stay inside
        change = np.abs(np.diff(corner, axis=0)).sum(1)
        assert set(known.tolist()) <= set(np.argsort(-change)[: len(known) + 2].tolist())


def test_data_folder_holds_what_is_bundled():
    assert (data_folder() / "models" / "tiny-llava-onevision" / "config.json").is_file()


def test_files_are_read_as_the_model_reads_them():
    source = list_videos(limit=1)[0]
    model = load_model("tiny-llava-onevision", device="cpu")
    for clip, other in (
        (source.load(model, frames=5), model.load_video(source.path, frames=5)),
        (source.load(frames=5), load_video(source.path, frames=5)),
        (source.load(fps=1), load_video(source.path, fps=1)),
    ):
        assert np.array_equal(clip.frames, other.frames)
        assert clip.indices.tolist() == other.indices.tolist()
    assert source.digest == file_sha256(source.path)


def test_the_world_is_a_source():
    sources = list_videos(["world:3", Path("world:2?frames=16&scenes=3&seed=7")])
    assert [s.name for s in sources] == [
        "world 2000000",
        "world 2000001",
        "world 2000002",
        "world 2700000 frames=16 scenes=3",
        "world 2700001 frames=16 scenes=3",
    ]
    assert [s.kind for s in sources[3:]] == ["3 scenes"] * 2
    assert len({s.digest for s in sources}) == 5
    for source in sources:
        assert source.record is not None
        clip = source.load(frames=16)
        assert clip.frames.shape == (16, 112, 112, 3)
        assert clip.source == source.name
        assert {q.skill for q in source.record.questions} >= {"digit", "when", "where", "count"}
    assert list_videos(["world:3"]) == sources[:3]
    assert list_videos(["world:100000"], limit=1) == sources[:1]  # not all are drawn
    bundled = {s.record.seed for s in list_videos() if s.record is not None}
    assert max(bundled) < WORLD_SEED
    one, other = (list_videos([f"world:1?seed={seed}"])[0].record for seed in (0, 1))
    assert one is not None
    assert other is not None
    assert other.seed - one.seed == SEED_STEP


def test_every_option_of_the_world():
    options = "frames=24&size=64&scenes=3&drift=1&noise=2&tail=8&duplicates=1&seed=7"
    source = list_videos([f"world:1?{options}"])[0]
    assert source.world is not None
    assert source.world.config == WorldConfig(24, 64, scenes=3, drift=1, noise=2, tail=8, duplicates=1)
    assert source.world.seed == WORLD_SEED + 7 * SEED_STEP
    assert source.name == "world 2700000 frames=24 size=64 scenes=3 drift=1 noise=2 tail=8 duplicates=1"
    assert list_videos([f"world:1?{options.replace('drift=1', 'drift=1.0')}"])[0] == source


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("world:", "'world:' given, expected world:N or world:N"),
        ("world:0", "with N in 1..100000"),
        ("world:-2", "expected world:N"),
        ("world:2?scenes", "expected world:N"),
        ("world:2?colour=red", "options .'colour'. given in 'world:2.colour=red', expected each once, of frames, size"),
        ("world:2?size=64&size=32", "expected each once"),
        ("world:2?frames=many", "frames='many' given in 'world:2.frames=many', expected a whole number"),
        ("world:2?frames=1.5", "expected a whole number"),
        ("world:2?noise=loud", "noise='loud' given in 'world:2.noise=loud', expected a number"),
        ("world:2?frames=4", "at least 8 frames of 32 pixels are needed, given 4 of 112"),
        ("world:2?scenes=9", "scenes=9 given, expected a number in .1, 8."),
        ("world:2?scenes=0", "scenes=0 given, expected a number in .1, 8."),
        ("world:2?duplicates=3", "duplicates=3 given, expected a number in .0, 2."),
        ("world:2?scenes=1&duplicates=1", "duplicates=1 given, expected a number in .0, 0."),
        ("world:2?tail=25", "tail=25 given, expected a number in .0, 24."),
        ("world:2?drift=nan", "drift=nan given"),
        ("world:2?noise=-1", "noise=-1"),
        ("world:2?seed=-1", "seed=-1 given"),
    ],
)
def test_a_world_that_is_none_is_refused(name: str, message: str):
    with pytest.raises(ValueError, match=message):
        list_videos([name])
