#!/usr/bin/env bash
# What only `make e2e` needs, from Debian's packages; says so where that is not possible.
set -euo pipefail
declare -A packages=(
  [buildah]=buildah [debootstrap]=debootstrap [containerd]=containerd [runc]=runc [ip]=iproute2 [nft]=nftables
  [unshare]=util-linux [mount]=mount [promtool]=prometheus
)
missing=()
for tool in "${!packages[@]}"; do
  command -v "$tool" >/dev/null || missing+=("${packages[$tool]}")
done
[ -e /usr/lib/cni/bridge ] || [ -e /opt/cni/bin/bridge ] || missing+=(containernetworking-plugins)
[ ${#missing[@]} = 0 ] && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  # RUNLEVEL keeps containerd's package from starting a server of its own, where services are started by scripts.
  { timeout 120 apt-get -qq update && RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive \
    timeout 300 apt-get install -qq -y --no-install-recommends "${missing[@]}"; } >/dev/null 2>&1 && exit 0
fi
echo "it needs ${missing[*]}, which could not be installed" >&2
exit 1
