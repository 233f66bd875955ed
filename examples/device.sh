#!/bin/sh
# A device in shell, with curl (7.83 or newer): create, use, resize, give back.
#
# ENGINE, ENGINE_USER and ENGINE_PASSWORD say where the engine is and who calls it; without them it
# is the sandbox of docs/getting-started.md.
#
# No runtime is left behind: a lost response is repeated with the same key, SIGTERM and Ctrl-C give
# the runtime back, and if the device dies altogether, the lease ends the runtime.
set -eu

engine=${ENGINE:-http://127.0.0.1:1337}
user=${ENGINE_USER:-devuser}
password=${ENGINE_PASSWORD:-devpass}
response=$(mktemp)
path=
# Quoted as curl's configuration requires.
login=$(printf '%s:%s' "$user" "$password" | sed 's/[\\"]/\\&/g')

fail() { printf 'device: %s\n' "$*" >&2; exit 1; }

# send METHOD PATH [BODY]: one request; prints its status and, behind a blank, its Retry-After. The
# login goes through curl's standard input: on the command line others could read it.
send() {
    printf 'user = "%s"\n' "$login" | curl --config - --silent --max-time 60 \
        --request "$1" --header 'Content-Type: application/json' \
        ${3:+--data "$3"} ${key:+--header "Idempotency-Key: $key"} \
        --output "$response" --write-out '%{http_code} %header{retry-after}' "$engine$2"
}

# call METHOD PATH [BODY]: the same, repeated if the engine is busy or the response is lost. The
# body of the response goes to the file $response.
call() {
    tries=1
    lost=
    while :; do
        result=$(send "$@") || result=000
        status=${result%% *}
        pause=${result#* }
        case $status in
            2*) return 0 ;;
            000) lost=yes pause=1 problem="no response from $engine" ;;
            502 | 504)  # of a proxy, which got no response
                lost=yes problem="$status: $(cat "$response")" ;;
            423 | 429 | 503) problem="$status: $(cat "$response")" ;;
            *)  # A repeated DELETE may find nothing left to delete.
                [ "$1 $status $lost" != "DELETE 404 yes" ] || return 0
                fail "$status: $(cat "$response")" ;;
        esac
        [ "$tries" -lt 5 ] || fail "$problem"
        tries=$((tries + 1))
        sleep "${pause:-1}"
    done
}

# member NAME: the first member of that name in the response.
member() {
    grep -Eo "\"$1\": *(\"([^\"\\\\]|\\\\.)*\"|[^,}]*)" "$response" |
        sed 's/^"[^"]*": *"\{0,1\}//; s/"$//; q'
}

# Whatever happens, the runtime is given back.
leave() {
    code=$?
    trap - EXIT
    trap '' INT TERM
    [ -z "$path" ] || { call DELETE "$path" && echo deleted; }
    rm -f "$response"
    exit "$code"
}
trap leave EXIT

# A signal waits until the id is known. A device that may restart half-way keeps the key.
stopped=
trap 'stopped=130' INT
trap 'stopped=143' TERM
key=$(cat /proc/sys/kernel/random/uuid)
call POST /serverless-runtimes '{"SERVERLESS_RUNTIME":
    {"FAAS": {"FLAVOUR": "nature", "CPU": 1, "MEMORY": 512, "DISK_SIZE": 1024},
     "LEASE": {"TTL": 900}}}'
key=
path=/serverless-runtimes/$(member ID)
echo "created runtime ${path##*/}"
trap 'exit 130' INT
trap 'exit 143' TERM
[ -z "$stopped" ] || exit "$stopped"

# The engine holds each response while the runtime starts, but not for long: a signal waits for it.
state=PENDING
tries_left=60
while [ "$state" != RUNNING ]; do
    [ "$state" != ERROR ] || fail "$(member ERROR)"
    [ "$tries_left" -gt 0 ] || fail "not running after 300 seconds"
    call GET "$path?wait=5"
    state=$(member STATE)
    tries_left=$((tries_left - 1))
done
echo "RUNNING at $(member ENDPOINT)"

# Here the device would use its function, at that address. If it works for longer than the lease,
# it sends LEASE again, in a PUT, before the time is over.
call PUT "$path" '{"SERVERLESS_RUNTIME": {"FAAS": {"CPU": 2}}}'
echo "resized to $(member CPU) cores"
