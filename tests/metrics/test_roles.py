"""Kept, merged or dropped: written out by hand, and for every method of the table."""

from __future__ import annotations

import pytest
import torch

from redundancy.metrics.coverage.roles import ROLES, token_roles
from redundancy.pruning.table import METHODS
from redundancy.reduction import Reduction
from redundancy.tokens import TokenGrid
from tests.pruning.samples import video

DROPPED, MERGED, KEPT = range(3)


def reduction(**given: object) -> Reduction:
    """Two frames of 1 x 3: output 0 at token 4 takes in tokens 4 and 0; output 1 at token 2 is it alone."""
    plain: dict[str, object] = {
        "anchor": torch.tensor([4, 2]),
        "source": torch.tensor([4, 0, 2, 1]),
        "target": torch.tensor([0, 0, 1, 1]),
        "weight": torch.tensor([0.5, 0.5, 1.0, 0.0], dtype=torch.float64),
        "slots": torch.arange(6),
        "grid": TokenGrid(2, 1, 3),
    }
    return Reduction(**(plain | given))  # type: ignore[arg-type]


def test_by_hand() -> None:
    """Token 1 is assigned to output 1 with weight 0: nothing of it arrives."""
    assert token_roles(reduction()).tolist() == [[MERGED, DROPPED, KEPT], [DROPPED, KEPT, DROPPED]]
    assert ROLES == ("dropped", "merged", "kept")


def test_an_anchor_without_its_own_content_is_kept() -> None:
    assert token_roles(reduction(source=torch.tensor([5, 0, 2, 1])))[1].tolist() == [DROPPED, KEPT, MERGED]


def test_newlines_and_tokens_that_were_gone_before() -> None:
    """A span of four places: a newline, token 1, token 5, a newline; outputs stand at token 5 and at the newline."""
    inner = reduction(
        anchor=torch.tensor([2, 0]),
        source=torch.tensor([2, 1, 0, 3]),
        target=torch.tensor([0, 0, 1, 1]),
        weight=torch.ones(4, dtype=torch.float64),
        slots=torch.tensor([-1, 1, 5, -1]),
        layer=2,
    )
    assert token_roles(inner).tolist() == [[DROPPED, MERGED, DROPPED], [DROPPED, DROPPED, KEPT]]


@pytest.mark.parametrize("name", METHODS)
def test_kept_places_are_what_is_achieved(name: str) -> None:
    tokens = video(8, 4, 4, 8, layout="onevision")
    decided = METHODS[name].method(tokens)
    roles = token_roles(decided)
    assert (roles == KEPT).sum().item() == len(decided.anchor.unique())
    assert ((roles != DROPPED).flatten() | (decided.apply(torch.eye(128)).sum(0) == 0)).all()
    if decided.is_selection:
        assert not (roles == MERGED).any()
