#!/usr/bin/env bash
# tools/image.sh TARGET IMAGE: builds a target of the Dockerfile (operator or simulator) and gives it this name.
# Prints the engine that has it. `make image` and `make kind` call it, and so does the test of the image.
#
#   ENGINE=podman   the engine to use; otherwise the first of docker, podman and buildah that works
#   PROFILE=image   cargo's profile, instead of release
#
# If the base images cannot be pulled, it makes them from Debian's packages and the installed Rust. The build gets this
# machine's proxies, certificate authorities and cargo's settings of registries, and keeps none of them.
set -euo pipefail
shopt -s inherit_errexit
cd "$(dirname "${BASH_SOURCE[0]}")/.."
target=$1 image=$2

say() { echo "image: $*" >&2; }
fail() { say "$*"; exit 1; }

find_engine() {
  local engine found=()
  for engine in docker podman buildah; do
    command -v "$engine" >/dev/null || continue
    if "$engine" info >/dev/null 2>&1; then
      echo "$engine"
      return
    fi
    found+=("$engine")
  done
  [ "${#found[@]}" -eq 0 ] || fail "${found[*]} is installed, but \`${found[0]} info\` fails: is the engine running?"
  fail "docker, podman or buildah is needed to build the image (Debian: apt-get install podman)"
}

engine=${ENGINE:-$(find_engine)}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
options=()
[ "${engine##*/}" != buildah ] || options+=(--layers)
# No more open files than this shell may have: an engine's own default may be more, which not every machine allows.
[ "${engine##*/}" = docker ] || options+=(--ulimit "nofile=$(ulimit -Sn):$(ulimit -Hn)")

has() { "$engine" inspect --type image "$1" >/dev/null 2>&1; }

# base NAME: makes one of the two bases, unless it is there.
base() {
  local folder="$work/$1" name
  name="localhost/amplify-operator-base-$1:$2"
  if ! has "$name"; then
    say "making $name"
    mkdir "$folder"
    cp "$("${devcluster[@]}" base "$1")" "$folder/files.tar"
    printf 'FROM scratch\nADD files.tar /\n' >"$folder/Dockerfile"
    if [ "$1" = build ]; then
      # Into /usr/local, but for the targets of symbolic links.
      tar -C "$sysroot" --transform 's,^,usr/local/,S' --exclude '*/rustlib/src' --owner=0 --group=0 \
        -cf "$folder/rust.tar" bin/rustc bin/cargo lib
      printf 'ADD rust.tar /\nENV CARGO_HOME=/usr/local/cargo PATH=/usr/local/bin:/usr/bin\n' >>"$folder/Dockerfile"
    fi
    "$engine" build "${options[@]}" --tag "$name" "$folder" >&2
  fi
  echo "$name"
}

missing=
for argument in BUILD_IMAGE RUN_IMAGE; do
  name=$(sed -n "s/^ARG $argument=//p" Dockerfile)
  if ! has "$name" && ! "$engine" pull "$name" >"$work/pull" 2>&1; then
    missing=$name
    break
  fi
done
if [ -n "$missing" ]; then
  tail -n 1 "$work/pull" >&2
  say "cannot pull $missing: making both bases from Debian's packages and the installed Rust"
  devcluster=("${DEVCLUSTER:-}")
  [ -n "${devcluster[0]}" ] || devcluster=(cargo run --quiet --package amplify-devcluster --bin devcluster --)
  sysroot=$(rustc --print sysroot)
  [ "$sysroot" != /usr ] || fail "the installed Rust is a part of this system: install Rust with https://rustup.rs"
  run=$(base run trixie)
  build=$(base build "$(rustc --version | cut -d' ' -f2)-trixie")
  options+=(--build-arg "BUILD_IMAGE=$build" --build-arg "RUN_IMAGE=$run")
fi

for proxy in HTTP_PROXY HTTPS_PROXY NO_PROXY http_proxy https_proxy no_proxy; do
  [ -z "${!proxy:-}" ] || options+=(--build-arg "$proxy=${!proxy}")
done
authorities=${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}
[ ! -r "$authorities" ] || options+=(--secret "id=authorities,src=$authorities")
settings="${CARGO_HOME:-$HOME/.cargo}/config.toml"
if [ -r "$settings" ]; then
  # Only the registries and how to reach them: the build has its own compiler and linker. It has no git, and no file of
  # this machine: the certificate authorities are the secret above.
  awk '/^\[/ { kept = /^\[(source|registry|registries|http|net)[].]/ }
    kept && !/^[ \t]*(cainfo|git-fetch-with-cli)[ \t]*=/' "$settings" >"$work/cargo.toml"
  options+=(--secret "id=cargo,src=$work/cargo.toml")
fi

version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
revision=$(git -c safe.directory='*' describe --always --dirty --abbrev=40 --exclude '*' 2>/dev/null || echo unknown)
# Also as labels: podman 4 takes the Dockerfile's from its cache, whatever the arguments are now.
options+=(--label "org.opencontainers.image.version=$version" --label "org.opencontainers.image.revision=$revision")
say "building $image with ${engine##*/}"
"$engine" build "${options[@]}" --target "$target" --tag "$image" --build-arg "PROFILE=${PROFILE:-release}" \
  --build-arg "VERSION=$version" --build-arg "REVISION=$revision" --file Dockerfile . >&2
say "built $image"
echo "$engine"
