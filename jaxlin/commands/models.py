"""``jaxlin models``: what can be loaded, planned for, and asked for by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from jaxlin_models import find_config
from jaxlin_models.checkpoint import CONFIGS, DEMOS
from jaxlin_models.families import FAMILIES
from rich.console import Group
from rich.table import Table

from jaxlin.commands.parser import Parsed
from jaxlin.commands.show import show
from jaxlin.verbs.shared import Screen


def run(parsed: Parsed) -> int:
    """Do what the command line asked for; returns the exit code."""
    rows = [_row(name, "embedded" if name in DEMOS else "—") for name in (*DEMOS, *CONFIGS)]
    show(KnownModels(tuple(sorted(FAMILIES)), tuple(rows)), parsed[Screen])
    return 0


@dataclass(frozen=True)
class KnownModels:
    """The supported model types, and the models that have a name here."""

    model_types: tuple[str, ...]
    names: tuple[dict[str, Any], ...]

    def summary(self) -> dict[str, Any]:
        """In plain numbers and words."""
        return {"model_types": list(self.model_types), "names": list(self.names)}

    def table(self) -> Group:
        """A row a model, and what else can be loaded."""
        table = Table(title="names", title_justify="left", pad_edge=False)
        for column in ("name", "weights", "family", "layers", "width", "vocabulary", "positions"):
            table.add_column(column, justify="left" if column in ("name", "weights", "family") else "right")
        for row in self.names:
            sizes = (f"{row[size]:,}" for size in ("layers", "width", "vocabulary", "positions"))
            table.add_row(row["name"], row["weights"], row["family"], *sizes)
        return Group(
            table,
            "The embedded ones work with every verb. Of the others only the config is here, for jaxlin plan. "
            "Any checkpoint on the hub or on disk can be loaded whose config.json has one of these model "
            f"types: {', '.join(self.model_types)}.",
        )


def _row(name: str, weights: str) -> dict[str, Any]:
    config = find_config(name)
    return {
        "name": name,
        "weights": weights,
        "family": config.family,
        "layers": config.num_layers,
        "width": config.embed_dim,
        "vocabulary": config.vocab_size,
        "positions": config.max_positions,
    }
