#!/bin/sh
# Runs a command outside of a root folder for arm64 whose mounts are made, a server whose logins are shut in there (ChrootDirectory):
#
#     unshare --mount --propagation private login.sh ROOT CPUINFO PACKAGES WORK COMMAND...
set -eu
root=$1 cpuinfo=$2 packages=$3 work=$4
shift 4
. "$(dirname "$0")/mounts.sh"
exec "$@"
