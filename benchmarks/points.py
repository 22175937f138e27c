"""Contributions of many points: against vmap(jacrev), captum's input × gradient, and SHAP.

    python benchmarks/points.py --json benchmarks/points.json

Everything is timed in turn within one run, round after round, because machines drift; times are medians over
the rounds, and ratios are of these. ``whole call`` is one call in a process that has not run this function
before: tracing and compilation included. ``again`` is the compiled program alone. What jaxlin does includes
c and the certificate of every point; what the others do does not.

A method's ``misfit`` is how far its contributions are from summing to what they claim to explain: f(x) − c
for
jaxlin, f(x) − f(0) for the others (both are 0 from the input alone). ``difference`` is that of its
contributions from the exact ones, and ``between seeds`` that of two runs of a method that draws samples.
Needs captum and shap beside jaxlin[torch]; what is not installed is left out, and named.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from common import seconds_of, side_by_side
from rich.console import Console
from rich.table import Table

import jaxlin
from jaxlin.linear.points import PointMaps
from jaxlin.runtime.environment import environment

#: Name -> points, sizes of the layers, activation.
NETWORKS = {
    "few outputs": (2000, (200, 128, 128, 2), "relu"),
    "few outputs, gelu": (2000, (200, 128, 128, 2), "gelu"),
    "autoencoder": (50, (765, 128, 2, 128, 765), "relu"),
    "few features": (500, (20, 256, 256, 500), "gelu"),
}
#: Points and samples of SHAP's KernelExplainer, which takes long.
SHAP_POINTS, SHAP_SAMPLES = 10, 2000


def layers_of(sizes: tuple[int, ...]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Random weights and biases in float32."""
    random = np.random.default_rng(0)
    pairs = list(itertools.pairwise(sizes))
    return [
        (
            (random.standard_normal((m, n)) * np.sqrt(2 / m)).astype(np.float32),
            random.standard_normal(n).astype(np.float32) / 10,
        )
        for m, n in pairs
    ]


def network(layers: list[tuple[np.ndarray, np.ndarray]], activation: str) -> Callable[[Any], Any]:
    """The network as a function of one point."""
    act = {"relu": jax.nn.relu, "gelu": lambda h: jax.nn.gelu(h, approximate=False)}[activation]

    def run(x: Any) -> Any:
        for w, b in layers[:-1]:
            x = act(x @ w + b)
        return x @ layers[-1][0] + layers[-1][1]

    return run


def measured(name: str, rounds: int) -> dict[str, Any]:
    """One network: whole calls, and compiled programs in turn."""
    count, sizes, activation = NETWORKS[name]
    f = network(layers_of(sizes), activation)
    x = np.random.default_rng(1).standard_normal((count, sizes[0])).astype(np.float32)
    points = jnp.asarray(x)

    def fresh() -> Callable[[Any], Any]:
        """The same function, unknown to any cache."""
        return lambda x: f(x)

    whole = {
        "jaxlin": seconds_of(lambda: jaxlin.contributions(fresh(), x).J),
        "jit(vmap(jacrev))": seconds_of(lambda: jax.jit(jax.vmap(jax.jacrev(fresh())))(points)),
        "vmap(jacrev)": seconds_of(lambda: jax.vmap(jax.jacrev(fresh()))(points)),
    }
    maps = PointMaps(jaxlin.freeze(f), jax.ShapeDtypeStruct(x.shape[1:], x.dtype))
    size = max(1, 2**22 // maps.bytes_per_point)
    even = -(-count // -(-count // size))

    def chunked() -> list[Any]:
        return [maps.at(points[start : start + even]).jacobian for start in range(0, count - even + 1, even)]

    peers = {
        name: jax.jit(jax.vmap(way(f))) for name, way in (("jacrev", jax.jacrev), ("jacfwd", jax.jacfwd))
    }
    again = side_by_side(
        {"jaxlin": chunked, **{f"jit(vmap({n}))": (lambda p=peer: p(points)) for n, peer in peers.items()}},
        rounds,
    )
    result = jaxlin.contributions(f, x)
    return {
        "points": count, "sizes": sizes, "activation": activation, "method": maps.method,
        "whole_call": whole,
        "again": {name: statistics.median(each) for name, each in again.items()},
        "reconstruction": float(result.reconstruction.max()),
        "misfit": misfit(result.contributions, result.y - result.offset),
    }  # fmt: skip


def misfit(contributed: np.ndarray, explained: np.ndarray) -> float:
    """‖Σ contributions − what they explain‖, relative; in float64."""
    total = contributed.astype(np.float64).sum(-1)
    return float(np.linalg.norm(total - explained) / np.linalg.norm(explained))


def distance(a: np.ndarray, b: np.ndarray) -> float:
    """‖a − b‖ / ‖b‖."""
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


def torch_twin(layers: list[tuple[np.ndarray, np.ndarray]], activation: str) -> Any:
    """The same network in PyTorch."""
    import torch

    parts: list[Any] = []
    for w, b in layers:
        linear = torch.nn.Linear(*w.shape)
        linear.weight.data, linear.bias.data = torch.tensor(w.T.copy()), torch.tensor(b)
        parts += [linear, torch.nn.ReLU() if activation == "relu" else torch.nn.GELU()]
    return torch.nn.Sequential(*parts[:-1]).eval()


def others(name: str) -> dict[str, dict[str, float]]:
    """Other methods on the same network: seconds a point, misfit, difference, repeatability."""
    count, sizes, activation = NETWORKS[name]
    layers = layers_of(sizes)
    f = network(layers, activation)
    x = np.random.default_rng(1).standard_normal((count, sizes[0])).astype(np.float32)
    exact = jaxlin.contributions(f, x)
    rise = exact.y - np.asarray(f(jnp.zeros(sizes[0])))
    maps = PointMaps(jaxlin.freeze(f), jax.ShapeDtypeStruct(x.shape[1:], x.dtype))
    jax.block_until_ready(maps.at(jnp.asarray(x)))
    ours = seconds_of(lambda: maps.at(jnp.asarray(x)))
    found = {
        "jaxlin": {
            "seconds_per_point": ours / count,
            "misfit": misfit(exact.contributions, exact.y - exact.offset),
        }
    }
    if importlib.util.find_spec("captum"):
        found["captum, input × gradient"] = by_captum(torch_twin(layers, activation), x, exact, rise)
    if importlib.util.find_spec("shap"):
        found["SHAP, KernelExplainer"] = by_shap(f, x[:SHAP_POINTS], exact, rise[:SHAP_POINTS])
    return found


def by_captum(module: Any, x: np.ndarray, exact: Any, rise: np.ndarray) -> dict[str, float]:
    """Input × gradient, an output at a time."""
    import torch
    from captum.attr import InputXGradient

    method = InputXGradient(module)

    def run() -> np.ndarray:
        given = torch.tensor(x, requires_grad=True)
        each = [method.attribute(given, target=i).detach().numpy() for i in range(rise.shape[1])]
        return np.stack(each, axis=1)

    run()
    started = time.perf_counter()
    made = run()
    seconds = time.perf_counter() - started
    return {
        "seconds_per_point": seconds / len(x),
        "misfit": misfit(made, rise),
        "difference": distance(made, exact.contributions),
    }


def by_shap(f: Callable[[Any], Any], x: np.ndarray, exact: Any, rise: np.ndarray) -> dict[str, float]:
    """Shapley values from samples, with an input of zeros as the baseline."""
    import shap

    many = jax.jit(jax.vmap(f))
    explainer = shap.KernelExplainer(lambda rows: np.asarray(many(rows)), np.zeros((1, x.shape[1]), x.dtype))

    def run(seed: int) -> np.ndarray:
        np.random.seed(seed)  # noqa: NPY002 - what shap draws from
        made = explainer.shap_values(x, nsamples=SHAP_SAMPLES, silent=True)
        return np.moveaxis(np.asarray(made), -1, 1)

    run(0)
    started = time.perf_counter()
    first = run(1)
    seconds = time.perf_counter() - started
    return {
        "seconds_per_point": seconds / len(x),
        "misfit": misfit(first, rise),
        "difference": distance(first, exact.contributions[: len(x)]),
        "between_seeds": distance(run(2), first),
    }


def show(console: Console, speed: dict[str, Any], compared: dict[str, Any]) -> None:
    """Two tables."""
    table = Table(title="seconds", title_justify="left")
    columns = ("network", "points", "J", "jaxlin", "jit(vmap(jacrev))", "ratio", "jit(vmap(jacfwd))", "ratio",
               "whole call", "with jit", "without")  # fmt: skip
    for column in columns:
        table.add_column(column, justify="right")
    for name, figures in speed.items():
        again, whole = figures["again"], figures["whole_call"]
        ours, reverse, forward = (again[key] for key in ("jaxlin", *list(again)[1:]))
        table.add_row(
            name, str(figures["points"]), f"{figures['sizes'][-1]} × {figures['sizes'][0]}",
            f"{ours:.3f}", f"{reverse:.3f}", f"{reverse / ours:.1f}", f"{forward:.3f}",
            f"{forward / ours:.1f}",
            *(f"{seconds:.1f}" for seconds in whole.values()),
        )  # fmt: skip
    console.print(table)
    table = Table(title="against other methods", title_justify="left")
    for column in ("network", "method", "ms a point", "misfit", "difference", "between seeds"):
        table.add_column(column, justify="right")
    for name, methods in compared.items():
        for method, figures in methods.items():
            rest = [figures.get(key) for key in ("misfit", "difference", "between_seeds")]
            cells = ["" if value is None else f"{value:.1e}" for value in rest]
            table.add_row(name, method, f"{1e3 * figures['seconds_per_point']:.3f}", *cells)
    console.print(table)


def main() -> None:
    """Measure, show, and write JSON if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    speed = {name: measured(name, arguments.rounds) for name in NETWORKS}
    compared = {name: others(name) for name in ("few outputs", "few outputs, gelu")}
    console = Console(width=160)
    missing = [package for package in ("captum", "shap") if not importlib.util.find_spec(package)]
    if missing:
        console.print(f"not installed, and left out: {', '.join(missing)}")
    show(console, speed, compared)
    if arguments.json:
        figures = {**environment(), "rounds": arguments.rounds, "networks": speed, "methods": compared}
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
