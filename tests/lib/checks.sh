# Sourced by the test scripts: one line per check, a summary at the end, a private directory, processes ended by pid.
# shellcheck shell=bash

set -u
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/twinhead-tests.XXXXXX")
chmod 700 "$work"
passed=0 failed=0 skipped=0
started=() # pids of what this script started and must end

note() { printf '      %s\n' "$*"; }
pass() { passed=$((passed + 1)); printf 'ok    %s\n' "$*"; }
skip() { skipped=$((skipped + 1)); printf 'skip  %s: %s\n' "$1" "$2"; }

# fail NAME [FILE]: the end of FILE is printed below it.
fail() {
    failed=$((failed + 1))
    printf 'FAIL  %s\n' "$1"
    [ -n "${2:-}" ] && [ -s "$2" ] && tail -n "${LOG_LINES:-60}" "$2" | sed 's/^/      | /'
    return 0
}

# check NAME COMMAND...: passes when the command does; what it said is shown only when it does not.
check() {
    local name=$1 log
    shift
    log=$(mktemp "$work/check.XXXXXX")
    if "$@" >"$log" 2>&1 </dev/null; then
        pass "$name"
        return 0
    fi
    fail "$name" "$log"
    return 1
}

# eventually SECONDS COMMAND...: tries every tenth of a second until the command succeeds.
eventually() {
    local deadline=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -le "$deadline" ] || return 1
        sleep 0.1
    done
}

# is_running PID: as a child of this script; a number that now belongs to somebody else's process does not count.
is_running() {
    local status
    status=$(cat "/proc/$1/status" 2>/dev/null) || return 1
    [[ $status =~ PPid:[[:space:]]$$[[:space:]] ]] && [[ ! $status =~ State:[[:space:]]Z ]]
}

is_gone() { ! is_running "$1"; }

# end PID [SIGNAL]: ask, wait, insist.
end() {
    is_running "$1" || return 0
    kill -CONT "$1" 2>/dev/null
    kill "-${2:-TERM}" "$1" 2>/dev/null
    eventually 10 is_gone "$1" || kill -KILL "$1" 2>/dev/null
}

is_free() { ! (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# free_ports COUNT: below the range from which the kernel takes ports for outgoing connections.
free_ports() {
    local found=() port
    while [ "${#found[@]}" -lt "$1" ]; do
        port=$((20000 + RANDOM % 12000))
        case " ${found[*]} " in *" $port "*) continue ;; esac
        is_free "$port" && found+=("$port")
    done
    echo "${found[@]}"
}

cleanup() {
    local pid
    exec 2>/dev/null # the shell would tell about each that was killed
    for pid in "${started[@]}"; do end "$pid" KILL; done
    wait 2>/dev/null
    if [ -n "${KEEP:-}" ]; then note "kept: $work"; else rm -rf "$work"; fi
}
trap cleanup EXIT
trap 'exit 130' INT TERM

summary() { printf '%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"; }

# A script of its own: its checks count here.
run_script() {
    local last status
    "$@" 2>&1 </dev/null | tee "$work/script.log"
    status=${PIPESTATUS[0]}
    last=$(grep -E '^[0-9]+ passed, [0-9]+ failed, [0-9]+ skipped$' "$work/script.log" | tail -n 1)
    if [ -z "$last" ]; then
        fail "$1 ended early, with status $status"
        return
    fi
    read -r n_passed _ n_failed _ n_skipped _ <<<"$last"
    passed=$((passed + n_passed)) failed=$((failed + n_failed)) skipped=$((skipped + n_skipped))
    [ "$status" -eq 0 ] || [ "$n_failed" -gt 0 ] || fail "$1 ended with status $status"
}

# The last line of every test script.
finish() {
    summary
    [ "$failed" -eq 0 ]
    exit
}
