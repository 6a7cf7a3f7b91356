# Sourced after pair.sh: verified load over the portals of both heads.
# shellcheck shell=bash

drill_command() {
    drill=("$bin/targetctl" --config "$config" drill --lun 0 --json)
    drill+=(--portal "${portal_of[a]}" --portal "${portal_of[b]}" "$@")
}
drill() { drill_command "$@" && "${drill[@]}"; }

# start_drill FILES ARGUMENT...: in the background, as a child of this script that can be ended by its number.
start_drill() {
    local files=$1
    shift
    drill_command "$@"
    "${drill[@]}" >"$files.json" 2>"$files.err" </dev/null &
    load=$!
    started+=("$load")
}

is_clean_report() {
    jq . "$1" && jq -e '.writes_acknowledged + .reads_verified > 0 and .writes_lost == 0 and .stale_reads == 0
        and .torn_blocks == 0 and (.errors | length) == 0' "$1"
}

# Everything that the load of a case was promised is there, read anew.
verify() {
    drill --verify-only --state "$1" >"$1.verified"
    local status=$?
    is_clean_report "$1.verified" && [ "$status" -eq 0 ]
}
