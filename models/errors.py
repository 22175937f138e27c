"""The errors of this package that are the user's to mend."""


class ModelError(ValueError):
    """A checkpoint, config or model name that cannot be used; the message says what to do about it."""
