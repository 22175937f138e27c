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
from jaxlin.verbs.loading import Load
from jaxlin.verbs.options import VERBS, Attribute, Layers, Svd, Tokens
from jaxlin.verbs.shared import Verb

if TYPE_CHECKING:
    from jaxlin.results.attribute import Attribution
    from jaxlin.results.layers import LayersResult
    from jaxlin.results.steer import SteeringResult
    from jaxlin.results.svd import SVDResult
    from jaxlin.results.tokens import TokensResult
    from jaxlin.verbs.many_results import ManyResults


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
        shard: str | None = None,
        retry_failed: bool = False,
        progress: Progress = silent,
        **options: Any,
    ) -> ManyResults:
        """:meth:`svd` of many prompts, each into a folder of its own in ``out``.

        Args:
            prompts: a file of JSON lines or Parquet, or prompts.
            shard: like ``2/4``: every fourth prompt alone, from the second.
            retry_failed: try prompts again that failed before.
            progress: told of every prompt.
            options: as for :meth:`svd`; ``out`` is needed.
        """
        return self._many(prompts, Svd.of(**options), shard, retry_failed, progress)

    def tokens_many(
        self,
        prompts: str | Path | Iterable[Prompt],
        *,
        shard: str | None = None,
        retry_failed: bool = False,
        progress: Progress = silent,
        **options: Any,
    ) -> ManyResults:
        """:meth:`tokens` of many prompts; arguments as in :meth:`svd_many`."""
        return self._many(prompts, Tokens.of(**options), shard, retry_failed, progress)

    def layers_many(
        self,
        prompts: str | Path | Iterable[Prompt],
        *,
        shard: str | None = None,
        retry_failed: bool = False,
        progress: Progress = silent,
        **options: Any,
    ) -> ManyResults:
        """:meth:`layers` of many prompts; arguments as in :meth:`svd_many`."""
        return self._many(prompts, Layers.of(**options), shard, retry_failed, progress)

    def attribute_many(
        self,
        prompts: str | Path | Iterable[Prompt],
        *,
        shard: str | None = None,
        retry_failed: bool = False,
        progress: Progress = silent,
        **options: Any,
    ) -> ManyResults:
        """:meth:`attribute` of many prompts; arguments as in :meth:`svd_many`."""
        return self._many(prompts, Attribute.of(**options), shard, retry_failed, progress)

    def _many(
        self,
        given: str | Path | Iterable[Prompt],
        asked: Svd | Tokens | Layers | Attribute,
        shard: str | None,
        retry_failed: bool,
        progress: Progress,
    ) -> ManyResults:
        from jaxlin.verbs.entries import entries_of, read_entries
        from jaxlin.verbs.many import answer_many
        from jaxlin.verbs.shard import Shard

        part = Shard.of(shard)
        if isinstance(given, str | Path):
            prompts = read_entries(Path(given), self, asked, part)
        else:
            prompts = entries_of(given, self, asked, part)
        return answer_many(self, prompts, asked, progress, retry_failed=retry_failed)


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
