# Sourced by the scripts that need the mounts of a board; $root, $cpuinfo, $packages and $work are set. /sys is not the PC's: by what
# that says, onnxruntime takes instructions that the emulated core lacks.
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
