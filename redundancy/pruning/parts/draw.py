"""Random streams of controls: one per seed and video."""

from __future__ import annotations

import hashlib

import torch

from redundancy.pruning.host import to_host
from redundancy.tokens import VideoTokens


def generator_of(tokens: VideoTokens, seed: int, *, stream: str = "") -> torch.Generator:
    """A generator for a seed, a video and a stream, on the CPU: controls with streams of their own do not agree.

    A video is told by the energy of its frames to three digits: rounding on another device does not change it, nor does
    the order of channels, and two videos share it only by accident.
    """
    energy = to_host(tokens.features.double().square().sum((1, 2))).tolist()
    told = ",".join(f"{e:.2e}" for e in energy)
    digest = hashlib.sha256(f"{seed}:{tuple(tokens.grid)}:{told}{stream}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") % 2**63)
