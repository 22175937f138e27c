"""The same detached model in torch (scripts/torch_oracle.py), with the same weights, as a peer.

Every coefficient is detached by autograd, so J·v and Jᵀ·u are torch's own jvp and vjp. Both are taken from
one graph that is kept: u ↦ Jᵀu is linear, so J·v is the gradient of ⟨Jᵀu, v⟩ in u, and no pass repeats the
forward pass. That is the fastest way torch has; ``torch.func.jvp`` would run the model anew each time.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from common import Cost
from jaxlin_models.weights import to_huggingface
from methods_joint import Job, Solve, scipy_solver
from numpy.typing import NDArray
from products import Found, Products, finished
from torch import Tensor
from transformers import AutoModelForCausalLM

sys.path.append(str(Path(__file__).parents[1] / "scripts"))
import torch_oracle

#: Rows of the Jacobian in one batch of vector-Jacobian products.
_CHUNK = 8


class Graph:
    """One forward pass of the detached model and one linear backward pass, kept."""

    def __init__(self, job: Job) -> None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
        subject = job.subject
        model = AutoModelForCausalLM.from_config(subject.hf_config, attn_implementation="eager").float()
        tensors = to_huggingface(subject.decoder, subject.hf_config)
        weights = {name: torch.from_numpy(np.array(tensor)) for name, tensor in tensors.items()}
        model.load_state_dict(weights, strict=False)
        model = torch_oracle.detach(model.eval().requires_grad_(False)).to(device)
        self.x = torch.from_numpy(np.array(subject.operator.x)).to(device).requires_grad_()
        self.y = torch_oracle.last_hidden(model, self.x)
        theirs, ours = self.y.detach().cpu().numpy(), np.asarray(subject.operator.y)
        assert np.linalg.norm(theirs - ours) <= 1e-4 * np.linalg.norm(ours), "torch has another model"
        self.u = torch.zeros_like(self.y, requires_grad=True)
        (self.pulled,) = torch.autograd.grad(self.y, self.x, self.u, create_graph=True)

    @property
    def shape(self) -> tuple[int, int]:
        """(m, n) of J."""
        return self.y.numel(), self.x.numel()

    def backward(self, u: NDArray) -> NDArray:
        """Jᵀ·U, one vector-Jacobian product a row."""
        return np.stack([self._gradient(self.y, self.x, row) for row in u])

    def forward(self, v: NDArray) -> NDArray:
        """J·V, one gradient of the linear backward pass a row."""
        return np.stack([self._gradient(self.pulled, self.u, row) for row in v])

    def _gradient(self, output: Tensor, leaf: Tensor, row: NDArray) -> NDArray:
        cotangent = torch.from_numpy(np.ascontiguousarray(row)).to(output).reshape(output.shape)
        (gradient,) = torch.autograd.grad(output, leaf, cotangent, retain_graph=True)
        return gradient.cpu().numpy().ravel()

    def rows(self, start: int) -> Tensor:
        """``_CHUNK`` rows of J at once, flat."""
        units = torch.eye(len(self.y), dtype=self.y.dtype, device=self.y.device)[start : start + _CHUNK]
        (rows,) = torch.autograd.grad(self.y, self.x, units, retain_graph=True, is_grads_batched=True)
        return rows.reshape(len(units), -1)


def torch_svds(job: Job) -> Solve:
    """scipy's ARPACK over torch's own vjp and jvp."""
    graph = Graph(job)
    rows, columns = graph.shape
    graph.forward(np.ones((1, columns), np.float32)), graph.backward(np.ones((1, rows), np.float32))
    solve = scipy_solver("arpack", job.k, job.tolerance, job.sigma)

    def run() -> Found:
        meter = job.memory()
        products = Products(graph.shape, graph.forward, graph.backward, job.limit)
        return finished(solve, products, job.matrix, meter.bytes)

    return run


def torch_dense(job: Job) -> Solve:
    """The matrix by batched vector-Jacobian products, then ``torch.linalg.svd``."""
    graph = Graph(job)
    graph.rows(0)

    def solve() -> Found:
        meter = job.memory()
        total, parts, start = graph.shape[0], [], Cost.now()
        for first in range(0, total, _CHUNK):
            parts.append(graph.rows(first))
            elapsed = Cost.since(start).seconds
            if elapsed / len(parts) * (total / _CHUNK) > job.limit and elapsed > job.limit / 2:
                break
        measured = sum(len(part) for part in parts)
        built = Cost.since(start) * (total / measured)
        if measured < total:
            matrix = torch.from_numpy(job.matrix())
            meter = job.memory()
        else:
            matrix = torch.cat(parts)
        start = Cost.now()
        u, s, vt = torch.linalg.svd(matrix, full_matrices=False)
        u, s, vt = (a.cpu().numpy() for a in (u[:, : job.k].T, s[: job.k], vt[: job.k]))
        note = "" if measured == total else f"scaled from {measured} of {total} rows"
        return Found(u, s, vt, total, built + Cost.since(start), meter.bytes(), note)

    return solve


ROWS = {"torch svds": torch_svds, "torch dense": torch_dense}
