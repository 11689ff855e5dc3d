#!/bin/sh
# semver.sh [--baseline COMMIT] [--release-type major|minor|patch]: does this version's number allow what has changed in the
# library leasehold-sidecar since the last release, which e2e/last-release names? Two looks:
#   list   sidecar/tests/api/public.txt, the list of what is public, which a test keeps true: a line that is gone is a break. Needs
#          git alone. Not done where that commit has no such list, as 0.1.0.
#   tool   cargo-semver-checks, which sees more: types that are no longer Send, say. It gets the rustdoc of both, made from
#          their lock files by the installed toolchain; below target/semver.
# Only one of them: --only list, --only tool.
set -eu
cd "$(dirname "$0")/.."
fail() { echo "semver.sh: $*" >&2; exit 1; }
usage() { echo "usage: semver.sh [--baseline COMMIT] [--release-type major|minor|patch] [--only list|tool]" >&2; exit 2; }

crate=leasehold-sidecar
list=sidecar/tests/api/public.txt
cargo=${CARGO:-cargo}
read -r _ baseline _ <e2e/last-release || fail "e2e/last-release is not one line: VERSION COMMIT"
release=
only=
while [ $# -gt 0 ]; do
  [ $# -ge 2 ] || usage
  case "$1" in
    --baseline) baseline=$2 ;;
    --release-type) release=$2 ;;
    --only) only=$2 ;;
    *) usage ;;
  esac
  shift 2
done
case "$only" in "" | list | tool) ;; *) usage ;; esac
case "$release" in "" | major | minor | patch) ;; *) usage ;; esac

git cat-file -e "$baseline^{commit}" 2>/dev/null ||
  fail "this repository does not have the commit $baseline: run git fetch --unshallow, or name another one with --baseline"

# By the numbers: before 1.0 a minor version may break, and a patch version may add.
version_of() { sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\([0-9.]*\)"$/\1/p'; }
old=$(git show "$baseline:Cargo.toml" | version_of)
new=$(version_of <Cargo.toml)
{ [ -n "$old" ] && [ -n "$new" ]; } || fail "no version stands in the Cargo.toml of $baseline, or of this commit"
if [ -z "$release" ]; then
  case "$new" in
    0.*) if [ "${old%.*}" = "${new%.*}" ]; then release=minor; else release=major; fi ;;
    *)
      if [ "${old%%.*}" != "${new%%.*}" ]; then
        release=major
      elif [ "${old%.*}" != "${new%.*}" ]; then
        release=minor
      else
        release="patch"
      fi
      ;;
  esac
fi
echo "semver: $crate $new since $old ($(git rev-parse --short "$baseline")): as a $release change"

mkdir -p "${CARGO_TARGET_DIR:-target}/semver"
out=$(cd "${CARGO_TARGET_DIR:-target}/semver" && pwd)
target=${out%/semver}

look_at_list() {
  if ! git cat-file -e "$baseline:$list" 2>/dev/null; then
    echo "semver: $old has no list of what is public, so nothing is compared with it"
    return
  fi
  git show "$baseline:$list" | LC_ALL=C sort >"$out/before.txt"
  LC_ALL=C sort "$list" >"$out/now.txt"
  LC_ALL=C comm -23 "$out/before.txt" "$out/now.txt" >"$out/gone.txt"
  LC_ALL=C comm -13 "$out/before.txt" "$out/now.txt" >"$out/added.txt"
  echo "semver: $(wc -l <"$out/gone.txt") lines of the list are gone, $(wc -l <"$out/added.txt") are new"
  if [ "$release" != major ] && [ -s "$out/gone.txt" ]; then
    sed 's/^/  gone: /' "$out/gone.txt" >&2
    fail "what is gone breaks programs, and this is no major change: raise the version (before 1.0: its minor number), or keep it"
  fi
  if [ "$release" = patch ] && [ -s "$out/added.txt" ]; then
    sed 's/^/  new: /' "$out/added.txt" >&2
    fail "what is new needs a new minor version"
  fi
}

# FOLDER TO: what rustdoc knows of the crate, as JSON. Both in one folder of Cargo's: most dependencies are the same.
describe() {
  (cd "$1" && RUSTDOC="$out/rustdoc" CARGO_TARGET_DIR="$target" "$cargo" rustdoc --locked --quiet -p "$crate" --lib -- \
    -Zunstable-options --output-format json --cap-lints allow)
  cp "$target/doc/$(echo "$crate" | tr - _).json" "$2"
}

look_with_tool() {
  "$cargo" semver-checks --version >/dev/null 2>&1 ||
    fail "cargo-semver-checks is not installed; install it with: cargo install --locked cargo-semver-checks"
  rm -rf "$out/source"
  mkdir "$out/source"
  git archive --output "$out/source.tar" "$baseline"
  tar -xmf "$out/source.tar" -C "$out/source"
  rm "$out/source.tar"
  # JSON is unstable, so a stable rustdoc has to be asked twice. Not the whole of Cargo: that would build everything anew.
  printf '#!/bin/sh\nRUSTC_BOOTSTRAP=1 exec "%s" "$@"\n' "${RUSTDOC:-rustdoc}" >"$out/rustdoc"
  chmod +x "$out/rustdoc"
  describe "$out/source" "$out/before.json"
  describe . "$out/now.json"
  rm -rf "$out/source"
  "$cargo" semver-checks --baseline-rustdoc "$out/before.json" --current-rustdoc "$out/now.json" --release-type "$release"
}

[ "$only" = tool ] || look_at_list
[ "$only" = list ] || look_with_tool
