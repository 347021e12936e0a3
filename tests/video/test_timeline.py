"""Frames and times of files whose container alone does not tell them, against decoding in order and FFmpeg's player."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from redundancy import video
from redundancy.video import load_video
from redundancy.video import pyav_reader as reader
from redundancy.video.load import READERS
from redundancy.video.packets import PacketTable, packet_table
from redundancy.video.timeline import Timeline, WindowError, make_timeline
from tests.video_clips import HEIGHT, WIDTH, copy_packets, encode, frame_numbers, numbered_frame, regular

X264 = {"g": "12", "bf": "3", "b_strategy": "0", "x264-params": "scenecut=0"}
OPEN = {**X264, "x264-params": "open-gop=1:scenecut=0"}
REFRESH = {"x264-params": "intra-refresh=1:keyint=20:bframes=0:scenecut=0"}
HEVC = {"x265-params": "log-level=none:pools=1:keyint=12:open-gop=1:bframes=3:scenecut=0"}
VP9 = {"deadline": "realtime", "cpu-used": "8", "g": "12"}
HIDDEN = {"auto-alt-ref": "1", "lag-in-frames": "16", "deadline": "good", "cpu-used": "5"}


def _trimmed(folder: Path, options: dict[str, str], name: str = "cut.mp4", codec: str = "libx264") -> Path:
    whole = encode(folder / f"whole{Path(name).suffix}", codec, options=options)
    return copy_packets(whole, folder / name, start=1.3)


def _partial(folder: Path) -> Path:
    """A recording that begins inside a group of pictures."""
    data = encode(folder / "whole.ts", options=X264).read_bytes()
    (folder / "a.ts").write_bytes(data[len(data) // 188 // 4 * 188 :])
    return folder / "a.ts"


def _without_index_of_keys(folder: Path) -> Path:
    path = encode(folder / "a.mp4", options=X264)
    path.write_bytes(path.read_bytes().replace(b"stss", b"free"))
    return path


def _latin_title(folder: Path) -> Path:
    path = folder / "a.avi"
    with av.open(str(path), "w") as container:
        container.metadata["title"] = "CAFEX"
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number in range(20):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(numbered_frame(number), format="rgb24")))
        container.mux(stream.encode())
    path.write_bytes(path.read_bytes().replace(b"CAFEX", b"CAF\xe9X"))
    return path


# Name: how it is made, and the numbers of the frames that are shown.
FILES: dict[str, tuple[Callable[[Path], Path], range | list[int]]] = {
    "edit list": (lambda f: _trimmed(f, X264), range(33, 60)),
    "edit list, open GOP": (lambda f: _trimmed(f, OPEN), range(33, 60)),
    "edit list, MPEG-4": (lambda f: _trimmed(f, {"g": "12", "bf": "2"}, codec="mpeg4"), range(33, 60)),
    "negative start": (lambda f: encode(f / "a.mkv", options=X264, ticks=regular(60, first=-0.4)), range(60)),
    "open GOP": (lambda f: encode(f / "a.mp4", options=OPEN), range(60)),
    "open GOP, MPEG-TS": (lambda f: encode(f / "a.ts", options=OPEN), range(60)),
    "open GOP, HEVC": (lambda f: encode(f / "a.mp4", "libx265", options=HEVC), range(60)),
    "late MPEG-TS": (lambda f: encode(f / "a.ts", options=X264, ticks=regular(60, first=1000)), range(60)),
    "M2TS": (lambda f: encode(f / "a.m2ts", options=X264), range(60)),
    "partial MPEG-TS": (_partial, []),
    "AVI": (lambda f: encode(f / "a.avi", options={"g": "30", "bf": "2"}), range(60)),
    "AVI, MPEG-4": (lambda f: encode(f / "a.avi", "mpeg4", options={"g": "30", "bf": "2"}), range(60)),
    "no times": (lambda f: encode(f / "a.h264", options=X264), range(60)),
    "hidden frames": (lambda f: encode(f / "a.webm", "libvpx", options=HIDDEN), range(60)),
    "intra refresh": (lambda f: encode(f / "a.mkv", options=REFRESH), range(60)),
    "no index of key frames": (_without_index_of_keys, range(60)),
    "one frame": (lambda f: encode(f / "a.mkv", ticks=[0]), range(1)),
    "Latin-1 title": (_latin_title, range(20)),
}

# The command guesses times for these, each version otherwise.
WITHOUT_TIMES = {"AVI", "AVI, MPEG-4", "no times"}


@pytest.mark.parametrize("kind", FILES)
def test_frames_are_those_that_the_player_shows(kind: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    make, shown = FILES[kind]
    path = make(tmp_path)
    capfd.readouterr()  # what encoders write
    clip = load_video(path, 100)
    got = frame_numbers(clip.frames).tolist()
    shown = list(shown) or list(range(got[0], 60))
    assert got == shown
    assert clip.total_frames == len(shown)
    np.testing.assert_allclose(clip.timestamps, np.arange(len(shown)) / 25, atol=1.1e-3)
    assert clip.duration == pytest.approx(len(shown) / 25, abs=1.1e-3)
    assert clip.fps == pytest.approx(25, rel=2e-3)
    few = load_video(path, 4)
    np.testing.assert_array_equal(few.frames, clip.frames[few.indices])
    assert capfd.readouterr().err == ""


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs the ffmpeg command")
@pytest.mark.parametrize("kind", [kind for kind in FILES if kind not in WITHOUT_TIMES])
def test_times_are_those_of_the_ffmpeg_command(kind: str, tmp_path: Path) -> None:
    path = FILES[kind][0](tmp_path)
    command = ["ffmpeg", "-nostdin", "-threads", "1", "-i", f"file:{path}", "-map", "0:V:0", "-fps_mode", "passthrough"]
    run = subprocess.run([*command, "-vf", "showinfo", "-f", "null", "-"], capture_output=True, check=True)
    times = [float(time) for time in re.findall(rb"pts_time:\s*(\S+)", run.stderr)]
    np.testing.assert_allclose(load_video(path, 100).timestamps, np.array(times) - times[0], atol=1.1e-3)


def test_joined_recordings_keep_their_order(tmp_path: Path) -> None:
    data = encode(tmp_path / "one.ts", options=X264, ticks=regular(20)).read_bytes()
    (tmp_path / "a.ts").write_bytes(data + data)
    try:
        clip = load_video(tmp_path / "a.ts", 100)
    except video.CorruptVideoError:  # MPEG-TS counts its packets: at the join, they can look like lost ones
        return
    assert frame_numbers(clip.frames).tolist() == [*range(20), *range(20)]


@pytest.mark.parametrize("name", ["a.avi", "a.asf"])
def test_decoding_times_are_not_taken_for_times_of_showing(name: str, tmp_path: Path) -> None:
    # FFmpeg takes the next frame's time of decoding for the time at which a frame is shown.
    path = encode(tmp_path / name, options={"bf": "0"}, ticks=[0, 120, 240, 280, 360])
    np.testing.assert_allclose(load_video(path, 9).timestamps, [0, 0.12, 0.24, 0.28, 0.36], atol=1.1e-3)
    reordered = encode(tmp_path / name, options=X264)
    assert packet_table(reordered).irregularity == "presentation times are missing"  # no parts of a long file


def test_frames_are_chosen_by_what_was_decoded(tmp_path: Path) -> None:
    whole = encode(tmp_path / "a.mp4", options=OPEN)
    key = int(np.flatnonzero(packet_table(whole).key)[1])
    path = copy_packets(whole, tmp_path / "a.mkv", drop=lambda number: number < key)  # frames that lead are not shown
    clip = load_video(path, fps=25)
    assert clip.requested == clip.total_frames < len(packet_table(path).pts)

    def choose(timeline: Timeline) -> np.ndarray:
        if timeline.total > clip.total_frames:
            raise WindowError("no such frame among the packets")
        return np.array([7])

    frames, _, _ = reader._read_whole(path, packet_table(path), choose)
    np.testing.assert_array_equal(frames[0], clip.frames[7])


NONE = (None,) * 4


@pytest.mark.parametrize(
    ("pts", "dts", "packets", "times"),
    [
        ((0, 30, 10, 20), (-10, 0, 10, 20), [0, 2, 3, 1], [0, 1, 2, 3]),
        ((50, 60, 50, 60), (50, 60, 50, 60), [0, 1, 2, 3], [0, 1, 2, 3]),  # joined
        ((0, 10, 20, 30), (0, 10, 20, 60), [0, 2, 1, 3], [0, 1, 2, 6]),  # shown in another order than the times say
        (NONE, (0, 10, 20, 60), [0, 3, 1, 2], [0, 1, 2, 6]),
        (NONE, NONE, [0, 3, 1, 2], [0, 1, 2, 3]),
        ((0, 10, 20, 90), (0, 10, 20, 90), [0, 1, 3], [0, 1, 9]),  # one is not shown
    ],
)
def test_times_by_hand(pts: tuple, dts: tuple, packets: list[int], times: list[float]) -> None:
    no = np.zeros(4, dtype=bool)
    table = PacketTable(pts, dts, np.full(4, 10), ~no, no, no, tick=0.1, rate=1.0, codec="h264", container="avi")
    timeline = make_timeline(table, packets)
    np.testing.assert_allclose(timeline.times, times, atol=1e-9)
    assert timeline.duration == pytest.approx(times[-1] + 1)


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs the ffmpeg command")
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_cover_pictures_are_no_video(name: str, tmp_path: Path) -> None:
    command = ["ffmpeg", "-v", "error", "-nostdin", "-i"]
    cover, plain = tmp_path / "cover.jpg", encode(tmp_path / "b.mp4", options=X264)
    subprocess.run([*command, plain, "-frames:v", "1", cover], check=True)
    attach = {"a.mp4": ["-i", plain, "-map", "0", "-map", "1", "-disposition:v:0", "attached_pic"]}.get(name)
    first = [cover, *attach] if attach else [plain, "-attach", cover, "-metadata:s:t", "mimetype=image/jpeg"]
    subprocess.run([*command, *first, "-c", "copy", tmp_path / name], check=True)
    assert load_video(tmp_path / name, 100).total_frames == 60


LONG: dict[str, tuple[str, str, dict[str, str]]] = {
    "closed": ("a.mp4", "libx264", X264),
    "open": ("a.mkv", "libx264", OPEN),
    "open, MPEG-TS": ("a.ts", "libx264", OPEN),
    "open, HEVC": ("a.mp4", "libx265", HEVC),
    "VP9": ("a.webm", "libvpx-vp9", VP9),
    "AV1": ("a.mp4", "libsvtav1", {"preset": "12", "svtav1-params": "lp=1", "g": "12"}),
}


@pytest.mark.parametrize("kind", LONG)
def test_frames_of_parts_are_those_of_the_whole(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name, codec, options = LONG[kind]
    path = encode(tmp_path / name, codec, options=options)
    table = packet_table(path)
    assert not table.irregularity
    assert table.leading.any() == kind.startswith("open")
    whole, _, timeline = reader._read_whole(path, table, lambda _: np.arange(60))
    monkeypatch.setattr(reader, "ALWAYS_WHOLE", 0)
    monkeypatch.setattr(reader, "SHORTEST_SKIP", 0)
    for wanted in [[number] for number in range(0, 60, 5)] + [[3, 22, 23, 50], [11, 12, 59]]:
        parts = reader._read_parts(path, table, lambda _, wanted=wanted: np.array(wanted))
        assert parts is not None
        np.testing.assert_array_equal(parts[0], whole[wanted])
        np.testing.assert_array_equal(parts[2].times, timeline.times)


def test_parts_are_not_taken_where_key_frames_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "ALWAYS_WHOLE", 0)
    path = encode(tmp_path / "a.mkv", options=REFRESH)
    assert reader._read_parts(path, packet_table(path), lambda _: np.array([50])) is None
    assert frame_numbers(load_video(path, 7).frames).tolist() == load_video(path, 7).indices.tolist()


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("edit list", "an edit list hides frames"),
        ("open GOP", "open GOP"),
        ("M2TS", "the container is mpegts"),
        ("AVI", "the container is avi"),
        ("open GOP, HEVC", "the codec is hevc"),
        ("no index of key frames", "it begins at frames that are no key frames"),
    ],
)
def test_decord_refuses_what_it_would_read_wrongly(kind: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(video.UnsupportedCodecError, match=rf"{reason}.*decoder='pyav'"):
        load_video(FILES[kind][0](tmp_path), decoder="decord")


def test_readers_agree_on_bundled_clips() -> None:
    clips = sorted((Path(__file__).parents[2] / "data/clips").glob("*.mp4"))
    for path in clips[::8]:
        ours, other = (load_video(path, 8, decoder=decoder) for decoder in ("pyav", "decord"))
        np.testing.assert_array_equal(ours.frames, other.frames)
        np.testing.assert_array_equal(ours.timestamps, other.timestamps)
        assert (ours.total_frames, ours.fps, ours.duration) == (other.total_frames, other.fps, other.duration)


def test_a_change_of_size_names_both_sizes(tmp_path: Path) -> None:
    options = {"x265-params": "log-level=none:bframes=0:repeat-headers=1:pools=1"}
    turned = [encode(tmp_path / "0.ts", "libx265", options=options, ticks=regular(5))]
    turned.append(
        encode(
            tmp_path / "1.ts",
            "libx265",
            options=options,
            ticks=regular(5),
            picture=lambda i: np.ascontiguousarray(np.rot90(numbered_frame(i))),
        )
    )
    with av.open(str(tmp_path / "a.mkv"), "w") as out:
        copy = None
        for part, path in enumerate(turned):
            with av.open(str(path)) as file:
                copy = copy or out.add_stream_from_template(file.streams.video[0])
                for number, packet in enumerate(p for p in file.demux(video=0) if p.size):
                    packet.pts = packet.dts = (number + 5 * part) * 3600
                    packet.time_base, packet.stream = Fraction(1, 90000), copy
                    out.mux(packet)
    with pytest.raises(video.FrameSizeError, match=f"{WIDTH}x{HEIGHT} pixels, and later {HEIGHT}x{WIDTH}"):
        load_video(tmp_path / "a.mkv", 2)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (MemoryError("Unable to allocate"), video.VideoMemoryError),
        (RuntimeError("can't allocate memory"), video.VideoMemoryError),
        (ZeroDivisionError("odd"), video.VideoError),
        (OSError(5, "Input/output error"), video.UnreadableVideoError),
    ],
)
def test_whatever_a_reader_raises_names_the_file(
    error: Exception, kind: type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setitem(READERS, "pyav", fail)
    path = encode(tmp_path / "a.mp4", ticks=[0])
    with pytest.raises(video.VideoError, match=re.escape(str(path))) as caught:
        load_video(path, decoder="pyav")
    assert type(caught.value) is kind
    assert "damaged" not in str(caught.value)
