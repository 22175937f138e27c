"""What a job costs is weighed and said beforehand: methods, layers, programs kept for the next command."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import FAMILIES
from test_svd import M, N, operator_of
from tiny_checkpoints import prompt_ids

from jaxlin.linear.fresh import Layout, send
from jaxlin.linear.linearize import linearize
from jaxlin.runtime.compilation_cache import check_compilation_cache, own_folder
from jaxlin.solvers.choose import choose_method
from jaxlin.solvers.svd import svd
from jaxlin.verbs.layers import plan
from jaxlin.verbs.options import Layers

CACHE = (
    "jax_compilation_cache_dir",
    "jax_compilation_cache_max_size",
    "jax_persistent_cache_min_compile_time_secs",
)


def test_auto_does_not_compile_for_longer_than_all_rows_take():
    small = replace(operator_of(np.ones((M, N)), "float32"), y=jnp.zeros(128))
    chosen = choose_method(small, 16)
    assert chosen.method == "dense"
    assert chosen.reason.endswith("lanczos, about 80 passes, would compile for longer than these take")
    large = replace(small, state=jax.ShapeDtypeStruct((10**11,), np.float32))
    assert choose_method(large, 16).method == "lanczos"
    assert choose_method(small, 16, "gram").reason == "its 128 rows, streamed, give every singular value"


def test_a_solve_compiles_its_own_programs_alone():
    """Start, step, the two passes and what puts arrays on the device: none for one operation on the host."""
    compiled: list[str] = []

    def hear(event: str, seconds: float, **names: str) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            compiled.append(event)

    matrix = jnp.asarray(np.random.default_rng(2).standard_normal((37, 101)), jnp.float32)
    operator = linearize(lambda x, matrix: matrix @ x, jnp.ones(101, jnp.float32), matrix)
    jax.monitoring.register_event_duration_secs_listener(hear)
    try:
        assert svd(operator, 3, method="lanczos").certificate.holds
    finally:
        jax.monitoring.unregister_event_duration_listener(hear)
    assert 4 <= len(compiled) <= 8


@pytest.mark.parametrize(
    ("count", "most"), [(1, 8), (4, 8), (7, 8), (8, 8), (35, 8), (41, 8), (5, 1), (3, 2)]
)
@pytest.mark.parametrize("again", [False, True])
def test_probes_are_sent_in_calls_of_one_size(count: int, most: int, again: bool):
    layout, sizes = Layout.of(count, most, again=again), []

    def run(probes: np.ndarray) -> np.ndarray:
        sizes.append(probes.shape[1])
        return 2 * probes

    got = list(send(run, [lambda i: np.full(3, i), lambda i: np.full(3, i + 100)], layout))
    assert sizes == [layout.size] * layout.calls
    assert layout.size <= most
    assert count + again <= layout.passes < count + again + most
    for number, image in got:
        np.testing.assert_array_equal(image, 2 * (number % count) + np.array([[0] * 3, [200] * 3]))
    if again:  # the first probe once more, and not in the call that it was in before
        assert count < layout.passes
        assert count // layout.size > 0


def test_layers_say_what_they_will_take(tiny_model):
    said: list[str] = []
    model = tiny_model(FAMILIES[0], "float64")
    options = Layers(k=2, parts="cumulative,block", layers="0:2")
    plan(model, prompt_ids(FAMILIES[0]), options, lambda *words: said.append(words[3]))
    count, passes = model.config.num_layers, int(said[-1].split(" passes")[0].split()[-1])
    work = passes * (1 + 2 + 1 + 1) / count  # cumulative to layers 0 and 1, and two single layers
    assert said[-1].startswith(
        f"4 maps of about {passes} passes each, which together are at most the work of "
    )
    assert f" {work:,.0f} passes of the whole network, " in said[-1]


@pytest.fixture
def unset(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """JAX as if nothing had been said of its cache, and a cache folder of the user's own."""
    before = {name: getattr(jax.config, name) for name in CACHE}
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    jax.config.update("jax_compilation_cache_dir", None)
    yield tmp_path / "cache"
    for name, value in before.items():
        jax.config.update(name, value)


def test_compiled_programs_wait_in_the_users_cache_folder(unset: Path):
    check_compilation_cache()
    assert jax.config.jax_compilation_cache_dir == str(own_folder())
    assert own_folder().parent == unset / "jaxlin"
    assert own_folder().is_dir()
    assert jax.config.jax_compilation_cache_max_size == 2 * 2**30


def test_a_folder_that_nobody_asked_for_is_no_reason_to_complain(unset: Path, capsys):
    unset.write_text("a file")
    check_compilation_cache()
    assert jax.config.jax_compilation_cache_dir is None
    assert capsys.readouterr().err == ""


def test_a_cache_that_is_switched_off_stays_off(unset: Path):
    jax.config.update("jax_enable_compilation_cache", False)
    try:
        check_compilation_cache()
    finally:
        jax.config.update("jax_enable_compilation_cache", True)
    assert jax.config.jax_compilation_cache_dir is None
    assert not unset.exists()
