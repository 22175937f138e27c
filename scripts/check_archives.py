"""What is in the built wheel and source archive, and what must not be: python check_archives.py DIST."""

from __future__ import annotations

import sys
import tarfile
import zipfile
from pathlib import Path

#: Data that the packages read, which setuptools takes along only where it is told to.
NEEDED = (
    "jaxlin/__init__.pyi",
    "jaxlin/py.typed",
    "jaxlin/results/page/page.html",
    "jaxlin_models/__init__.pyi",
    "jaxlin_models/py.typed",
    "jaxlin_models/demo/prompt.txt",
    "jaxlin_models/demo/qwen/config.json",
)
#: Folders of a checkout that are nobody else's business.
UNWANTED = {"results", "out", "build", "dist", ".git", ".venv", ".venv-newer", ".venv-lowest", "__pycache__"}


def main(dist: Path) -> None:
    (wheel,), (source,) = dist.glob("*.whl"), dist.glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as archive:
        inside = set(archive.namelist())
    packages = {name.split("/")[0] for name in inside if not name.split("/")[0].endswith(".dist-info")}
    assert packages == {"jaxlin", "jaxlin_models"}, f"the wheel installs {packages}"
    assert set(NEEDED) <= inside, f"the wheel lacks {set(NEEDED) - inside}"
    with tarfile.open(source) as archive:
        paths = [Path(name).parts[1:] for name in archive.getnames()]
    # jaxlin/results is a package; a folder of results is at the top.
    assert not {parts[0] for parts in paths if parts} & UNWANTED, (
        "the source archive has folders of a checkout"
    )
    assert not any("__pycache__" in parts for parts in paths), "the source archive has compiled files"
    for name in (
        "pyproject.toml",
        "LICENSE",
        "README.md",
        "tests/conftest.py",
        "models/jaxlin_models/py.typed",
    ):
        assert Path(name).parts in paths, f"the source archive lacks {name}"
    for path in (wheel, source):
        print(f"{path.name}: {path.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
