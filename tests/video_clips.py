"""Clips whose pixels say the number of each frame."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np

BITS = 8
BLOCK = 16  # pixels: wide enough that compression and chroma subsampling leave a block's mean alone
HEIGHT, WIDTH = 4 * BLOCK, BITS * BLOCK
TICKS = 1000  # per second


def numbered_frame(number: int) -> np.ndarray:
    """`[H, W, 3]`: white for a bit that is set, black else, highest bit left; the lowest rows are always white."""
    bits = np.array([number >> bit & 1 for bit in reversed(range(BITS))], dtype=np.uint8) * 255
    frame = np.repeat(np.repeat(bits, BLOCK)[None], HEIGHT, axis=0)
    frame[-BLOCK:] = 255
    return np.repeat(frame[..., None], 3, axis=2)


def frame_numbers(frames: np.ndarray) -> np.ndarray:
    """`[T]` numbers that upright frames show."""
    blocks = (
        frames[:, : HEIGHT - BLOCK].astype(np.float64).mean(axis=(1, 3)).reshape(len(frames), BITS, BLOCK).mean(axis=2)
    )
    return (blocks > 127) @ (1 << np.arange(BITS)[::-1])


def regular(count: int, fps: int = 25, first: float = 0.0) -> list[int]:
    """Ticks at which the frames of a constant rate are shown."""
    return [round((first + i / fps) * TICKS) for i in range(count)]


def encode(
    path: Path,
    codec: str = "libx264",
    *,
    ticks: list[int] | None = None,
    fps: int = 25,
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    rotation: float | None = None,
    picture: Callable[[int], np.ndarray] = numbered_frame,
) -> Path:
    """Write numbered frames, shown at `ticks`."""
    import av

    ticks = regular(60, fps) if ticks is None else ticks
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=fps, options=options or {})
        (stream.height, stream.width), stream.pix_fmt = picture(0).shape[:2], "yuv420p"
        stream.codec_context.time_base = Fraction(1, TICKS)
        if rotation is not None:
            stream.set_display_rotation(rotation)
        for number, tick in enumerate(ticks):
            frame = av.VideoFrame.from_ndarray(picture(number), format="rgb24")
            frame.pts, frame.time_base = tick, Fraction(1, TICKS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def grainy_frame(number: int) -> np.ndarray:
    """`numbered_frame` over noise that changes every 8 frames: pictures of some kB."""
    noise = np.random.default_rng(number // 8).integers(60, 190, (BLOCK, WIDTH, 1), dtype=np.uint8)
    frame = numbered_frame(number)
    frame[-BLOCK:] = noise
    return frame


def copy_packets(
    source: Path, target: Path, *, start: float = 0.0, drop: Callable[[int], bool] = lambda _: False
) -> Path:
    """Write the packets of a file without decoding them, with times counted from `start` seconds, some dropped."""
    import av

    with av.open(str(source)) as file, av.open(str(target), "w") as out:
        stream = file.streams.video[0]
        copy = out.add_stream_from_template(stream)
        zero = round(start / stream.time_base)
        file.seek(zero, stream=stream)
        for number, packet in enumerate(file.demux(stream)):
            if packet.dts is not None and not drop(number):
                packet.pts, packet.dts, packet.stream = packet.pts - zero, packet.dts - zero, copy
                out.mux(packet)
    return target


def encode_sound(path: Path, codec: str = "aac") -> Path:
    """Write half a second of silence."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=16000, layout="mono")
        silence = np.zeros((1, 8000), dtype=np.float32 if codec == "aac" else np.int16)
        frame = av.AudioFrame.from_ndarray(silence, format="fltp" if codec == "aac" else "s16", layout="mono")
        frame.sample_rate, frame.pts = 16000, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path
