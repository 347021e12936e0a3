"""Mutate real videos and see whether each is read rightly or refused in words: `python -m tools.fuzz_videos`.

Every mutated file is judged in a process of its own. What it gives is compared with PyAV decoding the whole file in
order, in code that is not the package's, and with the ffmpeg command where there is one. A frame is wrong if it is not
the one of its number, if its time is another, or if it is altered (no frame of the originals has its pixels) where a
decoder that stops at damage reports some. Exit status 1 if anything is wrong; the files are kept.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import tyro

from redundancy.paths import data_folder
from redundancy.video import ReaderDiedError, VideoError, VideoMemoryError, VideoTimeoutError, load_video

REAL = Path(__file__).resolve().parents[2] / "shared" / "videos"
SIZE = (112, 80)
PICTURES = 48
LIMIT = 60.0  # seconds for one file, both ways of decoding it included
FRAMES = 12
RIGHT, TYPED = "right", "typed error"
PLAYER = "other than the player"
REFUSED = "good file refused"
WRONG = ("WRONG FRAME", "untyped error", "hang", "death", REFUSED)
ORIGINAL = "none"  # the mutation of an original
COLUMNS = (RIGHT, TYPED, PLAYER, *WRONG, "not made")

OPEN_GOP = {"x264-params": "open-gop=1:bframes=3:keyint=12:min-keyint=12:scenecut=0"}
ENCODED: dict[str, tuple[str, dict[str, str], tuple[str, ...]]] = {
    "h264": ("libx264", {"g": "12", "bf": "0"}, ("mp4", "avi")),
    "h264_b": ("libx264", {"g": "12", "bf": "3"}, ("mp4", "mov", "mkv", "ts")),
    "h264_open": ("libx264", OPEN_GOP, ("mp4", "mkv", "ts")),
    "hevc": ("libx265", {"g": "12", "x265-params": "log-level=none:pools=1:frame-threads=1"}, ("mp4", "mkv")),
    "mpeg4": ("mpeg4", {"g": "12", "bf": "2"}, ("mp4", "avi")),
    "mpeg2": ("mpeg2video", {"g": "12", "bf": "2"}, ("ts",)),
    "vp8": ("libvpx", {"g": "12", "cpu-used": "8"}, ("webm",)),
    "vp9": ("libvpx-vp9", {"g": "12", "cpu-used": "8", "row-mt": "0"}, ("webm", "mp4")),
    "av1": ("libsvtav1", {"g": "12", "preset": "12", "svtav1-params": "lp=1"}, ("mp4", "mkv")),
}
FORMATS = {"mkv": "matroska", "ts": "mpegts"}

Mutate = Callable[[Path, list[Path], np.random.Generator, Path], None]


def pictures() -> np.ndarray:
    """Frames none of which is like another: texture that stands for six frames, moves, and a number in bars."""
    draw = np.random.default_rng(0)
    width, height = SIZE
    texture = draw.integers(60, 200, (PICTURES // 6 + 1, height, width, 3), dtype=np.uint8)
    frames = np.stack([np.roll(texture[n // 6], 2 * n, axis=1) for n in range(PICTURES)])
    for n, frame in enumerate(frames):
        for bit in range(6):
            frame[:24, bit * width // 6 : (bit + 1) * width // 6] = 235 if n >> bit & 1 else 20
    return frames


def make_originals(folder: Path) -> list[Path]:
    """Small clips in every codec and container that this FFmpeg encodes, two bundled ones, and real ones if there."""
    os.environ["SVT_LOG"] = "1"  # errors alone
    frames = pictures()
    for name, (codec, options, suffixes) in ENCODED.items():
        if codec in av.codecs_available:
            for suffix in suffixes:
                _encode(frames, folder / f"{name}.{suffix}", codec, options)
    bundled = [data_folder() / "clips" / f"clip_00{i}.mp4" for i in (0, 1)]
    real = [REAL / name for name in ("bikes.mp4", "scene_cuts.mp4", "video_0.mov", "video_90.mov")]
    for path in [*bundled, *filter(Path.is_file, real)]:
        shutil.copyfile(path, folder / path.name)
    return sorted(folder.iterdir())


def _encode(frames: np.ndarray, path: Path, codec: str, options: dict[str, str]) -> None:
    with av.open(str(path), "w", format=FORMATS.get(path.suffix[1:])) as container:
        stream = container.add_stream(codec, rate=Fraction(10), options=options)
        stream.width, stream.height, stream.pix_fmt = (*SIZE, "yuv420p")
        stream.codec_context.thread_count = 1
        for image in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))


def flip(original: Path, others: list[Path], draw: np.random.Generator, target: Path) -> None:
    """Other values of up to eight bytes."""
    data = bytearray(original.read_bytes())
    for at in draw.integers(len(data), size=draw.integers(1, 9)):
        data[at] ^= int(draw.integers(1, 256))
    target.write_bytes(data)


def zero(original: Path, others: list[Path], draw: np.random.Generator, target: Path) -> None:
    """Zeros in place of a chunk."""
    data = bytearray(original.read_bytes())
    at, size = _chunk(data, draw)
    data[at : at + size] = bytes(size)
    target.write_bytes(data)


def remove(original: Path, others: list[Path], draw: np.random.Generator, target: Path) -> None:
    """Without a chunk."""
    data = bytearray(original.read_bytes())
    at, size = _chunk(data, draw)
    del data[at : at + size]
    target.write_bytes(data)


def repeat(original: Path, others: list[Path], draw: np.random.Generator, target: Path) -> None:
    """A chunk twice."""
    data = original.read_bytes()
    at, size = _chunk(data, draw)
    target.write_bytes(data[: at + size] + data[at:])


def truncate(original: Path, others: list[Path], draw: np.random.Generator, target: Path) -> None:
    """Without its end."""
    data = original.read_bytes()
    target.write_bytes(data[: draw.integers(1, len(data))])


def edit_header(original: Path, others: list[Path], draw: np.random.Generator, target: Path) -> None:
    """Another number in a field of the container, near its start or in its index."""
    data = bytearray(original.read_bytes())
    index = max(data.find(b"moov"), data.find(b"idx1"), data.find(b"\x1c\x53\xbb\x6b"), 0)
    at = int(draw.choice([0, index])) + int(draw.integers(800))
    field_ = [bytes(4), b"\xff" * 4, b"\0\0\0\1", draw.bytes(4), b"\x7f\xff\xff\xff"][draw.integers(5)]
    data[at : at + 4] = field_
    target.write_bytes(data[: original.stat().st_size])


def trim(original: Path, others: list[Path], draw: np.random.Generator, target: Path) -> None:
    """A part, its packets copied, from a packet that need be no key frame."""
    packets = _packets(original)
    first = int(draw.integers(len(packets) // 2 + 1))
    _remux(original, packets[first : first + int(draw.integers(2, len(packets) + 1))], target)


def cut(original: Path, others: list[Path], draw: np.random.Generator, target: Path) -> None:
    """A part, cut by the ffmpeg command without decoding."""
    start, length = draw.uniform(0, 3), draw.uniform(0.5, 4)
    _copied(["-ss", f"{start:.2f}", "-t", f"{length:.2f}", "-i", str(original)], target)


def join(original: Path, others: list[Path], draw: np.random.Generator, target: Path) -> None:
    """Two files one behind the other: their bytes where the container is a stream, else their packets, copied."""
    other = others[draw.integers(len(others))]
    if original.suffix == ".ts":
        target.write_bytes(original.read_bytes() + other.read_bytes())
    else:
        names = target.with_suffix(".txt")
        names.write_text(f"file '{original}'\nfile '{other}'\n")
        _copied(["-f", "concat", "-safe", "0", "-i", str(names)], target)
        names.unlink()


MUTATIONS: dict[str, Mutate] = {
    "flip": flip,
    "zero": zero,
    "remove": remove,
    "repeat": repeat,
    "truncate": truncate,
    "header": edit_header,
    "trim": trim,
    "cut": cut,
    "join": join,
}


def _chunk(data: bytes | bytearray, draw: np.random.Generator) -> tuple[int, int]:
    size = int(2 ** draw.uniform(0, 11))
    return int(draw.integers(max(1, len(data) - size))), size


def _copied(source: Sequence[str], target: Path) -> None:
    command = ["ffmpeg", "-v", "quiet", "-nostdin", "-y", *source, "-c", "copy", str(target)]
    subprocess.run(command, check=True, timeout=LIMIT)


def _packets(path: Path) -> list[Any]:
    with av.open(str(path)) as container:
        return [packet for packet in container.demux(video=0) if packet.size]


def _remux(original: Path, packets: list[Any], target: Path) -> None:
    """Write packets without decoding."""
    with av.open(str(original)) as source, av.open(str(target), "w", format=FORMATS.get(target.suffix[1:])) as out:
        stream = out.add_stream_from_template(source.streams.video[0], opaque=True)
        for packet in packets:
            packet.stream = stream
            out.mux(packet)


@dataclass
class Pass:
    """All frames of a file as one way of decoding it in order gives them."""

    pixels: list[str] = field(default_factory=list)  # digests, RGB upright
    planes: list[str] = field(default_factory=list)  # digests, as decoded
    times: list[float | None] = field(default_factory=list)
    keys: list[bool] = field(default_factory=list)
    packets: list[int] = field(default_factory=list)  # number of the one that each frame came in
    errors: list[int] = field(default_factory=list)  # packets with an error or a mark of damage


def decode(path: Path, *, stop_at_damage: bool = False) -> Pass:
    """Decode a whole file in order; an error ends no more than its packet."""
    found = Pass()
    with av.open(str(path), metadata_errors="ignore") as container:
        stream = next(s for s in container.streams.video if not s.disposition & s.disposition.attached_pic)
        stream.thread_type, stream.codec_context.thread_count = "NONE", 1  # else what is lost to damage is by chance
        if stop_at_damage:
            stream.codec_context.options = {"err_detect": "crccheck+bitstream+buffer+explode"}
        stream.codec_context.copy_opaque = True
        for number, packet in enumerate(_demuxed(container, stream)):
            packet.opaque = number
            try:
                frames = packet.decode()
            except av.FFmpegError:
                found.errors.append(number)
                continue
            for frame in frames:
                _note(found, frame, number if frame.opaque is None else frame.opaque)
    return found


def _demuxed(container: Any, stream: Any) -> Iterator[Any]:
    packets = container.demux(stream)
    while True:
        try:
            yield next(packets)
        except (StopIteration, av.FFmpegError):
            return


def _note(found: Pass, frame: Any, packet: int) -> None:
    if frame.is_corrupt:
        found.errors.append(packet)
    found.packets.append(packet)
    upright = np.rot90(frame.to_ndarray(format="rgb24"), k=round(frame.rotation / 90))
    found.pixels.append(_hash(upright))
    found.planes.append(_hash(frame.to_ndarray()))
    found.times.append(frame.time)
    found.keys.append(bool(frame.key_frame))


def _hash(pixels: np.ndarray) -> str:
    return hashlib.md5(np.ascontiguousarray(pixels)).hexdigest()


def player(path: Path) -> list[str] | None:
    """Digests of the frames that the ffmpeg command shows; None if it is not there or says nothing."""
    if shutil.which("ffmpeg") is None:
        return None
    command = ["ffmpeg", "-v", "quiet", "-nostdin", "-threads", "1", "-autorotate", "0", "-i", f"file:{path}"]
    command += ["-map", "0:V:0", "-fps_mode", "passthrough", "-f", "framemd5", "-"]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT / 2, check=False).stdout
    lines = [line.split(",")[-1].strip() for line in shown.splitlines() if line and line[0] != "#"]
    return lines or None


def judge(path: Path, known: frozenset[str]) -> tuple[str, str]:
    """Verdict on a file, and why."""
    try:
        clip = load_video(path, frames=FRAMES)
    except (ReaderDiedError, VideoMemoryError, VideoTimeoutError) as error:
        return "untyped error", f"{type(error).__name__}: {error}"  # in this process, of a file this small
    except VideoError as error:
        return TYPED, type(error).__name__
    except Exception as error:
        return "untyped error", f"{type(error).__name__}: {error}"
    given = [_hash(frame) for frame in clip.frames]
    ordered = decode(path)
    if len(ordered.pixels) != clip.total_frames:
        return "WRONG FRAME", f"{clip.total_frames} frames counted, {len(ordered.pixels)} there"
    for number, pixels, second in zip(clip.indices.tolist(), given, clip.timestamps.tolist(), strict=True):
        if reason := _difference(ordered, number, pixels, second):
            return "WRONG FRAME", reason
    altered = [i for i, pixels in zip(clip.indices.tolist(), given, strict=True) if pixels not in known]
    if altered:
        marked = [i for i in altered if _marked(ordered, i, ordered.errors)] or _stopped_at(path, ordered, altered)
        if marked:
            return "WRONG FRAME", f"frames {marked} are altered, and a decoder says so"
    shown = player(path)
    if shown is not None and any(i >= len(shown) or shown[i] != ordered.planes[i] for i in clip.indices.tolist()):
        return PLAYER, f"{len(shown)} frames shown, {clip.total_frames} counted"
    return RIGHT, "altered, and no decoder says so" if altered else ""


def _difference(ordered: Pass, number: int, pixels: str, second: float) -> str:
    if ordered.pixels[number] != pixels:
        places = [i for i, other in enumerate(ordered.pixels) if other == pixels]
        return f"frame {number} is not the one of that number but {places}"
    first, at = ordered.times[0], ordered.times[number]
    rising = None not in ordered.times and ordered.times == sorted(set(ordered.times))  # else the times are made
    if rising and abs(at - first - second) > 1e-6:
        return f"frame {number} is said to be at {second} s and is at {at - first} s"
    return ""


def _marked(ordered: Pass, number: int, errors: list[int]) -> bool:
    """An error or mark from the key frame before a frame to the frame itself, in the order of decoding."""
    last = ordered.packets[number]
    first = max((p for p, key in zip(ordered.packets, ordered.keys, strict=True) if key and p <= last), default=0)
    return any(first <= error <= last for error in errors)


def _stopped_at(path: Path, ordered: Pass, altered: list[int]) -> list[int]:
    """Altered frames before which a decoder stops at damage (with the packet, it also loses whole frames before it)."""
    errors = decode(path, stop_at_damage=True).errors
    return [i for i in altered if _marked(ordered, i, errors)]


def judged_apart(path: Path, known: Path) -> tuple[str, str]:
    """Verdict of another process, which may hang or die."""
    command = [sys.executable, "-m", "tools.fuzz_videos", "--judge", str(path), str(known)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=False)
    except subprocess.TimeoutExpired:
        return "hang", f"more than {LIMIT:g} s"
    if done.returncode < 0:
        return "death", signal.Signals(-done.returncode).name
    if done.returncode:
        return "untyped error", done.stderr.strip().splitlines()[-1]
    verdict, detail = json.loads(done.stdout.splitlines()[-1])
    return verdict, detail


def fuzz(*, count: int, seed: int, seconds: float, out: Path) -> Counter[tuple[str, str]]:
    """Mutate, judge and count by mutation and verdict; what is not right goes to a folder."""
    counts: Counter[tuple[str, str]] = Counter()
    end = time.monotonic() + seconds
    with tempfile.TemporaryDirectory() as place:
        originals = Path(place) / "originals"
        originals.mkdir()
        files = make_originals(originals)
        known = Path(place) / "known.json"
        known.write_text(json.dumps(sorted({digest for file in files for digest in decode(file).pixels})))
        for file in files:
            verdict, detail = judged_apart(file, known)
            verdict = REFUSED if verdict == TYPED else verdict
            counts[ORIGINAL, verdict] += 1
            if verdict != RIGHT:
                print(f"{verdict}: {file.name}: {detail}", flush=True)
        for number in range(count):
            if time.monotonic() > end:
                print(f"stopped after {seconds:g} s, at {number} of {count}")
                break
            draw = np.random.default_rng([seed, number])
            name = list(MUTATIONS)[number % len(MUTATIONS)]
            original = files[draw.integers(len(files))]
            others = [f for f in files if _kind(f) == _kind(original)]
            target = Path(place) / f"{seed}_{number:04d}_{name}_{original.name}"
            try:
                MUTATIONS[name](original, others, draw, target)
            except (av.FFmpegError, OSError, ValueError, subprocess.SubprocessError):
                counts[name, "not made"] += 1
                continue
            verdict, detail = judged_apart(target, known)
            counts[name, verdict] += 1
            if verdict not in (RIGHT, TYPED):
                out.mkdir(parents=True, exist_ok=True)
                shutil.copy(target, out)
                print(f"{verdict}: {out / target.name}: {detail}", flush=True)
            target.unlink()
    return counts


def _row(counts: Counter[tuple[str, str]], names: Sequence[str], label: str) -> str:
    return f"{label:10}" + "".join(f"{sum(counts[n, c] for n in names):>23}" for c in COLUMNS)


def _kind(path: Path) -> tuple[str, str]:
    return path.stem.split("_")[0], path.suffix


def table(counts: Counter[tuple[str, str]]) -> str:
    """Counts by mutation and verdict."""
    names = [ORIGINAL, *MUTATIONS]
    header = f"{'':10}" + "".join(f"{c:>23}" for c in COLUMNS)
    return "\n".join([header, *(_row(counts, [n], n) for n in names), _row(counts, names, "all")])


@dataclass(frozen=True, kw_only=True)
class Options:
    """Mutate videos and read them.

    Parameters
    ----------
    count
        Mutated files.
    seed
        Of the mutations: the same seed, the same files.
    seconds
        No new file after this time.
    out
        Folder of the files that are not right.
    judge
        Of the process that reads one file: the file, and a json of the hashes of known frames.
    """

    count: int = 500
    seed: int = 0
    seconds: float = 3600.0
    out: Path = Path("results/fuzz")
    judge: tuple[Path, Path] | None = None


def main(arguments: Sequence[str] | None = None) -> int:
    """From the command line."""
    given = tyro.cli(Options, args=arguments, prog="python -m tools.fuzz_videos")
    if given.judge:
        path, known = given.judge
        print(json.dumps(judge(path, frozenset(json.loads(known.read_text())))))
        return 0
    counts = fuzz(count=given.count, seed=given.seed, seconds=given.seconds, out=given.out)
    print(table(counts))
    return int(any(count for (_, verdict), count in counts.items() if verdict in WRONG))


if __name__ == "__main__":
    sys.exit(main())
