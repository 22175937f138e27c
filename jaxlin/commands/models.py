"""``jaxlin models``: what can be loaded, planned for, and asked for by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from jaxlin_models import find_config
from jaxlin_models.checkpoint import CONFIGS, DEMOS, HUB_IDS
from jaxlin_models.families import FAMILIES
from jaxlin_models.gguf.architectures import ARCHITECTURES
from jaxlin_models.installed import INSTALLED_MODELS, is_installed
from rich.console import Group
from rich.table import Table

from jaxlin.commands.parser import Parsed
from jaxlin.commands.show import show
from jaxlin.verbs.shared import Screen


def run(parsed: Parsed) -> int:
    """Do what the command line asked for; returns the exit code."""
    names = [*DEMOS, *INSTALLED_MODELS, *(name for name in CONFIGS if name not in INSTALLED_MODELS)]
    rows = tuple(_row(name, _weights(name)) for name in names)
    show(KnownModels(tuple(sorted(FAMILIES)), tuple(ARCHITECTURES), rows), parsed[Screen])
    return 0


@dataclass(frozen=True)
class KnownModels:
    """The supported model types and architectures of GGUF files, and the models that have a name here."""

    model_types: tuple[str, ...]
    architectures: tuple[str, ...]
    names: tuple[dict[str, Any], ...]

    def summary(self) -> dict[str, Any]:
        """In plain numbers and words."""
        return {
            "model_types": list(self.model_types),
            "gguf_architectures": list(self.architectures),
            "names": list(self.names),
        }

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
            "The embedded and installed ones work with every verb. Of the others only the config is here, "
            "for jaxlin plan; give their name on the hub for the rest. Any checkpoint on the hub or on disk "
            f"can be loaded whose config.json has one of these model types: {', '.join(self.model_types)}; "
            f"and any GGUF file of the architectures {', '.join(self.architectures)}.",
        )


def _weights(name: str) -> str:
    """Where the weights of a name are, or how they are had."""
    if name in DEMOS:
        return "embedded"
    if name in INSTALLED_MODELS:
        return "installed" if is_installed(name) else INSTALLED_MODELS[name].install
    return HUB_IDS[name]


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
