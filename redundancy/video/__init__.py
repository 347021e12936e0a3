"""A video file in, a `VideoClip` out."""

from redundancy.video.clip import VideoClip
from redundancy.video.downsample import Downsample
from redundancy.video.errors import (
    CorruptVideoError,
    DirectoryVideoError,
    EmptyVideoError,
    FrameSizeError,
    MismatchedVideoError,
    MissingVideoError,
    NoFramesError,
    NotAVideoError,
    NoVideoStreamError,
    ReaderDiedError,
    RemoteVideoError,
    TruncatedVideoError,
    UnreadableVideoError,
    UnsupportedCodecError,
    VideoError,
    VideoMemoryError,
    VideoTimeoutError,
)
from redundancy.video.load import DECODERS, load_video
from redundancy.video.path import video_path
from redundancy.video.reader import VideoReader
from redundancy.video.sampling import SAMPLINGS, Sampling

__all__ = [
    "DECODERS",
    "SAMPLINGS",
    "CorruptVideoError",
    "DirectoryVideoError",
    "Downsample",
    "EmptyVideoError",
    "FrameSizeError",
    "MismatchedVideoError",
    "MissingVideoError",
    "NoFramesError",
    "NoVideoStreamError",
    "NotAVideoError",
    "ReaderDiedError",
    "RemoteVideoError",
    "Sampling",
    "TruncatedVideoError",
    "UnreadableVideoError",
    "UnsupportedCodecError",
    "VideoClip",
    "VideoError",
    "VideoMemoryError",
    "VideoReader",
    "VideoTimeoutError",
    "load_video",
    "video_path",
]
