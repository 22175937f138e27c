"""Saved results that are damaged end in one sentence, whatever is wrong, and nothing is written of them."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import jaxlin
from jaxlin import JaxlinError
from jaxlin.commands.main import main
from jaxlin.results import store
from jaxlin.results.page.report import report
from jaxlin.results.plain import as_plain, restored

pytestmark = pytest.mark.once

SAVED = Path(__file__).parents[1] / "saved_results"
KINDS = sorted(folder.name for folder in SAVED.iterdir() if folder.is_dir())
TENSORS, SUMMARY = "result.safetensors", "result.json"
#: A spectrum may be there or not, by the method.
OPTIONAL = ("spectrum",)

Damage = Callable[[np.ndarray], np.ndarray | None]


@pytest.fixture
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of a saved result of the kind that the test is run for."""
    return shutil.copytree(SAVED / request.getfixturevalue("kind"), tmp_path / "out")


def refused(folder: Path) -> str:
    """The sentence with which it cannot be read."""
    with pytest.raises(JaxlinError) as caught:
        jaxlin.read(folder)
    said = str(caught.value)
    assert "\n" not in said
    assert str(folder) in said
    assert len(said) < len(str(folder)) + 500
    return said


def whole(array: np.ndarray) -> np.ndarray:
    return np.array(array, order="C", copy=True)


#: What can be wrong with a tensor.
TENSOR_DAMAGES: dict[str, Damage] = {
    "missing": lambda _: None,
    "empty": lambda a: whole(a[:0]),
    "scalar": lambda a: np.asarray(a.ravel()[0]),
    "one axis more": lambda a: whole(a[None]),
    "shorter at its end": lambda a: whole(a[..., :-1]),
    "one entry more": lambda a: np.concatenate([a, a[:1]]),
    "half the digits": lambda a: a.astype(np.float16),
    "the other kind": lambda a: a.astype(np.int64 if a.dtype.kind == "f" else np.float32),
    "bytes": lambda a: a.astype(np.uint8),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("damage", TENSOR_DAMAGES)
def test_tensors(folder: Path, kind: str, damage: str) -> None:
    arrays = load_file(folder / TENSORS)
    free = (
        {"one entry more", "shorter at its end"} if kind == "steer" else set()
    )  # nothing else knows its length
    for name, array in arrays.items():
        if name in OPTIONAL or (damage in free and name == "token_ids"):
            continue
        changed = TENSOR_DAMAGES[damage](array)
        others = {other: arrays[other] for other in arrays if other != name}
        save_file(others | ({} if changed is None else {name: changed}), folder / TENSORS)
        said = refused(folder)
        # A tensor that the summary repeats may be known by its values.
        assert "its tensor " in said or f"different results: {name} differ" in said


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "steer"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_no_number_is_nan_where_a_certificate_holds(folder: Path, kind: str, value: float) -> None:
    arrays = load_file(folder / TENSORS)
    for name in (name for name, array in arrays.items() if array.dtype.kind == "f"):
        broken = whole(arrays[name])
        broken.flat[-1] = value
        save_file(arrays | {name: broken}, folder / TENSORS)
        refused(folder)


@pytest.mark.parametrize("kind", KINDS)
def test_files_of_two_results(folder: Path, kind: str) -> None:
    """Of the same request, another seed: every shape fits, and the figures are those of the other."""
    arrays = load_file(folder / TENSORS)
    repeated = {"steer": "continuations", "tokens": "token_s", "attribute": "token_contributions"}
    ending = repeated.get(kind, "s")
    name = next(name for name in arrays if name == ending or name.endswith(f"_{ending}"))
    save_file(arrays | {name: arrays[name] + 1}, folder / TENSORS)
    assert (
        f"different results: {name.removeprefix('demo-llama_').removeprefix('demo-qwen_')} differ"
        in refused(folder)
    )


#: What can be in place of result.json.
TEXTS: dict[str, bytes] = {
    "empty": b"",
    "null": b"null",
    "a list": b"[]",
    "a number": b"3",
    "NaN": b"NaN",
    "an empty object": b"{}",
    "deep": b"[" * 200_000,
    "deep and closed": b'{"verb": "svd", "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "a number of 5000 digits": b'{"verb": ' + b"1" * 5000 + b"}",
    "no UTF-8": b'{"verb": "\xff"}',
    "UTF-16": '{"verb": "svd"}'.encode("utf-16"),
    "only a verb": b'{"verb": "svd"}',
    "a comparison of nothing": b'{"verb": "compare", "models": {}}',
    "a verb that is a list": b'{"verb": [["svd"]]}',
    "another verb": b'{"verb": "\x1b[31m\\u001b[31m"}',
}


@pytest.mark.parametrize("kind", ["svd", "models"])
@pytest.mark.parametrize("text", TEXTS)
def test_summaries(folder: Path, kind: str, text: str) -> None:
    (folder / SUMMARY).write_bytes(TEXTS[text])
    assert refused(folder).isprintable()


def entries(value: Any, depth: int, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths to everything in it down to this depth; of lists the first entry."""
    if path:
        yield path
    if depth and isinstance(value, dict):
        for name in value:
            yield from entries(value[name], depth - 1, (*path, name))
    elif depth and isinstance(value, list) and value:
        yield from entries(value[0], depth - 1, (*path, 0))


MISSING = object()


def changed(summary: Any, path: tuple[Any, ...], value: Any) -> str:
    copy = json.loads(json.dumps(summary))
    inside = copy
    for name in path[:-1]:
        inside = inside[name]
    if value is MISSING:
        del inside[path[-1]]
    else:
        inside[path[-1]] = value
    return json.dumps(copy)


@pytest.mark.parametrize("kind", KINDS)
def test_every_entry_in_every_wrong_way(folder: Path, kind: str) -> None:
    """Refused, or it does not matter and all of the result can be shown."""
    summary = json.loads((folder / SUMMARY).read_text())
    refusals = 0
    values = (MISSING, None, {}, [[None]], "$x$ _{\x1b", -1, 10**30, float("nan"), True)
    for number, path in enumerate(entries(summary, 5)):
        for value in values[number % 3 :: 3]:  # not every value everywhere, which takes long
            (folder / SUMMARY).write_text(changed(summary, path, value))
            try:
                result = jaxlin.read(folder)
            except JaxlinError:
                refusals += 1
            else:
                assert result.table()
                assert report(result)
    assert refusals > 30


@pytest.mark.parametrize("kind", ["svd"])
def test_tensors_larger_than_memory(folder: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file with a hole may declare terabytes: shapes are compared before memory is taken for any."""
    monkeypatch.setattr(store, "load_file", lambda _: pytest.fail("tensors were read"))
    header = {"s": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}
    text = json.dumps(header).encode()
    with (folder / TENSORS).open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        try:
            file.truncate(8 + len(text) + 2**42)
        except OSError:
            pytest.skip("no file system for such a file")
    assert "tensor" in refused(folder)


@pytest.mark.parametrize("kind", ["tokens"])
@pytest.mark.parametrize("name", [TENSORS, SUMMARY])
def test_special_files(folder: Path, kind: str, name: str) -> None:
    """A pipe would be waited for, and a device read, for ever."""
    (folder / name).unlink()
    os.mkfifo(folder / name)
    assert "no regular file" in refused(folder)
    (folder / name).unlink()
    (folder / name).symlink_to("/dev/zero")
    assert "no regular file" in refused(folder)
    (folder / name).unlink()
    (folder / name).mkdir()
    assert "no regular file" in refused(folder)


@pytest.mark.parametrize("kind", ["svd", "layers"])
@pytest.mark.parametrize("verb", ["report", "plot"])
def test_nothing_is_written_of_it(
    folder: Path, kind: str, verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arrays = load_file(folder / TENSORS)
    del arrays["embeddings"]
    save_file(arrays, folder / TENSORS)
    assert main([verb, str(folder)]) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert "its tensor embeddings is missing" in said
    assert os.listdir(folder.parent) == ["out"]


def test_no_half_of_the_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = jaxlin.read(SAVED / "svd")
    pictures = result.pictures()

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(pictures[0]), "save", lambda *_: full())
    with pytest.raises(JaxlinError, match="No space left on device"):
        result.plot(tmp_path / "pictures", ("svg",))
    assert os.listdir(tmp_path) == []


def test_links_in_the_place_of_pictures_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "spectrum.svg").symlink_to(tmp_path / "precious")
    written = jaxlin.read(SAVED / "svd").plot(tmp_path / "pictures", ("svg",))
    assert (tmp_path / "precious").read_text() == "precious"
    assert {path.name for path in (tmp_path / "pictures").iterdir()} == {path.name for path in written}
    assert not (tmp_path / "pictures" / "spectrum.svg").is_symlink()


@pytest.mark.parametrize("name", [b"r\xff", b"\xc3", b"ok"])
def test_folders_whose_names_are_no_text(tmp_path: Path, name: bytes) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
    shutil.copytree(SAVED / "svd", folder)
    assert main(["report", str(folder)]) == 0
    (page,) = tmp_path.glob("*.html")
    assert "svd" in page.read_text("utf-8")
    assert main(["plot", str(folder), "--format", "svg"]) == 0


def test_numbers_that_json_has_none_for() -> None:
    values = [float("nan"), float("inf"), float("-inf"), 1.5]
    plain = as_plain(values)
    assert json.loads(json.dumps(plain, allow_nan=False)) == ["NaN", "Infinity", "-Infinity", 1.5]
    np.testing.assert_array_equal(restored(tuple[float, ...], plain), values)
