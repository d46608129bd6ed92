#!/usr/bin/env bash
# Whether `make e2e` can run on this machine: its tools are installed, and what it does is tried. Where something cannot
# be done, that is said in one line, and nothing is left of the trial.
set -uo pipefail
cd "$(dirname "$0")/.."
GIB=$((1024 * 1024))

not() { echo "$1"; exit 1; }

[ "$(uname -s)" = Linux ] || not "it needs Linux"
[ "$(id -u)" = 0 ] || not "it needs root"
why=$(e2e/tools.sh 2>&1) || not "$(tail -n 1 <<<"$why")"
[ "$(awk '/^MemAvailable/ {print $2}' /proc/meminfo)" -ge $((4 * GIB)) ] || not "it needs 4 GiB of memory"
[ "$(df --output=avail . | tail -n 1)" -ge $((8 * GIB)) ] || not "it needs 8 GiB of disk"

for root in /sys/fs/cgroup/cgroup.controllers /sys/fs/cgroup/memory; do
  [ -e "$root" ] && break
done
group=${root%/cgroup.controllers}/seawall-preflight
mkdir "$group" 2>/dev/null && rmdir "$group" || not "control groups cannot be made in ${group%/*}"

folder=$(mktemp -d -p . .preflight.XXXXXX) || not "nothing can be written here"
trap 'rm -rf "$folder"' EXIT
mkdir "$folder"/{lower,upper,work,merged}
trial='
mount -t tmpfs none /run             || { echo "tmpfs cannot be mounted"; exit 1; }
mount -t overlay -o lowerdir=lower,upperdir=upper,workdir=work none merged || { echo "overlays cannot be mounted"; exit 1; }
ip link set lo up                    || { echo "the network cannot be set up"; exit 1; }
ip link add t0 type bridge           || { echo "bridges cannot be made"; exit 1; }
ip link add v0 type veth peer name v1 || { echo "pairs of network devices cannot be made"; exit 1; }
echo 1 > /proc/sys/net/ipv4/ip_forward || { echo "packets cannot be forwarded"; exit 1; }
nft "add table ip t; add chain ip t c { type nat hook output priority 0; }" || { echo "the packet filter cannot be set up"; exit 1; }
'
why=$(cd "$folder" && unshare --net --mount --pid --fork --kill-child --mount-proc bash -c "$trial" 2>/dev/null) ||
  not "${why:-name spaces cannot be made}"

# The images' base is a Debian that debootstrap makes, once.
[ -d .cache/e2e/base ] || timeout 120 debootstrap --print-debs --variant=minbase bookworm "$folder/debs" >/dev/null 2>&1 ||
  not "debootstrap reaches no Debian mirror"
exit 0
