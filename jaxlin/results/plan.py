"""What jobs would cost: the answer of ``jaxlin plan``, one row a model and a length."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from jaxlin.errors import printable
from jaxlin.results.tables import as_html
from jaxlin.runtime.sizes import spell_size

#: Columns of the table, and whether they are words.
_COLUMNS = {
    "model": True, "mesh": True, "tokens": False, "dtype": True, "attention": True, "gate": True,
    "method": True, "passes": False, "weights": False, "coeff.": False, "peak": False, "room": False,
    "TFLOP": False,
}  # fmt: skip


@dataclass(frozen=True)
class PlannedJob:
    """One model at one length: how it fits, or why not.

    Sizes are in bytes. Where nothing fits, the figures are of the smallest setting that was tried, and
    ``peak_bytes`` is None where nothing was compiled.

    Attributes:
        model, tokens: what was asked about.
        dtype: how the weights are stored, or what is computed of them where they are packed.
        weights: ``unpacked``; ``packed``, as their file is quantised; or that and a mixture of types that was
            taken for granted.
        mesh: over which devices it is spread, in bytes of one of them; None for one device.
        fits: whether the job fits.
        refusal: why not, and what to do; None where it fits.
        attention, gate, block, offload: the setting of the memory dial.
        method, method_reason: the solver's method, and why.
        k: number of singular triplets.
        passes: of the whole network, those of the certificate included.
        weights_bytes, coefficients_bytes: held throughout, where the programs run.
        host_bytes: held in the host's memory, where that is another one.
        peak_bytes: the predicted peak.
        peak_in: the phase that has it.
        phases: bytes of each phase beside what is held throughout.
        flops: arithmetic of all passes and of the recording.
    """

    model: str
    tokens: int
    dtype: str
    weights: str
    mesh: str | None
    fits: bool
    refusal: str | None
    attention: str
    gate: str
    block: int
    offload: bool
    method: str
    method_reason: str
    k: int
    passes: int
    weights_bytes: int
    coefficients_bytes: int
    host_bytes: int
    peak_bytes: int | None
    peak_in: str | None
    phases: dict[str, int]
    flops: int

    def cells(self, memory: int) -> list[str]:
        """Its row of the table."""
        held = self.weights_bytes + self.coefficients_bytes
        peak = f"> {_gigabytes(held)}" if self.peak_bytes is None else _gigabytes(self.peak_bytes)
        room = _gigabytes(memory - (self.peak_bytes or held)) if self.fits else "does not fit"
        return [
            self.model,
            *([] if self.mesh is None else [self.mesh]),
            f"{self.tokens:,}",
            self.dtype if self.weights == "unpacked" else f"{self.dtype}, {self.weights}",
            self.attention,
            self.gate,
            self.method,
            str(self.passes),
            _gigabytes(self.weights_bytes),
            _gigabytes(self.coefficients_bytes),
            peak,
            room,
            _teraflops(self.flops),
        ]


@dataclass(frozen=True)
class PlanResult:
    """All jobs that were asked about.

    Attributes:
        memory: bytes that may be used.
        backend: what the programs were compiled for: ``cpu``, ``gpu``.
        jobs: one for each model and length.
        for_gpu: whether they are for a GPU, whatever the programs were compiled for.
    """

    memory: int
    backend: str
    jobs: tuple[PlannedJob, ...]
    for_gpu: bool = False

    def __repr__(self) -> str:
        fits = sum(job.fits for job in self.jobs)
        return f"PlanResult({fits} of {len(self.jobs)} jobs fit in {spell_size(self.memory)})"

    def _repr_html_(self) -> str:
        return as_html(self.table())

    def summary(self) -> dict[str, Any]:
        """All figures in plain numbers and words."""
        rows = [asdict(job) for job in self.jobs]
        return {"memory": self.memory, "backend": self.backend, "for_gpu": self.for_gpu, "rows": rows}

    def table(self) -> RenderableType:
        """The jobs as a table, and in words why some do not fit."""
        spread = any(job.mesh is not None for job in self.jobs)
        where = " of a GPU" if self.for_gpu else ""
        where += " on each device" if spread else ""
        title = f"in {spell_size(self.memory)}{where}, compiled for {self.backend}; sizes in GB"
        table = Table(
            title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False
        )
        for column, words in _COLUMNS.items():
            if column == "mesh" and not spread:
                continue
            table.add_column(column, justify="left" if words else "right", overflow="fold")
        for job in self.jobs:
            table.add_row(*(Text(printable(cell)) for cell in job.cells(self.memory)))
        refused = [
            Text(printable(f"{job.model}, {job.tokens} tokens: {job.refusal}"))
            for job in self.jobs
            if not job.fits
        ]
        return Group(table, *refused)


def _gigabytes(count: int) -> str:
    """A size in GB, to three digits or a tenth."""
    return f"{count / 1e9:.1f}" if count >= 1e10 else f"{count / 1e9:.2f}"


def _teraflops(count: int) -> str:
    """Operations in 10¹²."""
    return f"{count / 1e12:,.0f}" if count >= 1e13 else f"{count / 1e12:.2g}"
