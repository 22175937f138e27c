"""The valid files that cases damage: a tiny checkpoint, results of every kind, a batch, a solver's state."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import numpy as np
from tiny_checkpoints import TinyCheckpoint, random_tensors
from tiny_gguf import write_gguf

from hostile.case import FIFO, FOLDER, Content, Link, put, remove
from hostile.requests import request
from jaxlin.commands.main import main
from jaxlin.results.store import write_tensors
from jaxlin.verbs.options import VERBS

SAVED = Path(__file__).parent.parent / "saved_results"
#: One layer of eight features: every program is compiled in no time, and only once.
TINY = TinyCheckpoint(
    "llama",
    1,
    {"vocab_size": 16, "hidden_size": 8, "intermediate_size": 12, "num_attention_heads": 2,
     "num_key_value_heads": 1,
     "num_hidden_layers": 1, "max_position_embeddings": 16},
)  # fmt: skip
#: A batch, and a run that stops with something left to do.
_BATCH = "svd --model model --prompts prompts.jsonl -k 1 --method dense --out batch"
_STOPPED = "svd --model model --token-ids 1,2,3 -k 2 --method lanczos --block 1 --max-passes 3 --out run"
_MODELS = "compare --models model,sharded --token-ids 1,2,3 -k 1 --out results/models"
#: What nobody may touch.
SECRET = "outside/secret.txt"

#: How a file is told from another: what it is, its place on disk, its size and when it was last changed.
Signature = tuple[int, int, int, int, str]


@dataclass
class World:
    """A folder of valid files, which every case finds as it was.

    Attributes:
        root: the folder; commands run in ``root / "work"``.
        contents: path in ``work`` -> what is in the files that were made, for strategies to damage.
    """

    root: Path
    contents: dict[str, bytes]
    _signatures: dict[str, Signature]
    _kept: dict[str, Content]

    @classmethod
    def of(cls, root: Path, files: Mapping[str, Content] | None = None) -> World:
        """A folder as it is, after these files were put into it."""
        for name, content in (files or {}).items():
            put(root / name, content)
        kept = {name: _content(root / name) for name, _ in _walk(root)}
        contents = {name.removeprefix("work/"): content for name, content in sorted(kept.items())
                    if isinstance(content, bytes) and name.startswith("work/")}  # fmt: skip
        return cls(root, contents, dict(_walk(root)), kept)

    @property
    def work(self) -> Path:
        """Where commands run."""
        return self.root / "work"

    @property
    def results(self) -> list[str]:
        """The folders of results."""
        return sorted({name.rpartition("/")[0] for name in self.contents if name.startswith("results/")})

    def signatures(self) -> dict[str, Signature]:
        """Everything that is there now, folders without their times."""
        return dict(_walk(self.root))

    def restore(self) -> None:
        """All files as they were made."""
        now = self.signatures()
        changed = [
            name for name in {**now, **self._signatures} if now.get(name) != self._signatures.get(name)
        ]
        for name in sorted(changed):  # a link before what seems to be inside
            if not self._is_kept_folder(name):
                remove(self.root / name)
        for name in sorted(changed):
            if name in self._kept and not self._is_kept_folder(name):
                put(self.root / name, self._kept[name])
        if changed:
            for (
                name,
                content,
            ) in self._kept.items():  # a folder that became a file has lost all that was in it
                if not os.path.lexists(self.root / name):
                    put(self.root / name, content)
            self._signatures = self.signatures()

    def _is_kept_folder(self, name: str) -> bool:
        """Whether a folder was made here and one is here, be it changed inside."""
        place = self.root / name
        return self._kept.get(name) == FOLDER and place.is_dir() and not place.is_symlink()


def make_world(root: Path, *, all_kinds: bool) -> World:
    """Make the files; ``all_kinds``: with a new result of every verb, which takes its time to compile."""
    shutil.rmtree(root, ignore_errors=True)
    work = root / "work"
    (work / "results").mkdir(parents=True)
    put(root / SECRET, b"nobody may read or change this\n")
    _make_checkpoint(work / "model")
    _make_shards(work)
    write_gguf("llama-small", work / "model.gguf")
    (work / "prompt.txt").write_text("w1 w2 w3\n")
    (work / "net.py").write_text("import jax\n\ndef predict(x):\n    return jax.nn.relu(x)[:1] + 1\n")
    np.save(work / "points.npy", np.arange(6, dtype=np.float32).reshape(2, 3))
    lines = [{"prompt": "w1 w2 w3"}, {"token_ids": [4, 5], "id": "second"}, {"prompt": "w6 w7"}]
    (work / "prompts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    for name, content in {"fifo": FIFO, "folder": FOLDER, "loop": Link("loop"), "dangling": Link("nowhere"),
                          "zero": Link("/dev/zero"), "link": Link("../outside")}.items():  # fmt: skip
        put(work / name, content)
    with working_in(work):
        for saved in sorted(path.name for path in SAVED.iterdir() if path.is_dir()):
            shutil.copytree(SAVED / saved, work / "results" / f"old-{saved}")
        for verb in VERBS:
            words = request(verb)
            if words is not None and "--out" in words and (all_kinds or verb == "svd"):
                _done(*words)
        if all_kinds:
            _done(*_MODELS.split())
        _done(*_BATCH.split())
        _done(*_STOPPED.split(), expected=3)
        remove(work / "run")  # what is left is the state beside it
        assert list(work.glob("run.state/*")), "no state was kept"
    return World.of(root)


@contextmanager
def working_in(folder: Path) -> Iterator[None]:
    """In this folder, and then where it was before."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def _done(*words: str, expected: int = 0) -> None:
    with redirect_stdout(StringIO()):
        code = main(list(words))
    assert code == expected, f"a valid request ended with {code}: {' '.join(words)}"


def _walk(root: Path) -> Iterator[tuple[str, Signature]]:
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = os.path.join(folder, name)
            about = os.lstat(path)
            target = os.readlink(path) if os.path.islink(path) else ""
            is_folder = name in folders and not target
            times = (0, 0) if is_folder else (about.st_size, about.st_ctime_ns)
            yield os.path.relpath(path, root), (about.st_mode, about.st_ino, *times, target)


def _content(path: Path) -> Content:
    if path.is_symlink():
        return Link(os.readlink(path))
    if path.is_dir():
        return FOLDER
    return path.read_bytes() if path.is_file() else FIFO


def _make_checkpoint(folder: Path) -> None:
    config = TINY.config()
    folder.mkdir()
    config.save_pretrained(folder)
    write_tensors(random_tensors(TINY, config), folder / "model.safetensors")
    tokenizer = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": 15, "content": "<end>", "single_word": False, "lstrip": False,
        "rstrip": False,
                          "normalized": False, "special": True}],
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "post_processor": {"type": "TemplateProcessing", "single": [{"Sequence": {"id": "A", "type_id": 0}}],
                           "pair": [], "special_tokens": {}},
        "decoder": {"type": "Fuse"},
        "model": {"type": "WordLevel", "vocab": {f"w{i}": i for i in range(15)} | {"<end>": 15},
        "unk_token": "w0"},
    }  # fmt: skip
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<end>", "model_max_length": 16,
                "chat_template": "{% for m in messages %}{{ m.content }} {% endfor %}"}  # fmt: skip
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def _make_shards(work: Path) -> None:
    """The same checkpoint in two files and an index, and without a tokenizer."""
    config = TINY.config()
    folder = work / "sharded"
    folder.mkdir()
    shutil.copy(work / "model" / "config.json", folder)
    tensors = sorted(random_tensors(TINY, config).items())
    half = len(tensors) // 2
    weight_map = {}
    for number, part in enumerate((tensors[:half], tensors[half:]), 1):
        file = f"model-{number:05d}-of-00002.safetensors"
        write_tensors(dict(part), folder / file)
        weight_map |= dict.fromkeys(dict(part), file)
    total = sum(a.nbytes for _, a in tensors)
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
