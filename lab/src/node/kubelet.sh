# Runs a kubelet and restarts it whenever it ends. A test kills it by the process id in /run/kubelet.pid to change its
# configuration, and keeps it stopped by the file /run/kubelet.down.
set -u
while :; do
    while [ -e /run/kubelet.down ]; do sleep 0.1; done
    "$@" &
    echo $! >/run/kubelet.pid
    wait $!
    echo "the kubelet ended with exit code $?"
    rm -f /run/kubelet.pid
    sleep 0.1
done
