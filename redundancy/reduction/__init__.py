"""What a token-reduction method decided, as a value, and two of them as one."""

from redundancy.reduction.composition import compose
from redundancy.reduction.valid import NEWLINE_POLICIES, PLACEMENTS
from redundancy.reduction.value import Reduction

__all__ = ["NEWLINE_POLICIES", "PLACEMENTS", "Reduction", "compose"]
