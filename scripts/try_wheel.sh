#!/usr/bin/env bash
# Installs the wheel of dist/, then the sdist, each alone in an empty environment, away from the checkout, and runs a
# small demo with it. TRY_IN=DIR: where; default: a temporary folder.
set -euo pipefail
dist=$PWD/dist
constraints=$PWD/constraints.txt
work=$(mktemp -d -p "${TRY_IN:-${TMPDIR:-/tmp}}")
trap 'rm -rf "$work"' EXIT
unset PYTHONPATH
cd "$work"
for file in "$dist"/semples-*.whl "$dist"/semples-*.tar.gz; do
  begin=$SECONDS
  rm -rf new demo
  python3 -m venv new
  new/bin/python -m pip install --quiet --disable-pip-version-check -c "$constraints" "$file"
  installed=$((SECONDS - begin))
  new/bin/semples doctor
  new/bin/semples demo --out demo --photos 16 --set labels.method=threshold --set segmenter.predict.crf=false --set segmenter.iterations=5 \
    --set warmup.steps=10 --set matching.steps=10 --set prompting.steps=10 --set refinement.steps=10
  new/bin/semples report demo/run
  new/bin/python -c "import semples; print(semples.__version__, semples.load('demo/run').classes)"
  new/bin/python -c "from semples.run.summary import schema; schema()"
  echo "$(basename "$file"): installed in $installed s, tried in $((SECONDS - begin - installed)) s, $(du -sm new | cut -f1) MB"
done
