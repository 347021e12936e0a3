"""Cost of measuring: `python -m benchmarks.measure` (N=196, D=3584, float32, 2 threads, growing number of frames).

The default metrics, and all that tokens alone allow, are timed beside plain versions of three of them that look at one
frame or pair of frames at a time with numpy; times per frame and the highest memory above the tokens are printed.
"""

from __future__ import annotations

import numpy as np
import torch

from benchmarks.decisions import COLS, ROWS, D
from benchmarks.machine import describe, median_ms, peak_mb, seconds
from redundancy.metrics.measure import measure
from redundancy.tokens import VideoTokens

FRAMES = (32, 128, 512, 1024)
PLAIN = ["token_persistence", "within_frame_similarity", "effective_rank"]


def video(frames: int) -> VideoTokens:
    """Scenes of 16 frames, with a part common to all tokens of a scene."""
    g = torch.Generator().manual_seed(0)
    x = torch.empty(frames, ROWS * COLS, D)
    for start in range(0, frames, 16):
        scene = torch.randn(1, ROWS * COLS, D, generator=g) + torch.randn(D, generator=g)
        part = x[start : start + 16]
        part.copy_(scene + 0.3 * torch.randn(part.shape, generator=g))
    return VideoTokens.from_features(x, rows=ROWS, cols=COLS, salience={"norm": x.norm(dim=-1)})


def plain(tokens: VideoTokens) -> list[float]:
    """Three of the metrics, frame by frame."""
    x = tokens.features.numpy()
    values, before = [], None
    for frame in x:
        unit = frame / np.linalg.norm(frame, axis=1, keepdims=True)
        cosine = unit @ unit.T
        values.append((cosine.sum() - len(unit)) / (len(unit) * (len(unit) - 1)))
        spectrum = np.linalg.svd(frame, compute_uv=False)
        share = spectrum / spectrum.sum()
        values.append(float(np.exp(-(share * np.log(share)).sum())))
        if before is not None:
            values.append(float((unit * before).sum(1).mean()))
        before = unit
    return values


def main(frames: tuple[int, ...] = tuple(FRAMES)) -> None:
    """Time `measure`.

    Parameters
    ----------
    frames
        Numbers of frames.
    """
    torch.set_num_threads(2)
    tokens = video(32)
    print(describe() + f"; N={ROWS * COLS}, D={D}, float32")
    fast, slow = median_ms(lambda: measure(tokens, None, PLAIN), 5), median_ms(lambda: plain(tokens), 3)
    print(f"three metrics of 32 frames: {fast:.0f} ms, plain numpy {slow:.0f} ms, ratio {slow / fast:.1f}")
    print(f"all of 32 frames: {median_ms(lambda: measure(tokens, None, 'all'), 3):.0f} ms (bar 10,000)")
    print(f"{'frames':>7s}{'default, ms':>13s}{'per frame':>11s}{'memory above tokens, MB':>25s}{'tokens, MB':>12s}")
    for count in frames:
        tokens = video(count)
        measure(tokens)
        ms = min(1e3 * seconds(lambda tokens=tokens: measure(tokens)) for _ in range(3))  # type: ignore[misc]
        memory = peak_mb(lambda tokens=tokens: measure(tokens))  # type: ignore[misc]
        print(f"{count:7d}{ms:13.0f}{ms / count:11.2f}{memory:25.0f}{tokens.features.nbytes / 1e6:12.0f}")


if __name__ == "__main__":
    import tyro

    tyro.cli(main, prog="python -m benchmarks.measure", description=__doc__)
