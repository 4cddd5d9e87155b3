#!/bin/sh
# Runs a command inside a root folder for arm64, in the mount namespace of its own that it is started in, with which its mounts
# end:
#
#     unshare --mount --propagation private enter.sh ROOT CPUINFO PACKAGES WORK COMMAND...
#
# There, CPUINFO is /proc/cpuinfo, PACKAGES /opt/packages, and WORK /work, where the command starts.
set -eu
root=$1 cpuinfo=$2 packages=$3 work=$4
shift 4
. "$(dirname "$0")/mounts.sh"
exec chroot "$root" /usr/bin/env --chdir=/work "$@"
