"""The process in which a `VideoReader` reads: `python -m redundancy.video.child`.

A request is a line of json, `{"call": "load" | "digest", "timeout": s, "memory": bytes, "arguments": {...}}`. An answer
is the length of a json text in 8 bytes and that text, `{"value": ..., "error": [type, [arguments]], "shape": [...]}`,
with null for what there is not; behind a shape follow the bytes of the frames.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
from contextlib import suppress
from dataclasses import fields
from importlib import import_module
from io import FileIO
from typing import Any, BinaryIO

import numpy as np

from redundancy.digest import file_sha256
from redundancy.video.errors import UnreadableVideoError, VideoError, VideoMemoryError
from redundancy.video.load import load_video
from redundancy.video.memory import limit_memory
from redundancy.video.path import video_path

GRACE = 5.0  # seconds after its time limit at which the process ends itself, should its parent be gone
ANSWER_SIZE = 8  # bytes of the number that says how long an answer is
PIPE_SIZE = 2**20  # bytes, the most that Linux gives an ordinary user: frames in few pieces


def main() -> None:
    """Answer requests until the parent is gone."""
    answers = _take_stdout()
    _prefer_to_end()
    requests: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(sys.stdin.buffer, requests), daemon=True).start()
    with suppress(BrokenPipeError):  # the parent is gone
        _send(answers)
        while True:
            _send(answers, **_answer(json.loads(requests.get())))


def _take_stdout() -> FileIO:
    """The pipe to the parent; what libraries print goes to the standard error."""
    answers = FileIO(os.dup(1), "w")
    try:
        os.dup2(2, 1)
    except OSError:  # the study has closed it
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    with suppress(ImportError, AttributeError, OSError):  # only Linux has it, and it only saves time
        fcntl = import_module("fcntl")
        fcntl.fcntl(answers, fcntl.F_SETPIPE_SZ, PIPE_SIZE)
    return answers


def _prefer_to_end() -> None:
    """Where the machine's memory ends, this process shall be the one that the system kills, and not a study."""
    with suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")


def _listen(source: BinaryIO, requests: queue.SimpleQueue[bytes]) -> None:
    for line in source:
        requests.put(line)
    os._exit(0)  # the parent is gone; the other thread may be deep in a decoder


def _send(answers: FileIO, value: Any = None, error: list[Any] | None = None, frames: np.ndarray | None = None) -> None:
    shape = None if frames is None else frames.shape
    text = json.dumps({"value": value, "error": error, "shape": shape}, default=_plain).encode()
    _write(answers, len(text).to_bytes(ANSWER_SIZE, "little") + text)
    if frames is not None:
        _write(answers, np.ascontiguousarray(frames).data.cast("B"))


def _write(answers: FileIO, data: bytes | memoryview) -> None:
    left = memoryview(data)
    while left:
        left = left[answers.write(left) :]


def _plain(value: Any) -> Any:
    return value.tolist()  # numpy's arrays and numbers


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    arguments = request["arguments"]
    for library in ("av", "av.subtitles.stream", *["decord"] * (arguments.get("decoder") == "decord")):
        with suppress(ImportError):  # libraries are no part of what a video takes; the reader says which are missing
            import_module(library)
    _end_after(request["timeout"] + GRACE)
    limit_memory(request["memory"])
    try:
        return _load(arguments) if request["call"] == "load" else _digest(arguments["path"])
    except (MemoryError, VideoMemoryError):
        limit = f"the limit is {request['memory'] / 2**20:g} MiB beyond the frames asked for"
        return _told(VideoMemoryError(arguments["path"], limit))
    except Exception as error:
        return _told(error)
    finally:
        limit_memory(None)
        _end_after(0)


def _end_after(seconds: float | int) -> None:
    """By a signal, which also ends a decoder that never returns to Python; 0: not at all."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, seconds)


def _load(arguments: dict[str, Any]) -> dict[str, Any]:
    clip = load_video(**arguments)
    return {"value": {f.name: getattr(clip, f.name) for f in fields(clip) if f.name != "frames"}, "frames": clip.frames}


def _digest(path: str) -> dict[str, Any]:
    try:
        return {"value": file_sha256(video_path(path))}
    except OSError as error:
        raise UnreadableVideoError(path, error.strerror or type(error).__name__) from error


def _told(error: Exception) -> dict[str, Any]:
    if isinstance(error, VideoError):
        return {"error": [type(error).__name__, [str(a) for a in error.args]]}
    built_in = next(kind for kind in type(error).__mro__ if kind.__module__ == "builtins")
    return {"error": [built_in.__name__, [str(error)]]}


if __name__ == "__main__":
    main()
