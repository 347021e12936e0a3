"""First reader: PyAV, FFmpeg's own decoders in order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64, UInt8

from redundancy.video.damage import Damage
from redundancy.video.errors import CorruptVideoError, FrameSizeError, NoFramesError, UnsupportedCodecError
from redundancy.video.memory import reserve
from redundancy.video.packets import ONE_FRAME_A_PACKET, PacketTable, open_stream, packet_table, read_packets
from redundancy.video.slice_end import SliceEnd
from redundancy.video.timeline import Choose, Decoded, Timeline, WindowError, make_timeline

# Files up to this many packets are decoded whole: it takes about a second, and says more than the packets do.
ALWAYS_WHOLE = 300
# These decoders mark a frame in which they conceal damage. All others are told to stop at damage instead.
MARKS_DAMAGE = frozenset({"mpeg1video", "mpeg2video", "mpeg4", "h263", "flv1", "vc1", "wmv1", "wmv2", "wmv3"})
# This one also stops at pictures that it drops without a word, those that lead the key frame at which a file was cut.
STOPS_AT_DROPPED = frozenset({"h264"})
SHORTEST_SKIP = 8  # packets; to begin anew costs about as much
INTRA = 1  # FFmpeg's type of a picture that needs no other
PIXEL = np.dtype("V3")  # red, green and blue as one value
STOP_AT_DAMAGE = "crccheck+bitstream+buffer+explode"

Wanted = Int64[np.ndarray, "frames"]
Pixels = UInt8[np.ndarray, "frames height width 3"]


def read_pyav(path: Path, choose: Choose) -> Decoded:
    """Read the chosen frames of a file, on the timeline that FFmpeg's player shows.

    1. Read the packets without decoding them, and choose by what they say.
    2. In a long file whose packets tell all frames (`PacketTable.irregularity`), decode from the key frame before each
       chosen frame alone, and compare the time of every decoded frame with the packets.
    3. Elsewhere, or if step 2 meets anything unexpected, decode the whole file in order: that is the timeline. If it
       differs from what the packets said, choose again.

    Raises
    ------
    NoFramesError, CorruptVideoError, FrameSizeError
        If there is no frame, a chosen frame or one that it needs is damaged, or the frames differ in size.
    """
    import av

    table = packet_table(path)
    if not table.pts:
        raise NoFramesError(path)
    name = f"PyAV {av.__version__}"
    found = _read_parts(path, table, choose) or _read_whole(path, table, choose)
    return Decoded(*found, name)


def _read_parts(path: Path, table: PacketTable, choose: Choose) -> tuple[Pixels, Wanted, Timeline] | None:
    """Decode what the chosen frames need; None if only the whole file tells."""
    if len(table.pts) <= ALWAYS_WHOLE or table.codec not in ONE_FRAME_A_PACKET or table.irregularity:
        return None
    order = np.argsort(table.shown)
    timeline = make_timeline(table, order.tolist())
    wanted = choose(timeline)
    run = _Run(path, order[wanted], _needed(table, order[wanted]))
    if not run.decode_parts(table):
        return None
    return run.pixels(), wanted, timeline


def _read_whole(path: Path, table: PacketTable, choose: Choose) -> tuple[Pixels, Wanted, Timeline]:
    """Decode all frames in order."""
    likely = _likely_order(table)
    guess = _guess(table, likely, choose)
    needed = _needed(table, np.array(likely, dtype=np.int64)[guess])
    run = _Run(path, guess, needed)
    run.decode_whole(stop_at_damage=table.codec not in MARKS_DAMAGE)
    damaged, told = set(run.failed), set(np.flatnonzero(table.corrupt).tolist())
    if damaged and table.codec not in MARKS_DAMAGE:  # a player goes on after damage: so does the timeline
        run = _Run(path, guess, needed)
        run.decode_whole(stop_at_damage=False)
        if table.codec in STOPS_AT_DROPPED:
            damaged &= set(run.packets)
        damaged |= run.failed
    if not run.packets:
        raise CorruptVideoError(path, "no frame of it can be decoded") if damaged else NoFramesError(path)
    timeline = make_timeline(table, run.packets)
    wanted = choose(timeline)
    if not np.array_equal(wanted, guess):
        run = _Run(path, wanted, _needed(table, np.array(run.packets)[wanted]))
        run.decode_whole(stop_at_damage=False)
    _check_damage(path, Damage(table, run.packets, run.keys, damaged | run.failed | told), wanted, timeline)
    return run.pixels(), wanted, timeline


def _guess(table: PacketTable, likely: list[int], choose: Choose) -> Wanted:
    """What is probably chosen; nothing where the packets tell of no such frame, which the decoder may still give."""
    try:
        return choose(make_timeline(table, likely)) if likely else np.empty(0, dtype=np.int64)
    except WindowError:
        return np.empty(0, dtype=np.int64)


def _check_damage(path: Path, damage: Damage, wanted: Wanted, timeline: Timeline) -> None:
    spoiled = [i for i in wanted.tolist() if damage.reaches(i)]
    if spoiled:
        times = ", ".join(f"{timeline.times[i]:.3f}" for i in spoiled[:5])
        what = f"{len(spoiled)} of {len(wanted)} frames asked for, at {times} s{' and later' if spoiled[5:] else ''}"
        raise CorruptVideoError(path, f"{what}, need damaged pictures")
    if damage.loses_frames(int(wanted[-1])):
        raise CorruptVideoError(path, "frames before those asked for, or at its end, cannot be decoded")


def _likely_order(table: PacketTable) -> list[int]:
    """Packets in the order in which their frames are probably shown."""
    kept = np.flatnonzero(~table.dropped).tolist()
    return kept if None in table.pts else sorted(kept, key=lambda i: table.shown[i])


@dataclass
class _Run:
    """One pass over a file: which packet each frame came from, and the pixels of the wanted frames.

    Parameters
    ----------
    path
        The file.
    wanted
        What is kept: numbers of frames in `decode_whole`, of packets in `decode_parts`.
    needed
        Packets of key frames that the wanted frames need.
    """

    path: Path
    wanted: Wanted
    needed: frozenset[int]
    packets: list[int] = field(default_factory=list)  # of each frame, in the order in which they are shown
    keys: list[int] = field(default_factory=list)  # frames before which nothing is needed
    failed: set[int] = field(default_factory=set)  # packets with an error or a mark of damage
    slice_end: SliceEnd | None = None
    data: dict[int, bytes] = field(default_factory=dict)  # of needed key packets, until their frames come
    fed: int = 0  # the last packet that the decoder was given
    whole_from: int = 0  # the packet from which on the frames of a part are given
    size: tuple[int, int] | None = None
    kept: Pixels | None = None

    def pixels(self) -> Pixels:
        """The wanted frames."""
        assert self.kept is not None  # a run that ends without them raises
        return self.kept

    def decode_whole(self, *, stop_at_damage: bool) -> None:
        """Decode all packets in order."""
        slots = {number: slot for slot, number in enumerate(self.wanted.tolist())}
        with open_stream(self.path) as (container, stream):
            context = self._prepare(stream, stop_at_damage=stop_at_damage)
            for packet in chain(read_packets(container, stream), [None]):
                for frame in self._decode(context, packet):
                    slot = slots.get(len(self.packets))
                    self._note(frame)
                    if slot is not None:
                        self._keep(slot, frame)

    def decode_parts(self, table: PacketTable) -> bool:
        """Decode from key frames to the wanted packets; False if a frame is not the one that the packets promise."""
        slots = {number: slot for slot, number in enumerate(self.wanted.tolist())}
        parts = _parts(table, self.wanted)
        first = next(parts)
        with open_stream(self.path) as (container, stream):
            context = self._prepare(stream, stop_at_damage=table.codec not in MARKS_DAMAGE)
            for packet in read_packets(container, stream):
                if packet.opaque >= first.start and not self._decode_part(context, packet, first, table, slots):
                    return False
                if packet.opaque == first.stop - 1:
                    context.flush_buffers()
                    following = next(parts, None)
                    if following is None:
                        return True
                    first = following
        return False

    def _decode_part(self, context: Any, packet: Any, part: range, table: PacketTable, slots: dict[int, int]) -> bool:
        """Decode a packet of a part, and at its end what the decoder holds back; False if that is not as promised."""
        held_back = [None] if packet.opaque == part.stop - 1 else []
        if packet.opaque == part.start:
            self.packets.clear()
        if packet.opaque == part.start:
            self.whole_from = _whole_from(table, part)
        whole_from = self.whole_from
        for piece in [packet, *held_back]:
            for frame in self._decode(context, piece):
                if frame.pts is None or frame.pts < table.shown[whole_from]:
                    continue  # it needs frames before the key frame
                if not self.packets and not (frame.opaque == whole_from and _is_key(frame)):
                    return False
                self._note(frame)
                slot = slots.get(frame.opaque)
                if slot is not None:
                    self._keep(slot, frame)
        if any(table.shown[bad] >= table.shown[whole_from] for bad in self.failed):
            return False
        if not held_back:
            return True
        promised = [i for i in part if table.shown[i] >= table.shown[whole_from]]
        return self.packets == sorted(promised, key=lambda i: table.shown[i])

    def _prepare(self, stream: Any, *, stop_at_damage: bool) -> Any:
        """The stream's decoder, set up so that damage is told of the packet that has it."""
        context = stream.codec_context
        context.thread_type, context.thread_count = "NONE", 1  # several threads would tell of it later
        context.copy_opaque = True
        if stop_at_damage:
            context.options = {"err_detect": STOP_AT_DAMAGE}
        if context.name == "h264":
            self.slice_end = SliceEnd(context)
        return context

    def _decode(self, context: Any, packet: Any | None) -> list[Any]:
        import av

        if packet is not None:
            self.fed = packet.opaque
            if self.slice_end is not None and self.fed in self.needed:
                self.data[self.fed] = bytes(packet)
        try:
            return list(context.decode(packet))
        except MemoryError:
            raise
        except av.FFmpegError:
            self.failed.add(self.fed)
            return []

    def _note(self, frame: Any) -> None:
        packet = frame.opaque
        if packet is None:
            raise UnsupportedCodecError(self.path, "its decoder does not tell which packet a frame is of")
        if frame.is_corrupt:
            self.failed.add(packet)
        if _is_key(frame):
            self.keys.append(len(self.packets))
            data = self.data.pop(packet, None)
            if data is not None and self.slice_end is not None and self.slice_end.is_early(data):
                self.failed.add(packet)
        self.packets.append(packet)
        size = (frame.width, frame.height)
        self.size = self.size or size
        if size != self.size:
            raise FrameSizeError(self.path, "{}x{} pixels, and later {}x{}".format(*self.size, *size))

    def _keep(self, slot: int, frame: Any) -> None:
        pixels = _upright(frame)
        if self.kept is None:
            reserve(len(self.wanted) * pixels.nbytes)
            self.kept = np.empty((len(self.wanted), *pixels.shape), dtype=np.uint8)
        if pixels.shape != self.kept.shape[1:]:
            raise FrameSizeError(self.path, f"a frame of {pixels.shape[:2]} is turned otherwise than the first")
        self.kept[slot].view(PIXEL)[...] = pixels.view(PIXEL)  # whole pixels: a turned frame takes a third of the time


def _needed(table: PacketTable, packets: Wanted) -> frozenset[int]:
    """The key packets before packets, and those before these, which leading frames need."""
    starts = table.starts[packets]
    return frozenset(starts.tolist()) | frozenset(table.starts[np.maximum(starts - 1, 0)].tolist())


def _parts(table: PacketTable, wanted: Wanted) -> Iterator[range]:
    """Packets to decode, from key frames on: those that the wanted ones need, and short stretches between them."""
    starts = table.starts[wanted]
    before = table.starts[np.maximum(starts - 1, 0)]
    starts = np.where(table.leading[wanted], before, starts)
    starts = np.where(_spoiled_start(table, starts), table.starts[np.maximum(starts - 1, 0)], starts)
    start, stop = -1, -1
    for a, b in sorted(zip(starts.tolist(), (wanted + 1).tolist(), strict=True)):
        if start >= 0 and a > stop + SHORTEST_SKIP:
            yield range(start, stop)
            start = -1
        start, stop = (a, b) if start < 0 else (start, max(stop, b))
    yield range(start, stop)


def _spoiled_start(table: PacketTable, starts: Wanted) -> np.ndarray:
    """Whether frames around a key frame are lost where decoding begins there: the decoder stops at what leads it."""
    led = np.unique(table.starts[table.leading]) if table.codec in STOPS_AT_DROPPED else starts[:0]
    return np.isin(starts, led)


def _whole_from(table: PacketTable, part: range) -> int:
    """The key packet from which on all frames of a part are given."""
    first = np.array([part.start])
    return int(np.searchsorted(table.starts, first, side="right")[0]) if _spoiled_start(table, first)[0] else part.start


def _is_key(frame: Any) -> bool:
    """True if decoding can begin at a frame: a key frame of one whole picture, no refresh spread over several."""
    return bool(frame.key_frame) and frame.pict_type == INTRA


def _upright(frame: Any) -> UInt8[np.ndarray, "height width 3"]:
    """A view where the frame is turned; `rotation` is in degrees counterclockwise, as is `rot90`."""
    return np.rot90(frame.to_ndarray(format="rgb24"), k=round(frame.rotation / 90))
