"""The dependency rule, and tables that must keep step with the code."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import pytest
from flax import nnx
from jaxlin_models import Decoder, families
from jaxlin_models.decoder import LOGICAL_AXES
from jaxlin_models.rope import rotary_table
from tiny_checkpoints import CHECKPOINTS

ROOT = Path(__file__).parent.parent
#: The files that may see both packages: the public loader, the model it hands out, that model in
#: shapes and the choice of its dial, and the commands.
BOTH = {"load.py", "model.py", "recording.py", "abstract.py", "budget.py", "cli.py"} | {
    f"commands/{name}.py"
    for name in (
        "attribute",
        "batch",
        "compare",
        "job",
        "layers",
        "models",
        "part",
        "plan",
        "steer",
        "svd",
        "tokens",
    )
}


def imports(path: Path) -> set[str]:
    """Top-level names of the packages that a file imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


def test_models_knows_nothing_of_jaxlin():
    guilty = [path for path in (ROOT / "models").rglob("*.py") if "jaxlin" in imports(path)]
    assert guilty == []


def test_the_engine_sees_models_only_through_the_operator():
    package = ROOT / "jaxlin"
    seeing = {
        path.relative_to(package).as_posix() for path in package.rglob("*.py") if "models" in imports(path)
    }
    assert seeing <= BOTH


def test_import_jaxlin_imports_no_model():
    code = "import sys, jaxlin; sys.exit('models' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


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
