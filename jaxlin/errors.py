"""The root of all errors that a user can correct, and how text may stand in one.

Both are defined where the decoders can see them as well.
"""

from jaxlin_models.errors import JaxlinError
from jaxlin_models.spelling import printable, shortened, spell_acting

__all__ = ["JaxlinError", "printable", "shortened", "spell_acting"]
