#!/usr/bin/env bash
# tools/crate.sh FOLDER NAME VERSION [ARGUMENT...]: prints the path of a program of crates.io. It is built once, in the
# folder, with these arguments of `cargo install`.
set -euo pipefail
folder=$1 name=$2 version=$3
shift 3
root="$folder/tools/$name-$version"
if [ ! -x "$root/bin/$name" ]; then
  echo "building $name $version from crates.io, once: about 2 minutes on 2 cores" >&2
  # Without the optimization of the whole program, which would take most of the time.
  CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
    cargo install --quiet --locked --root "$root" --target-dir "$folder/tools/build" "$name@$version" "$@"
  rm -rf "$folder/tools/build"
fi
echo "$root/bin/$name"
