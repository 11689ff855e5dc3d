#!/bin/sh
# make openapi: asks programs that others wrote whether /openapi.json says what a running store does. README.md says how.
# Needs Python with venv, and a package index for the first run. All it makes lies under target/openapi.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
target=${CARGO_TARGET_DIR:-$here/../../target}
work=$target/openapi
python=${PYTHON:-python3}

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || {
  echo "make openapi: needs Python 3.11 or later as python3 (or PYTHON=…)" >&2; exit 1
}
"$python" -c 'import venv, ensurepip' 2>/dev/null || {
  echo "make openapi: this Python has no venv; on Debian: apt-get install python3-venv" >&2; exit 1
}
mkdir -p "$work"
# Made anew when the requirements change; the copy is written last, so half a folder is not taken for a whole one.
if ! cmp -s "$here/requirements.txt" "$work/venv/requirements.txt"; then
  rm -rf "$work/venv"
  "$python" -m venv "$work/venv"
  "$work/venv/bin/pip" install --quiet --disable-pip-version-check --require-hashes -r "$here/requirements.txt"
  cp "$here/requirements.txt" "$work/venv/requirements.txt"
fi
# Nothing of it is left beside the sources.
export PYTHONDONTWRITEBYTECODE=1
# By exec: a signal to make reaches the program that stops what it started.
exec "$work/venv/bin/python" "$here/check.py" --programs "$target/debug" --work "$work" "$@"
