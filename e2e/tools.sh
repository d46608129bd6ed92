#!/usr/bin/env bash
# What only `make e2e` needs, from Debian's packages; says so where that is not possible.
set -euo pipefail
missing=()
for tool in buildah debootstrap prometheus; do
  command -v "$tool" >/dev/null || missing+=("$tool")
done
[ ${#missing[@]} = 0 ] && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  apt-get -qq update
  DEBIAN_FRONTEND=noninteractive exec apt-get install -qq -y --no-install-recommends "${missing[@]}" >/dev/null
fi
echo "make e2e needs ${missing[*]}, or root on Debian or Ubuntu to install them" >&2
exit 1
