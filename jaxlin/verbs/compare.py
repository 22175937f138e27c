"""``compare``: freeze policies of one model, or several models, next to each other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from jaxlin.analyses.comparison import compare as compare_maps
from jaxlin.errors import JaxlinError, shortened
from jaxlin.linear.operator import DetachedJacobian
from jaxlin.planning.budget import Solver
from jaxlin.prompts.load import locate
from jaxlin.prompts.model import Model
from jaxlin.prompts.text import Prompt
from jaxlin.results.compare import Comparison
from jaxlin.results.compare_models import ModelComparison
from jaxlin.runtime.progress import Progress, silent
from jaxlin.verbs.declare import declared_in
from jaxlin.verbs.keeping import kept
from jaxlin.verbs.layers import layers
from jaxlin.verbs.mapping import make_map, names_in, notes_of, plan_map
from jaxlin.verbs.options import Compare, Layers
from jaxlin.verbs.shared import POLICIES, Mapped
from jaxlin.verbs.tokenizing import tokenized


def compare(
    what: str | Model | Sequence[str | Model],
    prompt: Prompt,
    options: Compare,
    progress: Progress = silent,
    **loading: Any,
) -> Comparison | ModelComparison:
    """Policies of one model, or several models.

    Args:
        what: a model or the name of one, whose ``policies`` are compared; or several.
        prompt: text or token ids.
        options: what is asked for.
        progress: told what is happening.
        loading: ``dtype`` and the like for models given by name, as in :func:`jaxlin.load`.

    Raises:
        JaxlinError: a request that cannot be met.
    """
    if isinstance(what, str | Model):
        return compare_policies(_model(what, progress, loading), prompt, options, progress)
    named = ((model if isinstance(model, str) else model.name, model) for model in what)
    models = ((name, _model(model, progress, loading)) for name, model in named)
    return compare_models(models, prompt, options, progress)


def _model(what: str | Model, progress: Progress, loading: Mapping[str, Any]) -> Model:
    return locate(what, progress=progress, **loading) if isinstance(what, str) else what


def compare_policies(
    model: Model, prompt: Prompt, options: Compare, progress: Progress = silent
) -> Comparison:
    """The maps of one prompt under several freeze policies; angles are to the first.

    Raises:
        JaxlinError: a request that cannot be met.
    """
    names = two_or_more(options.policies, "policies")
    if "policy" in options.given:
        raise JaxlinError("`policies` says which policies are compared: leave `policy` out")
    for name in names:
        if name not in POLICIES:
            raise JaxlinError(f"unknown policy {shortened(name)!r}: choose one of {', '.join(POLICIES)}")
    with kept(options) as folder:
        ids = tokenized(model, prompt, options)
        solver = Solver(options.k, "auto")
        planned = {name: plan_map(model, ids, options, solver, progress, policy=name) for name in names}

        def operators() -> Iterator[tuple[str, DetachedJacobian]]:
            for name in names:
                yield name, make_map(model, planned[name], progress, policy=name)

        comparison = compare_maps(
            operators(), options.k, tolerance=options.tol, seed=options.seed, progress=progress
        ).with_notes(**notes_of(options) | {"policy": names})
        if folder is not None:
            comparison.write(folder)
    return comparison


def compare_models(
    models: Iterable[tuple[str, Model]], prompt: Prompt, options: Compare, progress: Progress = silent
) -> ModelComparison:
    """Several models on one prompt, layer by layer; each is released before the next is loaded.

    Raises:
        JaxlinError: a request that cannot be met.
    """
    if options.policies is not None:
        raise JaxlinError("`policies` are compared on one model: leave them out, or give one model")
    with kept(options) as folder:
        results = {}
        shared = {declared.name: getattr(options, declared.name) for declared in declared_in(Mapped)}
        asked = Layers(
            **shared | {"out": None, "overwrite": False}, k=options.k, tol=options.tol, parts="cumulative"
        )
        for name, model in models:
            # Without its model, which makes room for the next one.
            results[name] = layers(model, prompt, asked, _prefixed(progress, name)).without_model()
        comparison = ModelComparison(results).with_notes(k=options.k)
        if folder is not None:
            comparison.write(folder)
    return comparison


def two_or_more(names: str | Sequence[str] | None, option: str) -> list[str]:
    """Different names, from text with commas between or as they are.

    Raises:
        JaxlinError: fewer than two, one twice, or an empty one.
    """
    given = [] if names is None else names_in(names)
    if len(set(given)) < max(2, len(given)) or not all(given):
        raise JaxlinError(
            f"`{option}` takes two or more different names with commas between, and got {names!r}"
        )
    return given


def _prefixed(progress: Progress, name: str) -> Progress:
    def say(stage: str, done: int, total: int, note: str = "", left: float | None = None) -> None:
        progress(f"{name}: {stage}", done, total, note, left)

    return say
