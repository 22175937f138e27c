"""The version, which pyproject.toml says."""

from importlib.metadata import version

__version__ = version("jaxlin")
