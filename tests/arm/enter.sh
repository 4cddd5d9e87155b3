#!/bin/sh
# Runs a command inside a root folder for arm64, in the mount namespace of its own that it is started in, with which its mounts
# end:
#
#     unshare --mount --propagation private enter.sh ROOT CPUINFO PACKAGES WORK COMMAND...
#
# There, CPUINFO is /proc/cpuinfo, PACKAGES /opt/packages, and WORK /work, where the command starts. /sys is not the PC's: by what
# that says, onnxruntime takes instructions that the emulated core lacks.
set -eu
root=$1 cpuinfo=$2 packages=$3 work=$4
shift 4
mount --rbind /dev "$root/dev"
mount -t proc proc "$root/proc"
mount -t tmpfs tmpfs "$root/tmp"
mount --bind "$cpuinfo" "$root/proc/cpuinfo"
mount --bind "$packages" "$root/opt/packages"
mount --bind "$work" "$root/work"
# The QEMU that takes plugins is no static program: it finds its libraries where it would find them outside.
mount --bind /usr/bin/qemu-aarch64 "$root/opt/qemu-aarch64"
mount --bind /lib64 "$root/lib64"
mount --bind /usr/lib/x86_64-linux-gnu "$root/usr/lib/x86_64-linux-gnu"
exec chroot "$root" /usr/bin/env --chdir=/work "$@"
