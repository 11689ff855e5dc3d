#!/bin/sh
# arm64.sh [--keep] [--lto] [-- COMMAND...]: cross-builds the programs of the images for arm64, with the very command of
# Dockerfile.sidecar, and tries them under qemu. As root, on Debian 12 with debootstrap. It works in a Debian of its own,
# target/arm64/root, with Debian's Rust (not that of the Dockerfiles), and installs nothing on the machine. What it made it removes, also
# after an interrupt.
#   --keep   leaves target/arm64, and the next run resumes there
#   --lto    links as the images do, which takes minutes more; by default each crate is translated alone
#   COMMAND  the last trial, where the kernel starts arm64 programs in qemu; LEASEHOLD_STATIC_SIDECAR names the sidecar
# Tried: the programs are for arm64, and static; --version and --help; and, on Linux 6.7 or later, with target/debug/e2e, three pods that
# elect a leader, and COMMAND. Not tried: a real arm64 machine, and the Dockerfile's Rust.
set -eu
cd "$(dirname "$0")/.."
target=aarch64-unknown-linux-gnu
packages="rustc-web cargo-web libstd-rust-web-dev libstd-rust-web-dev:arm64 gcc libc6-dev gcc-aarch64-linux-gnu libc6-dev:arm64 qemu-user-static"
sources=/etc/apt/sources.list.d/debian.sources
fail() { echo "arm64.sh: $*" >&2; exit 1; }

# alone PART...: a part of this script in a mount and PID namespace of its own. So no mount is ever below what is removed, and nothing
# that was started stays.
started=
alone() {
  unshare --mount --propagation private --pid --fork --kill-child=KILL --mount-proc -- sh ./scripts/arm64.sh inside "$@" &
  started=$!
  code=0
  wait "$started" || code=$?
  started=
  return "$code"
}

# The first process of that namespace ends with all others, and `unshare` after them.
clean() {
  code=$?
  trap - EXIT
  if [ -n "$started" ]; then
    kill -KILL "$(tr -d ' ' <"/proc/$started/task/$started/children")" 2>/dev/null || true
    wait "$started" || true
  fi
  [ -n "$keep" ] || rm -rf "$work"
  exit "$code"
}

# enter COMMAND...: in the root, with nothing of the machine's environment but what Cargo needs
enter() {
  chroot "$root" env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C DEBIAN_FRONTEND=noninteractive \
    ${CARGO_BUILD_JOBS:+"CARGO_BUILD_JOBS=$CARGO_BUILD_JOBS"} "$@"
}

# The root, with the machine's own apt sources and settings, and the authorities that it trusts.
make_root() {
  mkdir -p "$root"
  debootstrap --variant=minbase bookworm "$root" "$(sed -n 's/^URIs: //p' "$sources" | head -n 1)"
  : >"$root/etc/apt/sources.list"
  cp "$sources" "$root/etc/apt/sources.list.d/"
  cp /etc/resolv.conf "$root/etc/resolv.conf"
  cp /etc/apt/apt.conf.d/99* "$root/etc/apt/apt.conf.d/" 2>/dev/null || true
  cp /usr/local/share/ca-certificates/*.crt "$root/usr/local/share/ca-certificates/" 2>/dev/null || true
  mount -t proc proc "$root/proc"
  enter dpkg --add-architecture arm64
  enter apt-get update -qq
  # shellcheck disable=SC2086 # a list
  enter apt-get install -y -qq --no-install-recommends $packages
  enter apt-get clean
}

# What Dockerfile.sidecar runs, without Docker's own options. Its `rustc -vV` says what it builds for: see `build`.
command_of_the_image() {
  sed -n '/^RUN --mount/,/[^\\]$/p' Dockerfile.sidecar | sed -e '1s/^RUN //' -e 's/^ *--mount=[^ ]* \\$//'
}

# The sources are bound read-only, with a target of the root's over theirs; the crates are the machine's.
build() {
  lto=$1
  command=$(command_of_the_image)
  case "$command" in *"rustc -vV"*"cargo build"*/programs*) ;; *)
    fail "this no longer understands the RUN of Dockerfile.sidecar: change command_of_the_image. It read: $command" ;;
  esac
  mkdir -p target "$root/src" "$root/target" "$root/root/.cargo/registry"
  rm -rf "$root/programs"
  mount -t proc proc "$root/proc"
  mount --bind . "$root/src"
  mount -o remount,bind,ro "$root/src"
  mount --bind "$root/target" "$root/src/target"
  mount --bind "${CARGO_HOME:-$HOME/.cargo}/registry" "$root/root/.cargo/registry"
  mount -o remount,bind,ro "$root/root/.cargo/registry"
  set -- CARGO_NET_OFFLINE=true CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
  [ -n "$lto" ] || set -- "$@" CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16
  # The function is for the command alone: Cargo asks the real rustc.
  enter "$@" sh -ec "cd /src; rustc() { echo 'host: $target'; }; $command"
}

# For arm64, and static: no loader and no libraries.
check() {
  head=$(enter readelf --file-header --program-headers --dynamic "/programs/$1")
  case "$head" in *"Machine:"*AArch64*) ;; *) fail "$1 is not for arm64: $head" ;; esac
  case "$head" in *INTERP* | *"(NEEDED)"*) fail "$1 is not static: $head" ;; esac
  said=$(enter qemu-aarch64-static "/programs/$1" --version) || fail "$1 --version failed under qemu: $said"
  [ "$said" = "$1 $version" ] || fail "$1 --version says \"$said\", not \"$1 $version\""
  help=$(enter qemu-aarch64-static "/programs/$1" --help) || fail "$1 --help failed under qemu: $help"
  case "$help" in *"Usage: $1"*) ;; *) fail "$1 --help has no line that begins with Usage: $help" ;; esac
  echo "      $said, static, $(stat --format=%s "$root/programs/$1") bytes"
}

checks() {
  for program in store sidecar backup; do check "$program"; done
}

# with_qemu COMMAND...: as root of a user namespace, whose own binfmt_misc starts arm64 programs in qemu; the machine's stays as it is.
# It replaces this shell, so call it in one of its own. 0xb7 is AArch64's number; the mask lets all ABIs, and the types EXEC and DYN,
# through. F: qemu is opened now, and so is also there in other roots.
with_qemu() {
  mkdir -p "$work/binfmt"
  # shellcheck disable=SC2016 # for the shell inside
  exec unshare --user --map-root-user --mount -- sh -ec '
    mount -t binfmt_misc binfmt_misc "$1/binfmt" 2>/dev/null || exit 77 # Linux before 6.7
    printf "%s" ":arm64:M::\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00:\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:$1/root/usr/bin/qemu-aarch64-static:OCFP" >"$1/binfmt/register"
    shift
    exec "$@"' sh "$work" "$@"
}

elect() {
  rm -rf "$work/demo" "$work/demo.log"
  mkdir "$work/demo"
  cp target/debug/e2e "$root/programs/store" "$root/programs/sidecar" "$root/programs/backup" "$work/demo/"
  began=$(date +%s)
  with_qemu "$work/demo/e2e" demo --plain --free-ports >"$work/demo.log" 2>&1 &
  demo=$!
  until grep -q ': leading (leader), ' "$work/demo.log" && [ "$(grep -c ': follower, term [1-9]' "$work/demo.log")" -ge 2 ]; do
    kill -0 "$demo" 2>/dev/null || fail "the demo ended by itself: $(tail -n 5 "$work/demo.log")"
    [ $(($(date +%s) - began)) -lt 180 ] || fail "three pods have no leader and two followers after 180 s: $(tail -n 20 "$work/demo.log")"
    sleep 0.2
  done
  echo "      three pods of arm64: a leader and two followers after $(($(date +%s) - began)) s"
  kill -INT "$demo"
  wait "$demo" || fail "the demo did not end well: $(tail -n 5 "$work/demo.log")"
}

# What needs the kernel's help, and COMMAND.
trials() {
  code=0
  (with_qemu true) || code=$?
  case "$code" in
    0) ;;
    77) echo "SKIPPED: the election, and what comes after it: this kernel has no binfmt_misc for a user namespace (Linux 6.7 has)"; return 0 ;;
    *) fail "the kernel cannot be told to start arm64 programs in qemu (see above)" ;;
  esac
  if [ -x target/debug/e2e ]; then
    elect
  else
    echo "SKIPPED: the election: there is no target/debug/e2e: cargo build --locked --bin e2e"
  fi
  [ $# = 0 ] || (LEASEHOLD_STATIC_SIDECAR="$root/programs/sidecar" && export LEASEHOLD_STATIC_SIDECAR && with_qemu "$@")
}

mkdir -p "${CARGO_TARGET_DIR:-target}/arm64"
work=$(cd "${CARGO_TARGET_DIR:-target}/arm64" && pwd)
root=$work/root
version=$(sh ./scripts/version.sh)

if [ "${1:-}" = inside ]; then
  part=$2
  shift 2
  "$part" "$@"
  exit
fi

keep='' lto=''
while [ $# -gt 0 ]; do
  case "$1" in
    --keep) keep=yes ;;
    --lto) lto=yes ;;
    --) shift; break ;;
    *) echo "usage: arm64.sh [--keep] [--lto] [-- COMMAND...]" >&2; exit 2 ;;
  esac
  shift
done
trap clean EXIT
trap 'exit 130' HUP INT TERM
[ "$(id -u)" = 0 ] || fail "this needs root: it makes a Debian of its own, and enters it"
command -v debootstrap >/dev/null || fail "debootstrap is missing: apt-get install debootstrap"
grep -qs bookworm-security "$sources" || fail "$sources does not name bookworm-security: this needs Debian 12, whose security updates have a new Rust"

if [ ! -e "$work/root.done" ]; then
  echo "arm64: a Debian with a cross-compiler, in $root"
  rm -rf "$root"
  alone make_root >"$work/root.log" 2>&1 || fail "that failed: $(tail -n 5 "$work/root.log")"
  touch "$work/root.done"
fi
"${CARGO:-cargo}" fetch --locked --quiet
echo "arm64: building with $(enter rustc --version)${lto:+, with LTO}"
alone build "$lto"
alone checks
alone trials "$@"
