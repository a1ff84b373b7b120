# Becomes the first process of a node: a root file system of its own, made from the cached one that stays as it is.
# Runs in new namespaces for mounts, processes, network, host name and IPC; everything made here ends with them.
set -eu
base=$1 # the cached root file system
work=$2 # this node's own folder
programs=$3 # kubelet and its companions
name=$4

# The process id that this machine knows us by, read while /proc is still this machine's.
read -r pid _ </proc/self/stat

# Tells this machine, when all is done, at a place that is out of sight by then.
exec 3>"$work/init.pid"

mkdir -p "$work/upper" "$work/scratch" "$work/root" "$work/containerd" "$work/kubelet"
mount -t overlay overlay -o "lowerdir=$base,upperdir=$work/upper,workdir=$work/scratch" "$work/root"
cd "$work/root"
mkdir -p opt/kubernetes var/lib/containerd var/lib/kubelet
mount --bind "$programs" opt/kubernetes
mount -o remount,bind,ro opt/kubernetes
# containerd lays overlays of its own, which can't lie on another overlay.
mount --bind "$work/containerd" var/lib/containerd
mount --bind "$work/kubelet" var/lib/kubelet
mount -t proc proc proc
mount -t sysfs sysfs sys
mount --rbind /sys/fs/cgroup sys/fs/cgroup
mount --rbind /dev dev
mount -t tmpfs tmpfs run
mount -t tmpfs tmpfs tmp

# A kubelet sets these for the whole machine unless it finds them so.
mkdir run/sysctl
while read -r path value; do
    file=run/sysctl/$(echo "$path" | tr / -)
    echo "$value" >"$file"
    mount --bind "$file" "proc/sys/$path"
done <<END
vm/overcommit_memory 1
vm/panic_on_oom 0
kernel/panic 10
kernel/panic_on_oops 1
kernel/keys/root_maxkeys 1000000
kernel/keys/root_maxbytes 25000000
END

hostname "$name"
# A plain chroot would leave criu without the parents of its mount points.
pivot_root . mnt
cd /
umount -l /mnt
# Pods' mounts are to appear where they are propagated to, as on any node.
mount --make-rshared /
echo "$pid" >&3
exec 3>&-
# Reaps what containers and shims leave behind.
exec tini -s -- sleep infinity
