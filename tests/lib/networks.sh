# Sourced after pair.sh: the heads in network namespaces of their own, on bridges, and what cuts them off.
#
#     ----- client networks: client (10.77.1.0/24), second (10.77.2.0/24) -----
#       |                                              |
#    10.77.1.1                                     10.77.1.2
#     head a                                        head b
#    10.77.9.1                                     10.77.9.2
#       |                                              |
#     ------------------- link network: link (10.77.9.0/24) -------------------
#
# Everything happens in namespaces that end with the script: network, processes and mounts. Root is not needed where
# users may have namespaces.
# shellcheck shell=bash

declare -A network_of=([client]=10.77.1 [second]=10.77.2 [link]=10.77.9)

# isolate SCRIPT ARGUMENT...: run the script again in namespaces of its own, unless it runs there already. Where that is
# not allowed, it goes on as it is.
isolate() {
    local within=(unshare --net --mount --pid --fork --kill-child --mount-proc)
    [ "$(id -u)" = 0 ] || within+=(--map-root-user)
    is_isolated || ! "${within[@]}" true 2>/dev/null && return
    rm -rf "$work"
    TWINHEAD_ISOLATED=1 exec "${within[@]}" "$@"
}
is_isolated() { [ -n "${TWINHEAD_ISOLATED:-}" ]; }

# make_networks [NETWORK]...: bridges, and both heads on each of them. The heads' portals are on the client networks.
make_networks() {
    local network head number host portals
    mount -t tmpfs tmpfs /run && mkdir /run/netns && ip link set lo up || return 1
    for network in link client "$@"; do
        ip link add name "br-$network" type bridge && ip link set dev "br-$network" up || return 1
    done
    for head in a b; do
        number=$([ "$head" = a ] && echo 1 || echo 2)
        portals=()
        ip netns add "$head" && ip -n "$head" link set lo up || return 1
        for network in link client "$@"; do
            # Portal addresses that move are put up by the heads: the interfaces have others, .101 and .102.
            host=$number
            [ "$network" = link ] || [ -z "${vip:-}" ] || host=10$number
            plug "$network" "$head" "${network_of[$network]}.$host" || return 1
            [ "$network" = link ] || portals+=("${network_of[$network]}.$number:3260")
        done
        portal_of[$head]=${portals[0]}
        more_portals_of[$head]=${portals[*]:1}
        link_of[$head]=${network_of[link]}.$number:3270
        netns_of[$head]=$head
    done
}

# plug NETWORK HEAD ADDRESS
plug() {
    ip link add name "$1-$2" type veth peer name "to-$1" netns "$2" &&
        ip link set dev "$1-$2" master "br-$1" up &&
        ip -n "$2" addr add "$3/24" dev "to-$1" && ip -n "$2" link set dev "to-$1" up
}

# A cable is pulled at the bridge: both sides hear nothing any more, not even a refusal.
unplug() { ip link set dev "$1-$2" down; }
replug() { ip link set dev "$1-$2" up; }

# What a fault does to a head, and what ends it.
inject() {
    case $1 in
        kill) kill_head "$2" ;;
        stop) kill -STOP "${pid_of[$2]}" ;;
        cut-link) unplug link "$2" ;;
        cut-client) unplug client "$2" ;;
        cut-both) unplug link "$2" && unplug client "$2" ;;
    esac
}

heal() {
    case $1 in
        kill) ;;
        stop) kill -CONT "${pid_of[$2]}" 2>/dev/null || true ;;
        cut-link) replug link "$2" ;;
        cut-client) replug client "$2" ;;
        cut-both) replug link "$2" && replug client "$2" ;;
    esac
}
