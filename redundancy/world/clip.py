"""A video of the world as a clip in memory: no file, no codec."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, field

import numpy as np

import redundancy
from redundancy.records import ClipRecord
from redundancy.video import SAMPLINGS, VideoClip
from redundancy.video.sampling import frames_asked
from redundancy.world.clips import FPS, script_of
from redundancy.world.questions import ask_all
from redundancy.world.render import render_frames
from redundancy.world.scene import WorldConfig


@dataclass(frozen=True)
class WorldVideo:
    """A video of the world that was not drawn yet.

    Parameters
    ----------
    seed
        Of the generator that the script, the pixel noise and the questions are drawn from.
    config
        Size and options.
    """

    seed: int
    config: WorldConfig = field(default_factory=WorldConfig)

    @property
    def name(self) -> str:
        """The seed, and the options that are not the usual ones."""
        usual = asdict(WorldConfig())
        options = [f"{k}={v:g}" for k, v in asdict(self.config).items() if v != usual[k]]
        return " ".join(["world", str(self.seed), *options])

    def record(self) -> ClipRecord:
        """What is known about it; there is no file, so `sha256` is empty."""
        script = script_of(self.seed, self.config)
        scenes = len(script.scenes)
        return ClipRecord(
            file=self.name,
            seed=self.seed,
            frames=self.config.frames,
            fps=FPS,
            size=self.config.size,
            kind=f"{scenes} scene{'s' * (scenes > 1)}",
            scene_cuts=script.scene_cuts,
            sha256="",
            questions=ask_all(script, seed=self.seed),
        )

    def clip(
        self, frames: int | None = None, *, fps: float | int | None = None, sampling: str = "linspace"
    ) -> VideoClip:
        """Draw the video and sample frames of it as `load_video` samples those of a file.

        Parameters
        ----------
        frames, fps, sampling
            As in `load_video`.

        Raises
        ------
        ValueError
            If a setting is out of its range.
        """
        if sampling not in SAMPLINGS or (frames is not None and frames < 1) or (fps is not None and fps <= 0):
            raise ValueError(
                f"frames={frames}, fps={fps}, sampling={sampling!r} given, expected numbers above 0 or None, and one "
                f"of {', '.join(SAMPLINGS)}"
            )
        convention, total = SAMPLINGS[sampling], self.config.frames
        rate = None if fps is None else float(fps)
        wanted = (convention.frames, convention.fps) if frames is None and rate is None else (frames, rate)
        indices = convention.sample(total, float(FPS), *wanted)
        drawn = render_frames(script_of(self.seed, self.config), seed=self.seed)[indices]
        return VideoClip(
            frames=drawn,
            timestamps=indices.astype(np.float64) / FPS,
            indices=indices,
            fps=float(FPS),
            total_frames=total,
            duration=total / FPS,
            source=self.name,
            sha256=hashlib.sha256(drawn.tobytes()).hexdigest(),
            decoder=f"world {redundancy.__version__}",
            requested=frames_asked(total, float(FPS), frames=wanted[0], fps=wanted[1]),
        )
