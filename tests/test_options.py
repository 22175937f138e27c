"""Options are declared once: flags, help, checks, what they decide, and that none is ever ignored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from conftest import FAMILIES
from jaxlin_models import POLICIES, PRECISIONS
from jaxlin_models.dial import AttentionSetting, GateSetting
from tiny_checkpoints import prompt_ids

import jaxlin
from jaxlin.commands.main import command_of, main
from jaxlin.commands.parser import parse
from jaxlin.per_token.tokens import METHODS as TOKEN_METHODS
from jaxlin.runtime.offload import OFFLOADS
from jaxlin.solvers.methods import METHODS, USED_BY
from jaxlin.verbs import loading, shared
from jaxlin.verbs.declare import GROUPS, NOTHING, RESULT, STEP, Declared, Options, declared_in
from jaxlin.verbs.loading import Load
from jaxlin.verbs.model import answer
from jaxlin.verbs.options import VERBS, Svd, Tokens

NAME = FAMILIES[0]
ALL = [
    (verb, declared)
    for verb, options in VERBS.items()
    for kind in (*options.beside, options)
    for declared in declared_in(kind)
]
#: Values by name that are not the default and mean something on a tiny model at a prompt of some tokens.
VALUES: dict[str, Any] = {
    "span": "1:", "position": -2, "skip_first": 1, "memory": "4GB", "k": 1, "tol": 1e-3, "seed": 3,
    "block": 1, "max_passes": 5000, "verify_seed": 7, "norms": 2, "save_every": 2, "target": "logits:#3",
    "minus": "#5", "parts": "cumulative,mlp", "layers": "0", "policies": "detached,none", "rank": 1,
    "tokens": 2, "temperature": 0.5, "layer": 0, "strength": (0.5,), "attention": "queries_keys",
    "gate": "recomputed", "policy": "half",
}  # fmt: skip


def other_value(declared: Declared) -> Any:
    """A value that it does not have by default."""
    if declared.kind is bool:
        return True
    if declared.name in VALUES:
        value = VALUES[declared.name]
    elif declared.option.choices:
        value = next(choice for choice in reversed(declared.option.choices) if choice != declared.default)
    else:
        value = {str: "text", int: 5, float: 0.25, Path: Path("somewhere")}[declared.kind]
    return (value,) if declared.several and not isinstance(value, tuple) else value


@pytest.mark.parametrize(("verb", "declared"), ALL, ids=[f"{verb}-{one.name}" for verb, one in ALL])
def test_every_option_has_a_flag_that_sets_it_and_a_place_in_the_help(verb: str, declared: Declared, capsys):
    required = [
        word
        for kind in (*VERBS[verb].beside, VERBS[verb])
        for option in declared_in(kind)
        if option.required and option.name != declared.name
        for word in words_for(option, "x")
    ]
    if declared.name in ("shard", "retry_failed"):  # about many prompts alone
        required += ["--prompts", "somewhere"]
    value = "2/3" if declared.name == "shard" else other_value(declared)
    parsed = parse(command_of(verb), [*required, *words_for(declared, value)])
    assert parsed.get(declared.name) == value
    assert declared.option.group in GROUPS
    assert main([verb, "--help"]) == 0
    shown = capsys.readouterr().out
    assert (declared.metavar if declared.option.positional else declared.flag) in shown
    assert "`" not in shown


def words_for(declared: Declared, value: Any) -> list[str]:
    values = [str(each) for each in value] if isinstance(value, tuple) else [str(value)]
    if declared.kind is bool:
        return [declared.flag]
    return values if declared.option.positional else [declared.flag, *values]


def test_choices_are_what_the_engine_knows():
    assert set(shared.POLICIES) == set(POLICIES)
    assert set(loading.PRECISIONS) == set(PRECISIONS)
    assert loading.OFFLOADS == OFFLOADS
    assert AttentionSetting.__args__ == shared.ATTENTION
    assert GateSetting.__args__ == shared.GATE
    (method,) = (declared for declared in declared_in(Tokens) if declared.name == "method")
    assert method.option.choices == TOKEN_METHODS


def test_what_options_decide():
    """What a solver's state belongs to, and what tells one request of a batch from another."""
    decided = {
        what: {declared.name for declared in declared_in(Svd) if declared.option.decides == what}
        for what in (STEP, RESULT, NOTHING)
    }
    assert decided[STEP] == {"policy", "seed", "span", "skip_first", "position", "target", "metric"}
    assert decided[RESULT] == {
        "k", "tol", "method", "block", "max_passes", "verify_seed", "norms", "order", "save_jacobian", "chat",
        "no_special_tokens", "keep",
    }  # fmt: skip
    load = {declared.name for declared in declared_in(Load) if declared.option.decides == STEP}
    assert load == {"dtype", "precision"}


@pytest.mark.parametrize("verb", VERBS)
def test_unknown_options_name_the_nearest(verb: str, capsys):
    flag = next(iter(command_of(verb).flags.values())).flag
    assert main([verb, f"{flag}x"]) == 2
    assert f"jaxlin {verb} has no flag {flag}x: did you mean {flag}?" in capsys.readouterr().err
    with pytest.raises(TypeError, match=f"{verb} has no option 'not_there'"):
        VERBS[verb].of(not_there=1)


def test_messages_speak_of_flags_on_the_command_line_and_of_arguments_in_python(capsys):
    words = ["svd", "--model", "demo-llama", "--prompt", "a", "--max-passes"]
    assert main([*words, "0"]) == 2
    assert capsys.readouterr().err == "jaxlin: --max-passes is 0: give 1 or more\n"
    with pytest.raises(jaxlin.JaxlinError, match=r"`max_passes` is 0: give 1 or more"):
        Svd(max_passes=0)


class Spy:
    """Which options somebody has read of an instance, what only records them not counted."""

    def __init__(self, options: Options) -> None:
        self.read: set[str] = set()
        names = {declared.name for declared in declared_in(type(options))}
        spy = self

        class Spied(type(options)):  # type: ignore[misc]
            listening = False

            def __getattribute__(self, name: str) -> Any:
                if name in names and Spied.listening:
                    spy.read.add(name)
                return super().__getattribute__(name)

            def deciding(self, *what: str) -> dict[str, Any]:
                Spied.listening = False
                try:
                    return super().deciding(*what)
                finally:
                    Spied.listening = True

        Spied.verb = type(options).verb
        self.options = Spied(**{name: getattr(options, name) for name in names})
        Spied.listening = True


def asked(verb: str, method: str | None, **given: Any) -> Options:
    values = {"method": method, **given} if method is not None else given
    return VERBS[verb](**values)


def all_at_once(verb: str, method: str | None, out: Path, without: tuple[str, ...] = ()) -> dict[str, Any]:
    """A value for every option that goes with this method, but for those that exclude each other."""
    values = {}
    for declared in declared_in(VERBS[verb]):
        unused = method is not None and method not in USED_BY.get(_table_name(declared.name), (method,))
        if declared.name not in ("out", "overwrite", "resume", "method", *without) and not unused:
            values[declared.name] = other_value(declared)
    return values | {"out": out}


def _table_name(option: str) -> str:
    return "store" if option in ("save_every", "resume") else option


CASES = [
    *(("svd", method) for method in METHODS if method != "auto"),
    *(("tokens", method) for method in TOKEN_METHODS),
    ("layers", "gram"), ("attribute", None), ("steer", None),
]  # fmt: skip


@pytest.mark.parametrize(("verb", "method"), CASES)
def test_no_option_is_ignored(tiny_model, tmp_path: Path, verb: str, method: str | None):
    """Given all that go together, every one is read by somebody who does more than record it."""
    model = tiny_model(NAME, "float32")
    excluding: tuple[tuple[str, ...], ...] = (("skip_first",), ("span",))
    if verb == "svd":
        excluding = ("skip_first", "target", "minus"), ("span", "norms", "metric", "order")
    elif verb == "layers":
        excluding = ("skip_first", "raw"), ("span", "metric")
    read: set[str] = set()
    given: set[str] = set()
    for number, without in enumerate(excluding):
        about_text = ("chat", "no_special_tokens")  # which ids refuse; they are read to see that
        values = all_at_once(verb, method, tmp_path / str(number), (*without, *about_text))
        if verb == "steer":
            values["concept"] = prompt_ids(NAME)
        if verb == "attribute":
            values["target"] = "#3"
        spy = Spy(asked(verb, method, **values))
        answer(model, prompt_ids(NAME), spy.options)
        read |= spy.read
        given |= set(values)
    assert given - read == set()
    assert read >= {declared.name for declared in declared_in(VERBS[verb])} - {"resume", "overwrite"} - (
        {name for name in USED_BY if method is not None and method not in USED_BY[name]} | {"save_every"}
    )


REFUSED = [
    (method, declared.name)
    for method in METHODS
    if method != "auto"
    for declared in declared_in(Svd)
    if method not in USED_BY.get(_table_name(declared.name), (method,))
]


@pytest.mark.parametrize(("method", "name"), REFUSED)
def test_an_option_that_a_method_does_not_use_is_refused(tiny_model, tmp_path: Path, method: str, name: str):
    (declared,) = (one for one in declared_in(Svd) if one.name == name)
    given = {name: other_value(declared), "method": method, "out": tmp_path / "out"}
    if name == "resume":
        pytest.skip("there is nothing to resume, which is refused before")
    with pytest.raises(jaxlin.JaxlinError, match=f"`{name}`"):
        tiny_model(NAME, "float32").svd(prompt_ids(NAME), **given)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", sorted(d.name for d in declared_in(Svd) if not d.option.many))
def test_an_option_that_means_nothing_for_many_prompts_is_refused(tmp_path: Path, capsys, name: str):
    (declared,) = (one for one in declared_in(Svd) if one.name == name)
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text('{"prompt": "Hello"}\n')
    words = words_for(declared, other_value(declared))
    given = ["svd", "--model", "demo-llama", "--prompts", str(prompts), "--out", str(tmp_path / "out")]
    assert main([*given, *words]) == 2
    assert f"leave out {declared.flag}" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
