"""How fast one pass is: matvec and rmatvec against the machine's own GEMM rate and against jvp/vjp closures.

    python benchmarks/passes.py --json benchmarks/passes.json

Everything is timed in turn within one run, round after round, because machines drift; figures are medians
over the rounds of what was measured side by side. Weights are random, of real shape, made on the device. A
fraction of the GEMM rate counts the arithmetic of the linear path alone (value, output, up, down and P·V as
the full T × T product it is computed as); for the closures it counts the same useful arithmetic, whatever
else they compute.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxlin_models import POLICIES, Decoder, DecoderConfig, RopeConfig, algorithm, pass_flops, record
from jaxlin_models.detach import Detached
from rich.console import Console
from rich.table import Table

from jaxlin import DetachedJacobian, linearize
from jaxlin.prompts.operators import Backward, Forward, PassState
from jaxlin.runtime.environment import environment

PROBE_BLOCK = 8
#: Square products that a machine runs at its full rate, beside the passes' own largest one.
GEMM_SIZES = (1024, 2048)
SHALLOW, DEEP = 4, 32


@dataclass(frozen=True)
class Setting:
    """What is measured."""

    tokens: int
    layers: int
    dim: int
    heads: int
    kv_heads: int
    mlp: int
    rounds: int

    def config(self) -> DecoderConfig:
        """A Llama-like decoder of this size."""
        rope, head_dim = RopeConfig(1e4), self.dim // self.heads
        return DecoderConfig(
            family="llama",
            vocab_size=512,
            embed_dim=self.dim,
            num_layers=self.layers,
            num_heads=self.heads,
            num_kv_heads=self.kv_heads,
            head_dim=head_dim,
            mlp_dim=self.mlp,
            max_positions=self.tokens,
            norm_eps=1e-6,
            activation="silu",
            rope_full=rope,
            rope_sliding=rope,
            layer_types=("full",) * self.layers,
            sliding_window=None,
            query_scale=head_dim**-0.5,
        )

    def flops(self) -> int:
        """Floating-point operations of the linear path, one pass."""
        return pass_flops(self.config(), self.tokens)


def main() -> None:
    """Measure, print the table, write the JSON."""
    options = _parser().parse_args()
    setting = Setting(
        options.tokens,
        options.layers,
        options.dim,
        options.heads,
        options.kv_heads,
        options.mlp,
        options.rounds,
    )
    figures = measure(setting)
    show(figures)
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")
        print(f"wrote {options.json}")


def measure(setting: Setting) -> dict[str, Any]:
    """Every figure of this benchmark."""
    operator, closures = operators(setting)
    seconds = side_by_side(gemms(setting) | calls(operator, closures), setting.rounds)
    shapes = gemm_shapes(setting)
    rates = [
        max(2 * math.prod(shape) / seconds[name][i] for name, shape in shapes.items())
        for i in range(setting.rounds)
    ]
    block = {"matmat": PROBE_BLOCK, "rmatmat": PROBE_BLOCK}
    passes = {}
    for name in (name for name in seconds if name not in shapes):
        one = [t / block.get(name, 1) for t in seconds[name]]
        fractions = [setting.flops() / (t * rate) for t, rate in zip(one, rates, strict=True)]
        passes[name] = {
            "seconds_per_pass": statistics.median(one),
            "passes_per_second": 1 / statistics.median(one),
            "fraction_of_gemm_rate": statistics.median(fractions),
        }
    return {
        "setting": asdict(setting),
        **environment(algorithm("float32", jax.default_backend())),
        "gemm_gflops_per_second": statistics.median(rates) / 1e9,
        "flops_per_pass": setting.flops(),
        "passes": passes,
        "speedup_over_closures": {
            name: statistics.median(
                b / a for a, b in zip(seconds[name], seconds[f"closure {name}"], strict=True)
            )
            for name in ("matvec", "rmatvec")
        },
        "compile_seconds": compile_seconds(setting),
        "bytes": held(operator),
    }


def operators(setting: Setting) -> tuple[DetachedJacobian, DetachedJacobian]:
    """The recorded operator, and jvp/vjp closures of the un-recorded function at the same point."""
    decoder = Decoder(setting.config(), rngs=nnx.Rngs(0))
    graphdef, weights = nnx.split(decoder)
    ids = jax.random.randint(jax.random.key(1), (setting.tokens,), 0, setting.config().vocab_size)
    x = decoder.embed(ids)
    y, recorded = jax.jit(lambda w, x: record(nnx.merge(graphdef, w), x, -1))(weights, x)
    state, forward, backward = PassState(weights, recorded), Forward(graphdef), Backward(graphdef, len(x))
    recorded_operator = DetachedJacobian(state, x, y, jnp.zeros_like(y), forward, backward, True)
    mode = Detached(POLICIES["detached"])
    closures = linearize(lambda x, w: nnx.merge(graphdef, w)(x, mode)[-1], x, weights)
    return recorded_operator, closures


def calls(operator: DetachedJacobian, closures: DetachedJacobian) -> dict[str, Callable[[], jax.Array]]:
    """What is timed, by name, ready to run."""
    key_v, key_u = jax.random.split(jax.random.key(2))
    v = jax.random.normal(key_v, (PROBE_BLOCK, *operator.input_shape))
    u = jax.random.normal(key_u, (PROBE_BLOCK, *operator.output_shape))
    return {
        "matvec": lambda: operator.matvec(v[0]),
        "rmatvec": lambda: operator.rmatvec(u[0]),
        "matmat": lambda: operator.matmat(v),
        "rmatmat": lambda: operator.rmatmat(u),
        "closure matvec": lambda: closures.matvec(v[0]),
        "closure rmatvec": lambda: closures.rmatvec(u[0]),
    }


def gemm_shapes(setting: Setting) -> dict[str, tuple[int, int, int]]:
    """Reference products (m, k, n); the best of them in each round is the machine's rate."""
    own = (PROBE_BLOCK * setting.tokens, setting.dim, setting.mlp)
    return {f"gemm {m} × {k} × {n}": (m, k, n) for m, k, n in [own, *((s, s, s) for s in GEMM_SIZES)]}


def gemms(setting: Setting) -> dict[str, Callable[[], jax.Array]]:
    """The reference products by name, ready to run."""

    def one(m: int, k: int, n: int) -> Callable[[], jax.Array]:
        a, b = jax.random.normal(jax.random.key(3), (m, k)), jax.random.normal(jax.random.key(4), (k, n))
        product = jax.jit(lambda a, b: jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST))
        return lambda: product(a, b)

    return {name: one(*shape) for name, shape in gemm_shapes(setting).items()}


def side_by_side(functions: dict[str, Callable[[], jax.Array]], rounds: int) -> dict[str, list[float]]:
    """Seconds of every function, in turn, ``rounds`` times, after one call each to compile."""
    for function in functions.values():
        jax.block_until_ready(function())
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            start = time.perf_counter()
            jax.block_until_ready(function())
            seconds[name].append(time.perf_counter() - start)
    return seconds


def compile_seconds(setting: Setting) -> dict[str, float]:
    """Seconds to trace and compile record, matvec and rmatvec, for a shallow and a deep decoder."""

    def once(layers: int) -> float:
        config = replace(setting, layers=layers).config()
        shapes = nnx.eval_shape(lambda: Decoder(config, rngs=nnx.Rngs(0)))
        graphdef, weights = nnx.split(shapes)
        weights = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), weights)
        x = jax.ShapeDtypeStruct((setting.tokens, setting.dim), jnp.float32)
        start = time.perf_counter()
        lowered = jax.jit(lambda w, x: record(nnx.merge(graphdef, w), x, -1)).lower(weights, x)
        lowered.compile()
        y, recorded = lowered.out_info
        recorded = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), recorded)
        v, u = (jax.ShapeDtypeStruct((1, *like.shape), jnp.float32) for like in (x, y))
        state = PassState(weights, recorded)
        jax.jit(Forward(graphdef)).lower(state, v).compile()
        jax.jit(Backward(graphdef, setting.tokens)).lower(state, u).compile()
        return time.perf_counter() - start

    once(SHALLOW)  # the first compilation of a process pays for more than itself
    pairs = [(once(SHALLOW), once(DEEP)) for _ in range(3)]
    return {
        f"{SHALLOW}_layers": statistics.median(shallow for shallow, _ in pairs),
        f"{DEEP}_layers": statistics.median(deep for _, deep in pairs),
        "ratio": statistics.median(deep / shallow for shallow, deep in pairs),
    }


def held(operator: DetachedJacobian) -> dict[str, int]:
    """Bytes of the weights, of the coefficients beside them, and of each pass's scratch."""
    weights, recorded = operator.state.weights, operator.state.recorded
    probes = {
        "matvec": (operator.forward, operator.x[None]),
        "rmatvec": (operator.backward, operator.y[None]),
    }
    scratch = {
        f"{name}_scratch": jax.jit(apply)
        .lower(operator.state, probe)
        .compile()
        .memory_analysis()
        .temp_size_in_bytes
        for name, (apply, probe) in probes.items()
    }
    return {
        "weights": sum(leaf.nbytes for leaf in jax.tree.leaves(weights)),
        "coefficients": sum(leaf.nbytes for leaf in jax.tree.leaves(recorded)),
        **scratch,
    }


def show(figures: dict[str, Any]) -> None:
    """Print what was measured."""
    setting, compile_time, held_bytes = figures["setting"], figures["compile_seconds"], figures["bytes"]
    table = Table(
        title=f"{setting['layers']} layers, d = {setting['dim']}, T = {setting['tokens']}, float32, "
        f"{figures['device']}, GEMM {figures['gemm_gflops_per_second']:.0f} GF/s",
        title_justify="left",
    )
    for column in ("", "s a pass", "passes/s", "of the GEMM rate"):
        table.add_column(column, justify="right" if column else "left")
    for name, figure in figures["passes"].items():
        table.add_row(
            f"{name}, {PROBE_BLOCK} probes" if name.endswith("mat") else name,
            f"{figure['seconds_per_pass']:.4f}",
            f"{figure['passes_per_second']:.2f}",
            f"{figure['fraction_of_gemm_rate']:.0%}",
        )
    console = Console()
    console.print(table)
    for name, ratio in figures["speedup_over_closures"].items():
        console.print(f"{name}: {ratio:.2f} × the closure's speed", highlight=False)
    console.print(
        f"compile: {compile_time[f'{SHALLOW}_layers']:.2f} s at {SHALLOW} layers, "
        f"{compile_time[f'{DEEP}_layers']:.2f} s at {DEEP}, ratio {compile_time['ratio']:.2f}",
        highlight=False,
    )
    console.print(
        "bytes: " + ", ".join(f"{name} {count / 1e6:.0f} MB" for name, count in held_bytes.items()),
        highlight=False,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], epilog="example: python benchmarks/passes.py --tokens 400"
    )
    parser.add_argument("--tokens", type=int, default=400)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--dim", type=int, default=768)
    parser.add_argument("--heads", type=int, default=12)
    parser.add_argument("--kv-heads", type=int, default=4)
    parser.add_argument("--mlp", type=int, default=3072)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path, help="where to write the figures")
    return parser


if __name__ == "__main__":
    main()
