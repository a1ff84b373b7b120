# Configures the links of a node, inside its network namespace.
set -eu
address=$1 # of the node
host=$2    # this machine's end of the link
bridge=$3  # the pods' gateway

ip link set lo up
ip addr add "$address/30" dev eth0
ip link set eth0 up
# This machine serves the API, webhooks and stand-ins. It forwards nothing to other machines.
ip route add default via "$host"
# CoreDNS needs the bridge's address before the first pod.
ip link add cni0 type bridge
ip addr add "$bridge/24" dev cni0
ip link set cni0 up
echo 1 >/proc/sys/net/ipv4/ip_forward
