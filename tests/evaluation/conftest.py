"""A small model of every family for these tests."""

from tests.family_fixtures import family_model, family_name, tiny_folder  # noqa: F401
