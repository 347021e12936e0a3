"""Tensors as labelled variables and back, bit for bit: bfloat16, which numpy has not, as float32 that says so."""

from __future__ import annotations

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float32, Shaped, UInt16
from torch import Tensor

TORCH_DTYPE = "torch_dtype"


def labelled(dims: tuple[str, ...], x: Tensor) -> xr.Variable:
    """A tensor with named dims, every value as it is; bfloat16 as float32 with the attribute `torch_dtype`."""
    values, dtype = values_of(x)
    return xr.Variable(dims, values, {TORCH_DTYPE: dtype} if dtype else {})


def values_of(x: Tensor) -> tuple[Shaped[np.ndarray, "..."], str | None]:
    """Values for xarray, and the torch dtype where numpy has none of that name."""
    x = x.detach().cpu().contiguous()
    if x.dtype == torch.bfloat16:
        return widened(x.view(torch.uint16).numpy()), "bfloat16"
    return x.numpy(), None


def from_labelled(x: xr.DataArray | xr.Variable) -> Tensor:
    """The tensor behind a variable that `labelled` or `VideoTokens.to_xarray` made, bit for bit.

    A variable that says bfloat16 but holds other float32 values (arithmetic keeps attributes) gives those in float32.
    """
    values = np.array(x.values)
    bits = narrowed(values) if is_bfloat16(x) else None
    return torch.from_numpy(values) if bits is None else torch.from_numpy(bits).view(torch.bfloat16)


def is_bfloat16(x: xr.DataArray | xr.Variable) -> bool:
    """True if a variable says that its values came as bfloat16."""
    return bool(x.attrs.get(TORCH_DTYPE) == "bfloat16")


def widened(bits: UInt16[np.ndarray, "..."]) -> Float32[np.ndarray, "..."]:
    """Bits of bfloat16, the upper half of a float32, as float32."""
    return np.asarray(bits.astype(np.uint32) << 16).view(np.float32)


def narrowed(values: Shaped[np.ndarray, "..."]) -> UInt16[np.ndarray, "..."] | None:
    """Float32 values as bits of bfloat16, and such bits as they are; None if that would change a value."""
    if values.dtype == np.uint16:
        return values
    if values.dtype != np.float32 or bool((values.view(np.uint32) & 0xFFFF).any()):
        return None
    return np.asarray((values.view(np.uint32) >> 16).astype(np.uint16))
