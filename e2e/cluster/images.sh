#!/usr/bin/env bash
# images.sh: makes stand-ins for the base images, which cannot be pulled without a registry, and builds with them.
#
#   images.sh pause           the container that holds a pod's namespaces           -> images/pause.tar
#   images.sh debian          docker.io/library/debian:bookworm-slim, by debootstrap from the machine's own mirror
#   images.sh rust            the base of the Dockerfiles' build stage: debian and gcc; the machine's toolchain is bound in
#   images.sh build DOCKERFILE NAME CONTEXT      an unmodified Dockerfile            -> images/<last part of NAME>.tar
#   images.sh clean           removes all that this script made, except images/*.tar
#
# Everything is below ./work (CLUSTER_WORK), including buildah's own store and its cache mounts. What exists is not made
# again.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
work=${CLUSTER_WORK:-$here/work}
images=${CLUSTER_IMAGES:-$here/images}
mkdir -p "$work/tmp" "$images"
export TMPDIR=$work/tmp # buildah's cache mounts and scratch
TIMEFORMAT="      %R s"

debian=docker.io/library/debian:bookworm-slim
rust=docker.io/library/$(sed -n 's/^FROM \(rust:[^ ]*\) AS build$/\1/p' "$here/../../Dockerfile.store")
pause=kubebox.local/pause:1

buildah() { command buildah --root "$work/storage" --runroot "$work/storage-run" "$@"; }
have() { buildah inspect --type image "$1" >/dev/null 2>&1; }
# in_container CONTAINER COMMAND: chroot isolation needs no runc and no network of its own
in_container() { buildah run --isolation chroot --network host "$1" -- sh -c "$2"; }
archive() {
  rm -f "$images/$2.tar"
  buildah push -q "$1" "docker-archive:$images/$2.tar:$1"
}

make_pause() {
  have $pause && [ -s "$images/pause.tar" ] && return 0
  local container
  gcc -static -Os -s -o "$work/pause" "$here/pause.c"
  container=$(buildah from scratch)
  buildah copy -q "$container" "$work/pause" /pause >/dev/null
  buildah config --entrypoint '["/pause"]' --user 65535:65535 "$container"
  buildah commit -q --rm "$container" $pause >/dev/null
  archive $pause pause
}

make_debian() {
  have $debian && return 0
  local container root=$work/bookworm mirror
  mirror=$(sed -n 's/^URIs: //p' /etc/apt/sources.list.d/debian.sources 2>/dev/null | head -n 1)
  if [ ! -e "$root.done" ]; then
    rm -rf "$root"
    debootstrap --variant=minbase bookworm "$root" ${mirror:+"$mirror"} >"$work/debootstrap.log"
    # The machine's own apt sources and settings, the authorities it trusts besides the usual ones, and the two
    # settings of the official image that keep .deb archives and lists out of the layers.
    cp /etc/apt/sources.list.d/debian.sources "$root/etc/apt/sources.list.d/" 2>/dev/null && : >"$root/etc/apt/sources.list"
    cp /etc/apt/apt.conf.d/99* "$root/etc/apt/apt.conf.d/" 2>/dev/null || true
    # shellcheck disable=SC2016
    printf '%s\n' 'DPkg::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb /var/cache/apt/*.bin || true"; };' \
      'APT::Update::Post-Invoke { "rm -f /var/cache/apt/*.bin || true"; };' 'Dir::Cache::pkgcache ""; Dir::Cache::srcpkgcache "";' \
      >"$root/etc/apt/apt.conf.d/docker-clean"
    mkdir -p "$root/usr/local/share/ca-certificates"
    cp /usr/local/share/ca-certificates/*.crt "$root/usr/local/share/ca-certificates/" 2>/dev/null || true
    touch "$root.done"
  fi
  container=$(buildah from scratch)
  # As in the -slim images: no documents, no caches.
  tar -C "$root" --exclude='./usr/share/doc/*' --exclude='./usr/share/man/*' --exclude='./usr/share/locale/*' \
    --exclude='./var/cache/apt/*' --exclude='./var/lib/apt/lists/*' --exclude='./dev/*' --exclude='./proc/*' \
    --exclude='./sys/*' -cf - . | tar -C "$(buildah mount "$container")" -xf -
  buildah umount "$container" >/dev/null
  buildah config --env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin --cmd bash "$container"
  buildah commit -q --rm "$container" $debian >/dev/null
}

make_rust() {
  have $rust && return 0
  make_debian
  local container
  container=$(buildah from --pull-never $debian)
  in_container "$container" 'export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq && apt-get install -y -qq --no-install-recommends ca-certificates gcc libc6-dev >/dev/null &&
    rm -rf /var/lib/apt/lists/* && mkdir -p /usr/local/rustup /usr/local/cargo'
  buildah config --env CARGO_HOME=/usr/local/cargo \
    --env PATH=/usr/local/cargo/bin:/usr/local/rustup/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$container"
  buildah commit -q --rm "$container" $rust >/dev/null
}

build() {
  local file=$1 name=$2 context=$3 short=${2##*/}
  make_debian
  make_rust
  buildah bud --layers --isolation chroot --network host --pull-never \
    --volume "$(rustc --print sysroot):/usr/local/rustup:ro" --file "$file" --tag "$name" "$context"
  archive "$name" "${short%%:*}"
}

clean() {
  buildah rm --all >/dev/null 2>&1 || true
  umount "$work/storage/overlay" 2>/dev/null || true # buildah binds its store onto itself
  rm -rf "$work"
}

case ${1:-} in
pause | debian | rust)
  echo "  image $1"
  time "make_$1"
  ;;
build)
  [ $# = 4 ] || { sed -n '2,/^set -/{/^#/s/^# \{0,1\}//p}' "$0" >&2; exit 2; }
  echo "  image $3"
  time build "$2" "$3" "$4"
  ;;
clean) clean ;;
*)
  sed -n '2,/^set -/{/^#/s/^# \{0,1\}//p}' "$0" >&2
  exit 2
  ;;
esac
