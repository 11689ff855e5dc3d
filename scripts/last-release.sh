#!/bin/sh
# last-release.sh build|source|check: the last release, for the tests that run its programs beside this build's.
# e2e/last-release names it: its version and its commit. What this makes lies below target/last-release.
#   build   builds its store and sidecar from that commit, unless they are there: source/ (git archive), build/ (Cargo's folder),
#           store, sidecar, and `built`, which says what they are
#   source  only source/, and prints where that is
#   check   the commit exists, and the one that is checked out comes after it
set -eu
cd "$(dirname "$0")/.."
fail() { echo "last-release.sh: $*" >&2; exit 1; }

rest=
read -r version commit rest <e2e/last-release || fail "e2e/last-release is not one line: VERSION COMMIT"
{ [ -z "$rest" ] && [ "$(wc -l <e2e/last-release)" = 1 ] && printf '%s\n' "$commit" | grep -qE '^[0-9a-f]{40}$' &&
  printf '%s\n' "$version" | grep -qE '^[0-9]+\.[0-9]+\.[0-9]+$'; } ||
  fail "e2e/last-release must be one line, VERSION COMMIT: numbers such as 0.1.0, and forty hexadecimal digits"

exists() {
  git rev-parse --is-inside-work-tree >/dev/null 2>&1 ||
    fail "this is not a git repository, so the last release ($version) cannot be built from its commit: clone the repository"
  git cat-file -e "$commit^{commit}" 2>/dev/null && return
  if [ "$(git rev-parse --is-shallow-repository)" = true ]; then
    fail "this clone is shallow and does not have the commit of the last release ($version, $commit): run git fetch --unshallow"
  fi
  fail "this repository does not have the commit $commit, which e2e/last-release calls $version: correct that file, or run git fetch"
}

# Absolute: Cargo is run in source/.
out() {
  mkdir -p "${CARGO_TARGET_DIR:-target}/last-release"
  out=$(cd "${CARGO_TARGET_DIR:-target}/last-release" && pwd)
}

unpack() {
  cmp -s e2e/last-release "$out/source/.named" && return
  exists
  rm -rf "$out/source"
  mkdir "$out/source"
  git archive --output "$out/source.tar" "$commit"
  # -m: the files are as old as their commit, and Cargo would take what it built of another one for newer.
  tar -xmf "$out/source.tar" -C "$out/source"
  rm "$out/source.tar"
  cp e2e/last-release "$out/source/.named"
}

case "${1:-}" in
  check)
    if [ "$(git rev-parse --is-shallow-repository 2>/dev/null)" = true ] && ! git cat-file -e "$commit^{commit}" 2>/dev/null; then
      echo "last-release.sh: this clone is shallow, so $version ($commit) is not looked for" >&2
      exit 0
    fi
    exists
    git merge-base --is-ancestor "$commit" HEAD ||
      fail "$commit, which e2e/last-release calls $version, is not an ancestor of this commit"
    ;;
  source)
    out
    unpack
    echo "$out/source"
    ;;
  build)
    out
    if [ -x "$out/store" ] && [ -x "$out/sidecar" ] && cmp -s e2e/last-release "$out/built"; then
      echo "last release: $version is built ($out)"
      exit 0
    fi
    exists
    began=$(date +%s)
    echo "last release: building store and sidecar of $version (commit $commit) in $out; the first time that takes minutes"
    # First, so that nobody takes the programs of two releases for those of one.
    rm -f "$out/built"
    unpack
    # The toolchain is the one that the release names, where rustup is.
    (cd "$out/source" && CARGO_TARGET_DIR="$out/build" "${CARGO:-cargo}" build --locked --quiet --bin store --bin sidecar)
    # By rename: a program that runs is not written to.
    for program in store sidecar; do
      cp "$out/build/debug/$program" "$out/$program.new"
      mv "$out/$program.new" "$out/$program"
    done
    cp e2e/last-release "$out/built"
    echo "last release: $version is built, in $(($(date +%s) - began)) s ($out)"
    ;;
  *) fail "usage: last-release.sh build|source|check" ;;
esac
