"""Check jaxlin's detached Jacobian against one that stock transformers and torch autograd make by themselves.

The same checkpoint is loaded in stock transformers, lifted to float64 and detached on the loaded instance
(scripts/torch_oracle.py); torch builds the dense Jacobian row by row and takes its SVD. jaxlin does the same
by its dense method, and the two are printed side by side. Exit status 0: every limit kept; 1: one was
exceeded; 2: the request could not be met.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
import psutil
import torch
import torch_oracle as oracle
import transformers
from jaxlin_models import families
from jaxlin_models.errors import ModelError
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy.linalg import subspace_angles
from transformers import AutoConfig, PreTrainedConfig

import jaxlin
from jaxlin.prompts.model import Model

Floats = NDArray[np.float64]

JACOBIAN_LIMIT = 1e-10
SINGULAR_VALUE_LIMIT = 1e-8

PROMPT = "The capital of France is"
EXAMPLE = """\
example:
  python scripts/crosscheck_torch.py --model demo-llama --prompt "The Seine flows through" -k 8
"""


@dataclass(frozen=True)
class Decomposition:
    """One side's account of a prompt: x [t, d], y [d], c [d], J [d, t, d] and its leading k triplets.

    ``image_d`` is J times the :func:`probe`: jaxlin builds J from backward passes, so its forward pass
    needs a look of its own.
    """

    x_td: Floats
    y_d: Floats
    c_d: Floats
    jacobian_dtd: Floats
    image_d: Floats
    u_kd: Floats
    s_k: Floats
    v_ktd: Floats

    def reconstruction(self) -> float:
        """‖J x + c − y‖ / ‖y‖: how linear the detached network is on this side."""
        y = apply(self.jacobian_dtd, self.x_td) + self.c_d
        return relative(y, self.y_d)


@dataclass(frozen=True)
class Figure:
    """One compared number; without a limit it is for information."""

    name: str
    value: float
    limit: float | None = None

    @property
    def passed(self) -> bool:
        """Whether the limit is kept. NaN keeps none."""
        return self.limit is None or self.value <= self.limit


def probe(shape: tuple[int, ...]) -> Floats:
    """The random input direction [t, d] on which forward passes are compared; always the same."""
    return np.random.default_rng(0).standard_normal(shape)


def apply(jacobian_dtd: Floats, v_td: Floats) -> Floats:
    """J v [d]."""
    return np.einsum("dte,te->d", jacobian_dtd, v_td)


def by_torch(
    path: Path, token_ids: Sequence[int], k: int, config: PreTrainedConfig | None = None
) -> Decomposition:
    """Stock model, detached on the instance; Jacobian by autograd, SVD by LAPACK through torch."""
    model = oracle.detach(oracle.load_stock(path, config=config))
    x = oracle.embeddings(model, token_ids)
    with torch.no_grad():
        y = oracle.last_hidden(model, x)
    jacobian = oracle.dense_jacobian(model, x)
    u, s, vt = torch.linalg.svd(jacobian.flatten(1), full_matrices=False)
    return Decomposition(
        x_td=x.numpy(),
        y_d=y.numpy(),
        c_d=oracle.offset(model, x).numpy(),
        jacobian_dtd=jacobian.numpy(),
        image_d=apply(jacobian.numpy(), probe(x.shape)),
        u_kd=u.T[:k].numpy(),
        s_k=s[:k].numpy(),
        v_ktd=vt[:k].reshape(-1, *x.shape).numpy(),
    )


def by_jaxlin(model: Model, token_ids: Sequence[int], k: int) -> Decomposition:
    """jaxlin by its dense method."""
    operator = model.jacobian(token_ids, policy="detached")
    result = jaxlin.svd(operator, k=k, method="dense")
    return Decomposition(
        x_td=np.asarray(operator.x),
        y_d=np.asarray(operator.y),
        c_d=np.asarray(operator.offset),
        jacobian_dtd=np.asarray(operator.dense()),
        image_d=np.asarray(operator.matvec(probe(operator.input_shape))),
        u_kd=np.asarray(result.U),
        s_k=np.asarray(result.s),
        v_ktd=np.asarray(result.V),
    )


def compare(ours: Decomposition, theirs: Decomposition) -> list[Figure]:
    """Every figure of the comparison, ``theirs`` being the reference."""
    k = len(theirs.s_k)
    angles = {
        "left": subspace_angles(ours.u_kd.T, theirs.u_kd.T),
        "right": subspace_angles(ours.v_ktd.reshape(k, -1).T, theirs.v_ktd.reshape(k, -1).T),
    }
    return [
        Figure("embeddings x, relative error", relative(ours.x_td, theirs.x_td), JACOBIAN_LIMIT),
        Figure("output y, relative error", relative(ours.y_d, theirs.y_d), JACOBIAN_LIMIT),
        Figure(
            "offset c, error relative to ‖y‖",
            float(np.linalg.norm(ours.c_d - theirs.c_d) / np.linalg.norm(theirs.y_d)),
            JACOBIAN_LIMIT,
        ),
        Figure(
            "Jacobian J, relative error", relative(ours.jacobian_dtd, theirs.jacobian_dtd), JACOBIAN_LIMIT
        ),
        Figure(
            "J v by a forward pass, relative error", relative(ours.image_d, theirs.image_d), JACOBIAN_LIMIT
        ),
        Figure(
            f"the {k} largest σ, largest relative error",
            float(np.max(_relative_each(ours.s_k, theirs.s_k))),
            SINGULAR_VALUE_LIMIT,
        ),
        Figure(f"left {k}-subspaces, largest principal angle (rad)", float(angles["left"].max())),
        Figure(f"right {k}-subspaces, largest principal angle (rad)", float(angles["right"].max())),
        Figure("‖J x + c − y‖ / ‖y‖ in torch", theirs.reconstruction()),
        Figure("‖J x + c − y‖ / ‖y‖ in jaxlin", ours.reconstruction()),
    ]


def relative(value: Floats, reference: Floats) -> float:
    """‖value − reference‖ / ‖reference‖ over all entries; 0 / 0 is 0."""
    if value.shape != reference.shape:
        raise ValueError(f"shapes differ: {value.shape} and {reference.shape}")
    size = np.linalg.norm(reference)
    return float(np.linalg.norm(value - reference) / (size if size > 0 else 1))


def _relative_each(value: Any, reference: Any) -> Floats:
    """|value − reference| / reference of every entry, all of which are 0 or more; 0 / 0 is 0."""
    return np.abs(value - reference) / np.where(np.asarray(reference) > 0, reference, 1)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the comparison that the command line asks for; returns the exit status."""
    options = _parser().parse_args(arguments)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        figures = _compared(options)
    except KeyboardInterrupt:
        return _refused("interrupted; nothing was written", 130)
    except jaxlin.JaxlinError as error:
        return _refused(str(error))
    except MemoryError:
        return _refused("the memory does not suffice; use a shorter prompt")
    except Exception as error:  # noqa: BLE001 (torch, transformers and what they call raise errors of any type)
        lines = str(error).strip().splitlines() or ["no reason given"]
        return _refused(f"{options.model} cannot be compared ({type(error).__name__}: {lines[0][:200]})")
    return 0 if all(figure.passed for figure in figures) else 1


def _compared(options: argparse.Namespace) -> list[Figure]:
    model = jaxlin.load(options.model, dtype="float64")
    token_ids = model.tokenize(_prompt(options))
    _require_memory(model.decoder.config.embed_dim, len(token_ids))
    ours = by_jaxlin(model, token_ids, options.k)
    with _at_stock():
        theirs = _theirs(model, token_ids, options.k)
    figures = compare(ours, theirs)
    _print(options.model, ours, theirs, figures)
    return figures


def _theirs(model: Model, token_ids: Sequence[int], k: int) -> Decomposition:
    """Of a GGUF file stock transformers reads the tensors by itself; of its metadata it leaves some out."""
    checkpoint = model.checkpoint
    if checkpoint.gguf is None:
        return by_torch(checkpoint.directory, token_ids, k)
    if len(checkpoint.gguf.files.paths) > 1:
        raise ModelError(
            "stock transformers reads no model in several GGUF files; there is nothing to compare with"
        )
    path = checkpoint.gguf.files.named
    for difference in config_differences(path, checkpoint.hf_config):
        print(difference)
    return by_torch(path, token_ids, k, checkpoint.hf_config)


def config_differences(path: Path, ours: PreTrainedConfig) -> list[str]:
    """The settings that stock transformers' own reading of a GGUF file's metadata lacks or has otherwise."""
    stock = AutoConfig.from_pretrained(path.parent, gguf_file=path.name)
    return [
        f"{path.name}: {key} is {getattr(ours, key, None)} by the file, and {getattr(stock, key, None)} "
        f"by stock "
        f"transformers; compared with the file's"
        for key in sorted(families.family(ours.model_type).USED)
        if getattr(stock, key, None) != getattr(ours, key, None)
    ]


@contextmanager
def _at_stock() -> Iterator[None]:
    """Say of an error of torch or transformers that it is theirs."""
    try:
        yield
    except (oracle.IncompleteCheckpoint, ModelError, MemoryError):
        raise
    except Exception as error:
        reason = (str(error).strip().splitlines() or ["no reason given"])[0]
        raise ModelError(
            f"stock transformers cannot compute this model ({type(error).__name__}: {reason[:200]}); "
            f"there is nothing to compare with"
        ) from error


def _refused(why: str, status: int = 2) -> int:
    with suppress(OSError, ValueError):  # stderr may be closed or full
        print(f"crosscheck_torch: {why}".encode("ascii", "backslashreplace").decode(), file=sys.stderr)
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--model",
        required=True,
        help="checkpoint directory, GGUF file, hub id, or demo-llama | demo-gemma | demo-qwen",
    )
    prompt = parser.add_mutually_exclusive_group()
    prompt.add_argument(
        "--prompt", metavar="TEXT", default=PROMPT, help=f"the prompt itself ({PROMPT!r} if none is given)"
    )
    prompt.add_argument("--prompt-file", metavar="FILE", type=Path, help="a UTF-8 file holding the prompt")
    prompt.add_argument("--token-ids", metavar="1,2,3", type=_integers, help="the prompt's token ids")
    parser.add_argument("-k", type=_positive, default=16, help="singular triplets to compare (16)")
    return parser


def _integers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list like 1,2,3") from error


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def _prompt(options: argparse.Namespace) -> str | list[int]:
    if options.token_ids is not None:
        return options.token_ids
    return options.prompt if options.prompt_file is None else options.prompt_file.read_text("utf-8")


def _require_memory(d: int, length: int) -> None:
    """Refuse prompts whose dense Jacobians (two of them, and the work space of an SVD) would not fit."""
    needed, available = 6 * 8 * d * length * d, psutil.virtual_memory().available
    if needed > available:
        raise ModelError(
            f"dense Jacobians for {length} tokens of width {d} need about {needed / 2**30:.1f} GiB and "
            f"{available / 2**30:.1f} GiB are free; use a shorter prompt"
        )


def _print(name: str, ours: Decomposition, theirs: Decomposition, figures: list[Figure]) -> None:
    console = Console()
    versions = f"torch {torch.__version__}, transformers {transformers.__version__}, jax {jax.__version__}"
    length, d = theirs.x_td.shape
    console.print(f"{name}: {length} tokens, J is {d} × {length * d}, float64 ({versions})")
    values = Table("i", "σ torch", "σ jaxlin", "relative difference", title="Singular values")
    for row in _value_rows(ours.s_k, theirs.s_k):
        values.add_row(*row)
    console.print(values)
    summary = Table("figure", "value", "limit", "", title="jaxlin against stock torch")
    for figure in figures:
        limit = "" if figure.limit is None else f"{figure.limit:.0e}"
        verdict = "" if figure.limit is None else "PASS" if figure.passed else "FAIL"
        summary.add_row(figure.name, f"{figure.value:.2e}", limit, verdict)
    console.print(summary)
    console.print("PASS" if all(figure.passed for figure in figures) else "FAIL")


def _value_rows(ours: Floats, theirs: Floats) -> Iterator[tuple[str, str, str, str]]:
    for i, (mine, reference) in enumerate(zip(ours, theirs, strict=True), start=1):
        yield str(i), f"{reference:.12g}", f"{mine:.12g}", f"{float(_relative_each(mine, reference)):.1e}"


if __name__ == "__main__":
    sys.exit(main())
