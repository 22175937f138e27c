"""Where checkpoints come from (hub cache, offline, directories, shards) and what reading them costs."""

from __future__ import annotations

import http.server
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
import jaxlin_models as models
import numpy as np
import pytest
import tiny_checkpoints
from flax import nnx
from huggingface_hub.utils import filter_repo_objects
from tiny_checkpoints import CHECKPOINTS, random_tensors, write_checkpoint

from jaxlin.commands.main import main

JAXLIN = Path(sys.executable).with_name("jaxlin")
HUB_ID = "an-org/a.model_1"
COMMIT, OLDER = "5f0b02c75b57c5855da9ae460ce51323ea669d8a", "0" * 40
REQUEST = ("--token-ids", "1,2,3", "-k", "2")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An HF_HOME for this process, without network, whose cache holds one model in two revisions."""
    home = tmp_path / "home"
    cached = home / "hub" / f"models--{HUB_ID.replace('/', '--')}"
    write_checkpoint("llama", cached / "snapshots" / COMMIT, shards=2)
    write_checkpoint("qwen3", cached / "snapshots" / OLDER)
    for name, commit in (("main", COMMIT), ("v1", OLDER), ("pr/7", OLDER)):
        reference = cached / "refs" / name
        reference.parent.mkdir(parents=True, exist_ok=True)
        reference.write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(home / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return home


@pytest.fixture
def refusal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[[str], str]:
    """Asks for a model that cannot be had; returns the one sentence of the refusal."""

    def run(name: str) -> str:
        code = main(["svd", "--model", name, *REQUEST, "--out", str(tmp_path / "results" / "out")])
        printed = capsys.readouterr()
        assert (code, printed.out) == (2, "")
        assert not (tmp_path / "results").exists()
        (line,) = (line for line in printed.err.splitlines() if not line.startswith("planning: "))
        assert line.startswith("jaxlin: ")
        return line.removeprefix("jaxlin: ")

    return run


# The cache


@pytest.mark.parametrize(
    ("name", "commit", "family"),
    [
        (HUB_ID, COMMIT, "llama"),
        (f"{HUB_ID}@main", COMMIT, "llama"),
        (f"{HUB_ID}@{COMMIT}", COMMIT, "llama"),
        (f"{HUB_ID}@v1", OLDER, "qwen"),
        (f"{HUB_ID}@pr/7", OLDER, "qwen"),
        (f"{HUB_ID}@{OLDER}", OLDER, "qwen"),
    ],
)
def test_cached_model_by_name_and_revision(
    home: Path, monkeypatch: pytest.MonkeyPatch, name: str, commit: str, family: str
) -> None:
    monkeypatch.setattr(socket.socket, "connect", no_network)
    found = models.find(name)
    assert (found.revision, found.config.family) == (commit, family)
    assert found.directory.is_relative_to(home)


def no_network(*_: Any) -> NoReturn:
    pytest.fail("HF_HUB_OFFLINE is set, yet something was asked of the network")


def test_offline_run_of_the_real_command(home: Path, tmp_path: Path) -> None:
    """As a user sets it: HF_HOME and HF_HUB_OFFLINE; the result says which commit the branch meant."""
    done = subprocess.run(
        [JAXLIN, "svd", "--model", f"{HUB_ID}@main", *REQUEST, "--out", tmp_path / "out"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env=clean_environment() | {"HF_HOME": str(home), "HF_HUB_OFFLINE": "1"},
    )
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "out" / "result.json").read_text())
    assert (summary["model"], summary["revision"]) == (f"{HUB_ID}@main", COMMIT)


def clean_environment() -> dict[str, str]:
    """Without the settings of the hub that this machine may have."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGINGFACE"))}


@pytest.mark.parametrize("name", ["no-org/no-model", f"{HUB_ID}@no-branch", f"{HUB_ID}@{'1' * 40}"])
def test_not_in_the_cache_and_offline(
    home: Path, refusal: Callable[[str], str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(socket.socket, "connect", no_network)
    said = refusal(name)
    assert f"{name} is not in the local cache and HF_HUB_OFFLINE is set" in said
    assert "unset it to download, or give a local directory" in said


def test_cached_without_weights(home: Path, refusal: Callable[[str], str]) -> None:
    """As left by a program that wanted the tokenizer alone, or by a repository of pickles."""
    snapshot = models.find(HUB_ID).directory
    for file in snapshot.glob("*.safetensors*"):
        file.unlink()
    said = refusal(HUB_ID)
    assert f"{snapshot} has no model.safetensors" in said
    assert "fetch the whole checkpoint, or one that has safetensors" in said


def test_directory_goes_before_hub(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_checkpoint("gemma3-text", tmp_path / HUB_ID)
    found = models.find(HUB_ID)
    assert (found.revision, found.config.family) == (None, "gemma")


# The network


@pytest.fixture
def hub(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int, str], None]]:
    """A hub on this machine that answers everything with one status and error code."""
    answer: dict[str, Any] = {}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(answer["status"])
            self.send_header("X-Error-Code", answer["code"])
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_GET

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    yield lambda status, code: answer.update(status=status, code=code)
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    ("status", "code", "what", "remedy"),
    [
        (404, "RepoNotFound", "the hub knows no model no-org/no-model", "check the name"),
        (401, "RepoNotFound", "the hub knows no model no-org/no-model", "HF_TOKEN"),
        (403, "GatedRepo", "no-org/no-model is gated", "accept its licence on the hub and set HF_TOKEN"),
        (404, "RevisionNotFound", "no-org/no-model has no revision 'odd'", "check the name after @"),
        (500, "", "the hub cannot be reached", "give a local directory"),
    ],
)
def test_answers_of_the_hub(
    hub: Callable[[int, str], None],
    refusal: Callable[[str], str],
    status: int,
    code: str,
    what: str,
    remedy: str,
) -> None:
    hub(status, code)
    said = refusal("no-org/no-model@odd")
    assert what in said
    assert remedy in said


def test_no_network(tmp_path: Path) -> None:
    """The real command, with nobody at the hub's address."""
    done = subprocess.run(
        [JAXLIN, "svd", "--model", "no-org/no-model", *REQUEST, "--out", tmp_path / "out"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env=clean_environment() | {"HF_HOME": str(tmp_path / "home"), "HF_ENDPOINT": "http://127.0.0.1:9"},
    )
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("jaxlin: no-org/no-model is not in the local cache and the hub cannot be reached")
    assert line.endswith("connect, or give a local directory")
    assert not (tmp_path / "out").exists()


def test_what_is_cached_is_used_without_network(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not set offline, but the hub does not answer."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    assert models.find(HUB_ID).revision == COMMIT


def test_only_what_is_needed_is_downloaded(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Never a pickle, nor the copies for other programs that many repositories hold."""
    asked: dict[str, Any] = {}

    def snapshot_download(hub_id: str, **options: Any) -> str:
        asked.update(options, hub_id=hub_id)
        return str(home / "hub" / f"models--{HUB_ID.replace('/', '--')}" / "snapshots" / COMMIT)

    monkeypatch.setattr("jaxlin_models.checkpoint.snapshot_download", snapshot_download)
    models.find(f"{HUB_ID}@main")
    assert (asked["hub_id"], asked["revision"]) == (HUB_ID, "main")
    files = ["config.json", "model.safetensors", "model-00001-of-00002.safetensors", "tokenizer.json",
             "model.safetensors.index.json", "tokenizer.model", "special_tokens_map.json", "merges.txt",
             "pytorch_model.bin", "consolidated.00.pth", "model.gguf", "tf_model.h5", "flax_model.msgpack",
             "rust_model.ot", "modeling_own.py", "training_args.bin"]  # fmt: skip
    wanted = list(filter_repo_objects(files, allow_patterns=asked["allow_patterns"]))
    assert wanted == files[:8]


# Shards, and the memory that loading takes


def parameters(decoder: nnx.Module) -> dict[str, Any]:
    return nnx.to_pure_dict(nnx.state(decoder))


@pytest.mark.parametrize("shards", [2, 5])
def test_sharded_checkpoint_loads_like_a_single_file(tmp_path: Path, shards: int) -> None:
    single = models.load_decoder(write_checkpoint("gemma3-text", tmp_path / "single"), jnp.float32)
    directory = write_checkpoint("gemma3-text", tmp_path / "sharded", shards)
    assert not (directory / "model.safetensors").exists()
    sharded = models.load_decoder(directory, jnp.float32)
    assert jax.tree.all(jax.tree.map(jnp.array_equal, parameters(single), parameters(sharded)))


def test_stored_and_wanted_dtype_may_differ(tmp_path: Path) -> None:
    directory = write_checkpoint("llama-bfloat16", tmp_path)
    wide, narrow = (models.load_decoder(directory, dtype) for dtype in (jnp.float32, jnp.bfloat16))
    equal = jax.tree.map(
        lambda a, b: (a.dtype, b.dtype) == (jnp.float32, jnp.bfloat16) and bool((a == b).all()),
        parameters(wide),
        parameters(narrow),
    )
    assert jax.tree.all(equal)


MEASURE = """
import sys
import jax.numpy as jnp
import jaxlin_models as models

def peak():
    (line,) = (line for line in open("/proc/self/status") if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024

tiny, big, dtype = sys.argv[1:]
models.load_decoder(tiny, jnp.dtype(dtype))
baseline = peak()
decoder = models.load_decoder(big, jnp.dtype(dtype))
print(peak() - baseline)
"""


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A checkpoint of 200 MB in float32, over two shards."""
    sizes = {
        "vocab_size": 1000,
        "hidden_size": 640,
        "intermediate_size": 1280,
        "num_hidden_layers": 12,
        "num_attention_heads": 8,
        "num_key_value_heads": 8,
    }
    checkpoint = replace(CHECKPOINTS["llama"], settings=sizes)
    directory = tmp_path_factory.mktemp("big")
    config = checkpoint.config()
    config.save_pretrained(directory)
    tiny_checkpoints.save_shards(random_tensors(checkpoint, config), directory, shards=2)
    yield directory
    shutil.rmtree(directory)  # pytest would keep it for three sessions


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="/proc")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_loading_never_holds_the_weights_twice(big: Path, tmp_path: Path, dtype: str) -> None:
    """Neither as arrays nor as mapped files: the peak is what was asked for and a tensor besides.

    Not ru_maxrss: a process starts with that of its parent, which here has loaded much already.
    """
    tiny = write_checkpoint("llama", tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, tiny, big, dtype], capture_output=True, text=True, check=True
    )
    stored = sum(file.stat().st_size for file in big.glob("*.safetensors"))
    size = stored * np.dtype(jnp.dtype(dtype)).itemsize / 4
    taken = int(done.stdout)
    assert 0.9 * size < taken < 1.3 * size
