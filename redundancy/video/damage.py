"""Which frames damage reaches."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Sequence

from redundancy.video.packets import PacketTable


class Damage:
    """Which frames damage reaches: from a damaged packet on, up to the next key frame.

    Frames that are decoded after a key frame and shown before it (leading frames of an open GOP) need frames before
    the key frame as well; no frame that is shown after the key frame needs them.

    Parameters
    ----------
    table
        Packets of the file.
    packets
        Of each frame, in the order in which they are shown, the packet that it came from.
    keys
        Frames that need no other.
    failed
        Damaged packets.

    Source: H.264 (recovery points), H.265 (leading and trailing pictures).
    """

    def __init__(
        self, table: PacketTable, packets: Sequence[int], keys: Sequence[int], failed: Collection[int]
    ) -> None:
        self.table, self.packets, self.failed = table, packets, sorted(failed)
        self.frame_of = {packet: frame for frame, packet in enumerate(packets)}
        self.keys = sorted(packets[frame] for frame in keys)

    def reaches(self, frame: int) -> bool:
        """True if a frame, or one that it needs, is damaged."""
        packet = self.packets[frame]
        at = bisect_right(self.keys, packet) - 1
        key = self.keys[at] if at >= 0 else None
        if key is None or frame > self.frame_of[key] or packet == key:
            return self._spoils(key, packet)
        return self._spoils(self.keys[at - 1] if at else None, key) or any(key <= bad <= packet for bad in self.failed)

    def loses_frames(self, last: int) -> bool:
        """True if packets up to a frame, or at the end of the video, gave no frame: later numbers are others.

        Leading frames at the start, which players drop, are not lost.
        """
        stop = self.packets[last] if last + 1 < len(self.packets) else len(self.table.pts)
        return any(self.packets[0] < bad < stop and self._is_lost(bad) for bad in self.failed)

    def _is_lost(self, packet: int) -> bool:
        at = bisect_right(self.keys, packet) - 1
        known = packet in self.frame_of or self.table.dropped[packet]
        return not known and not (at >= 0 and self._leads(packet, self.keys[at]))

    def _spoils(self, key: int | None, last: int) -> bool:
        """True if a damaged packet that does not lead stands between a key packet (None: the start) and the last."""
        if key is None:
            return any(bad <= last for bad in self.failed)
        return any(key <= bad <= last and not self._leads(bad, key) for bad in self.failed)

    def _leads(self, packet: int, key: int) -> bool:
        """True if a packet after a key frame is shown before it, as far as is known."""
        if packet in self.frame_of:
            return self.frame_of[packet] < self.frame_of[key]
        shown, key_shown = self.table.pts[packet], self.table.pts[key]
        return shown is not None and key_shown is not None and shown < key_shown
