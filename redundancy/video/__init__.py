"""A video file in, a `VideoClip` out."""

from redundancy.video.clip import VideoClip
from redundancy.video.downsample import Downsample
from redundancy.video.errors import (
    CorruptVideoError,
    DirectoryVideoError,
    EmptyVideoError,
    MissingVideoError,
    NoFramesError,
    NotAVideoError,
    NoVideoStreamError,
    RemoteVideoError,
    TruncatedVideoError,
    UnreadableVideoError,
    UnsupportedCodecError,
    VideoError,
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
    "load_video",
    "video_path",
]
