#!/usr/bin/env bash
# Builds the image and the list of what is in it (CycloneDX), with whichever of docker, podman and buildah works.
#
#   image/build.sh [translate]
#
# IMAGE      seawall:VERSION, with -translate for that variant
# ENGINE     docker, podman or buildah; else the first that works
# BASE, BUILD_BASE, PIP_INDEX_URL, PIP_CERT: as in the Dockerfile. PIP_CERT is a file of this machine.
set -euo pipefail
cd "$(dirname "$0")/.."
variant=${1:-}
version=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
image=${IMAGE:-seawall:$version${variant:+-$variant}}

works() { # docker's client may be there without its server
  command -v "$1" >/dev/null && { [ "$1" = buildah ] || "$1" info >/dev/null 2>&1; }
}
engine=${ENGINE:-}
for one in docker podman buildah; do
  [ -n "$engine" ] || ! works "$one" || engine=$one
done
[ -n "$engine" ] || { echo "no docker, podman or buildah that works" >&2; exit 1; }

options=(--build-arg "VARIANT=$variant" --build-arg "VERSION=$version")
options+=(--build-arg "REVISION=$(git rev-parse HEAD 2>/dev/null || true)")
for name in BASE BUILD_BASE PIP_INDEX_URL; do
  [ -z "${!name:-}" ] || options+=(--build-arg "$name=${!name}")
done
command=("$engine" build)
if [ "$engine" = buildah ]; then
  # layers: the second target finds what the first has built. chroot needs no runtime, and nothing but root.
  command=(buildah build --layers --isolation "${ISOLATION:-chroot}")
fi
if [ -n "${PIP_CERT:-}" ]; then
  if [ "$engine" = docker ]; then
    echo "PIP_CERT: docker mounts no file into a build; use podman or buildah, or a BUILD_BASE that has it" >&2
    exit 1
  fi
  options+=(-v "$PIP_CERT:/run/pip.crt:ro" --build-arg PIP_CERT=/run/pip.crt)
fi

mkdir -p dist
"${command[@]}" "${options[@]}" --tag "$image" .
"${command[@]}" "${options[@]}" --target sbom --output type=local,dest=dist .
mv dist/sbom.cdx.json "dist/$(basename "${image//:/-}").cdx.json"
echo "$image, and dist/$(basename "${image//:/-}").cdx.json"
