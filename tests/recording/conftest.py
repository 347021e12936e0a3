"""Every family's small model for the tests of this folder."""

from tests.family_fixtures import eager_model, family_model, family_name, tiny_folder

__all__ = ["eager_model", "family_model", "family_name", "tiny_folder"]
