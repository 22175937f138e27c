"""Shapes and types are checked at run time, and float64 exists, in every test."""

from __future__ import annotations

import gc
import importlib
import inspect
import json
import os
import pkgutil
import re
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol, get_type_hints

# Set before anything imports jax: tests never need a GPU, and children inherit it.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
# What one test or child process has compiled, the others need not; nothing is kept from run to run.
os.environ.setdefault(
    "JAX_COMPILATION_CACHE_DIR", os.path.join(tempfile.gettempdir(), f"jaxlin-tests-{os.getpid()}")
)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
# Most tests compile more than they compute, so their machine code may be as it comes; see below.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
# JAX 0.10, the last for Python 3.11, compiles faster without fusion emitters; later ones have no such flag.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_cpu_parallel_codegen_split_count=1"
    + (
        " --xla_cpu_use_fusion_emitters=false" if version("jaxlib").startswith(("0.8", "0.9", "0.10")) else ""
    ),
)
# XLA tells on stderr how slow a busy machine is.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Two workers on two cores: a second thread for torch in each would be in the way.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import jax
import jaxtyping
import numpy as np
import pytest
from jaxtyping import install_import_hook, jaxtyped
from tiny_checkpoints import prompt_ids, write_checkpoint

#: Annotations that say shapes, which may have to agree with each other.
_SHAPES = re.compile(r"\b(Float|U?Int\d*|Bool|Key|Shaped|PyTree)\[")


def checked(*, typechecker: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """What the import hook decorates everything with: jaxtyping's own check of shapes, where there are any.

    Elsewhere it would do no more than the type checker by itself, in ten times as long.
    """

    def decorate(thing: Any) -> Any:
        if inspect.isfunction(thing) and not _SHAPES.search(str(thing.__annotations__)):
            with suppress(NameError, AttributeError):  # of names that only a static checker has
                get_type_hints(thing)
                return typechecker(thing)
        return jaxtyped(typechecker=typechecker)(thing)

    return decorate


with (
    install_import_hook(("jaxlin", "jaxlin_models"), "beartype.beartype"),
    pytest.MonkeyPatch.context() as patch,
):
    patch.setattr(jaxtyping, "jaxtyped", checked)
    import jaxlin_models

    import jaxlin

    # All of them here: what is imported later is not checked.
    for package in (jaxlin, jaxlin_models):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(found.name)
    from jaxlin import DetachedJacobian, load
    from jaxlin.prompts.model import Model

jax.config.update("jax_enable_x64", True)

# What JAX has traced is looked at in every collection, and hardly any of it is garbage.
gc.set_threshold(100_000, 50, 100)

# A run in the background of a script is told to ignore Ctrl-C; tests send it, to themselves and to children.
signal.signal(signal.SIGINT, signal.default_int_handler)

#: One checkpoint a family: llama with biases on the linear path, gemma with windows, qwen with windows.
FAMILIES = ("llama-biases", "gemma3-text", "qwen3-sliding")

#: For programs that run once on little: the same program, less work on its machine code.
QUICK_TO_COMPILE = {"xla_backend_optimization_level": 0}

#: Linux gives a process 65,530 maps of memory, and every compiled program keeps three or four.
_MAPS, _MOST_MAPS, _TESTS_BETWEEN = Path("/proc/self/maps"), 30_000, 20
_TESTS = pytest.StashKey[int]()


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Model]:
    """Loads a random tiny checkpoint by name and dtype, once."""

    @cache
    def directory(name: str) -> Path:
        return write_checkpoint(name, tmp_path_factory.mktemp(name))

    return cache(lambda name, dtype: load(str(directory(name)), dtype=dtype))


@pytest.fixture(scope="session")
def tiny_operator(tiny_model: Callable[[str, str], Model]) -> Callable[[str, str], DetachedJacobian]:
    """The detached Jacobian of a tiny checkpoint at its prompt, which is longer than its window."""
    return cache(lambda name, dtype: tiny_model(name, dtype).jacobian(prompt_ids(name)))


def check_pytree(result: Any) -> None:
    """A result goes through ``jax.tree`` and ``jax.jit`` whole, and can be looked at there."""
    leaves, structure = jax.tree.flatten(result)
    assert leaves
    assert repr(jax.tree.unflatten(structure, leaves)) == repr(result)

    @jax.jit
    def through(result: Any) -> Any:
        assert repr(result)
        return result

    for given, returned in zip(leaves, jax.tree.leaves(through(result)), strict=True):
        np.testing.assert_allclose(returned, given, rtol=1e-6)


class Measured(Protocol):
    """Notes errors that a test measured on a tiny checkpoint, for scripts/families_table.py."""

    def __call__(self, checkpoint: str, **errors: float) -> None: ...


@pytest.fixture
def measured() -> Measured:
    """Appends to the file that JAXLIN_MEASURED names, a JSON object a line; nothing if it is not set."""

    def note(checkpoint: str, **errors: float) -> None:
        if file := os.environ.get("JAXLIN_MEASURED"):
            with open(file, "a", encoding="utf-8") as lines:
                lines.write(json.dumps({"checkpoint": checkpoint} | errors) + "\n")

    return note


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Tests marked ``demos`` compute more than they compile: they and their children optimise."""
    if item.get_closest_marker("demos") is None:
        return (yield)
    quick, os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"], "0"
    jax.config.update("jax_disable_most_optimizations", False)
    try:
        return (yield)
    finally:
        os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = quick
        jax.config.update("jax_disable_most_optimizations", quick == "1")


def pytest_runtest_teardown(item: pytest.Item) -> None:
    """Drop compiled programs before the kernel has no more maps for them, which XLA ends in a crash."""
    count = item.session.stash.setdefault(_TESTS, 0) + 1
    item.session.stash[_TESTS] = count
    if count % _TESTS_BETWEEN == 0 and _MAPS.exists():
        with _MAPS.open("rb") as lines:
            held = sum(1 for _ in lines)
        if held > _MOST_MAPS:
            jax.clear_caches()


def pytest_unconfigure() -> None:
    """Clear away what was compiled, in the process that named the place for it."""
    compiled = Path(os.environ["JAX_COMPILATION_CACHE_DIR"])
    if compiled.name == f"jaxlin-tests-{os.getpid()}":
        shutil.rmtree(compiled, ignore_errors=True)
