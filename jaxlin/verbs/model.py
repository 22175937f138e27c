"""A model that answers the verbs: ``model.svd(prompt, k=8)`` and its siblings, made from the declarations."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxlin.prompts.model import Model as PromptModel
from jaxlin.prompts.text import Prompt
from jaxlin.runtime.progress import Progress, silent
from jaxlin.verbs.declare import declared_in
from jaxlin.verbs.options import VERBS, Attribute, Svd
from jaxlin.verbs.shared import Load, Verb

if TYPE_CHECKING:
    from jaxlin.results.attribute import Attribution
    from jaxlin.results.layers import LayersResult
    from jaxlin.results.steer import SteeringResult
    from jaxlin.results.svd import SVDResult
    from jaxlin.results.tokens import TokensResult
    from jaxlin.verbs.many import ManyResults


class Model(PromptModel):
    """A decoder and its tokenizer, with a method for every verb that works on one prompt.

    Each takes a prompt (text or token ids) and the options of :mod:`jaxlin.verbs.options` by keyword, the
    same as the flags of the command line. ``help(model.svd)`` lists them.
    """

    if TYPE_CHECKING:
        svd: Callable[..., SVDResult]
        tokens: Callable[..., TokensResult]
        layers: Callable[..., LayersResult]
        attribute: Callable[..., Attribution]
        steer: Callable[..., SteeringResult]

    def svd_many(
        self,
        prompts: str | Path | Iterable[Prompt],
        *,
        progress: Progress = silent,
        **options: Any,
    ) -> ManyResults:
        """:meth:`svd` of many prompts, each into a folder of its own in ``out``.

        Args:
            prompts: a JSONL file, or prompts.
            progress: told of every prompt.
            options: as for :meth:`svd`; ``out`` is needed.
        """
        return self._many(prompts, Svd.of(**options), progress)

    def attribute_many(
        self,
        prompts: str | Path | Iterable[Prompt],
        *,
        progress: Progress = silent,
        **options: Any,
    ) -> ManyResults:
        """:meth:`attribute` of many prompts; arguments as in :meth:`svd_many`."""
        return self._many(prompts, Attribute.of(**options), progress)

    def _many(
        self, prompts: str | Path | Iterable[Prompt], asked: Svd | Attribute, progress: Progress
    ) -> ManyResults:
        from jaxlin.verbs.entries import entries_of, read_entries
        from jaxlin.verbs.many import answer_many

        if isinstance(prompts, str | Path):
            entries = read_entries(Path(prompts), self, asked)
        else:
            entries = entries_of(prompts, self, asked)
        return answer_many(self, entries, asked, progress)


def answer(model: PromptModel, prompt: Prompt, options: Verb, progress: Progress = silent) -> Any:
    """What a verb makes of a prompt: calls the function of the verb's name in the verb's module."""
    verb = type(options).verb
    return getattr(import_module(f"jaxlin.verbs.{verb}"), verb)(model, prompt, options, progress)


def _method(verb: str, options: type[Verb]) -> Callable[..., Any]:
    """The method of a verb; its signature and its help are those of the verb's options."""
    declared = declared_in(options)
    leading = options.leading

    def method(self: Model, prompt: Prompt, *given: Any, progress: Progress = silent, **keywords: Any) -> Any:
        if len(given) > 1:
            raise TypeError(f"{verb} takes the prompt and {leading} by position: name the other options")
        asked = options.of(**dict(zip((leading,), given, strict=False)), **keywords)
        return answer(self, prompt, asked, progress)

    positional, keyword = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY
    method.__name__ = method.__qualname__ = verb
    method.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            inspect.Parameter("self", positional),
            inspect.Parameter("prompt", positional),
            *(
                inspect.Parameter(
                    option.name,
                    positional if option.name == leading else keyword,
                    default=inspect.Parameter.empty if option.required else option.default,
                )
                for option in sorted(declared, key=lambda option: option.name != leading)
            ),
            inspect.Parameter("progress", keyword, default=silent),
        ]
    )
    about = inspect.cleandoc(options.__doc__ or "").partition("\n\nExample:")[0]
    lines = [f"    {option.name}: {option.option.help}" for option in declared]
    method.__doc__ = "\n".join([about, "", "Options:", *lines])
    return method


for _verb, _options in VERBS.items():
    if Load in _options.beside:
        setattr(Model, _verb, _method(_verb, _options))
