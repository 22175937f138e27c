"""The result of every SVD: triplets with their certificate, saved, read, shown, drawn and made again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import jax
import numpy as np
from jaxtyping import Array, Bool, Float
from rich.console import RenderableType

from jaxlin.linear.certificate import Certificate
from jaxlin.linear.operator import Leaf
from jaxlin.results.about import About
from jaxlin.results.calls import given
from jaxlin.results.contributions import Contributions, check_split
from jaxlin.results.directions import Direction
from jaxlin.results.keep import BFLOAT16, KEPT, NORMS, VECTORS, WITHOUT
from jaxlin.results.labels import Labels
from jaxlin.results.metric import HIDDEN
from jaxlin.results.norms import LargeColumn, LargeRow, Norms
from jaxlin.results.page.pieces import View
from jaxlin.results.page.svd import view_of
from jaxlin.results.pictures import Picture
from jaxlin.results.plain import restored
from jaxlin.results.saved import map_arrays, saved_about, saved_labels
from jaxlin.results.schema import Schema, Tensor, of_map
from jaxlin.results.sinks import first_shares
from jaxlin.results.svd_readout import SVDReadout
from jaxlin.results.svd_views import pictures_of, table_of
from jaxlin.results.triplets import (
    Figures,
    repeated_triplets,
    saved_fields,
    saved_outputs,
    triplet_entries,
    triplet_rows,
    triplet_tensors,
)

_DETAILS = ("certificate", "contributions", "triplets", "largest_rows", "largest_columns")


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class SVDResult(SVDReadout):
    """The k largest singular triplets of an operator, J·V[i] = s[i]·U[i], and what they cost.

    In a metric L of the output, which is not the hidden state's own, they are those of L·J; ``images`` are
    then what J makes of V.

    Attributes:
        U: left vectors [k, *output_shape], orthonormal; signs such that ⟨u, y⟩ ≥ 0, or ⟨u, L·y⟩.
        s: singular values [k], falling, in float32 or better.
        V: right vectors [k, *input_shape], orthonormal; in the host's memory. None in a saved result that was
            stored without them, and rounded to bfloat16 in one that was stored so; see ``kept``.
        residuals: √(‖Jv − σu‖² + ‖Jᵀu − σv‖²) of each triplet [k], absolute, from fresh passes.
        spectrum: every singular value [min(m, n)] where the method finds them all, else None.
        method: the method that was used, one of ``jaxlin.solvers.methods.METHODS``.
        passes: passes of the whole network that were spent, those of the certificate included.
        seconds: wall time.
        seed: seed of every random vector that was drawn.
        certificate: fresh checks of the result.
        x: the point the map was taken at [*input_shape]; None where nobody kept it, like what follows.
        y: its output [*output_shape].
        offset: c of y = J·x + c, of the output's shape.
        images: J·V[i] [k, *output_shape], where that is not s[i]·U[i].
        position_norms: ‖v_t‖ of every right vector at every input position [k, T], where V was not stored.
        position_shares: σ⟨v_t, x_t⟩ likewise.
        jacobian: the matrix itself [*output_shape, *input_shape], where it was asked for.
        norms: norms of all rows and columns, where they were asked for.
        labels: the tokens of the map, and what reads its vectors.
        decoded: the directions in tokens, where they were read already; see ``directions``.
        known_split: what they contribute, where it was computed already; see ``split``.
        largest_rows: the rows of the largest norms in tokens, where they were asked for.
        largest_columns: likewise columns.
        about: further entries of the summary.
    """

    kind: ClassVar[str] = "svd"
    entries: ClassVar[Mapping[str, Any]] = {
        "method": str,
        "passes": int,
        "seconds": float,
        "seed": int,
        "certificate": Certificate,
        "triplets": tuple[Figures, ...],
    }

    U: Leaf
    s: Leaf
    V: Leaf
    residuals: Leaf
    spectrum: Leaf
    method: str = field(metadata={"static": True})
    passes: int = field(metadata={"static": True})
    seconds: float = field(metadata={"static": True})
    seed: int = field(metadata={"static": True})
    certificate: Certificate = field(metadata={"static": True})
    x: Leaf = None
    y: Leaf = None
    offset: Leaf = None
    images: Leaf = None
    position_norms: Leaf = None
    position_shares: Leaf = None
    jacobian: Leaf = None
    norms: Norms | Any = None
    labels: Labels | None = field(default=None, metadata={"static": True})
    decoded: tuple[Direction, ...] | None = field(default=None, metadata={"static": True})
    known_split: Contributions | None = field(default=None, metadata={"static": True})
    largest_rows: tuple[LargeRow, ...] = field(default=(), metadata={"static": True})
    largest_columns: tuple[LargeColumn, ...] = field(default=(), metadata={"static": True})
    about: About = field(default=About(), metadata={"static": True})

    def __repr__(self) -> str:
        certificate = ("holds" if self.holds else "FAILS") + ", THE MAP IS ZERO" * self.certificate.zero
        traced = isinstance(self.s, jax.core.Tracer)
        values = "" if traced else f"σ {float(self.s[0]):.4g} … {float(self.s[-1]):.4g}, "
        predicts = "" if traced or self.prediction is None else f"predicts {self.prediction.first}, "
        metric = "" if self.metric == HIDDEN else f"metric {self.metric}, "
        cost = f"{self.passes} passes, {self.seconds:.1f} s"
        return (
            f"SVDResult({predicts}{metric}k={len(self.s)}, {values}{self.method}, {cost}, "
            f"certificate {certificate})"
        )

    @property
    def holds(self) -> bool:
        """Whether the certificate holds."""
        return self.certificate.holds

    @property
    def converged(self) -> Bool[Array | np.ndarray, " k"]:
        """Which triplets meet the certificate's tolerance."""
        return self.residuals <= self.certificate.tolerance * self.s[0]

    def with_jacobian(self, jacobian: Float[Array | np.ndarray, ...]) -> SVDResult:
        """The same with the matrix [*output_shape, *input_shape], as ``operator.dense()`` gives it."""
        return replace(self, jacobian=jacobian)

    def with_norms(
        self, norms: Norms, rows: Sequence[LargeRow] = (), columns: Sequence[LargeColumn] = ()
    ) -> SVDResult:
        """The same with norms, and the largest rows and columns; see :mod:`jaxlin.analyses.norms`."""
        return replace(self, norms=norms, largest_rows=tuple(rows), largest_columns=tuple(columns))

    def keeping(self, what: str) -> SVDResult:
        """The same as it will be stored: with all of V, or with less.

        What is said of right vectors in words, and what directions contribute, stays. Without vectors the
        embeddings go too: the tokens and the model give them again.

        Args:
            what: one of :data:`jaxlin.results.keep.KEPT`.
        """
        if what == VECTORS:
            return self
        if what == BFLOAT16:
            return self.with_notes(keep=what)
        read = replace(self, decoded=self.directions, known_split=self.split)
        shape, weights = self.figures()["shape"], self.weights
        first = None if weights is None else first_shares(weights, self.labels)
        norms, shares = (weights, self.contributions) if what == NORMS else (None, None)
        less = replace(read, V=None, x=None, position_norms=norms, position_shares=shares)
        known = {} if first is None else {"first_positions": first.tolist()}
        return less.with_notes(keep=what, shape=shape, **known)

    def up_to(self, count: int) -> SVDResult:
        """The same of the first input positions alone, where those behind them are padding."""
        if count == self.V.shape[1]:
            return self
        labels = self.labels
        if labels is not None and len(labels.ids) > count:
            labels = labels.take(range(count))
        x = None if self.x is None else np.asarray(self.x)[:count]  # JAX would compile for every length
        return replace(self, V=self.V[:, :count], x=x, labels=labels)

    # How it is saved and read

    @property
    def kept(self) -> str:
        """What was stored of V, or is to be: one of :data:`jaxlin.results.keep.KEPT`."""
        kept: str = self.entry("keep", VECTORS)
        return kept

    @property
    def narrow(self) -> tuple[str, ...]:
        return ("V",) if self.kept == BFLOAT16 else ()

    def arrays(self) -> dict[str, Any]:
        own = {"U": self.U, "s": self.s, "V": self.V, "residuals": self.residuals}
        own |= {"V_norms": self.position_norms, "V_contributions": self.position_shares}
        own |= {"images": self.images, "spectrum": self.spectrum, "jacobian": self.jacobian}
        if self.norms is not None:
            own |= {"row_norms": self.norms.rows, "column_norms": self.norms.columns}
        known = {name: array for name, array in own.items() if array is not None}
        return map_arrays(self.x, self.y, self.offset, self.labels) | known

    def figures(self) -> dict[str, Any]:
        value = {}
        if self.target is not None and self.y is not None:
            value = {"target_value": float(self.y[0]), "target_offset": float(self.offset[0])}
        outputs = self.U[0].size if self.images is None else self.images[0].size
        return {
            "seed": self.seed,
            "shape": [outputs, self.entry("shape")[1] if self.V is None else self.V[0].size],
            **({} if self.images is None else {"metric_rows": self.U[0].size}),
            "target": self.target,
            **value,
            "method": self.method,
            "k": len(self.s),
            "tolerance": self.certificate.tolerance,
            "passes": self.passes,
            "seconds": round(self.seconds, 3),
        }

    def details(self) -> dict[str, Any]:
        directions: Sequence[Any] = [{}] * len(self.s) if self.directions is None else self.directions
        columns = {"converged": self.converged}
        weights = self.weights
        first = self.entry("first_positions") if weights is None else first_shares(weights, self.labels)
        columns |= {} if first is None else {"first_position": first}
        entries: dict[str, Any] = {
            "certificate": self.certificate,
            **({} if self.split is None or self.labels is None else {"contributions": self.split}),
            "triplets": triplet_entries(self.s, self.residuals, directions, **columns),
        }
        if self.norms is not None:
            entries |= {"largest_rows": self.largest_rows, "largest_columns": self.largest_columns}
        return entries

    @classmethod
    def schema(cls, summary: Mapping[str, Any]) -> Schema:
        tensors, sizes = of_map(summary)
        labelled = "token_texts" in summary
        if labelled:
            restored(tuple[Direction, ...], summary["triplets"], "triplets")
        rows = restored(tuple[LargeRow, ...] | None, summary.get("largest_rows"), "largest_rows")
        restored(tuple[LargeColumn, ...] | None, summary.get("largest_columns"), "largest_columns")
        place = "T d" if labelled else "*in"
        weighed = "metric_rows" in summary
        tensors |= triplet_tensors(u="r" if weighed else "*out", v=place)
        keep = summary.get("keep", VECTORS)
        if keep not in KEPT:
            raise ValueError(f"what it keeps is none of {', '.join(KEPT)}")
        if keep in WITHOUT:
            del tensors["V"]
            tensors["embeddings"] = Tensor(place, optional=True)
        if keep == NORMS:
            tensors |= {"V_norms": Tensor("k T"), "V_contributions": Tensor("k T", optional=not labelled)}
        if weighed:
            tensors["images"] = Tensor("k *out")
            sizes["r"] = restored(int, summary["metric_rows"], "metric_rows")
        if summary.get("contributions") is not None:
            check_split(restored(Contributions, summary["contributions"], "contributions"), summary)
        tensors["jacobian"] = Tensor(f"*out {place}", optional=not summary.get("save_jacobian"))
        tensors |= {
            "row_norms": Tensor("rows", optional=rows is None),
            "column_norms": Tensor(place, optional=rows is None),
        }
        if "shape" in summary:
            sizes["rows"] = summary["shape"][0]
        return Schema(tensors, sizes | {"k": len(summary["triplets"])})

    @classmethod
    def repeated(
        cls, arrays: Mapping[str, np.ndarray], summary: Mapping[str, Any]
    ) -> Iterator[tuple[str, Sequence[Any], np.ndarray]]:
        yield from repeated_triplets(arrays, summary["triplets"])

    @classmethod
    def from_saved(cls, arrays: Mapping[str, np.ndarray], summary: Mapping[str, Any]) -> SVDResult:
        labels = saved_labels(arrays, summary, hidden=summary.get("target") is None)
        norms = Norms(arrays["row_norms"], arrays["column_norms"]) if "row_norms" in arrays else None
        decoded = None if labels is None else restored(tuple[Direction, ...], summary["triplets"])
        return cls(
            **saved_fields(arrays, summary, summary["seed"]),
            x=arrays.get("embeddings"),
            y=arrays.get("output"),
            offset=arrays.get("offset"),
            images=arrays.get("images"),
            position_norms=arrays.get("V_norms"),
            position_shares=arrays.get("V_contributions"),
            jacobian=arrays.get("jacobian"),
            norms=norms,
            labels=labels,
            decoded=decoded,
            known_split=restored(Contributions | None, summary.get("contributions"), "contributions"),
            largest_rows=restored(tuple[LargeRow, ...], summary.get("largest_rows", [])),
            largest_columns=restored(tuple[LargeColumn, ...], summary.get("largest_columns", [])),
            about=saved_about(summary, _DETAILS, labels),
        )

    @classmethod
    def from_part(
        cls,
        arrays: Mapping[str, np.ndarray],
        entry: Mapping[str, Any],
        seed: int,
        labels: Labels | None = None,
        prefix: str = "",
    ) -> SVDResult:
        """A result that was saved as a part of another one.

        Args:
            arrays: those of the other one; the names of its own begin with ``prefix``.
            entry: its method, passes, seconds, certificate and, if they were read, triplets.
            seed: of the other one.
            labels: likewise.
        """
        return cls(
            **saved_fields(arrays, entry, seed, prefix),
            x=arrays.get("embeddings"),
            y=arrays.get("output"),
            labels=labels,
            decoded=saved_outputs(entry.get("triplets", ())),
        )

    # How it is shown, drawn and made again

    def table(self) -> RenderableType:
        return table_of(self)

    def shown(self) -> View:
        return view_of(self)

    def pictures(self) -> list[Picture]:
        return pictures_of(self)

    def call(self) -> dict[str, Any]:
        noted = {**self.about.entries, "target": self.target, "metric": self.metric}
        options = given(noted, target=None, metric=HIDDEN, order="sigma", max_passes=None, verify_seed=None)
        options |= {"norms": len(self.largest_rows)} if self.norms is not None else {}
        options |= {"save_jacobian": True} if self.jacobian is not None else {}
        return {"k": len(self.s), "method": self.method, "tol": self.certificate.tolerance, **options}

    def rows(self) -> list[dict[str, Any]]:
        columns: dict[str, Any] = {"converged": self.converged}
        if self.split is not None:
            parts = self.split.directions
            columns |= {"along": self.split.along, "share_of_output": [part.output for part in parts]}
            if self.split.whole.logits:
                columns["logit"] = [part.logits[0] for part in parts]
        rows = triplet_rows(self.s, self.residuals, self.outputs, **columns)
        return [rows[i] for i in self.order]
