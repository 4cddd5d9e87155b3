#!/bin/sh
# Runs a command in a container's root folder that cannot be written to, as a user who is not root, in the mount namespace of its own
# that it is started in, with which its mounts end:
#
#     unshare --mount --propagation private read_only.sh ROOT USER CPUINFO WORK DATA [NAME=VALUE...] COMMAND...
#
# There, WORK is /work, where the command starts, DATA is /data, which is read-only too, and CPUINFO /proc/cpuinfo.
set -eu
root=$1 user=$2 cpuinfo=$3 work=$4 data=$5
shift 5
mkdir -p "$root/data" "$root/proc" "$root/dev"
mount --bind "$root" "$root"
mount --rbind /dev "$root/dev"
mount -t proc proc "$root/proc"
mount -t tmpfs tmpfs "$root/tmp"
mount --bind "$cpuinfo" "$root/proc/cpuinfo"
mount --bind "$work" "$root/work"
mount --bind "$data" "$root/data"
mount -o remount,bind,ro "$root/data"
mount -o remount,bind,ro "$root"
exec chroot --userspec="$user:$user" "$root" /usr/bin/env --ignore-environment --chdir=/work "$@"
