"""The errors that are the user's to mend."""

from jaxlin_models.spelling import printable


class JaxlinError(ValueError):
    """A request that cannot be met; the message is one sentence that says what to do about it.

    The root of all errors that this project raises on purpose. What a message quotes of prompts, files and
    names is spelled out in it, see :func:`jaxlin_models.spelling.printable`.
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(printable(message))


class ModelError(JaxlinError):
    """A checkpoint that cannot be found, read or used, or a setting that its decoder cannot take."""
