"""The result of comparing models: their maps of one prompt, layer by layer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import jax
import numpy as np
from rich.console import Group, RenderableType
from rich.text import Text

from jaxlin.errors import printable
from jaxlin.results.about import About
from jaxlin.results.base import Result, keep_order
from jaxlin.results.calls import arguments, loading
from jaxlin.results.layers import LayersResult
from jaxlin.results.page.pieces import View, card, chart, line, predicted, table, words
from jaxlin.results.pictures import Picture, lines, spectra
from jaxlin.results.plain import as_plain
from jaxlin.results.schema import Schema, Tensor, check_entries
from jaxlin.results.spelling import file_names
from jaxlin.results.tables import Line, new_table, panel, spell, spell_shape

#: Tokens of a direction in a table; all of them are in the files.
_WORDS = 5
_PART = "cumulative"


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class ModelComparison(Result):
    """The cumulative maps of several models at one prompt.

    Attributes:
        models: name -> its layers, in order.
        about: further entries of the summary.
    """

    kind: ClassVar[str] = "compare"
    entries: ClassVar[Mapping[str, Any]] = {"models": dict[str, dict[str, Any]]}
    labels = None  # each model has its own

    models: Mapping[str, LayersResult]
    about: About = field(default=About(), metadata={"static": True})

    def __post_init__(self) -> None:
        keep_order(self, "models")

    def __repr__(self) -> str:
        certificates = "hold" if self.holds else "FAIL"
        return f"ModelComparison({', '.join(self.models)}, certificates {certificates})"

    @property
    def holds(self) -> bool:
        """Whether every certificate holds."""
        return all(result.holds for result in self.models.values())

    def arrays(self) -> dict[str, Any]:
        return {
            f"{_prefix(name)}_{array}": np.asarray(values)
            for name, result in self.models.items()
            for array, values in result.arrays().items()
        }

    def head(self) -> dict[str, Any]:
        """The short entries of its summary; device and versions stand with each model."""
        plain: dict[str, Any] = as_plain({"verb": self.kind, **self.about.entries, **self.figures()})
        return plain

    @property
    def model_names(self) -> list[str]:
        return list(self.models)

    def figures(self) -> dict[str, Any]:
        most = max(len(layer.s) for result in self.models.values() for layer in result.parts[_PART])
        return {"k": self.about.get("k", most)}

    def details(self) -> dict[str, Any]:
        return {"models": {name: result.summary() for name, result in self.models.items()}}

    @classmethod
    def schema(cls, summary: Mapping[str, Any]) -> Schema:
        if not summary["models"]:
            raise ValueError("it has no models")
        tensors: dict[str, Tensor] = {}
        sizes: dict[str, int] = {}
        for number, (name, entries) in enumerate(summary["models"].items()):
            check_entries(entries, LayersResult.entries)
            if _PART not in entries["parts"]:
                raise ValueError(f"its model {name} has no part {_PART}")
            own = LayersResult.schema(entries).numbered(number)
            tensors |= {f"{_prefix(name)}_{array}": tensor for array, tensor in own.tensors.items()}
            sizes |= own.sizes
        return Schema(tensors, sizes)

    @classmethod
    def repeated(
        cls, arrays: Mapping[str, np.ndarray], summary: Mapping[str, Any]
    ) -> Iterator[tuple[str, Sequence[Any], np.ndarray]]:
        for name, entries in summary["models"].items():
            yield from LayersResult.repeated(_own(arrays, name), entries)

    @classmethod
    def from_saved(cls, arrays: Mapping[str, np.ndarray], summary: Mapping[str, Any]) -> ModelComparison:
        models = {
            name: LayersResult.from_saved(_own(arrays, name), entries)
            for name, entries in summary["models"].items()
        }
        known = {entry: summary[entry] for entry in summary if entry not in ("verb", "models")}
        return cls(models, about=About(known))

    def table(self) -> RenderableType:
        held = [self._line(name, result) for name, result in self.models.items()]
        made = new_table("embeddings → after the layer", "layer")
        for name in self.models:
            made.add_column(Text(f"{printable(name)}\nσ₁"), justify="right")
            made.add_column("stable\nrank", justify="right")
            made.add_column("left vector 1 writes", ratio=1)
        for i in range(max(len(result.layers) for result in self.models.values())):
            cells = [cell for result in self.models.values() for cell in _cells(i, result)]
            made.add_row(str(i), *cells)
        return Group(panel(held, "holds" if self.holds else "FAILS"), made)

    def _line(self, name: str, result: LayersResult) -> Line:
        summary = result.head()
        held = sum(certificate.holds for _, certificate in result.certificates)
        what = [f"{held} of {len(result.certificates)} certificates hold"]
        what += [f"{summary['tokens']} tokens"] if "tokens" in summary else []
        what += [spell_shape(summary["shape"])] if "shape" in summary else []
        return Line(name, " · ".join(what), result.holds)

    def shown(self) -> View:
        names = file_names(self.models)
        ranks = [line(names[model], result.stable_ranks[_PART]) for model, result in self.models.items()]
        rows = [
            [names[model], *_figures(result, i), words(result.outputs[_PART][i][0], _WORDS)]
            for model, result in self.models.items()
            for i in range(len(result.layers))
        ]
        columns = ("model", "layer", "σ₁", "stable rank", "left vector 1 writes")
        held = {names[model]: self._line(names[model], result) for model, result in self.models.items()}
        return {
            "predictions": [
                entry
                for model, result in self.models.items()
                for entry in predicted(result.prediction, result.labels, names[model])
            ],
            "charts": [chart("Stable rank, embeddings → after the layer", "layer", ranks, log=False)],
            "tables": [table("Layer by layer", columns, rows)],
            "cards": [
                card(f"{name}: certificate", each.holds, [replace(each, name="maps")])
                for name, each in held.items()
            ],
        }

    def pictures(self) -> list[Picture]:
        pictures = []
        for name, result in self.models.items():
            label, ranks = _prefix(name), {"stable rank": result.stable_ranks[_PART]}
            s = np.stack([layer.s for layer in result.parts[_PART]])
            pictures.append(lines(f"{label}_stable_rank", result.layers, ranks, f"{name}: stable rank"))
            pictures.append(spectra(f"spectra_{label}", name, result.layers, s))
        return pictures

    def call(self) -> dict[str, Any]:
        return {"k": self.figures()["k"]}

    def python(self) -> str:
        """The calls that make it again, with ``prompt`` left open."""
        summaries = [result.head() for result in self.models.values()]
        if not all("model" in summary for summary in summaries):
            return ""
        models = ", ".join(map(loading, summaries))
        call = f"result = jaxlin.compare({arguments('models', 'prompt', **self.call())})"
        return "\n".join(["import jaxlin", "", f"models = [{models}]", call])

    def rows(self) -> list[dict[str, Any]]:
        return [{"model": name, **row} for name, result in self.models.items() for row in result.rows()]


def _prefix(name: str) -> str:
    """A model's name as a part of the names of tensors and files."""
    return name.replace("/", "_")


def _own(arrays: Mapping[str, np.ndarray], name: str) -> dict[str, np.ndarray]:
    """The tensors of one model, under the names they have without it."""
    start = f"{_prefix(name)}_"
    return {array.removeprefix(start): arrays[array] for array in arrays if array.startswith(start)}


def _figures(result: LayersResult, i: int) -> tuple[str, str, str]:
    """Which layer it is, its σ₁ and its stable rank."""
    layer = result.parts[_PART][i]
    return str(result.layers[i]), f"{float(layer.s[0]):.4g}", f"{layer.dimensions.stable_rank:.2f}"


def _cells(i: int, result: LayersResult) -> tuple[str, str, Text]:
    """A model's layer, or nothing where it has fewer."""
    if i >= len(result.layers):
        return "", "", Text()
    return *_figures(result, i)[1:], spell(result.outputs[_PART][i][0], _WORDS)
