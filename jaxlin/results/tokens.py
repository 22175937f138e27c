"""The result of a per-position decomposition: every token's own triplets and what stands behind them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import jax
import numpy as np
from jaxtyping import Array, Bool
from rich.console import Group, RenderableType
from rich.text import Text

from jaxlin.linear.certificate import Check
from jaxlin.linear.operator import Leaf
from jaxlin.results.about import About
from jaxlin.results.base import Result
from jaxlin.results.calls import given
from jaxlin.results.directions import read_outputs
from jaxlin.results.labels import Labels, TokenScore
from jaxlin.results.metric import HIDDEN, METRICS, map_in
from jaxlin.results.page.pieces import View
from jaxlin.results.page.tokens import view_of
from jaxlin.results.pictures import Picture, lines
from jaxlin.results.plain import as_plain, restored
from jaxlin.results.saved import map_arrays, saved_about, saved_labels, shape_of
from jaxlin.results.schema import Schema, Tensor, of_map
from jaxlin.results.sinks import spell_sink_of_map
from jaxlin.results.tables import (
    WORDS,
    ZERO,
    Line,
    check_line,
    new_table,
    panel,
    prediction_lines,
    spell,
    spell_cost,
    spell_map,
    spelled,
    verdict,
    visible,
)

#: Rows of the table of tokens; all are in the files.
_ROWS = 12
#: What two figures of its certificate say.
_ERRORS = "a bound of |σ − true σ| of every token's own map"
_SPOT = "the largest residual of some triplets from fresh passes; an error of σ is of second order in it"
#: Tensors of its own, which are called ``token_s`` and so on, on disk.
_LEAVES = ("s", "U", "V", "errors", "norms")


@dataclass(frozen=True)
class TokenCertificate:
    """The certificate of the triplets of every position.

    Attributes:
        tolerance: error allowed in every σ, as a multiple of that position's σ₁.
        worst_error: the largest error bound, in the same unit.
        converged: how many positions keep the tolerance.
        wanted: how many positions there are.
        confidence: probability that all error bounds hold at once; 1 where nothing was estimated.
        spot_residual: largest residual of some triplets recomputed from fresh passes, as a multiple of the
            position's σ₁. Of a shared basis it may exceed the error of σ, which is of second order in it.
        checks: of the operator, by name; see :class:`jaxlin.linear.certificate.Certificate`.
        zero: whether every σ of every position is 0.
    """

    tolerance: float
    worst_error: float
    converged: int
    wanted: int
    confidence: float
    spot_residual: float
    checks: tuple[Check, ...]
    zero: bool = False

    def __repr__(self) -> str:
        failed = [f"{self.wanted - self.converged} of {self.wanted} tokens"] * (self.converged < self.wanted)
        failed += [check.name for check in self.failed]
        verdict = f"FAILS at {', '.join(failed)}" if failed else "holds"
        verdict += ", THE MAP IS ZERO" * self.zero
        return f"TokenCertificate({verdict}, worst error {self.worst_error:.1e}·σ₁ of {self.tolerance:.0e})"

    @property
    def holds(self) -> bool:
        """Whether every position keeps the tolerance and every check its limit."""
        return self.converged == self.wanted and not self.failed

    @property
    def failed(self) -> tuple[Check, ...]:
        """The checks that do not keep their limits, by name."""
        return tuple(check for check in self.checks if not check.holds)

    def lines(self) -> list[Line]:
        """Every figure of it."""
        sure = "" if self.confidence == 1 else f" with probability {self.confidence:.6f}"
        errors = (
            f"σ of {self.converged} of {self.wanted} tokens within {self.tolerance:.0e}·σ₁, "
            f"worst {self.worst_error:.1e}·σ₁{sure}"
        )
        spot = Line("spot residual", f"{self.spot_residual:.1e}·σ₁", meaning=_SPOT)
        met = self.converged == self.wanted
        lines = [Line("errors", errors, met, _ERRORS), spot, *map(check_line, self.checks)]
        return [Line("size", ZERO, holds=False), *lines] if self.zero else lines


@dataclass(frozen=True)
class TokenFigures:
    """What a summary says of one position."""

    s: tuple[float, ...]
    errors: tuple[float, ...]
    outputs: tuple[TokenScore, ...]


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class TokensResult(Result):
    """The k largest singular triplets of every position's Jacobian, J_t·V[t, i] = s[t, i]·U[t, i].

    Attributes:
        U: left vectors [T, k, *output_shape]; signs such that ⟨u, y⟩ ≥ 0.
        s: singular values [T, k], falling.
        V: right vectors [T, k, d].
        errors: bounds of |σ − s| [T, k], absolute.
        norms: ‖J_t‖_F [T]; estimated from random probes by ``shared``.
        method: ``exact`` or ``shared``.
        rank: left vectors that the blocks were seen through; m is all there are.
        passes: passes of the whole network that were spent, those of the checks included.
        seconds: wall time.
        seed: seed of every random vector that was drawn.
        certificate: its certificate.
        x: the embeddings [T, d] the map was taken at; None where nobody kept them, like what follows.
        y: its output [*output_shape].
        offset: c of y = J·x + c, of the output's shape.
        images: what the first left vector of every position stands for [T, *output_shape], where a metric
            weighed the outputs, and left vectors are those of L·J_t.
        labels: the tokens, and what reads vectors.
        decoded: what each position's first left vector writes, where it was read already; see ``outputs``.
        about: further entries of the summary.
    """

    kind: ClassVar[str] = "tokens"
    entries: ClassVar[Mapping[str, Any]] = {
        "method": str,
        "rank": int,
        "passes": int,
        "seconds": float,
        "seed": int,
        "certificate": TokenCertificate,
        "per_token": tuple[TokenFigures, ...],
    }

    U: Leaf
    s: Leaf
    V: Leaf
    errors: Leaf
    norms: Leaf
    method: str = field(metadata={"static": True})
    rank: int = field(metadata={"static": True})
    passes: int = field(metadata={"static": True})
    seconds: float = field(metadata={"static": True})
    seed: int = field(metadata={"static": True})
    certificate: TokenCertificate = field(metadata={"static": True})
    x: Leaf = None
    y: Leaf = None
    offset: Leaf = None
    images: Leaf = None
    labels: Labels | None = field(default=None, metadata={"static": True})
    decoded: tuple[tuple[TokenScore, ...], ...] | None = field(default=None, metadata={"static": True})
    about: About = field(default=About(), metadata={"static": True})

    def __repr__(self) -> str:
        certificate = ("holds" if self.holds else "FAILS") + ", THE MAP IS ZERO" * self.certificate.zero
        return (
            f"TokensResult({self.s.shape[0]} tokens, k={self.s.shape[1]}, {self.method}, rank {self.rank}, "
            f"{self.passes} passes, {self.seconds:.1f} s, certificate {certificate})"
        )

    @property
    def holds(self) -> bool:
        """Whether the certificate holds."""
        return self.certificate.holds

    @property
    def converged(self) -> Bool[Array | np.ndarray, " t"]:
        """Which positions keep the certificate's tolerance."""
        return self.errors.max(axis=1) <= self.certificate.tolerance * self.s[:, 0]

    @cached_property
    def outputs(self) -> tuple[tuple[TokenScore, ...], ...]:
        """The tokens that each position's first left vector writes most, read when first asked for."""
        written = self.U[:, 0] if self.images is None else self.images
        return read_outputs(written, self.labels) if self.decoded is None else self.decoded

    @property
    def positions(self) -> tuple[int, ...]:
        """The positions in the prompt."""
        return tuple(range(len(self.s))) if self.labels is None else self.labels.positions

    def arrays(self) -> dict[str, Any]:
        named = {f"token_{name}": getattr(self, name) for name in _LEAVES}
        named |= {} if self.images is None else {"token_images": self.images}
        return map_arrays(self.x, self.y, self.offset, self.labels) | named

    def figures(self) -> dict[str, Any]:
        return {
            "seed": self.seed,
            **shape_of(self.x, self.y),
            "method": self.method,
            "k": self.s.shape[1],
            "rank": self.rank,
            "tolerance": self.certificate.tolerance,
            "passes": self.passes,
            "seconds": round(self.seconds, 3),
        }

    def details(self) -> dict[str, Any]:
        return {"certificate": self.certificate, "per_token": [self._token(t) for t in range(len(self.s))]}

    def _token(self, t: int) -> dict[str, Any]:
        """One position in plain numbers and words."""
        labels = self.labels
        named = {} if labels is None else {"id": labels.ids[t], "text": labels.texts[t]}
        return {
            "position": self.positions[t],
            **named,
            "s": np.asarray(self.s[t]),
            "errors": np.asarray(self.errors[t]),
            "norm": float(self.norms[t]),
            "converged": bool(self.converged[t]),
            "outputs": self.outputs[t],
        }

    @classmethod
    def schema(cls, summary: Mapping[str, Any]) -> Schema:
        tensors, sizes = of_map(summary)
        shapes = {"s": "T k", "U": "T k *out", "V": "T k d", "errors": "T k", "norms": "T"}
        if summary.get("metric", HIDDEN) != HIDDEN:
            shapes |= {"U": "T k r", "images": "T *out"}
        tensors |= {f"token_{name}": Tensor(shape) for name, shape in shapes.items()}
        return Schema(tensors, sizes | {"T": len(summary["per_token"])})

    @classmethod
    def repeated(
        cls, arrays: Mapping[str, np.ndarray], summary: Mapping[str, Any]
    ) -> Iterator[tuple[str, Sequence[Any], np.ndarray]]:
        for name in ("s", "errors"):
            yield f"token_{name}", [token[name] for token in summary["per_token"]], arrays[f"token_{name}"]

    @classmethod
    def from_saved(cls, arrays: Mapping[str, np.ndarray], summary: Mapping[str, Any]) -> TokensResult:
        labels = saved_labels(arrays, summary)
        outputs = [token["outputs"] for token in summary["per_token"]]
        leaves: dict[str, Any] = {name: arrays[f"token_{name}"] for name in _LEAVES}
        costs = {
            name: restored(cls.entries[name], summary[name])
            for name in ("method", "rank", "passes", "seconds", "seed")
        }
        return cls(
            **leaves,
            **costs,
            certificate=restored(TokenCertificate, summary["certificate"]),
            x=arrays.get("embeddings"),
            y=arrays.get("output"),
            offset=arrays.get("offset"),
            images=arrays.get("token_images"),
            labels=labels,
            decoded=restored(tuple[tuple[TokenScore, ...], ...], outputs),
            about=saved_about(summary, ("certificate", "per_token"), labels),
        )

    def table(self) -> RenderableType:
        summary, certificate = self.summary(), self.certificate
        metric = self.entry("metric", HIDDEN)
        size = f"each {map_in(metric)}_t is {self.U[0, 0].size} × {self.V.shape[-1]}"
        failed = verdict(certificate, "tokens")
        cost = spell_cost(summary, f"{self.rank} left vectors")
        table = new_table(
            "tokens of the largest σ₁", "position", "token", "σ₁", f"‖{map_in(metric)}_t‖_F", "writes"
        )
        for t in np.argsort(-np.asarray(self.s[:, 0]), kind="stable")[:_ROWS]:
            token = Text("" if self.labels is None else visible(self.labels.texts[t]))
            figures = f"{float(self.s[t, 0]):.4g}", f"{float(self.norms[t]):.4g}"
            table.add_row(str(self.positions[t]), token, *figures, spell(self.outputs[t], WORDS))
        lines = [*prediction_lines(self.prediction), *certificate.lines()]
        said = [] if metric == HIDDEN else [Text(f"metric {metric}: {METRICS[metric]}")]
        said += [Text(sink) for sink in spell_sink_of_map(self.norms, self.labels, map_in(metric))]
        return Group(panel(lines, failed, spell_map(summary, size), cost), table, *said)

    def shown(self) -> View:
        return view_of(self)

    def pictures(self) -> list[Picture]:
        values = {f"s{i + 1}": np.asarray(self.s[:, i]) for i in range(self.s.shape[1])}
        tokens = {} if self.labels is None else {"token": self.labels.texts}
        label = "σ of J_t"
        return [lines("tokens", self.positions, values, label, log=True, across="position", columns=tokens)]

    def call(self) -> dict[str, Any]:
        noted = given({"metric": self.entry("metric", HIDDEN)}, metric=HIDDEN)
        return {"k": self.s.shape[1], "method": self.method, "tol": self.certificate.tolerance, **noted}

    def rows(self) -> list[dict[str, Any]]:
        rows = []
        for t in range(len(self.s)):
            token = as_plain(self._token(t)) | {"writes": spelled(self.outputs[t])}
            del token["outputs"]
            for name, title in (("s", "s"), ("errors", "error")):
                token |= {f"{title}{i + 1}": value for i, value in enumerate(token.pop(name))}
            rows.append(token)
        return rows
