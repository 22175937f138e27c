"""What the verbs have in common: checks before anything is loaded, the prompt, the record of a run."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import jax
import jaxlin_models as models

from jaxlin.commands.options import Asked, Prompted
from jaxlin.commands.part import Part
from jaxlin.errors import JaxlinError
from jaxlin.prompts.load import DTYPES, load
from jaxlin.prompts.model import Model
from jaxlin.runtime.environment import environment, peak_bytes
from jaxlin.runtime.offload import OFFLOADS
from jaxlin.runtime.progress import Progress


def check_choices(config: Any, **choices: tuple[str, ...]) -> None:
    """Refuse what is wrong whatever the model, before anything is loaded.

    Raises:
        JaxlinError: an option that is none of its ``choices``, k below 1, or a seed out of range.
    """
    known = choices | {"policy": tuple(models.POLICIES), "dtype": DTYPES, "offload": OFFLOADS}
    for name, values in known.items():
        value = getattr(config, name)
        if value not in values:
            raise JaxlinError(f"unknown {name} {value!r}: choose one of {', '.join(values)}")
    if getattr(config, "k", None) is not None and config.k < 1:
        raise JaxlinError(f"k is {config.k}: ask for at least 1 singular triplet")
    if getattr(config, "save_every", 0) < 0:
        raise JaxlinError(f"--save-every is {config.save_every}: give a number of steps, or 0 to save none")
    for seed in (config.seed, getattr(config, "verify_seed", None)):
        if seed is not None and not 0 <= seed < 2**32:
            raise JaxlinError(f"the seed is {seed}: choose one from 0 to {2**32 - 1}")


def given_of(config: Any) -> tuple[str, ...]:
    """The options given that not every method of the solver uses."""
    return tuple(name for name in ("max_passes", "verify_seed") if getattr(config, name) is not None)


def check_dial(config: Prompted) -> None:
    """Refuse settings of what a recording keeps where there will be none.

    Raises:
        JaxlinError: any of them, under a policy that freezes nothing.
    """
    given = [name for name in ("attention", "gate") if getattr(config, name) is not None]
    given += ["offload"] if config.offload != "none" else []
    if given and not models.POLICIES[config.policy].linear:
        raise JaxlinError(f"policy {config.policy} records nothing: leave out --{given[0]}")


def load_model(config: Asked, progress: Progress) -> Model:
    """The model that a verb is asked to work on."""
    return load(
        config.model,
        dtype=config.dtype,
        precision=config.precision,
        offload=config.offload,
        progress=progress,
    )


def made_by(config: Asked, model: Model) -> dict[str, Any]:
    """Which model did it, and how, for a summary."""
    return {
        "verb": type(config).__name__.lower(),
        "model": config.model,
        "family": model.decoder.config.family,
        "revision": None if model.checkpoint is None else model.checkpoint.revision,
        "weights_sha256": model.weights_sha256,
        "policy": config.policy,
        "dtype": config.dtype,
        "precision": model.decoder.precision,
        "offload": config.offload,
        "seed": config.seed,
    }


def made_from(config: Prompted, model: Model, part: Part) -> dict[str, Any]:
    """What a result was made from, for its summary."""
    return {
        **made_by(config, model),
        "tokens": len(part.token_ids),
        "token_texts": [model.token_text(token) for token in part.token_ids],
        "span": config.span if not config.skip_first else f"{config.skip_first}:",
        "position": part.position,
        "shape": list(part.operator.shape),
        "dial": None if config.policy == "none" else asdict(part.dial),
    }


def made_with(model: Model) -> dict[str, Any]:
    """Memory, device, arithmetic and versions, for a summary."""
    algorithm = models.algorithm(model.decoder.precision, jax.default_backend())
    return {"peak_bytes": peak_bytes(), **environment(algorithm)}


def read_prompt(config: Asked) -> str | list[int]:
    """The prompt, from whichever of the three ways it was given in.

    Raises:
        JaxlinError: none or several ways, a file that cannot be read, ids that are no numbers.
    """
    given = [source for source in (config.prompt, config.prompt_file, config.token_ids) if source is not None]
    if len(given) != 1:
        raise JaxlinError("give the prompt in one way: --prompt, --prompt-file or --token-ids")
    if config.prompt is not None:
        return config.prompt
    if config.prompt_file is not None:
        try:
            return config.prompt_file.read_text(encoding="utf-8").rstrip("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise JaxlinError(
                f"cannot read {config.prompt_file} as UTF-8 text ({error}): check --prompt-file"
            ) from error
    assert config.token_ids is not None
    return [_token_id(text) for text in config.token_ids.split(",")] if config.token_ids.strip() else []


def _token_id(text: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise JaxlinError(
            f"--token-ids takes numbers with commas between, like 1,2,3, and {text[:20]!r} is no number"
        ) from error
