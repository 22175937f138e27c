"""What pyproject.toml promises is what is tested."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import jax
import pytest

import jaxlin
from jaxlin import JaxlinError
from jaxlin.verbs.loading import Load
from jaxlin.verbs.options import VERBS

ROOT = Path(__file__).parent.parent


def test_lower_bounds_are_the_tested_ones():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    bounds = dict(dependency.split(">=") for dependency in project["dependencies"])
    tested = dict(re.findall(r"^([\w-]+)==(\S+)$", (ROOT / "tests" / "lowest.txt").read_text(), re.MULTILINE))
    assert {name: tested[name] for name in bounds} == bounds


def test_a_library_that_says_nothing_unasked():
    """Without torch, transformers would advise to install it."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TRANSFORMERS")}
    hidden = "import sys; sys.modules['torch'] = None"
    code = f"{hidden}; import jaxlin; print(len(jaxlin.load('demo-qwen').tokenize('Paris')))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment, timeout=120
    )
    assert (done.stdout, done.stderr) == ("2\n", "")


def test_float64_in_a_fresh_process():
    """Nothing has switched it on before."""
    code = "import jaxlin; print(jaxlin.load('demo-qwen', dtype='float64').decoder.dtype)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.returncode) == ("float64\n", 0), done.stderr


def test_float64_stays_off_where_a_model_is_refused():
    code = (
        "import jax, jaxlin\n"
        "try: jaxlin.load('demo-nobody', dtype='float64')\n"
        "except jaxlin.JaxlinError: print(jax.config.jax_enable_x64)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout == "False\n", done.stderr


def test_the_version_is_said_once():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert jaxlin.__version__ == project["version"]
    assert f"\nversion: {project['version']}\n" in (ROOT / "CITATION.cff").read_text()


def test_import_is_light():
    """The names of the API, and the version, cost nothing of what they are made with."""
    code = "import sys, jaxlin; jaxlin.__version__; dir(jaxlin); print(*sys.modules)"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"jax", "jaxlib", "flax", "transformers", "scipy", "numpy", "matplotlib", "rich", "jaxlin_models"}
    assert heavy & set(process.stdout.split()) == set()


@pytest.mark.parametrize("offload", ["coefficients", "all"])
def test_offload_says_which_jax_it_needs(offload: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(jax, "__version__", "0.10.1")
    monkeypatch.setattr(jax, "__version_info__", (0, 10, 1))
    with pytest.raises(JaxlinError, match=f"offload '{offload}' needs JAX 0.10.2 or newer and"):
        jaxlin.load("demo-llama", offload=offload)


@pytest.mark.parametrize("content", [None, "raise ImportError('the models package of somebody else')"])
def test_a_folder_called_models_hides_nothing(content: str | None, tmp_path: Path):
    """The API and the command line, where the user's own folder is searched before all others."""
    (tmp_path / "models").mkdir()
    if content is not None:
        (tmp_path / "models" / "__init__.py").write_text(content)
    code = """
import runpy, sys
import jaxlin
result = jaxlin.load("demo-qwen").svd("The capital of France is", k=1)
assert result.certificate.holds
sys.argv = ["jaxlin", "svd", "--model", "demo-qwen", "--prompt", "The capital of France is", "-k", "1"]
sys.argv += ["--out", "result"]
runpy.run_module("jaxlin", run_name="__main__")
"""
    process = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert process.returncode == 0, process.stderr
    assert "certificate: holds" in process.stdout
    assert (tmp_path / "result" / "result.json").exists()


def test_every_public_name_has_an_example():
    """The file that is run on the built wheel: scripts/check_wheel.sh."""
    examples = ast.parse((ROOT / "scripts" / "api_examples.py").read_text())
    used = {
        node.attr
        for node in ast.walk(examples)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "jaxlin"
    }
    assert set(jaxlin.__all__) <= used
    methods = {node.attr for node in ast.walk(examples) if isinstance(node, ast.Attribute)}
    assert {verb for verb, options in VERBS.items() if Load in options.beside} <= methods


def test_the_command_does_not_import_torch_and_a_library_hides_nothing():
    """transformers would import it, for seconds; in a process that is not the command's own it may."""
    pytest.importorskip("torch")
    script = """
import sys
from jaxlin.commands.main import main
sys.argv = ["jaxlin", "models", "--json"]
arguments = None if OWN else sys.argv[1:]
assert main(arguments) == 0
print(sorted(sys.modules.keys() & {"torch", "transformers"}), file=sys.stderr)
import torch
from transformers.utils import is_torch_available
print(is_torch_available(), file=sys.stderr)
"""
    said = {}
    for own in (True, False):
        command = [sys.executable, "-c", f"OWN = {own}\n{script}"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        said[own] = done.stderr.split("\n")[:2]
    assert said == {True: ["['transformers']", "False"], False: ["['torch', 'transformers']", "True"]}
