"""A video file in, a `VideoClip` out."""

from redundancy.video.clip import VideoClip
from redundancy.video.downsample import Downsample
from redundancy.video.errors import (
    CorruptVideoError,
    DirectoryVideoError,
    EmptyVideoError,
    FrameSizeError,
    MissingVideoError,
    NoFramesError,
    NotAVideoError,
    NoVideoStreamError,
    RemoteVideoError,
    TruncatedVideoError,
    UnreadableVideoError,
    UnsupportedCodecError,
    VideoError,
    VideoMemoryError,
)
from redundancy.video.load import DECODERS, load_video
from redundancy.video.path import video_path
from redundancy.video.sampling import SAMPLINGS, Sampling

__all__ = [
    "DECODERS",
    "SAMPLINGS",
    "CorruptVideoError",
    "DirectoryVideoError",
    "Downsample",
    "EmptyVideoError",
    "FrameSizeError",
    "MissingVideoError",
    "NoFramesError",
    "NoVideoStreamError",
    "NotAVideoError",
    "RemoteVideoError",
    "Sampling",
    "TruncatedVideoError",
    "UnreadableVideoError",
    "UnsupportedCodecError",
    "VideoClip",
    "VideoError",
    "VideoMemoryError",
    "load_video",
    "video_path",
]
