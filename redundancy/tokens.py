"""What enters the language model for one video: tokens, and everything that methods and metrics read about them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from redundancy.checks import check_fields, require_device, require_number, require_tensor, require_type
from redundancy.labelled import TORCH_DTYPE as TORCH_DTYPE
from redundancy.labelled import from_labelled as from_labelled
from redundancy.labelled import is_bfloat16 as is_bfloat16
from redundancy.labelled import labelled as labelled
from redundancy.labelled import narrowed as narrowed
from redundancy.labelled import values_of as values_of
from redundancy.labelled import widened as widened
from redundancy.layout import Newline as Newline
from redundancy.layout import RotaryLayout as RotaryLayout
from redundancy.layout import TokenGrid as TokenGrid
from redundancy.layout import TokenLayout as TokenLayout

UNKNOWN = TokenLayout("unknown")


@dataclass(frozen=True, eq=False)
class VideoTokens:
    """The tokens of one video as they enter the language model, with what methods and metrics may read about them.

    Parameters
    ----------
    features
        `[T, N, D]`, N = rows * cols in raster order, without newlines.
    grid
        Temporal steps, rows, columns.
    frame_time
        `[T]` seconds; where a temporal step covers two clip frames, their mean.
    frame_members
        `[T, 1 or 2]` indices into the clip's frames behind each temporal step.
    salience
        `[T, N]` per source; sources are `pooling_head`, `received`, `mean_query` and `norm`.
    frame_features
        `[T, F]` per source; sources are `pooling_head` and `mean`.
    positions
        `[A, T, N]` the model's own position ids: A = 1 for RoPE, 3 (t, h, w) for MRoPE.
    rotary
        Inverse frequencies and the axis of each.
    layout
        What stands around the tokens.
    extra
        Further tensors: `deepstack`, a tuple of `[T, N, D]`; `keys` `[T, N, d]`, keys of the tower's last layer.

    Raises
    ------
    TypeError
        If a field is of another kind: tensors are torch's, and features, salience and times floating-point numbers.
    ValueError
        If a shape does not fit `grid`, or times do not ascend (NaN: not known).
    """

    features: Float[Tensor, "frames tokens channels"]
    grid: TokenGrid
    frame_time: Float[Tensor, "frames"]
    frame_members: Int[Tensor, "frames members"]
    salience: Mapping[str, Float[Tensor, "frames tokens"]] = field(default_factory=dict)
    frame_features: Mapping[str, Float[Tensor, "frames frame_channels"]] = field(default_factory=dict)
    positions: Int[Tensor, "axes frames tokens"] | None = None
    rotary: RotaryLayout | None = None
    layout: TokenLayout = UNKNOWN
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_fields(self)
        floats, whole = "floating-point numbers", "whole numbers"
        T, N = self.grid.frames, self.grid.tokens_per_frame
        parts: list[tuple[str, Any, str, tuple[str, ...], tuple[int, ...]]] = [
            ("features", self.features, floats, ("frames", "tokens", "channels"), (T, N)),
            ("frame_time", self.frame_time, floats, ("frames",), (T,)),
            ("frame_members", self.frame_members, whole, ("frames", "members"), (T,)),
        ]
        parts += [(f"salience[{k}]", x, floats, ("frames", "tokens"), (T, N)) for k, x in self.salience.items()]
        parts += [
            (f"frame_features[{k}]", x, floats, ("frames", "width"), (T,)) for k, x in self.frame_features.items()
        ]
        levels = [("deepstack", x) for x in self.extra.get("deepstack", ())]
        levels += [("keys", self.extra["keys"])] if "keys" in self.extra else []
        parts += [(name, x, floats, ("frames", "tokens", "channels"), (T, N)) for name, x in levels]
        for name, x, of, dims, shape in parts:
            require_tensor(name, x, of=of, shape=dims)
            if tuple(x.shape[: len(shape)]) != shape:
                raise ValueError(
                    f"{name} has shape {tuple(x.shape)}, but the grid {tuple(self.grid)} asks for {shape} first"
                )
        if self.positions is not None:
            axes = "axes" if self.rotary is None else len(self.rotary.axes)
            require_tensor("positions", self.positions, of=whole, shape=(axes, T, N))
        _check_times(self.frame_time)

    def __repr__(self) -> str:
        kind = f"{self.features.shape[-1]} channels, {str(self.features.dtype).removeprefix('torch.')}"
        carries = [*(f"salience {s}" for s in self.salience), *(f"frame features {s}" for s in self.frame_features)]
        carries += [*(["positions"] if self.positions is not None else []), *self.extra]
        return (
            f"VideoTokens({self.grid} tokens of {kind}, {self.features.device}, {self.layout.family}; "
            f"carries {', '.join(carries) or 'nothing else'})"
        )

    @classmethod
    def from_features(
        cls,
        features: Float[Tensor, "frames tokens channels"],
        *,
        rows: int,
        cols: int,
        seconds_per_frame: float = 1.0,
        **fields: Any,
    ) -> VideoTokens:
        """Wrap plain features `[T, rows * cols, D]`; the mean of each frame is its frame feature unless one is given.

        Raises
        ------
        TypeError
            If the features are no torch tensor of floating-point numbers.
        ValueError
            If the features do not fit the grid, or `seconds_per_frame` is not positive.

        Examples
        --------
        >>> VideoTokens.from_features(torch.randn(8, 16, 32), rows=4, cols=4)
        VideoTokens(8 x 4 x 4 tokens of 32 channels, float32, cpu, unknown; carries frame features mean)
        """
        require_tensor("features", features, of="floating-point numbers", shape=("frames", "tokens", "channels"))
        require_number("seconds_per_frame", seconds_per_frame)
        if not 0 < seconds_per_frame < 1e9:
            raise ValueError(f"seconds_per_frame={seconds_per_frame} given, expected a positive number of seconds")
        T = features.shape[0]
        fields.setdefault("frame_features", {"mean": features.float().mean(1)})
        fields.setdefault("frame_time", torch.arange(T, dtype=torch.float64) * seconds_per_frame)
        fields.setdefault("frame_members", torch.arange(T)[:, None])
        return cls(features=features, grid=TokenGrid(T, rows, cols), **fields)

    @cached_property
    def token_row(self) -> Int[Tensor, "tokens"]:
        """`[N]` grid row of each token."""
        return torch.arange(self.grid.tokens_per_frame) // self.grid.cols

    @cached_property
    def token_col(self) -> Int[Tensor, "tokens"]:
        """`[N]` grid column of each token."""
        return torch.arange(self.grid.tokens_per_frame) % self.grid.cols

    def salience_from(self, source: str) -> Float[Tensor, "frames tokens"]:
        """Salience of one source, `[T, N]`.

        Raises
        ------
        ValueError
            If the tokens do not carry that source, with the sources they carry and how to get it.
        """
        return self._named(self.salience, source, "salience")

    def frame_features_from(self, source: str) -> Float[Tensor, "frames frame_channels"]:
        """Frame features of one source, `[T, F]`.

        Raises
        ------
        ValueError
            If the tokens do not carry that source, with the sources they carry and how to get it.
        """
        return self._named(self.frame_features, source, "frame_features")

    def tower_keys(self) -> Float[Tensor, "frames tokens key_channels"]:
        """Keys of the tower, `[T, N, d]`.

        Raises
        ------
        ValueError
            If the tokens do not carry them, with how to get them.
        """
        if "keys" not in self.extra:
            raise ValueError(
                "these tokens carry no keys of the tower. Capture them with keys=True, or compare tokens by "
                'metric="features"'
            )
        keys: Tensor = self.extra["keys"]
        return keys

    @staticmethod
    def _named(sources: Mapping[str, Tensor], source: str, what: str) -> Tensor:
        require_type(f"source of {what}", source, str, expected="its name")
        if source in sources:
            return sources[source]
        advice = " (load_model(..., salience_head=FOLDER) gives the SigLIP pooling head)" * (source == "pooling_head")
        raise ValueError(
            f"these tokens carry no {what} of source {source!r}; they carry {sorted(sources)}. Capture them with "
            f"{what}=[{source!r}]{advice}, or name another source"
        )

    def check_finite(self) -> None:
        """Refuse tokens that are NaN or infinite.

        Raises
        ------
        ValueError
            Naming the first frame with such a value, and how many frames have one.
        """
        bad = (~torch.isfinite(self.features)).flatten(1).any(1).nonzero().flatten()
        if len(bad):
            raise ValueError(f"frame {int(bad[0])} holds NaN or infinite tokens ({len(bad)} such frames in all)")

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> VideoTokens:
        """A copy with all tensors on `device`; `dtype` is that of features, DeepStack features and keys.

        Raises
        ------
        ValueError
            If there is no such device here, or `dtype` is none of floating-point numbers.
        """
        device = None if device is None else require_device(device)
        if dtype is not None and not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
            raise ValueError(f"dtype={dtype!r} given, expected a torch.dtype of floating-point numbers")

        def move(x: Any, as_dtype: torch.dtype | None = None) -> Any:
            if isinstance(x, tuple | list):
                return tuple(move(y, as_dtype) for y in x)
            return x.to(device=device, dtype=as_dtype) if isinstance(x, Tensor) else x

        rotary = self.rotary
        if rotary is not None:
            rotary = replace(rotary, inverse_frequency=move(rotary.inverse_frequency), axis=move(rotary.axis))
        return replace(
            self,
            features=move(self.features, dtype),
            frame_time=move(self.frame_time),
            frame_members=move(self.frame_members),
            salience={k: move(v) for k, v in self.salience.items()},
            frame_features={k: move(v) for k, v in self.frame_features.items()},
            positions=move(self.positions),
            rotary=rotary,
            extra={k: move(v, dtype) for k, v in self.extra.items()},
        )

    def to_xarray(self) -> xr.Dataset:
        """A labelled dataset of everything here; bfloat16 as float32, exactly, with the attribute `torch_dtype`."""
        data: dict[str, tuple[tuple[str, ...], Shaped[np.ndarray, "..."], dict[str, Any]]] = {}

        def put(name: str, dims: tuple[str, ...], x: Tensor, **attrs: Any) -> None:
            values, dtype = values_of(x)
            data[name] = (dims, values, attrs | ({TORCH_DTYPE: dtype} if dtype else {}))

        put("tokens", ("frame", "token", "channel"), self.features, long_name="tokens entering the language model")
        for source, x in self.salience.items():
            put(f"salience_{source}", ("frame", "token"), x, long_name=f"salience, source {source}")
        for source, x in self.frame_features.items():
            dims = ("frame", "channel" if x.shape[-1] == self.features.shape[-1] else f"frame_channel_{source}")
            put(f"frame_features_{source}", dims, x, long_name=f"frame features, source {source}")
        if self.positions is not None:
            put("positions", ("rope_axis", "frame", "token"), self.positions, long_name="position ids of the model")
        if self.rotary is not None:
            put("inverse_frequency", ("frequency",), self.rotary.inverse_frequency, units="rad")
            put("frequency_axis", ("frequency",), self.rotary.axis)
        if "deepstack" in self.extra:
            put("deepstack", ("level", "frame", "token", "channel"), torch.stack(tuple(self.extra["deepstack"])))
        if "keys" in self.extra:
            put("keys", ("frame", "token", "key_channel"), self.extra["keys"])
        coords: dict[str, Any] = {
            "frame_time": ("frame", values_of(self.frame_time)[0], {"units": "s"}),
            "frame_members": (("frame", "member"), values_of(self.frame_members)[0]),
            "row": ("token", values_of(self.token_row)[0]),
            "col": ("token", values_of(self.token_col)[0]),
        }
        if self.positions is not None:
            axes = self.rotary.axes if self.rotary is not None else tuple(map(str, range(self.positions.shape[0])))
            coords["rope_axis"] = ("rope_axis", list(axes))
        attrs = {"grid": list(self.grid), "layout": json.dumps(asdict(self.layout))}
        return xr.Dataset(data, coords=coords, attrs=attrs)

    @classmethod
    def from_capture(cls, capture: xr.Dataset) -> VideoTokens:
        """The tokens that a captured or stored dataset holds, bit for bit as they were recorded.

        Raises
        ------
        ValueError
            If the dataset is not a capture, or its layout lacks facts that only a newer version knows.
        """
        require_type("capture", capture, xr.Dataset, expected="a dataset of redundancy.recording or open_capture")
        missing = {"tokens", "frame_time", "frame_members"} - set(capture.variables)
        if missing or not {"grid", "layout"} <= set(capture.attrs):
            raise ValueError(
                f"this dataset is no capture: it lacks {sorted(missing) or 'the attributes grid and layout'}; "
                "expected what redundancy.recording or redundancy.open_capture returns"
            )

        def named(prefix: str) -> dict[str, Tensor]:
            names = [str(v) for v in capture.data_vars if str(v).startswith(prefix)]
            return {n.removeprefix(prefix): from_labelled(capture[n]) for n in names}

        rotary = None
        if "inverse_frequency" in capture:
            rotary = RotaryLayout(
                inverse_frequency=from_labelled(capture["inverse_frequency"]),
                axis=from_labelled(capture["frequency_axis"]),
                axes=tuple(capture["rope_axis"].values.tolist()),
            )
        extra: dict[str, Any] = {}
        if "deepstack" in capture:
            extra["deepstack"] = tuple(from_labelled(capture["deepstack"]).unbind(0))
        if "keys" in capture:
            extra["keys"] = from_labelled(capture["keys"])
        return cls(
            features=from_labelled(capture["tokens"]),
            grid=TokenGrid(*map(int, capture.attrs["grid"])),
            frame_time=from_labelled(capture["frame_time"]),
            frame_members=from_labelled(capture["frame_members"]),
            salience=named("salience_"),
            frame_features=named("frame_features_"),
            positions=from_labelled(capture["positions"]) if "positions" in capture else None,
            rotary=rotary,
            layout=TokenLayout.from_stored(json.loads(capture.attrs["layout"])),
            extra=extra,
        )


def _check_times(time: Tensor) -> None:
    """Refuse times that are infinite or do not ascend; those on a GPU are not looked at, which would make it wait."""
    if time.device.type == "cpu" and (torch.isinf(time).any() or (time.diff() <= 0).any()):
        raise ValueError(f"frame_time={time.tolist()[:8]} given, expected ascending seconds, or NaN if not known")
