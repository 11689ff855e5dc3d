#!/bin/sh
# version.sh [TAG]: prints the version, if all places that name it agree; says which one does not, otherwise. With a tag
# (v0.1.0) that must agree, too, and CHANGELOG.md must have a date for it. The commit of the last release must be there, and an
# ancestor of this one.
set -eu
cd "$(dirname "$0")/.."
version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"$/\1/p' Cargo.toml)
failed=0
differs() { # differs WHERE WHAT
  [ "$2" = "$version" ] || { echo "version.sh: $1 says \"$2\", and Cargo.toml \"$version\"" >&2; failed=1; }
}
differs "helm/Chart.yaml, version" "$(sed -n 's/^version: //p' helm/Chart.yaml)"
differs "helm/Chart.yaml, appVersion" "$(sed -n 's/^appVersion: //p' helm/Chart.yaml)"
differs "CHANGELOG.md, first heading" "$(sed -n 's/^## \([^ ]*\).*/\1/p' CHANGELOG.md | head -n 1)"
# Examples in documents, Dockerfiles and the chart, and the golden files.
images=$(git grep -noE 'leasehold/(store|sidecar):[0-9][0-9A-Za-z.-]*[0-9A-Za-z]' -- . ':!fuzz/corpus')
for image in $images; do differs "${image%:*}" "${image##*:}"; done
if [ "$#" -gt 0 ]; then
  differs "the tag $1" "${1#v}"
  grep -qE "^## ${version} \([0-9]{4}-[0-9]{2}-[0-9]{2}\)$" CHANGELOG.md ||
    { echo "version.sh: CHANGELOG.md has no heading \"## $version (YYYY-MM-DD)\"" >&2; failed=1; }
fi
sh ./scripts/last-release.sh check || failed=1
[ "$failed" = 0 ] || exit 1
echo "$version"
