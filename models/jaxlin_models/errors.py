"""The errors that are the user's to mend."""


class JaxlinError(ValueError):
    """A request that cannot be met; the message is one sentence that says what to do about it.

    The root of all errors that this project raises on purpose.
    """


class ModelError(JaxlinError):
    """A checkpoint that cannot be found, read or used, or a setting that its decoder cannot take."""
