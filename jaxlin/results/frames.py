"""pandas, which is loaded when a frame is asked for."""

from __future__ import annotations

from typing import Any

from jaxlin.errors import JaxlinError


def pandas_module() -> Any:
    """pandas, which is loaded when a frame is asked for.

    Raises:
        JaxlinError: it is not installed.
    """
    try:
        import pandas
    except ImportError as error:
        raise JaxlinError(
            'tables of pandas need pandas, which is not installed: pip install "jaxlin[pandas]"'
        ) from error
    return pandas
