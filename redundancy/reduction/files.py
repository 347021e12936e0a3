"""A reduction as one safetensors file: its tensors, and the rest as json in the header."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor


def write_parts(path: str | os.PathLike[str], tensors: Mapping[str, Tensor], header: str) -> None:
    """Write tensors and a header with a checksum; a file that exists is replaced when the new one is whole."""
    clones = {n: v.detach().cpu().clone(memory_format=torch.contiguous_format) for n, v in tensors.items()}
    path = Path(os.path.expanduser(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(8)}.writing")
    try:
        save_file(clones, fresh, metadata={"reduction": header, "sha256": _checksum(header, clones)})
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)


@contextmanager
def reading_parts(path: str | os.PathLike[str]) -> Iterator[tuple[dict[str, Tensor], str]]:
    """Tensors and header of a file; what goes wrong with them inside this context is said of the file.

    Raises
    ------
    FileNotFoundError
        If there is no file.
    ValueError
        If the file is not whole or was changed.
    """
    path = Path(os.path.expanduser(path))
    if not path.is_file():
        raise FileNotFoundError(f"{path} is no file; expected one that Reduction.save wrote")
    with refusing_other(str(path)), safe_open(str(path), framework="pt") as file:
        told = file.metadata() or {}
        header = told.get("reduction")
        if header is None:
            raise ValueError("without a header of Reduction")
        tensors = {n: file.get_tensor(n) for n in file.keys()}  # noqa: SIM118
        if told.get("sha256", "") not in ("", _checksum(header, tensors)):  # earlier versions stored none
            raise ValueError("it is not what was written")
        yield tensors, header


@contextmanager
def refusing_other(origin: str) -> Iterator[None]:
    """Errors of the reader, of parts that are missing and of values, as one that says where it was read.

    Raises
    ------
    ValueError
        In place of any of them.
    """
    try:
        yield
    except (SafetensorError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(
            f"{origin} holds no reduction, expected what Reduction.save or to_xarray made "
            f"({type(error).__name__}: {error})"
        ) from error


def _checksum(header: str, tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of what a file holds."""
    total = hashlib.sha256(header.encode())
    for name, x in sorted(tensors.items()):
        total.update(f"{name} {x.dtype} {tuple(x.shape)}".encode())
        total.update(x.reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()
