"""The errors of this package that are the user's to mend."""


class JaxlinError(ValueError):
    """A request that cannot be met; the message is one sentence that says what to do about it."""
