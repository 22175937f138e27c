#!/usr/bin/env bash
# Builds the wheel and the source archive, looks into both, installs the wheel with what it asks for and nothing else,
# and runs the demo and an example of every public name in folders that would hide a package called models.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$python" -m venv "$work/build"
"$work/build/bin/python" -m pip install --quiet build
# Of what git knows, so that nothing else that is in this folder is taken along.
git ls-files -z | xargs -0 cp --parents --target-directory "$(mkdir "$work/tree" && echo "$work/tree")"
"$work/build/bin/python" -m build --outdir "$work/dist" "$work/tree" > "$work/build.log" 2>&1 || { cat "$work/build.log"; exit 1; }
"$python" scripts/check_archives.py "$work/dist"

"$python" -m venv "$work/bare"
bare=$work/bare/bin
"$bare/python" -m pip install --quiet "$work"/dist/*.whl
for absent in torch pandas pytest; do
    if "$bare/python" -c "import $absent" 2> /dev/null; then
        echo "$absent comes with the wheel, and should not"
        exit 1
    fi
done

mkdir -p "$work/raising/models" "$work/empty/models"
echo 'raise ImportError("this is the models package of somebody else")' > "$work/raising/models/__init__.py"
cp scripts/api_examples.py "$work/api_examples.py"
unset PYTHONPATH
for folder in raising empty; do
    cd "$work/$folder"
    "$bare/jaxlin" --version
    "$bare/jaxlin" svd --model demo-qwen --prompt "The capital of France is" -k 4 --out results/demo
    "$bare/jaxlin" report results/demo --out report.html
    # With the folder on the path before all others, as in a notebook or with python -m.
    "$bare/python" -c "import runpy, sys; sys.argv[1:] = ['api']; runpy.run_path('../api_examples.py', run_name='__main__')"
done
echo "the wheel works"
