"""The root of all errors that a user can correct. It is defined where the decoders can see it as well."""

from jaxlin_models.errors import JaxlinError

__all__ = ["JaxlinError"]
