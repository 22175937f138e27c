"""The README's Python runs as it stands, and its tables are the measured files' contents."""

from __future__ import annotations

import re
from pathlib import Path

README = (Path(__file__).parent.parent / "README.md").read_text()


def test_python_blocks_run(capsys):
    """In order and in one namespace, as somebody would paste them."""
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(blocks) >= 2
    namespace: dict[str, object] = {}
    for block in blocks:
        exec(block, namespace)
    assert "converged=4" in capsys.readouterr().out
    assert namespace["result"].certificate.holds


def test_no_placeholder_is_left():
    assert re.findall(r"@[A-Z_]+@", README) == []
