# To be sourced: `shown LOG COMMAND...` runs a command, shows what it prints and keeps it; `code` is its exit code.
set -euo pipefail

# What training prints must not speak to the runner. A cancelled job ends the command in order, with all that it started:
# the runner tells this shell alone, and kills all after some seconds.
shown() {
    local log=$1 pipe token gate tee
    shift
    pipe=$(mktemp -u "$RUNNER_TEMP/unitrack-pipe-XXXXXX")
    mkfifo -m 600 "$pipe"
    token=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
    echo "::stop-commands::$token"
    tee "$log" <"$pipe" &
    tee=$!
    "$@" >"$pipe" 2>&1 &
    gate=$!
    trap 'kill -TERM "$gate" 2>/dev/null || true' INT TERM
    while :; do
        code=0
        wait "$gate" || code=$?
        kill -0 "$gate" 2>/dev/null || break # else it was a signal that ended the waiting
    done
    trap - INT TERM
    wait "$tee" || true
    rm -f -- "$pipe"
    echo "::$token::"
}
