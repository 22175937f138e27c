"""``python -m jaxlin``: the ``jaxlin`` command where no script of that name is on the path."""

from jaxlin.commands.main import console

if __name__ == "__main__":
    console()
