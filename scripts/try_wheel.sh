#!/usr/bin/env bash
# Installs the wheel of dist/ alone in an empty environment, away from the checkout, and runs a small demo with it.
set -euo pipefail
wheel=$(ls "$PWD"/dist/semples-*.whl)
constraints=$PWD/constraints.txt
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv new
new/bin/python -m pip install --quiet --disable-pip-version-check -c "$constraints" "$wheel"
new/bin/semples doctor
new/bin/semples demo --out demo --photos 16 --set labels.method=threshold --set segmenter.predict.crf=false --set segmenter.iterations=5
new/bin/semples report demo/run
new/bin/python -c "import semples; print(semples.__version__, semples.load('demo/run').classes)"
