# Sourced after checks.sh: a pair of heads as real processes on one image, and what to ask them.
# shellcheck shell=bash

bin=${TWINHEAD_BIN:-${CARGO_TARGET_DIR:-$root/target}/release}
iqn=iqn.2026-11.com.example:tests
config=$work/pair.toml
image=$work/disk.img
declare -A pid_of=() portal_of=() more_portals_of=() link_of=() netns_of=()

need_binaries() {
    local name
    for name in twinhead targetctl; do
        [ -x "$bin/$name" ] && continue
        fail "$bin/$name is not there: cargo build --release --bins"
        finish
    done
}

# loopback_addresses: for heads in the network namespace of the script. Head a gets a second portal.
loopback_addresses() {
    local ports
    read -ra ports <<<"$(free_ports 5)"
    portal_of=([a]=127.0.0.1:${ports[0]} [b]=127.0.0.1:${ports[1]})
    more_portals_of=([a]=127.0.0.1:${ports[4]})
    link_of=([a]=127.0.0.1:${ports[2]} [b]=127.0.0.1:${ports[3]})
}

# With `vip` set, the addresses of the portals move between the heads.
portals() {
    local form='"%s", '
    [ -n "${vip:-}" ] && form='{ listen = "%s", vip = true }, '
    printf "$form" "${portal_of[$1]}" ${more_portals_of[$1]:-} | sed 's/, $//'
}

# write_config [LUN TABLES]: the configuration of a pair with LUN 0 on $image, and more if given.
write_config() {
    # Heads that run already keep to the one that they know.
    [ -e "$work/secret" ] || head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n' >"$work/secret"
    chmod 600 "$work/secret"
    cat >"$config" <<CONFIG
[target]
iqn = "$iqn"

[heads.a]
portals = [$(portals a)]
link = "${link_of[a]}"
control = "$work/a.sock"

[heads.b]
portals = [$(portals b)]
link = "${link_of[b]}"
control = "$work/b.sock"

[link]
secret-file = "$work/secret"

[[luns]]
id = 0
name = "disk"
disk = "$image"

${1:-}
CONFIG
}

targetctl() { "$bin/targetctl" --config "$config" "$@"; }
ask() { local head=$1; shift; targetctl --head "$head" "$@"; }
url() { echo "iscsi://${portal_of[$1]}/$iqn/${2:-0}"; }
second_url() { echo "iscsi://${more_portals_of[$1]}/$iqn/${2:-0}"; }
other() { if [ "$1" = a ]; then echo b; else echo a; fi; }

# start_head HEAD: in its network namespace if it has one; its log is appended to $work/HEAD.log.
start_head() {
    local within=()
    [ -n "${netns_of[$1]:-}" ] && within=(nsenter "--net=/run/netns/${netns_of[$1]}")
    "${within[@]}" "$bin/twinhead" --config "$config" --head "$1" >>"$work/$1.log" 2>&1 </dev/null &
    pid_of[$1]=$!
    started+=("$!")
}

# stop_head HEAD: as its supervisor would; succeeds when it ended by itself and well.
stop_head() {
    local pid=${pid_of[$1]}
    kill -TERM "$pid" 2>/dev/null
    eventually 20 is_gone "$pid" && wait "$pid"
}

# kill_head HEAD: SIGKILL; the shell's notice about it is not wanted.
kill_head() {
    kill -KILL "${pid_of[$1]}" && ! wait "${pid_of[$1]}" 2>/dev/null
}

# supervise HEAD: start it again if it has ended; the fence of a plain file ends a head that does not let go.
supervise() { is_running "${pid_of[$1]}" || start_head "$1"; }

# lun HEAD FIELD [LUN]: a field of a LUN's status as HEAD knows it.
lun() { ask "$1" status --json 2>/dev/null | jq -r --argjson id "${3:-0}" ".luns[] | select(.id == \$id) | .$2"; }

is_mode() { [ "$(lun "$1" mode "${3:-0}")" = "$2" ]; }
is_owner() { [ "$(lun "$1" owner "${2:-0}")" = "$1" ]; }
both_mirrored() { is_mode a mirrored && is_mode b mirrored; }
is_clean() { [ "$(lun "$1" dirty_bytes)" = 0 ]; }
answers() { ask "$1" status --json; }

# own HEAD: mirrored, with HEAD as the owner.
own() {
    eventually 20 both_mirrored || return 1
    is_owner "$1" || ask "$1" handover all --to "$1" >/dev/null || return 1
    eventually 10 is_owner "$1" && eventually 10 both_mirrored
}

# start_pair SIZE: initialise the image and start both heads, mirrored.
start_pair() {
    check 'disk init' targetctl disk init disk --size "$1" || return 1
    start_head a
    start_head b
    check 'both heads serve, mirrored' eventually 20 both_mirrored && return 0
    show_heads
    return 1
}

# show_heads: what the heads said last, after a failure.
show_heads() {
    local head
    for head in a b; do
        note "head $head: $(ask "$head" status --json 2>&1 | tail -n 1)"
        [ -s "$work/$head.log" ] && tail -n 25 "$work/$head.log" | sed "s/^/      $head| /"
    done
}
