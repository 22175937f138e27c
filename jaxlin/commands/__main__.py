"""``python -m jaxlin.commands``: the ``jaxlin`` command where no script of that name is on the path."""

from jaxlin.commands.main import console

console()
