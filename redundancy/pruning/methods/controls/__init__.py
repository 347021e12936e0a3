"""Controls: what any method has to beat at the same number of tokens."""

from redundancy.pruning.methods.controls.average_pool import AveragePool
from redundancy.pruning.methods.controls.first_of_2x2 import FirstOf2x2
from redundancy.pruning.methods.controls.frame_drop import FrameDrop
from redundancy.pruning.methods.controls.random_of_2x2 import RandomOf2x2
from redundancy.pruning.methods.controls.random_tokens import RandomTokens
from redundancy.pruning.methods.controls.uniform_tokens import UniformTokens

__all__ = ["AveragePool", "FirstOf2x2", "FrameDrop", "RandomOf2x2", "RandomTokens", "UniformTokens"]
