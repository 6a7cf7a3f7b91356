# Sourced after guest.sh: clients of the pair, and what they notice. The commands that run on a client are in inside/.
# shellcheck shell=bash

# two_luns: the tables of LUN 1 and its image; LUN 0 is the pair's own.
two_luns() { lun_table 1 "$work/second.img"; }
lun_table() { printf '[[luns]]\nid = %d\nname = "disk%d"\ndisk = "%s"\n%s\n' "$1" "$1" "$2" "${3:-}"; }

# begin_pair: both heads on their networks, with a LUN for each file system, mirrored.
begin_pair() {
    check 'make the networks' make_networks && write_config "$(two_luns)" &&
        check 'disk init' targetctl disk init disk1 --size 512MiB && start_pair 512MiB
}

# reload: both heads read their configuration again.
reload() { ask a reload && ask b reload; }

# begin_client NUMBER stock|shipped: a guest with its daemons, not logged in.
begin_client() {
    check "client $1 starts" boot_guest "$1" || { show_file "$work/console.$1"; return 1; }
    [ "$2" = stock ] || check "client $1 has the files that are shipped" give "$1" "$root"/packaging/client/* || return 1
    check "client $1: iscsid and multipathd, $2" on "$1" start-client "$2"
}

# connect NUMBER LUN...: both paths of these LUNs, each LUN as one map.
connect() {
    local number=$1 lun
    shift
    check "client $number logs in" on "$number" log-in "${portal_of[a]}" || return 1
    for lun in "$@"; do
        check "client $number has one map of LUN $lun with both paths" eventually 30 on "$number" has-map "$lun" 2 || return 1
    done
}

# own_all HEAD LUN...: these units mirrored, with HEAD as the owner of each.
own_all() {
    local head=$1 lun
    shift
    for lun; do eventually 30 is_mode a mirrored "$lun" || return 1; done
    owns_all "$head" "$@" || ask "$head" handover all --to "$head" >/dev/null || return 1
    for lun; do eventually 20 is_mode "$head" mirrored "$lun" || return 1; done
    owns_all "$head" "$@"
}
owns_all() {
    local head=$1 lun
    shift
    for lun; do is_owner "$head" "$lun" || return 1; done
}

# start_load SECONDS FILE: in the background on client 1; returns when it writes.
start_load() {
    local before
    before=$(written)
    on 1 load "$1" >"$2" 2>"$2.err" </dev/null &
    load=$!
    started+=("$load")
    eventually 20 has_written_more_than $((before + 2000))
}
written() { on 1 "cat /sys/block/dm-*/stat" | awk '{ sum += $7 } END { print sum + 0 }'; }
has_written_more_than() { [ "$(written)" -gt "$1" ]; }

# end_load NAME FILE: waits for it; what the applications have noticed.
end_load() {
    wait "$load"
    check "$1: no application has seen an error" has_no_errors "$2" || show_file "$2.err"
    check "$1: everything that was written is there" on 1 load-verify
    check "$1: no file system has heard of it" on 1 is-well
    note "$1: longest pause $(longest_pause "$2") ms"
}

# longest_pause FILE: in milliseconds, as the application saw it: the longest that a read, or making a write durable, took.
longest_pause() { sed -n '/^{/,$p' "$1" | jq '[.jobs[] | .read.lat_ns.max, .write.lat_ns.max, .sync.lat_ns.max] | max / 1e6 | round'; }
has_no_errors() { sed -n '/^{/,$p' "$1" | jq -e '[.jobs[].error] | add == 0'; }
