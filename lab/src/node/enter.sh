# Becomes the first process of a node. Mounts an overlay over the cached root file system, which is not changed.
# Runs in new namespaces for mounts, processes, network, host name and IPC. Everything made here ends with them.
set -eu
base=$1 # the cached root file system
work=$2 # this node's own folder
programs=$3 # kubelet, kube-proxy and kubectl
name=$4

# The process id on this machine, read before the node has its own /proc.
read -r pid _ </proc/self/stat

# Opened now, because the node cannot see this file after pivot_root.
exec 3>"$work/init.pid"

mkdir -p "$work/upper" "$work/scratch" "$work/root" "$work/containerd" "$work/kubelet"
mount -t overlay overlay -o "lowerdir=$base,upperdir=$work/upper,workdir=$work/scratch" "$work/root"
cd "$work/root"
mkdir -p opt/kubernetes var/lib/containerd var/lib/kubelet
mount --bind "$programs" opt/kubernetes
mount -o remount,bind,ro opt/kubernetes
# containerd mounts overlays too, and an overlay cannot be mounted over another one.
mount --bind "$work/containerd" var/lib/containerd
mount --bind "$work/kubelet" var/lib/kubelet
mount -t proc proc proc
mount -t sysfs sysfs sys
mount --rbind /sys/fs/cgroup sys/fs/cgroup
mount --rbind /dev dev
mount -t tmpfs tmpfs run
mount -t tmpfs tmpfs tmp

# A kubelet sets these for the whole machine, unless they have these values already.
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
# After a plain chroot criu cannot find the parents of its mount points.
pivot_root . mnt
cd /
umount -l /mnt
# Mounts of pods have to be propagated, as on any node.
mount --make-rshared /
echo "$pid" >&3
exec 3>&-
# tini reaps the orphans of containers and shims.
exec tini -s -- sleep infinity
