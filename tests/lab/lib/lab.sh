# Sourced by every scenario: a pair on the networks of this script's own, and what guests need.
# shellcheck shell=bash

. "$(dirname "${BASH_SOURCE[0]}")/../../lib/checks.sh"
. "$root/tests/lib/pair.sh"
. "$root/tests/lib/networks.sh"
. "$root/tests/lab/lib/guest.sh"
. "$root/tests/lab/lib/client.sh"
isolate "$0" "$@"

show_file() { [ -s "$1" ] && tail -n "${LOG_LINES:-60}" "$1" | sed 's/^/      | /'; }

# show_all: what everybody said, after a failure.
show_all() {
    local number
    show_heads
    for number in "${!guest_pid[@]}"; do show_guest "$number"; done
}

# The last line of every scenario.
verdict() {
    [ "$failed" -eq 0 ] || show_all
    finish
}
