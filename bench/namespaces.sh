# A link of 1 Gbit/s between two network namespaces, `$client` and `$server`. This file is sourced, not run.
client=modelpack-client-$$ server=modelpack-server-$$

# The two ends of the link. Each limits what it sends.
link() {
    ip netns add "$client" && ip netns add "$server" &&
        ip link add link0 netns "$client" type veth peer name link0 netns "$server" || return
    local namespace number=1
    for namespace in "$client" "$server"; do
        ip -n "$namespace" address add "10.0.0.$((number++))/24" dev link0 &&
            ip -n "$namespace" link set lo up && ip -n "$namespace" link set link0 up &&
            tc -n "$namespace" qdisc add dev link0 root tbf rate 1gbit burst 256kb latency 20ms ||
            return
    done
}

unlink_all() {
    ip netns delete "$client" 2>/dev/null || true
    ip netns delete "$server" 2>/dev/null || true
}
