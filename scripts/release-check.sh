#!/bin/sh
# release-check.sh [--quick]: everything that RELEASE.md asks for before a tag is pushed, in its order. Nothing is pushed, tagged or
# changed; what was built stays below target/release-check. --quick leaves out what takes hours: tests, the cluster and the nightly.
set -eu
cd "$(dirname "$0")/.."
quick=
case "${1:-}" in
  --quick) quick=yes ;;
  "") ;;
  *) echo "usage: release-check.sh [--quick]" >&2; exit 2 ;;
esac
step() { sh ./scripts/step.sh "$@"; }
# The one on PATH, or the one that `make e2e` built.
helm=${HELM:-$(command -v helm || echo "$PWD/e2e/cluster/bin/helm")}
[ -x "$helm" ] || { echo "release-check: no helm on PATH, and e2e/cluster/build.sh has not built one" >&2; exit 1; }

version=$(sh ./scripts/version.sh)
echo "release-check: $version, commit $(git rev-parse --short HEAD)"

# What is tagged is a commit, so nothing that is not committed may have been tested.
changed=$(git status --porcelain)
[ -z "$changed" ] || { printf 'release-check: commit these changes, or remove them:\n%s\n' "$changed" >&2; exit 1; }
if git rev-parse --quiet --verify "refs/tags/v$version" >/dev/null; then
  echo "release-check: the tag v$version exists, and a tag never moves: this needs a new version" >&2
  exit 1
fi
step "version and date" sh ./scripts/version.sh "v$version"
step "lock files" sh -c 'cargo metadata --locked --format-version 1 >/dev/null && cd fuzz && cargo metadata --locked --format-version 1 >/dev/null'

out=target/release-check
rm -rf "$out"
mkdir -p "$out"
step "chart" env HELM="$helm" ./helm/tests/run.sh
step "chart package" "$helm" package helm --destination "$out"
step "packaged chart" sh -c "'$helm' template database '$out/leasehold-$version.tgz' -n database >'$out/rendered.yaml'"
step "licences and advisories" make deny
step "the library's version" make semver

if [ -z "$quick" ]; then
  step "make test" make test
  step "make e2e" make e2e
  step "make nightly" make nightly SEED="$(date +%Y%m%d)"
fi

cat <<END
release-check: $version is ready${quick:+, as far as --quick looked}. What is left needs a person:
  git tag -s v$version && git push origin v$version
END
