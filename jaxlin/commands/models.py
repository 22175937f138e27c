"""``jaxlin models``: what can be loaded, planned for, and asked for by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jaxlin_models as models
from jaxlin_models.checkpoint import CONFIGS, DEMOS
from jaxlin_models.families import FAMILIES
from rich.console import Console
from rich.table import Table

from jaxlin.commands.options import Models
from jaxlin.commands.output import tell


def run(config: Models) -> int:
    """Do what the command line asked for; returns the exit code."""
    rows = [_row(name, "embedded" if name in DEMOS else "—") for name in (*DEMOS, *CONFIGS)]
    tell(config, {"model_types": sorted(FAMILIES), "names": rows}, _show)
    return 0


def _show(known: Mapping[str, Any]) -> None:
    table = Table(title="names", title_justify="left", pad_edge=False)
    for column in ("name", "weights", "family", "layers", "width", "vocabulary", "positions"):
        table.add_column(column, justify="left" if column in ("name", "weights", "family") else "right")
    for row in known["names"]:
        sizes = (f"{row[size]:,}" for size in ("layers", "width", "vocabulary", "positions"))
        table.add_row(row["name"], row["weights"], row["family"], *sizes)
    console = Console()
    console.print(table)
    console.print(
        "Embedded ones go with every verb; of the others the config is here, for jaxlin plan. Any checkpoint "
        "on the hub or on disk goes whose config.json has one of these model types: "
        f"{', '.join(known['model_types'])}."
    )


def _row(name: str, there: str) -> dict[str, Any]:
    config = models.find_config(name)
    return {
        "name": name,
        "weights": there,
        "family": config.family,
        "layers": config.num_layers,
        "width": config.embed_dim,
        "vocabulary": config.vocab_size,
        "positions": config.max_positions,
    }
