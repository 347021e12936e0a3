"""Random streams of controls: one per seed and video."""

from __future__ import annotations

import hashlib

import torch

from redundancy.pruning.host import to_host
from redundancy.tokens import VideoTokens


def generator_of(tokens: VideoTokens, seed: int, *, stream: str = "") -> torch.Generator:
    """A generator for a seed, a video and a stream, on the CPU: controls with streams of their own do not agree.

    A video is told by the energy of its frames to three digits: float32 on another device seldom changes it, the order
    of channels never, and two videos share it only by accident. TF32 or a lower precision of the model can change it,
    and with it all that is drawn for a seed.
    """
    energy = to_host(tokens.features.double().square().sum((1, 2))).tolist()
    told = ",".join(f"{e:.2e}" for e in energy)
    digest = hashlib.sha256(f"{seed}:{tuple(tokens.grid)}:{told}{stream}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") % 2**63)
