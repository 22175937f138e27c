"""The dependency rule, and tables that must keep step with the code."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from pkgutil import resolve_name

import jax.numpy as jnp
import pytest
from flax import nnx
from jaxlin_models import Decoder, families
from jaxlin_models.decoder import LOGICAL_AXES
from jaxlin_models.rope import rotary_table
from tiny_checkpoints import CHECKPOINTS

ROOT = Path(__file__).parent.parent
#: The packages, lowest first: each may import itself and those before it. ``jaxlin`` itself, which is the
#: list of the API, comes last and is imported by none of them.
ORDER = (
    "jaxlin_models",
    "jaxlin.errors",
    "jaxlin.version",
    "jaxlin.runtime",
    "jaxlin.networks",
    "jaxlin.linear",
    "jaxlin.results",
    "jaxlin.solvers",
    "jaxlin.per_token",
    "jaxlin.analyses",
    "jaxlin.prompts",
    "jaxlin.planning",
    "jaxlin.verbs",
    "jaxlin.commands",
    "jaxlin",
)
#: Folders of Python beside the packages.
FOLDERS = ("tests", "benchmarks", "scripts", "scripts/findings", "docs")
#: The packages that see a model only through the operator, or through what reads vectors as tokens.
ENGINE = ("runtime", "networks", "linear", "results", "solvers", "per_token", "analyses")


@cache
def modules() -> dict[str, Path]:
    """Every module of both packages, by its name."""
    return dict(
        sorted({**modules_in(ROOT / "jaxlin"), **modules_in(ROOT / "models" / "jaxlin_models")}.items())
    )


def modules_in(package: Path) -> dict[str, Path]:
    """Every module of a package, by its name."""

    def name(file: Path) -> str:
        parts = file.relative_to(package.parent).with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    return {name(file): file for file in package.rglob("*.py")}


def ours(name: str) -> bool:
    return name.split(".")[0] in ("jaxlin", "jaxlin_models")


def walk(node: ast.AST, apart: str) -> Iterator[ast.AST]:
    """A syntax tree, apart from what only type checkers read ("types"), or also from functions ("late")."""
    yield node
    for_types = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    if not (apart and for_types) and not (apart == "late" and isinstance(node, ast.FunctionDef)):
        for child in ast.iter_child_nodes(node):
            yield from walk(child, apart)


def imports(name: str, known: Mapping[str, Path], *, apart: str = "") -> Iterator[str]:
    """The modules that a module imports, wherever in it.

    ``apart`` from those for type checkers alone ("types"), or also from those in functions ("late").
    """
    tree = ast.parse(known[name].read_text())
    package = name.split(".") if known[name].name == "__init__.py" else name.split(".")[:-1]
    for node in walk(tree, apart):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                inner = f"{source}.{alias.name}"
                yield source if source in known and inner not in known else inner


def package_of(name: str) -> str:
    """The entry of ORDER that a module belongs to."""
    if name.startswith("jaxlin_models"):
        return "jaxlin_models"
    package = ".".join(name.split(".")[:2])
    return package if package in ORDER else "jaxlin" if name in ("jaxlin", "jaxlin.__main__") else name


def test_every_module_is_in_a_package_of_the_order():
    assert {package_of(name) for name in modules()} <= set(ORDER)


def test_packages_import_downwards_only():
    """Also inside functions, and for type checkers alone."""
    upwards = [
        f"{name} imports {imported}"
        for name in modules()
        for imported in imports(name, modules())
        if ours(imported) and ORDER.index(package_of(imported)) > ORDER.index(package_of(name))
    ]
    assert upwards == []


def test_the_engine_sees_models_only_through_the_operator():
    seeing = [
        name
        for name in modules()
        if package_of(name).removeprefix("jaxlin.") in ENGINE
        and any(package_of(imported) == "jaxlin_models" for imported in imports(name, modules()))
    ]
    assert seeing == []


def cycle_in(known: Mapping[str, Path]) -> list[str]:
    """Modules that import each other in a circle, at their tops or in functions; empty if there are none."""
    graph = {
        name: {other for other in imports(name, known, apart="types") if other in known and other != name}
        for name in known
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1]
    return []


def test_no_circle_of_modules():
    cycle = cycle_in(modules())
    assert cycle == [], cycle


def refused(outside: list[str], names: list[str], path: Path | None = None) -> list[str]:
    """Those that cannot be imported first, and why."""
    where = [str(path)] if path else [str(ROOT), str(ROOT / "models")]
    child = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {where}; import runpy; "
         f"runpy.run_path({str(Path(__file__).with_name('import_each.py'))!r}, run_name='__main__')"],
        input=json.dumps([outside, names]), capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert child.returncode == 0, child.stderr
    return child.stdout.splitlines()


def test_every_module_can_be_imported_first():
    """In a process that has imported nothing of ours before."""
    outside = {
        imported
        for name in modules()
        for imported in imports(name, modules(), apart="late")
        if not ours(imported) and imported != "__future__"
    }
    names = [name for name in modules() if not name.endswith("__main__")]
    assert refused(sorted(outside), names) == []


def test_the_checks_of_imports_find_a_circle(tmp_path: Path):
    """One that shows only when its second module is imported first, and one inside of functions."""
    package = tmp_path / "wheel"
    package.mkdir()
    files = {
        "__init__": "",
        "a": "x = 1\nfrom wheel.b import y\n",
        "b": "from wheel.a import x, y as z\ny = 2\n",
        "c": "def late():\n    from .d import spoke\n",
        "d": "from .c import late\n",
    }
    for name, text in files.items():
        (package / f"{name}.py").write_text(text)
    known = modules_in(package)
    assert set(cycle_in({name: file for name, file in known.items() if name[-1] in "ab"})) == {
        "wheel.a",
        "wheel.b",
    }
    assert set(cycle_in({name: file for name, file in known.items() if name[-1] in "cd"})) == {
        "wheel.c",
        "wheel.d",
    }
    failures = refused([], [*known], tmp_path)
    assert sorted(line.split(":")[0] for line in failures) == ["wheel.a", "wheel.b"]


PRIVATE, PRIVATE_PATH = re.compile(r"_(?!_)"), re.compile(r"^jaxlin[\w.]*\._(?!_)\w+$")


def outside(name: str) -> bool:
    """Whether a module is neither of the packages nor a file beside them."""
    top = name.split(".")[0]
    return not ours(name) and not any((ROOT / folder / f"{top}.py").exists() for folder in FOLDERS)


def private_names(file: Path) -> Iterator[str]:
    """Names with an underscore that a file takes from another module: by import, attribute or in a string."""
    taken = set()
    tree = ast.parse(file.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.level or not outside(str(node.module))):
            taken |= {alias.asname or alias.name for alias in node.names}
            yield from (alias.name for alias in node.names if PRIVATE.match(alias.name))
        elif isinstance(node, ast.Import):
            taken |= {a.asname or a.name.split(".")[0] for a in node.names if not outside(a.name)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and PRIVATE.match(node.attr):
            root = node.value
            while isinstance(root, ast.Attribute):
                root = root.value
            # Of modules alone: a class may look into its own instances.
            if isinstance(root, ast.Name) and root.id in taken and root.id.islower():
                yield ast.unparse(node)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from PRIVATE_PATH.findall(node.value)


def test_no_private_name_crosses_a_module():
    files = [
        *modules().values(),
        *(f for d in FOLDERS for f in (ROOT / d).glob("*.py")),
    ]
    crossing = [f"{file.relative_to(ROOT)}: {name}" for file in files for name in private_names(file)]
    assert crossing == [], crossing


def test_files_beside_the_packages_import_what_is_there():
    """Benchmarks and most scripts are run by no test."""
    taken = {
        (f"{node.module}.{alias.name}", file.name)
        for folder in FOLDERS
        for file in (ROOT / folder).glob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.ImportFrom) and not node.level and ours(str(node.module))
        for alias in node.names
    }
    assert len(taken) > 100
    assert [name for name in sorted(taken) if not exists(name[0])] == []


def exists(name: str) -> bool:
    try:
        resolve_name(name)
    except (ImportError, AttributeError):
        return False
    return True


def test_import_jaxlin_imports_no_model():
    code = (
        "import sys, jaxlin; jaxlin.svd; late = {'jaxlin_models.decoder', 'transformers'}; "
        "sys.exit(str(sorted(late & set(sys.modules))))"
    )
    child = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert child.stderr.strip() == "[]"


@pytest.mark.parametrize(
    "name", ["llama-biases", "qwen3-attention-bias", "gemma3-multimodal-untied", "olmo2"]
)
def test_every_weight_has_logical_axes(name: str):
    config = families.decoder_config(CHECKPOINTS[name].config())
    shapes = nnx.eval_shape(lambda: Decoder(config, rngs=nnx.Rngs(0)))
    sizes = {
        "vocab": config.vocab_size, "embed": config.embed_dim, "layer": config.num_layers,
        "heads": config.num_heads, "kv_heads": config.num_kv_heads, "head_dim": config.head_dim,
        "mlp": config.mlp_dim,
    }  # fmt: skip
    for path, leaf in nnx.to_flat_state(nnx.state(shapes)):
        axes = LOGICAL_AXES[".".join(map(str, path))]
        assert leaf.shape == tuple(sizes[axis] for axis in axes), path


def test_float32_angles_keep_their_digits_at_far_positions():
    """cos and sin at position 40,000 are right to float32 rounding; a float32 product is off by 1e-3."""
    rope = families.decoder_config(CHECKPOINTS["llama-llama3-rope"].config()).rope_full
    narrow, wide = (rotary_table(rope, 16, 40_001, dtype) for dtype in (jnp.float32, jnp.float64))
    for a, b in zip(narrow, wide, strict=True):
        assert float(jnp.abs(a[-1] - b[-1]).max()) < 4 * jnp.finfo(jnp.float32).eps


@pytest.mark.parametrize("package", ["models/jaxlin_models", "jaxlin"])
def test_no_module_bears_the_name_of_what_its_package_offers(package: str):
    """An import of such a module would put it in the function's place."""
    tree = ast.parse((ROOT / package / "__init__.pyi").read_text())
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    names = {alias.asname or alias.name for node in imports for alias in node.names}
    assert len(names) > 10
    assert names & {path.stem for path in (ROOT / package).iterdir()} == set()
