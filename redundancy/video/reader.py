"""Reading many videos: each in a process beside, so that no file can stop or kill what reads them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import weakref
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import IO, Any, TypeVar

import numpy as np
from jaxtyping import UInt8

from redundancy.video import errors
from redundancy.video.clip import VideoClip
from redundancy.video.errors import ReaderDiedError, VideoError, VideoTimeoutError, printable
from redundancy.video.load import DECODERS
from redundancy.video.path import video_path
from redundancy.video.resize import check_size, resize_frames

START_TIMEOUT = 120.0  # seconds for a process to import its libraries, from a slow disk as well
MOST_SECONDS = 10.0**6  # what timers take everywhere
COMMAND = ("-P", "-m", "redundancy.video.child")
ANSWER_SIZE = 8  # bytes of the number that says how long an answer is
BUILT_IN = {error.__name__: error for error in (TypeError, ValueError)}  # about settings
ARRAYS = {"timestamps": np.float64, "indices": np.int64}

_Buffer = TypeVar("_Buffer", bytearray, memoryview)


class VideoReader:
    """Reads videos in a process beside this one, within limits of time and memory.

    The process is started at the first video and used again. A video that hangs, kills it or takes too much memory is a
    `VideoError` of that video, and the next one is read in a new process. Several threads may share a reader: they take
    turns. A process that was forked or sent a copy has its own.

    Parameters
    ----------
    decoder
        As in `load_video`, where a call names none.
    timeout
        Seconds that one video may take.
    memory
        Bytes that reading one video may take beyond the process itself and the decoded frames that were asked for. On
        Linux alone: other systems keep no such limit.

    Raises
    ------
    ValueError
        If a limit is not above 0, or there is no such decoder.

    Examples
    --------
    >>> with VideoReader(timeout=20) as reader:
    ...     clip = reader.load("bundled:clip_000.mp4", frames=8)
    >>> clip.frames.shape
    (8, 224, 224, 3)
    """

    def __init__(self, *, decoder: str = "auto", timeout: float | int = 60.0, memory: int = 2 * 2**30) -> None:
        if not 0 < timeout <= MOST_SECONDS or not 0 < memory <= sys.maxsize:
            raise ValueError(
                f"timeout={timeout} s and memory={memory} bytes given, expected numbers above 0, and at most "
                f"{MOST_SECONDS:g} s"
            )
        if decoder not in DECODERS:
            raise ValueError(f"decoder is {decoder!r}, expected one of {', '.join(DECODERS)}")
        self.decoder, self.timeout, self.memory = decoder, float(timeout), int(memory)
        self._begin()

    def _begin(self) -> None:
        self._owner = os.getpid()
        self._lock = threading.Lock()
        self._child: _Child | None = None

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return _copy, (self.decoder, self.timeout, self.memory)

    def __repr__(self) -> str:
        return f"VideoReader(decoder={self.decoder!r}, timeout={self.timeout:g}, memory={self.memory})"

    def load(self, path: str | os.PathLike[str], frames: int | None = None, **settings: Any) -> VideoClip:
        """Read frames of a video file, as `load_video` does.

        Parameters
        ----------
        path, frames
            As in `load_video`.
        **settings
            Its others: `fps`, `start`, `end`, `resize`, `sampling`, `decoder`.

        Raises
        ------
        VideoTimeoutError, VideoMemoryError
            If the video takes more than the reader's limits.
        ReaderDiedError
            If the process ends while it reads: a crash of the decoder.
        TypeError, ValueError, VideoError
            As `load_video` does.
        RuntimeError
            If no process can be started.
        """
        size = settings.pop("resize", None)  # needs torch, which the process does not load
        check_size(size)
        arguments = {"decoder": self.decoder, **settings, "path": os.fspath(video_path(path)), "frames": frames}
        answer = self._ask("load", arguments)
        arrays = {name: np.array(answer.value[name], dtype) for name, dtype in ARRAYS.items()}
        assert answer.frames is not None
        told = {**answer.value, **arrays, "source": printable(path)}
        return VideoClip(frames=resize_frames(answer.frames, size), **told)

    def digest(self, path: str | os.PathLike[str]) -> str:
        """SHA-256 of a file's bytes, within the time limit of a video.

        Raises
        ------
        VideoError
            If the file cannot be read, or takes longer than the limit.
        """
        return str(self._ask("digest", {"path": os.fspath(video_path(path))}).value)

    def close(self) -> None:
        """End the process; a reader that is used again starts another."""
        with self._turn():
            self._drop()

    def _turn(self) -> threading.Lock:
        if self._owner != os.getpid():  # a fork: the process and the lock are those of the parent
            self._begin()
        return self._lock

    def _ask(self, call: str, arguments: dict[str, Any]) -> _Answer:
        request = {"call": call, "timeout": self.timeout, "memory": self.memory, "arguments": arguments}
        line = json.dumps(request, default=_plain).encode() + b"\n"
        path = Path(arguments["path"])
        with self._turn():
            fresh = self._child is None
            try:
                return self._ask_once(line, path)
            except ReaderDiedError:
                if fresh:
                    raise
            return self._ask_once(line, path)  # the harm may be that of a video before: in a new process it is not

    def _ask_once(self, line: bytes, path: Path) -> _Answer:
        if self._child is None:
            self._child = _Child()
        try:
            answer = self._child.ask(line, self.timeout)
        except BaseException:  # an interrupt as well: what the process sends next would answer this request
            self._drop()
            raise
        if answer is None:
            expired, status = self._child.expired, self._child.status()
            self._drop()
            if expired:
                raise VideoTimeoutError(path, f"{self.timeout:g} s")
            raise ReaderDiedError(path, f"{status}; its limit of memory was {self.memory / 2**20:g} MiB")
        if answer.error is not None:
            raise _rebuilt(answer.error[0], answer.error[1], path)
        return answer

    def _drop(self) -> None:
        if self._child is not None:
            self._child.end()
        self._child = None


@dataclass(frozen=True, eq=False)
class _Answer:
    value: Any
    frames: UInt8[np.ndarray, "frames height width 3"] | None
    error: list[Any] | None


class _Child:
    """A running process and its pipes."""

    def __init__(self) -> None:
        self.expired = False
        self.process = _start()
        self.end = weakref.finalize(self, _end, self.process, os.getpid())
        if self._exchange(b"", START_TIMEOUT) is None:
            status = self.status()
            self.end()
            raise RuntimeError(
                f"the process that reads videos did not start ({status}): {sys.executable} {' '.join(COMMAND)}; what "
                "it printed stands on the standard error"
            )

    def ask(self, line: bytes, timeout: float | int) -> _Answer | None:
        """The answer; None if the process ended, `expired` if that was for its time."""
        return self._exchange(line, timeout)

    def _exchange(self, line: bytes, timeout: float | int) -> _Answer | None:
        timer = threading.Timer(timeout, self._expire)
        timer.daemon = True
        timer.start()
        try:
            left = memoryview(line)
            while left:
                left = left[_pipe(self.process.stdin).write(left) :]
            return _receive(_pipe(self.process.stdout))
        except BrokenPipeError:
            return None
        finally:
            timer.cancel()
            timer.join()

    def _expire(self) -> None:
        self.expired = True
        self.process.kill()

    def status(self) -> str:
        """How the process ended, in words."""
        try:
            code = self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            return "it runs and does not answer"
        if code >= 0:
            return f"exit status {code}"
        known = {s.value: s.name for s in signal.Signals}
        return f"{known.get(-code, f'signal {-code}')}, {signal.strsignal(-code)}"


def _start() -> subprocess.Popen[bytes]:
    if not sys.executable:
        raise RuntimeError(
            f"sys.executable is {sys.executable!r}, expected the path of the Python interpreter, by which a second "
            "process is started to read videos; load_video reads in this process"
        )
    return subprocess.Popen(
        [sys.executable, *COMMAND],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(_search_path()), "OMP_NUM_THREADS": "1"},
        process_group=0,  # a keyboard's interrupt is for this process, which ends the other
    )


def _search_path() -> list[str]:
    """Where this process finds its modules: of an uninstalled checkout as well, and from any working directory."""
    return [os.path.abspath(place) for place in sys.path if isinstance(place, str)]


def _end(process: subprocess.Popen[bytes], owner: int) -> None:
    if owner == os.getpid():
        process.kill()
        process.wait()
    else:
        process.returncode = 0  # the process of another: this one holds copies of its pipes alone
    for pipe in (process.stdin, process.stdout):
        _pipe(pipe).close()


def _pipe(pipe: IO[bytes] | None) -> FileIO:
    assert isinstance(pipe, FileIO)  # as `bufsize=0` says
    return pipe


def _receive(source: FileIO) -> _Answer | None:
    """One answer; None if the process ended before it was whole."""
    size = _read(source, bytearray(ANSWER_SIZE))
    told = None if size is None else _read(source, bytearray(int.from_bytes(size, "little")))
    if told is None:
        return None
    answer = json.loads(bytes(told))
    frames = None
    if answer["shape"] is not None:
        frames = np.empty(answer["shape"], np.uint8)
        if _read(source, frames.data.cast("B")) is None:
            return None
    return _Answer(answer["value"], frames, answer["error"])


def _read(source: FileIO, target: _Buffer) -> _Buffer | None:
    """Fill the target; None if the pipe ends before."""
    left = memoryview(target)
    while left:
        size = source.readinto(left)
        if not size:
            return None
        left = left[size:]
    return target


def _plain(value: Any) -> Any:
    """What json knows, of numpy's numbers and arrays."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(f"{value!r} given as a setting of a video, expected a number or a text")


def _rebuilt(name: str, arguments: list[str], path: Path) -> Exception:
    """The exception that was raised in the process."""
    kind = getattr(errors, name, BUILT_IN.get(name))
    if kind is None:
        return VideoError(path, ": ".join((name, *arguments)))
    return kind(*arguments)


def _copy(decoder: str, timeout: float | int, memory: int) -> VideoReader:
    return VideoReader(decoder=decoder, timeout=timeout, memory=memory)
