"""Variables of bfloat16, which numpy lacks: their bits in uint16 on disk, their values in float32 in memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float32, Shaped, UInt16
from xarray.backends import BackendArray
from xarray.core import indexing

from redundancy.tokens import TORCH_DTYPE, is_bfloat16, widened


def encoded(variable: xr.Variable) -> xr.Variable:
    """Float32 values that are exact in bfloat16 as the uint16 of their bits; other values, without the attribute.

    Lazy variables stay lazy, but are read once to see whether they are exact.

    Parameters
    ----------
    variable
        With the attribute `torch_dtype="bfloat16"`. Arithmetic keeps attributes, so its values may be others by now.
    """
    if variable.dtype == np.uint16:
        return variable
    if variable.dtype != np.float32 or bool(_on_each(_has_lower_bits, variable, bool).any()):
        return xr.Variable(variable.dims, variable.data, {k: v for k, v in variable.attrs.items() if k != TORCH_DTYPE})
    return _on_each(_upper_bits, variable, np.uint16)


def decoded(variable: xr.Variable) -> xr.Variable:
    """Stored bits as float32 values; nothing is read before it is used, and a dask array is decoded per chunk."""
    if not is_bfloat16(variable) or variable.dtype != np.uint16:
        return variable
    if variable.chunks is not None:
        return _on_each(widened, variable, np.float32)
    lazy: Any = indexing
    values = lazy.MemoryCachedArray(lazy.CopyOnWriteArray(lazy.LazilyIndexedArray(_Values(variable))))
    kept = {k: v for k, v in variable.encoding.items() if k in ("chunks", "preferred_chunks")}
    return xr.Variable(variable.dims, values, variable.attrs, kept)


class _Values(BackendArray):
    """The values behind a variable of bits that is still on disk."""

    def __init__(self, bits: xr.Variable) -> None:
        self._bits = bits
        self.shape = bits.shape
        self.dtype = np.dtype(np.float32)

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Shaped[np.ndarray, "..."]:
        support = indexing.IndexingSupport.OUTER
        return np.asarray(indexing.explicit_indexing_adapter(key, self.shape, support, self._read))

    def _read(self, key: tuple[Any, ...]) -> Float32[np.ndarray, "..."]:
        return widened(self._bits[key].values)


def _on_each(function: Any, variable: xr.Variable, dtype: Any) -> xr.Variable:
    made: xr.Variable = xr.apply_ufunc(function, variable, dask="parallelized", output_dtypes=[dtype], keep_attrs=True)
    return made


def _has_lower_bits(values: Float32[np.ndarray, "..."]) -> Shaped[np.ndarray, "..."]:
    return np.asarray((values.view(np.uint32) & 0xFFFF) != 0)


def _upper_bits(values: Float32[np.ndarray, "..."]) -> UInt16[np.ndarray, "..."]:
    return np.asarray((values.view(np.uint32) >> 16).astype(np.uint16))
