#!/bin/sh
# The Rust that rustup fetches (rust-toolchain.toml) is that of the images, and not older than the one that Cargo.toml promises.
set -eu
pinned=$(sed -n 's/^channel = "\(.*\)"$/\1/p' rust-toolchain.toml)
promised=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml)
for file in Dockerfile.store Dockerfile.sidecar; do
  grep -q "^FROM rust:$pinned-" "$file" || { echo "$file does not build with Rust $pinned, which rust-toolchain.toml names" >&2; exit 1; }
done
oldest=$(printf '%s\n%s\n' "$promised" "$pinned" | sort -V | head -n 1)
[ "$oldest" = "$promised" ] || { echo "rust-toolchain.toml names Rust $pinned, and Cargo.toml promises $promised" >&2; exit 1; }
