"""Reading in a process beside: the same clips, and whatever a video does there is an error of that video."""

from __future__ import annotations

import errno
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from inspect import unwrap
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from redundancy.paths import data_folder
from redundancy.video import (
    MissingVideoError,
    NotAVideoError,
    ReaderDiedError,
    UnreadableVideoError,
    UnsupportedCodecError,
    VideoClip,
    VideoMemoryError,
    VideoReader,
    VideoTimeoutError,
    load_video,
    pyav_reader,
)
from redundancy.video.load import READERS
from redundancy.video.sampling import SAMPLINGS

CLIPS = data_folder() / "clips"
CLIP = CLIPS / "clip_000.mp4"

# What a file does to the process that opens it stands in its name; `sitecustomize` runs when a process starts.
PLANT = """
import builtins, os, signal, sys, time
real = builtins.__import__
opened = []
def act(path):
    path = path if isinstance(path, (str, bytes, os.PathLike)) else getattr(path, "name", "")
    name = os.path.basename(os.fsdecode(path))
    opened.append(name)
    if "segv" in name or ("later" in name and set(opened) != {name}):
        os.kill(os.getpid(), signal.SIGSEGV)
    if "exit" in name:
        os._exit(7)
    if "hang" in name:
        time.sleep(60)
    if "prints" in name:
        os.write(1, b"noise of a library\\n" * 20)
def wrap(owner, name):
    original = getattr(owner, name)
    def call(path, *a, **k):
        act(path)
        return original(path, *a, **k)
    call.planted = True
    setattr(owner, name, call)
def hook(name, *a, **k):
    module = real(name, *a, **k)
    for full, attribute in (("av", "open"), ("decord", "VideoReader")):
        m = sys.modules.get(full)
        if m is not None and hasattr(m, attribute) and not hasattr(getattr(m, attribute), "planted"):
            wrap(m, attribute)
    return module
builtins.__import__ = hook
"""


@pytest.fixture(scope="module")
def reader() -> Iterator[VideoReader]:
    with VideoReader(timeout=60) as one:
        yield one


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of copies of a clip, each of which does to its process what its name says."""
    plant = tmp_path / "plant"
    plant.mkdir()
    (plant / "sitecustomize.py").write_text(PLANT)
    monkeypatch.syspath_prepend(plant)
    for name in ("good", "segv", "exit", "hang", "later", "prints"):
        shutil.copy(CLIP, tmp_path / f"{name}.mp4")
    return tmp_path


def same(a: VideoClip, b: VideoClip) -> bool:
    pairs = [(getattr(a, f.name), getattr(b, f.name)) for f in fields(VideoClip)]
    return all(
        x.dtype == y.dtype and np.array_equal(x, y) if isinstance(x, np.ndarray) else x == y and type(x) is type(y)
        for x, y in pairs
    )


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"frames": 5},
        {"frames": 5, "end": np.float64(9), "sampling": "uniform", "resize": 64},
        {"frames": 4, "resize": (48, 64), "decoder": "pyav"},
        {"fps": 0.5, "start": 1, "end": 12.0},
        {"sampling": "qwen2_vl"},
    ],
    ids=str,
)
def test_the_clips_are_those_of_load_video(reader: VideoReader, settings: dict[str, Any]):
    assert same(reader.load(CLIP, **settings), load_video(CLIP, **settings))


def test_relative_names_and_names_that_are_no_utf8(
    reader: VideoReader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    name = os.fsdecode(b"m\xff\xfe.mp4")
    shutil.copy(CLIP, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    for path in (name, Path(name), f"./{name}"):
        assert same(reader.load(path, 3), load_video(path, 3))


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"frames": 0}, ValueError),
        ({"start": 900}, ValueError),
        ({"resize": 0}, ValueError),
        ({"sampling": "other"}, ValueError),
        ({"colour": True}, TypeError),
    ],
    ids=str,
)
def test_errors_of_settings_arrive_as_themselves(reader: VideoReader, settings: dict[str, Any], error: type[Exception]):
    with pytest.raises(error) as here:
        load_video(CLIP, **settings)
    with pytest.raises(error) as there:
        reader.load(CLIP, **settings)
    assert str(there.value).endswith(str(here.value))


def test_a_setting_that_is_no_plain_value_is_refused(reader: VideoReader):
    with pytest.raises(TypeError, match=r"\{1\} given as a setting of a video, expected a number or a text"):
        reader.load(CLIP, end={1})


def test_errors_of_files_arrive_as_themselves(reader: VideoReader, tmp_path: Path):
    text, pipe = tmp_path / "text.mp4", tmp_path / "pipe.mp4"
    text.write_text("no video" * 100)
    os.mkfifo(pipe)
    for path, error in (
        (text, NotAVideoError),
        (tmp_path / "absent.mp4", MissingVideoError),
        (pipe, UnreadableVideoError),
        (Path("/dev/zero"), UnreadableVideoError),
    ):
        with pytest.raises(error) as here:
            load_video(path)
        for ask in (reader.load, reader.digest):
            if ask == reader.digest and path == text:
                continue
            with pytest.raises(error) as there:
                ask(path)
            assert str(there.value) == str(here.value)


def test_what_a_video_does_to_its_process_is_its_own_error(planted: Path, capfd: pytest.CaptureFixture[str]):
    with VideoReader(timeout=60) as reader:
        assert reader.load(planted / "good.mp4", 2).total_frames == 32
        for name, said in (("segv", "SIGSEGV"), ("exit", "exit status 7")):
            with pytest.raises(ReaderDiedError, match=rf"{name}\.mp4: ended the process.*{said}.*2048 MiB"):
                reader.load(planted / f"{name}.mp4", 2)
        assert reader.load(planted / "good.mp4", 2).total_frames == 32
        # a process that a video before has harmed is no reason to blame the next
        assert reader.load(planted / "later.mp4", 2).decoder == load_video(CLIP, 2).decoder
        assert same(reader.load(planted / "prints.mp4", 2), load_video(planted / "prints.mp4", 2))
    assert capfd.readouterr().out == ""


def test_a_video_that_hangs_costs_its_time_limit(planted: Path):
    with VideoReader(timeout=60) as reader:
        reader.load(planted / "good.mp4", 2)
        reader.timeout = 0.7
        began = time.monotonic()
        with pytest.raises(
            VideoTimeoutError, match=r"hang\.mp4: takes longer .*0\.7 s.*VideoReader\(timeout=.*--decode"
        ):
            reader.load(planted / "hang.mp4", 2)
        with (planted / "sparse.mp4").open("wb") as file:
            file.truncate(2**40)  # hashing a terabyte of nothing takes an hour
        with pytest.raises(VideoTimeoutError, match="sparse"):
            reader.digest(planted / "sparse.mp4")
        assert 1.3 < time.monotonic() - began < 15


@pytest.mark.skipif(not Path("/proc/self/statm").is_file(), reason="only Linux keeps a limit of the address space")
def test_memory_beyond_the_frames_asked_for_is_limited(tmp_path: Path):
    import av

    path = tmp_path / "large.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=5)
        stream.width, stream.height, stream.pix_fmt = 1920, 1080, "yuv420p"
        for _ in range(4):
            container.mux(stream.encode(av.VideoFrame(1920, 1080, "yuv420p")))
        container.mux(stream.encode(None))
    with VideoReader(memory=2**20) as reader:
        with pytest.raises(VideoMemoryError, match=r"large\.mp4: needs more memory.*1 MiB.*VideoReader\(memory="):
            reader.load(path, 4)
        reader.memory = 2**28
        assert reader.load(path, 4).frames.shape == (4, 1080, 1920, 3)


def test_threads_that_read_at_a_time_tell_their_packets_apart():
    paths = [CLIPS / f"clip_{i:03d}.mp4" for i in range(4)]
    want = [load_video(p, 2).sha256 for p in paths]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as threads:
            assert [c.sha256 for c in threads.map(lambda p: load_video(p, 2), paths * 8)] == want * 8
    finally:
        sys.setswitchinterval(interval)


def test_threads_share_a_reader_and_a_fork_has_its_own(reader: VideoReader):
    paths = [CLIPS / f"clip_{i:03d}.mp4" for i in range(8)]
    want = [load_video(p, 2).sha256 for p in paths]
    with ThreadPoolExecutor(4) as threads:
        assert [c.sha256 for c in threads.map(lambda p: reader.load(p, 2), paths)] == want
    code = """
import os, sys
from concurrent.futures import ThreadPoolExecutor
from redundancy.video import VideoReader
reader, path = VideoReader(), sys.argv[1]
assert len(reader.load(path, 2).frames) == 2
pid = os.fork()
if pid == 0:
    os._exit(0 if len(reader.load(path, 3).frames) == 3 and not reader.close() else 1)
assert os.waitpid(pid, 0)[1] == 0
assert len(reader.load(path, 4).frames) == 4
"""
    assert (
        subprocess.run([sys.executable, "-c", code, CLIP], cwd=Path(__file__).parents[2], timeout=100).returncode == 0
    )
    copy = pickle.loads(pickle.dumps(VideoReader(timeout=5, memory=2**29, decoder="pyav")))
    assert repr(copy) == "VideoReader(decoder='pyav', timeout=5, memory=536870912)"


def test_the_process_ends_with_its_parent_and_imports_little(tmp_path: Path):
    """Killed while the other process hangs; from another folder, without an installed package."""
    code = """
import json, sys
from redundancy.video import VideoReader
reader = VideoReader()
reader.load(sys.argv[1], 2, sampling="qwen2_vl")
pid = reader._child.process.pid
print(pid, flush=True)
print(json.dumps([line.split()[-1] for line in open(f"/proc/{pid}/maps") if "/" in line]), flush=True)
input()
"""
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": root}
    parent = subprocess.Popen(
        [sys.executable, "-c", code, str(CLIP)],
        cwd=tmp_path,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdin is not None
    assert parent.stdout is not None
    with parent:
        pid = int(parent.stdout.readline())
        libraries = json.loads(parent.stdout.readline())
        assert os.getpgid(pid) != os.getpgid(parent.pid)  # a keyboard's interrupt is for the parent
        parent.send_signal(signal.SIGKILL)
    assert not [name for name in libraries if "/torch/" in name or "/pandas/" in name or "/scipy/" in name]
    assert [name for name in libraries if "/numpy/" in name]
    for _ in range(100):
        if not Path(f"/proc/{pid}").exists():
            return
        time.sleep(0.1)
    pytest.fail("the process that reads videos outlives its parent")


def test_an_interrupt_ends_the_process_and_the_next_video_is_read(planted: Path):
    with VideoReader() as reader:
        reader.load(planted / "good.mp4", 2)
        threading.Timer(0.7, signal.pthread_kill, [threading.main_thread().ident, signal.SIGINT]).start()
        with pytest.raises(KeyboardInterrupt):
            reader.load(planted / "hang.mp4", 2)
        assert reader.load(planted / "good.mp4", 3).frames.shape[0] == 3


def test_no_process_to_be_had_is_said(monkeypatch: pytest.MonkeyPatch):
    for executable, said in (("", "sys.executable is ''"), (shutil.which("false"), "did not start .exit status 1.")):
        monkeypatch.setattr(sys, "executable", executable)
        with pytest.raises(RuntimeError, match=said):
            VideoReader().load(CLIP, 2)


@pytest.mark.parametrize(
    "limits", [{"timeout": 0}, {"timeout": float("nan")}, {"memory": 0}, {"decoder": "other"}], ids=str
)
def test_limits_that_are_none_are_refused(limits: dict[str, Any]):
    with pytest.raises(ValueError, match="expected"):
        VideoReader(**limits)


def test_limits_are_plain_numbers_for_the_process():
    limited = object.__new__(VideoReader)
    unwrap(VideoReader.__init__)(limited, timeout=np.float32(30), memory=2.0**31)  # tests check types, users do not
    assert (type(limited.timeout), type(limited.memory)) == (float, int)


@pytest.mark.parametrize("number", [errno.ENOMEM, errno.EAGAIN], ids=errno.errorcode.get)
def test_what_the_system_lacks_is_no_fault_of_the_file(number: int, monkeypatch: pytest.MonkeyPatch):
    def lacks(*_: object) -> None:
        raise OSError(number, "no thread to be had")

    monkeypatch.setitem(READERS, "pyav", lacks)
    with pytest.raises(VideoMemoryError, match="no thread"):
        load_video(CLIP, 2, decoder="pyav")


def test_steps_of_qwen2_vl_are_those_of_torch():
    """Where whole numbers give another frame, and at random."""
    import torch

    draw = np.random.default_rng(0)
    totals = draw.integers(2, 20000, 3000)
    pairs = [(int(t), int(draw.integers(1, min(t - 1, 768), endpoint=True))) for t in totals]
    for total, count in pairs:
        frames = count // 2 * 2
        if not 0 < frames < total:
            continue
        processor = torch.arange(0, total, total / frames).int().numpy()[:frames]
        assert np.array_equal(SAMPLINGS["qwen2_vl"].sample(total, 1.0, frames, None), processor), (total, frames)


def test_a_frame_of_no_known_packet_is_refused(monkeypatch: pytest.MonkeyPatch):
    """Taken for one of the packet read last, it would be of another time wherever a decoder holds frames back."""
    note = pyav_reader._Run._note
    monkeypatch.setattr(pyav_reader._Run, "_note", lambda self, frame: note(self, SimpleNamespace(opaque=None)))
    with pytest.raises(UnsupportedCodecError, match="does not tell which packet a frame is of"):
        load_video(CLIPS / "clip_000.mp4", 2)
