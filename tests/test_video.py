"""Reading videos: the right frames at the right times, or an error that names the cause."""

from __future__ import annotations

import hashlib
import pickle
import struct
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jaxtyping import TypeCheckError

import redundancy.video as video
from redundancy.models.torchvision_repair import import_torchvision
from redundancy.video import SAMPLINGS, VideoError, load_video
from tests.video_clips import HEIGHT, TICKS, WIDTH, encode, encode_sound, frame_numbers, regular

UNEVEN = np.cumsum([0] + [20, 40, 60, 120, 33] * 11).tolist()
LONG_GOP = {"g": "250", "bf": "3", "b-adapt": "0"}
CLIPS: dict[str, dict] = {
    "h264, long GOP, B frames": {"name": "a.mp4", "options": LONG_GOP},
    "h264, no B frames": {"name": "a.mp4", "options": {"bf": "0", "g": "12"}},
    "h264, variable rate": {"name": "a.mp4", "ticks": UNEVEN, "options": LONG_GOP},
    "h264, starts at 1 s": {"name": "a.mkv", "ticks": regular(60, first=1.0)},
    "h264, fragmented": {"name": "a.mp4", "container_options": {"movflags": "frag_keyframe+empty_moov"}},
    "mpeg4": {"name": "a.mp4", "codec": "mpeg4"},
    "vp9": {"name": "a.webm", "codec": "libvpx-vp9", "options": {"deadline": "realtime", "cpu-used": "8"}},
    "hevc": {"name": "a.mp4", "codec": "libx265", "options": {"x265-params": "log-level=none:keyint=50:pools=1"}},
    "hevc in mkv": {"name": "a.mkv", "codec": "libx265", "options": {"x265-params": "log-level=none:pools=1"}},
    "av1": {"name": "a.mp4", "codec": "libsvtav1", "options": {"preset": "12", "svtav1-params": "lp=1"}},
}
BY_PYAV_ALONE = {"hevc", "hevc in mkv", "av1"}
BY_BOTH = [name for name in CLIPS if name not in BY_PYAV_ALONE]


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    folder = tmp_path_factory.mktemp("clips")
    made: dict[str, Path] = {}

    def get(kind: str) -> Path:
        if kind not in made:
            spec = dict(CLIPS[kind])
            (folder / str(len(made))).mkdir()
            path = folder / str(len(made)) / spec.pop("name")
            try:
                made[kind] = encode(path, spec.pop("codec", "libx264"), **spec)
            except av.codec.codec.UnknownCodecError as error:
                pytest.skip(f"this build of PyAV has no encoder: {error}")
        return made[kind]

    return get


@pytest.mark.parametrize("decoder", ["decord", "pyav"])
@pytest.mark.parametrize("kind", CLIPS)
def test_frames_and_times_are_exact(clips, kind: str, decoder: str, capfd: pytest.CaptureFixture[str]) -> None:
    path = clips(kind)
    capfd.readouterr()  # what encoders write
    if decoder == "decord" and kind in BY_PYAV_ALONE:
        with pytest.raises(
            video.UnsupportedCodecError, match="decord would give wrong frames or times, or none: the codec is"
        ):
            load_video(path, decoder=decoder)
        return
    ticks = np.array(CLIPS[kind].get("ticks", regular(60)))
    for count in (7, 23, 60):
        clip = load_video(path, count, decoder=decoder)
        assert frame_numbers(clip.frames).tolist() == clip.indices.tolist()
        # Containers keep milliseconds or finer; decord gives float32.
        np.testing.assert_allclose(clip.timestamps, (ticks[clip.indices] - ticks[0]) / TICKS, atol=1.1e-3)
    assert clip.total_frames == len(ticks)
    assert clip.decoder.startswith({"decord": "decord 0.", "pyav": "PyAV "}[decoder])
    assert clip.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("kind", BY_BOTH)
def test_both_readers_agree_pixel_by_pixel(clips, kind: str) -> None:
    ours, other = (load_video(clips(kind), 11, decoder=decoder) for decoder in ("decord", "pyav"))
    np.testing.assert_array_equal(ours.frames, other.frames)
    np.testing.assert_array_equal(ours.indices, other.indices)
    np.testing.assert_array_equal(ours.timestamps, other.timestamps)
    assert (ours.fps, ours.total_frames, ours.duration) == (other.fps, other.total_frames, other.duration)


def test_decord_that_is_not_installed_is_named(clips, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("redundancy.video.decord_reader.find_spec", lambda name: None)
    assert load_video(clips("vp9"), 3).decoder.startswith("PyAV")
    with pytest.raises(video.UnsupportedCodecError, match="not installed"):
        load_video(clips("vp9"), 3, decoder="decord")


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_rotation_is_applied_by_both(tmp_path: Path, degrees: int) -> None:
    path = encode(tmp_path / "a.mp4", rotation=degrees)
    ours, other = (load_video(path, 5, decoder=decoder) for decoder in ("decord", "pyav"))
    assert ours.frames.shape[1:3] == ((HEIGHT, WIDTH) if degrees == 180 else (WIDTH, HEIGHT))
    np.testing.assert_array_equal(ours.frames, other.frames)


def test_shared_rotated_clip_is_upright(shared: Path) -> None:
    upright = load_video(shared / "videos/video_0.mov")
    for decoder in ("decord", "pyav"):
        clip = load_video(shared / "videos/video_90.mov", decoder=decoder)
        assert clip.frames.shape == (3, 568, 320, 3)
        assert upright.frames.shape == (3, 320, 568, 3)


def test_variable_rate_has_its_true_mean(clips) -> None:
    for decoder in ("decord", "pyav"):
        clip = load_video(clips("h264, variable rate"), decoder=decoder)
        assert clip.fps == pytest.approx(clip.total_frames / clip.duration)
        assert clip.fps == pytest.approx(len(UNEVEN) / (UNEVEN[-1] / TICKS), rel=0.03)  # last duration unknown


def test_constant_rate_is_exact(clips) -> None:
    assert load_video(clips("h264, no B frames")).fps == 25.0


def test_more_frames_than_exist(clips) -> None:
    for sampling in SAMPLINGS:
        clip = load_video(clips("h264, no B frames"), 500, sampling=sampling)
        assert clip.indices.tolist() == list(range(60))
        assert clip.requested == 500
    assert load_video(clips("h264, no B frames"), 60).requested == 60


def test_window_and_rate(clips) -> None:
    path = clips("h264, no B frames")
    clip = load_video(path, 4, start=0.5, end=1.5)
    assert clip.indices[[0, -1]].tolist() == [13, 37]
    assert (clip.timestamps >= 0.5).all()
    assert (clip.timestamps <= 1.5).all()
    assert frame_numbers(clip.frames).tolist() == clip.indices.tolist()
    assert len(load_video(path, fps=5).indices) == 12
    assert len(load_video(path, 3, fps=5).indices) == 3
    assert len(load_video(path).indices) == 32
    with pytest.raises(ValueError, match=r"no frame between start=9.0 s.*lasts 2.4"):
        load_video(path, start=9.0)


def test_resize(clips) -> None:
    path = clips("h264, no B frames")
    plain = load_video(path, 6)
    assert load_video(path, 6, resize=32).frames.shape == (6, 32, 32 * WIDTH // HEIGHT, 3)
    small = load_video(path, 6, resize=(HEIGHT // 2, WIDTH))
    assert small.frames.shape == (6, HEIGHT // 2, WIDTH, 3)
    assert small.frames.mean() == pytest.approx(plain.frames.mean(), abs=1.0)  # rounding to whole grey values
    np.testing.assert_array_equal(load_video(path, 6, resize=HEIGHT).frames, plain.frames)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"frames": 0}, "frames is 0"),
        ({"fps": 0.0}, "fps is 0.0"),
        ({"start": 2.0, "end": 1.0}, "expected 0 <= start <= end"),
        ({"start": -1.0}, "expected 0 <= start <= end"),
        ({"resize": 0}, "resize is 0"),
        ({"sampling": "often"}, "'often', expected one of linspace"),
        ({"decoder": "cv2"}, "'cv2', expected one of auto, decord, pyav"),
    ],
)
def test_settings_are_checked(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_video("unused.mp4", **settings)


def _faststart(folder: Path) -> bytes:
    return encode(folder / "fast.mp4", container_options={"movflags": "faststart"}).read_bytes()


def _damaged(folder: Path) -> bytes:
    data = bytearray(encode(folder / "whole.mp4", options={"bf": "0"}).read_bytes())
    start = data.index(b"mdat") + 4
    end = data.index(b"moov") - 4
    data[start:end] = np.random.default_rng(0).integers(0, 256, end - start, dtype=np.uint8).tobytes()
    return bytes(data)


def _no_frames(folder: Path) -> bytes:
    """A whole index whose sample table is emptied."""
    data = bytearray(encode(folder / "whole.mp4").read_bytes())
    for box in (b"stsz", b"stts", b"stsc", b"stco", b"ctts", b"stss"):
        at = data.find(box)
        if at >= 0:
            count = at + (12 if box == b"stsz" else 8)
            data[count : count + 4] = struct.pack(">I", 0)
    return bytes(data)


BROKEN: dict[str, tuple[str, Callable[[Path], bytes], type[VideoError], str]] = {
    "empty": ("a.mp4", lambda _: b"", video.EmptyVideoError, "0 bytes"),
    "random": ("a.mp4", lambda _: np.random.default_rng(0).bytes(5000), video.NotAVideoError, "not a video"),
    "text": ("a.mp4", lambda _: b"a line of text\n" * 50, video.NotAVideoError, "it holds text"),
    "text.txt": ("a.txt", lambda _: b"a line of text\n" * 50, video.NotAVideoError, "it holds text"),
    "sound mp4": ("a.m4a", lambda f: encode_sound(f / "s.mp4").read_bytes(), video.NoVideoStreamError, "no video"),
    "sound mkv": ("a.mkv", lambda f: encode_sound(f / "s.mkv").read_bytes(), video.NoVideoStreamError, "no video"),
    "sound wav": (
        "a.wav",
        lambda f: encode_sound(f / "s.wav", "pcm_s16le").read_bytes(),
        video.NoVideoStreamError,
        "no video",
    ),
    "truncated, index first": ("a.mp4", lambda f: _faststart(f)[:-800], video.TruncatedVideoError, "box 'mdat'"),
    "truncated, no index": (
        "a.mp4",
        lambda f: encode(f / "s.mp4").read_bytes()[:2000],
        video.TruncatedVideoError,
        "truncated",
    ),
    "no index": ("a.mp4", lambda f: b"\0\0\0\x10ftypisom\0\0\0\0", video.TruncatedVideoError, "'moov', is missing"),
    "truncated mkv": (
        "a.mkv",
        lambda f: encode(f / "s.mkv").read_bytes()[:-500],
        video.TruncatedVideoError,
        "its segment needs",
    ),
    "damaged": ("a.mp4", _damaged, video.CorruptVideoError, "damaged inside"),
    "no frames": ("a.mp4", _no_frames, video.NoFramesError, "without frames"),
}


@pytest.mark.parametrize("decoder", ["auto", "pyav"])
@pytest.mark.parametrize("case", BROKEN)
def test_broken_files(case: str, decoder: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    name, make, kind, message = BROKEN[case]
    (tmp_path / "parts").mkdir()
    path = tmp_path / name
    path.write_bytes(make(tmp_path / "parts"))
    capfd.readouterr()
    with pytest.raises(VideoError, match=message) as caught:
        load_video(path, decoder=decoder)
    assert type(caught.value) is kind
    assert str(path) in str(caught.value)
    assert capfd.readouterr().err == ""


def test_missing_and_directory(tmp_path: Path) -> None:
    with pytest.raises(video.MissingVideoError, match=r"absent.mp4: does not exist"):
        load_video(tmp_path / "absent.mp4")
    with pytest.raises(video.DirectoryVideoError, match="is a directory"):
        load_video(tmp_path)


def test_unreadable(clips, monkeypatch: pytest.MonkeyPatch) -> None:
    # Permissions do not stop root, as whom tests may run.
    def refuse(self: Path, *_: object) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    path = clips("h264, no B frames")
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(video.UnreadableVideoError, match=r"a.mp4: cannot be opened \(Permission denied\)"):
        load_video(path)


def test_errors_survive_a_process_boundary() -> None:
    error = video.CorruptVideoError("a.mp4", "why")
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.path) == (type(error), str(error), error.path)


def test_shared_files_end_in_a_clip_or_an_error(shared: Path, capfd: pytest.CaptureFixture[str]) -> None:
    files = sorted((shared / "videos").iterdir())
    assert files
    for path in files:
        for decoder in ("auto", "pyav"):
            if path.name == "corrupted.mp4":
                with pytest.raises(video.CorruptVideoError, match="damaged inside"):
                    load_video(path, decoder=decoder)
            else:
                clip = load_video(path, 4, decoder=decoder)
                assert len(clip.frames) == len(clip.timestamps) > 0
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("name", ["bikes.mp4", "unordered.mov", "video_90.mov"])
def test_readers_agree_on_real_clips(shared: Path, name: str) -> None:
    ours, other = (load_video(shared / "videos" / name, 10, decoder=decoder) for decoder in ("decord", "pyav"))
    np.testing.assert_array_equal(ours.frames, other.frames)


def test_import_loads_no_reader() -> None:
    code = "import sys, redundancy.video; sys.exit(bool({'av', 'decord', 'torch'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


totals = st.integers(1, 5000)
rates = st.sampled_from([10.0, 15.0, 23.976, 24.0, 25.0, 30000 / 1001, 60.0])
counts = st.integers(1, 300)
targets = st.sampled_from([0.5, 1.0, 2.0, 3.7, 8.0])


@given(st.sampled_from(sorted(SAMPLINGS)), totals, rates, st.none() | counts, st.none() | targets)
def test_sampling_is_sorted_unique_and_within_range(name, total, rate, frames, fps) -> None:
    convention = SAMPLINGS[name]
    if frames is None and fps is None:
        frames, fps = convention.frames, convention.fps
    indices = convention.sample(total, rate, frames, fps)
    assert 1 <= len(indices) <= total
    assert (np.diff(indices) > 0).all()
    assert indices[0] >= 0
    assert indices[-1] < total
    if frames is not None:
        assert len(indices) <= frames + (frames % 2 if fps is None else 0)  # Qwen rounds an odd number to an even one
    if name in {"linspace", "qwen3_vl"} and len(indices) > 1:
        assert indices[[0, -1]].tolist() == [0, total - 1]


def _library(name: str):
    import_torchvision()
    from transformers import LlavaOnevisionVideoProcessor
    from transformers.models.qwen2_vl.video_processing_qwen2_vl import Qwen2VLVideoProcessor
    from transformers.models.qwen3_vl.video_processing_qwen3_vl import Qwen3VLVideoProcessor

    families = {
        "bin_starts": LlavaOnevisionVideoProcessor,
        "qwen2_vl": Qwen2VLVideoProcessor,
        "qwen3_vl": Qwen3VLVideoProcessor,
    }
    return families[name]()


def _within(indices: Iterable[int], total: int) -> list[int]:
    """Without the index `total`, one past the end, that the rounding of a step can give Qwen2-VL's processor."""
    return [int(index) for index in indices if index != total]


@pytest.mark.parametrize("name", ["bin_starts", "qwen2_vl", "qwen3_vl"])
def test_sampling_equals_the_library(name: str) -> None:
    processor = _library(name)  # first: it mends the import of torchvision
    from transformers.video_utils import VideoMetadata

    rng = np.random.default_rng(0)
    for _ in range(400):
        total, rate = int(rng.integers(4, 4000)), float(rng.choice([10, 15, 24, 25, 30000 / 1001, 30, 60]))
        metadata = VideoMetadata(total_num_frames=total, fps=rate)
        target = min(float(rng.choice([0.5, 1, 2, 4, 7.3])), rate)
        frames = int(rng.integers(2, min(total, 256))) // 2 * 2
        by_rate = SAMPLINGS[name].sample(total, rate, None, target)
        assert by_rate.tolist() == _within(processor.sample_frames(metadata, fps=target), total)
        if name == "qwen3_vl":
            processor.fps = None  # its default rate wins over a number of frames on some releases
        by_count = SAMPLINGS[name].sample(total, rate, frames, None)
        assert by_count.tolist() == _within(processor.sample_frames(metadata, num_frames=frames), total)


def test_sampling_by_hand() -> None:
    def of(name: str, *request: object) -> list[int]:
        return SAMPLINGS[name].sample(*request).tolist()  # type: ignore[arg-type]

    assert of("linspace", 10, 25.0, 4, None) == [0, 3, 6, 9]
    assert of("uniform", 8, 25.0, 4, None) == [1, 3, 5, 7]
    assert of("bin_starts", 10, 25.0, 4, None) == [0, 2, 5, 7]
    assert of("llava_video", 100, 25.0, 64, 1.0) == [0, 25, 50, 75]
    assert of("llava_video", 100, 25.0, 3, 1.0) == [0, 49, 99]
    assert of("qwen_vl_utils", 100, 25.0, None, 2.0) == [0, 14, 28, 42, 57, 71, 85, 99]
    assert of("qwen3_vl", 12, 12.0, None, 2.0) == [0, 4, 7, 11]


def test_every_sampling_has_a_source() -> None:
    assert all(convention.source and callable(convention.sample) for convention in SAMPLINGS.values())


def test_wrong_type_is_caught() -> None:
    with pytest.raises(TypeCheckError):
        load_video("a.mp4", "many")  # type: ignore[arg-type]
