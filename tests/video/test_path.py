"""Which file a name means."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from redundancy import video
from redundancy.video import load_video, video_path
from tests.video_clips import encode, frame_numbers, regular

NOT_UTF8 = os.fsdecode(b"m\xff.mp4")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("a b.mp4", "file:b.mp4", "concat:a|b", NOT_UTF8):
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("a b.mp4", "a b.mp4"),
        ("~/a b.mp4", "a b.mp4"),
        ("file:b.mp4", "file:b.mp4"),
        ("concat:a|b", "concat:a|b"),
        (NOT_UTF8, NOT_UTF8),
        ("file://{}/a%20b.mp4", "a b.mp4"),
        ("FILE://localhost{}/a b.mp4", "a b.mp4"),
        ("file://{}/m%FF.mp4", NOT_UTF8),
    ],
)
def test_names(folder: Path, name: str, meant: str) -> None:
    assert video_path(name.format(folder)) == folder / meant


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("https://example.org/a.mp4", video.RemoteVideoError, "https://example.org/a.mp4: is no local file"),
        (Path("https://example.org/a.mp4"), video.RemoteVideoError, "URL of the kind 'https'"),
        ("s3://bucket/a.mp4", video.RemoteVideoError, "URL"),
        ("file://host/a.mp4", video.RemoteVideoError, "host 'host'"),
        ("", video.MissingVideoError, "the name is empty"),
        ("a b.mp4/c", video.MissingVideoError, "does not exist"),
        ("gone", video.MissingVideoError, "a link to nowhere, which is missing"),
        (".", video.DirectoryVideoError, "is a directory"),
        ("pipe", video.UnreadableVideoError, "a named pipe, expected a regular file"),
        ("socket", video.UnreadableVideoError, "a socket"),
        ("loop", video.UnreadableVideoError, "symbolic links"),
        ("/dev/zero", video.UnreadableVideoError, "a character device"),
        ("x\0y", video.UnreadableVideoError, "no file can have this name"),
        ("\ud800.mp4", video.UnreadableVideoError, "no file can have this name"),
        ("n" * 5000, video.UnreadableVideoError, "too long"),
    ],
)
def test_what_is_no_regular_file_is_refused_by_name(folder: Path, name: str, kind: type, message: str) -> None:
    os.mkfifo("pipe")
    os.symlink("loop", "loop")
    os.symlink("nowhere", "gone")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind("socket")
        with pytest.raises(kind, match=message) as caught:
            load_video(name)
    str(caught.value).encode("utf-8")  # the message can be printed


@pytest.mark.parametrize("name", ["file:b.mp4", NOT_UTF8])
def test_videos_of_odd_names_are_read(folder: Path, name: str) -> None:
    encode(folder / "other.mp4", ticks=regular(7)).rename(folder / name)
    clip = load_video(name)
    assert frame_numbers(clip.frames).tolist() == list(range(7))
    clip.source.encode("utf-8")
