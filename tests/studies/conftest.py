"""A small model of every family for the tests of the whole pipeline."""

from tests.family_fixtures import family_model, family_name, tiny_folder

__all__ = ["family_model", "family_name", "tiny_folder"]
