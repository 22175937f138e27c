"""One example of every public name of jaxlin, on an embedded checkpoint: python api_examples.py FOLDER.

It needs what jaxlin itself needs and nothing else, writes into the folder, and runs from any directory.
"""

from __future__ import annotations

import sys
from pathlib import Path

import jax
import jax.numpy as jnp

import jaxlin
from jaxlin.prompts.target import LogitTarget

PROMPT = "The capital of France is"


def results_of_a_model(model: jaxlin.Model, folder: Path) -> list[Path]:
    """Every verb that asks one model; returns where the results are."""
    triplets = model.svd(PROMPT, k=4, out=folder / "svd")
    assert isinstance(triplets, jaxlin.SVDResult)
    assert isinstance(triplets.certificate, jaxlin.Certificate)
    assert triplets.certificate.holds
    print(triplets)

    per_token = model.tokens(PROMPT, k=2, out=folder / "tokens")
    assert isinstance(per_token, jaxlin.TokensResult)

    layers = model.layers(PROMPT, k=2, parts="block", layers="-1", out=folder / "layers")
    assert isinstance(layers, jaxlin.LayersResult)

    attribution = model.attribute(PROMPT, " Paris", minus=" Rome", out=folder / "attribute")
    assert isinstance(attribution, jaxlin.Attribution)
    several = model.attribute(PROMPT, [" Paris", " Rome"], by_token=True)
    assert [split.branch_tokens is not None for split in several.splits] == [True, True]

    steered = model.steer("I went to", "The capital of Japan is", tokens=4, out=folder / "steer")
    assert isinstance(steered, jaxlin.SteeringResult)

    policies = jaxlin.compare(model, PROMPT, policies=("detached", "none"), k=2, out=folder / "policies")
    assert isinstance(policies, jaxlin.Comparison)
    return [folder / name for name in ("svd", "tokens", "layers", "attribute", "steer", "policies")]


def functions_of_operators(model: jaxlin.Model) -> None:
    """The engine, below the verbs: operators in, results out."""
    operator = model.jacobian(PROMPT)
    assert isinstance(operator, jaxlin.DetachedJacobian)
    assert jaxlin.svd(operator, 2).certificate.holds
    assert jaxlin.tokens(operator, 1).s.shape == (operator.x.shape[0], 1)
    recording = model.record(PROMPT)
    assert jaxlin.layers(recording, 1, parts=("mlp",), at=(0,)).layers
    row = model.logit_row(operator.y, LogitTarget(" Paris"))
    assert jaxlin.attribute(operator, recording, row).value

    weights = jnp.arange(12.0).reshape(3, 4)
    other = jaxlin.linearize(lambda x, w: w @ x, jnp.ones(4), weights)
    assert jnp.allclose(other.dense(), weights)


def functions_of_networks() -> None:
    """Any network: frozen, and what every feature of every point contributes."""
    weights = jnp.arange(12.0).reshape(3, 4) - 6

    def network(x: jax.Array) -> jax.Array:
        return jax.nn.relu(weights @ x)

    points = jnp.array([[1.0, 2.0, 0.0, 1.0], [0.5, 0.0, 3.0, 1.0]])
    frozen = jaxlin.freeze(network)
    assert jnp.allclose(frozen(points[0]), network(points[0]))
    found = jaxlin.contributions(network, points)
    assert isinstance(found, jaxlin.PointContributions)
    assert found.holds


def main(folder: Path) -> None:
    print(f"jaxlin {jaxlin.__version__} from {Path(jaxlin.__file__).parent}")
    model = jaxlin.load("demo-qwen")
    folders = results_of_a_model(model, folder)
    functions_of_operators(model)
    functions_of_networks()

    models = jaxlin.compare(["demo-qwen", "demo-llama"], PROMPT, k=1, out=folder / "models")
    assert isinstance(models, jaxlin.ModelComparison)

    jaxlin.convert("demo-llama", folder / "converted")
    assert jaxlin.load(folder / "converted").config == jaxlin.load("demo-llama").config

    costs = jaxlin.plan("gemma-3-4b", 400, memory="40GB")
    assert isinstance(costs, jaxlin.PlanResult)
    print(costs)

    for saved in folders:
        assert jaxlin.read(saved).python()
    page = jaxlin.report(folders, folder / "report.html")
    assert "<html" in page

    try:
        model.svd(PROMPT, k=0)
    except jaxlin.JaxlinError as error:
        print(f"refused, as it should be: {error}")
    else:
        raise AssertionError("k = 0 was not refused")
    assert jax.default_backend()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
