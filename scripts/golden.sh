#!/bin/sh
# golden.sh: a directory of golden files is as its release tagged it (docs/golden.md). Where the tags are not there, as in a
# shallow clone, nothing is checked.
set -eu
cd "$(dirname "$0")/.."
failed=0
for tag in $(git tag --list 'v[0-9]*'); do
  changed=$(git diff --name-only "$tag" -- ":(glob)**/tests/golden/${tag#v}/**")
  [ -z "$changed" ] || { printf 'golden.sh: changed since %s was released:\n%s\n' "$tag" "$changed" >&2; failed=1; }
done
exit "$failed"
