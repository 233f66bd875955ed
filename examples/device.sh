#!/bin/sh
# A device in shell, with curl: create, use, resize, give back.
#
# ENGINE, ENGINE_USER and ENGINE_PASSWORD say where the engine is and who asks; without them it
# is the sandbox of docs/getting-started.md.
set -eu

engine=${ENGINE:-http://127.0.0.1:1337}
user=${ENGINE_USER:-devuser}
password=${ENGINE_PASSWORD:-devpass}
answer=$(mktemp)
path=
# Quoted as curl's configuration wants it.
login=$(printf '%s:%s' "$user" "$password" | sed 's/[\\"]/\\&/g')

fail() { printf 'device: %s\n' "$*" >&2; exit 1; }

# call METHOD PATH [BODY]: one request; the answer goes to the file $answer. curl itself repeats
# what may be repeated (429, 503, 504), and honours Retry-After. The login goes through curl's
# standard input, as others could read it on the command line.
call() {
    status=$(printf 'user = "%s"\n' "$login" | curl --config - --silent \
        --max-time 60 --retry 5 --request "$1" --header 'Content-Type: application/json' \
        ${3:+--data "$3"} ${key:+--header "Idempotency-Key: $key"} \
        --output "$answer" --write-out '%{http_code}' "$engine$2") || fail "no answer from $engine"
    case $status in
        2*) ;;
        *) fail "$status: $(cat "$answer")" ;;
    esac
}

# member NAME: the first member of that name in the answer.
member() { sed -n "s/.*[{,]\"$1\": *\"\{0,1\}\([^\",}]*\).*/\1/p" "$answer"; }

# Whatever happens, the runtime is given back.
leave() {
    code=$?
    trap - EXIT
    [ -z "$path" ] || { call DELETE "$path" && echo deleted; }
    rm -f "$answer"
    exit "$code"
}
trap leave EXIT
trap 'exit 130' INT TERM

# With a key a repeated request makes no second runtime: a device may lose an answer.
key=$(cat /proc/sys/kernel/random/uuid)
call POST /serverless-runtimes '{"SERVERLESS_RUNTIME":
    {"FAAS": {"FLAVOUR": "nature", "CPU": 1, "MEMORY": 512, "DISK_SIZE": 1024}}}'
key=
path=/serverless-runtimes/$(member ID)
echo "created runtime ${path##*/}"

# The engine holds each answer until something changed, for at most 20 seconds.
state=PENDING
tries=0
while [ "$state" != RUNNING ]; do
    [ "$state" != ERROR ] || fail "$(member ERROR)"
    [ "$tries" -lt 15 ] || fail "not running after 300 seconds"
    call GET "$path?wait=20"
    state=$(member STATE)
    tries=$((tries + 1))
done
echo "RUNNING at $(member ENDPOINT)"

# Here the device would use its function, at that address.
call PUT "$path" '{"SERVERLESS_RUNTIME": {"FAAS": {"CPU": 2}}}'
echo "resized to $(member CPU) cores"
