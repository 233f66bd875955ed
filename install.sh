#!/bin/sh
# Installs the Provisioning Engine, or removes it. See usage below.
set -eu
umask 022

usage() {
    cat <<'USAGE'
usage: install.sh [copy]        install a copy of the program, or upgrade to it
       install.sh link          for developers: install links to this checkout, and no service
       install.sh clean         remove the program and its commands; keep configuration and logs
       install.sh clean purge   remove everything

The program goes to /opt/provision-engine, the commands to /usr/local/bin, the configuration to
/etc/provision-engine and the logs to /var/log/provision-engine. An edited engine.conf is kept.
On a system with systemd, a service (not enabled), its user and log rotation are installed too, and
examples for nginx, HAProxy, Prometheus and Grafana in /usr/local/share/provision-engine.
A user other than root needs sudo, which is used only if one of these directories is not writable.
The program belongs to root then, and so must the Python that runs it.

Whoever can write to a linked checkout decides what everybody runs who runs provision-engine. As
root, link therefore refuses a checkout to which, or above which, another user can write.

environment:
  PYTHON    the Python to use (3.11 or newer); default: /usr/bin/python3, or python3 on the PATH
  DESTDIR   a directory to prepend to all these paths, to try the installation
USAGE
}

say() { printf '%s\n' "$*"; }
fail() { printf 'install.sh: %s\n' "$*" >&2; exit 1; }

checkout=$(dirname "$(readlink -f "$0")")
prefix=${DESTDIR:-}
case $prefix in
    '' | /*) ;;
    *) fail "DESTDIR is $prefix: must be an absolute path" ;;
esac
prefix=${prefix%/}
opt=$prefix/opt/provision-engine
bin=$prefix/usr/local/bin
etc=$prefix/etc/provision-engine
logs=$prefix/var/log/provision-engine
run=$prefix/run/provision-engine
lib=$prefix/usr/local/lib
share=$prefix/usr/local/share/provision-engine
units='provision-engine.service provision-engine-reconcile.service provision-engine-reconcile.timer'
examples='nginx.conf haproxy.cfg prometheus-rules.yml grafana-dashboard.json'
commands='provision-engine provision-engine-server'
sources='provision_engine setup.cfg pyproject.toml README.md LICENSE'
sudo=

# Runs a command with the permissions that the installation needs.
root() { $sudo "$@"; }

# Succeeds if a path, or its nearest existing parent, is writable.
writable() {
    path=$1
    while [ ! -e "$path" ]; do path=$(dirname "$path"); done
    [ -w "$path" ]
}

# Removing a directory requires write permission in its parent.
choose_sudo() {
    [ "$(id -u)" -ne 0 ] || return 0
    for path in "$opt" "$(dirname "$opt")" "$bin" "$etc" "$(dirname "$etc")" \
        "$logs" "$(dirname "$logs")" "$run" "$(dirname "$run")"; do
        writable "$path" || sudo=sudo
    done
    [ -z "$sudo" ] || command -v sudo >/dev/null ||
        fail "you may not write to $opt, and sudo is missing: run this as root"
}

is_root() { [ "$(root id -u)" -eq 0 ]; }

# Prints what a user other than root can write to: a file below a path, or a directory above it.
# What is root's in a directory with the sticky bit, nobody else can replace.
writable_by_others() {
    path=$(readlink -e "$1") || return 0
    find_writable "$path"
    while [ "$path" != / ]; do
        path=$(dirname "$path")
        find_writable "$path" -maxdepth 0
    done
}

find_writable() {
    root find "$@" ! -type l '(' ! -uid 0 -o -perm /022 ')' \
        ! '(' -type d -uid 0 -perm -1000 ')' -print -quit
}

# For root: fails if another user can write to a path, or in a directory above it.
require_safe() {
    is_root || return 0
    unsafe=$(writable_by_others "$1" | head -n 1)
    [ -z "$unsafe" ] || fail "$unsafe can be written by users other than root, who would decide" \
        "what root runs: $2"
}

# -I: nothing is imported from the current directory, or from where a variable points.
is_supported() { "$1" -I -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }
has_venv() { "$1" -I -c 'import ensurepip, venv' 2>/dev/null; }

# The system's Python comes first: other users may not be able to run one in a home directory.
choose_python() {
    if [ -n "${PYTHON:-}" ]; then
        set -- "$PYTHON"
    else
        set -- /usr/bin/python3 python3
    fi
    without_venv=
    for candidate in "$@"; do
        command -v "$candidate" >/dev/null 2>&1 || continue
        is_supported "$candidate" || continue
        without_venv=$candidate
        has_venv "$candidate" || continue
        python=$("$candidate" -I -c 'import sys; print(sys.executable)')
        return 0
    done
    [ -z "$without_venv" ] ||
        fail "$without_venv cannot create virtual environments: apt-get install python3-venv"
    fail "Python 3.11 or newer is missing: apt-get install python3 python3-venv"
}

# Prints the process id of the running engine, if it runs from this installation.
running() {
    [ -x "$opt/venv/bin/provision-engine" ] && [ -f "$etc/engine.conf" ] || return 0
    pid=$("$opt/venv/bin/provision-engine" --config "$etc/engine.conf" status 2>/dev/null |
        sed -n 's/^running (pid \([0-9]*\)).*/\1/p') || return 0
    [ -n "$pid" ] || return 0
    program=$(tr '\0' '\n' 2>/dev/null <"/proc/$pid/cmdline" | head -n 1) || return 0
    case $program in
        "$opt"/*) say "$pid" ;;
    esac
}

stop_engine() {
    pid=$(running)
    [ -n "$pid" ] || return 0
    say "stopping the engine (pid $pid)"
    "$opt/venv/bin/provision-engine" --config "$etc/engine.conf" stop >/dev/null 2>&1 ||
        root "$opt/venv/bin/provision-engine" --config "$etc/engine.conf" stop >/dev/null ||
        fail "the engine (pid $pid) cannot be stopped; nothing was removed"
}

# ---- install ---------------------------------------------------------------------------------

# pip is run by the user, with the user's configuration, and never by sudo. An environment that
# another user could have changed before is not used again.
make_environment() {
    root mkdir -p "$opt"
    if is_root && [ -n "$(find_writable "$opt"; writable_by_others "$opt/venv/bin/python")" ]; then
        root chown 0:0 "$opt"
        root chmod 755 "$opt"
        root rm -rf "$opt/venv" "$opt/src"
    fi
    [ -z "$sudo" ] || root chown -hR "$(id -u):$(id -g)" "$opt"
    if ! is_supported "$opt/venv/bin/python" ||
        ! "$opt/venv/bin/python" -I -m pip --version >/dev/null 2>&1; then
        say "creating a virtual environment with $python"
        "$python" -I -m venv --clear "$opt/venv"
    fi
}

pip_install() {
    "$opt/venv/bin/python" -I -m pip install --quiet --disable-pip-version-check "$@" ||
        fail "pip could not install the program (see above)"
}

install_copy() {
    say "installing a copy of the program"
    copy=$(mktemp -d)
    trap 'rm -rf "$copy"' EXIT
    for part in $sources; do
        cp -R "$checkout/$part" "$copy/$part"
    done
    pip_install "$copy"
    rm -rf "$opt/src"
}

# pip installs from a directory of links, so that it writes nothing into the checkout.
install_link() {
    say "installing the program as a link to $checkout:"
    say "whoever can write there decides what everybody runs who runs $bin/provision-engine"
    rm -rf "$opt/src"
    mkdir -p "$opt/src"
    for part in $sources; do
        ln -s "$checkout/$part" "$opt/src/$part"
    done
    pip_install --editable "$opt/src"
}

install_configuration() {
    root rm -rf "$etc/schemas"
    root install -D -m 644 -t "$etc/schemas" "$checkout"/provision_engine/schemas/*
    if [ ! -e "$etc/engine.conf" ] || cmp -s "$opt/engine.conf" "$etc/engine.conf"; then
        root install -m 644 "$checkout/etc/engine.conf" "$etc/engine.conf"
    elif ! cmp -s "$checkout/etc/engine.conf" "$etc/engine.conf"; then
        say "keeping $etc/engine.conf, which was edited; new keys: $checkout/etc/engine.conf"
    fi
    # The file as shipped, to detect at the next installation whether it was edited.
    root install -m 644 "$checkout/etc/engine.conf" "$opt/engine.conf"
}

install_commands() {
    root mkdir -p "$bin"
    for command in $commands; do
        root ln -sfn "$opt/venv/bin/$command" "$bin/$command"
    done
}

# Installs the service, its user, log rotation and examples on a system with systemd. Starts nothing.
has_systemd() { [ -d "$prefix/run/systemd/system" ]; }

install_service() {
    has_systemd || return 0
    for unit in $units; do
        root install -D -m 644 "$checkout/etc/$unit" "$lib/systemd/system/$unit"
    done
    root install -D -m 644 "$checkout/etc/sysusers.conf" "$lib/sysusers.d/provision-engine.conf"
    root install -D -m 644 "$checkout/etc/tmpfiles.conf" "$lib/tmpfiles.d/provision-engine.conf"
    root install -D -m 644 "$checkout/etc/logrotate" "$prefix/etc/logrotate.d/provision-engine"
    for example in $examples; do
        root install -D -m 644 "$checkout/etc/$example" "$share/$example"
    done
    say "  service        $lib/systemd/system/provision-engine.service"
    say "  examples       $share"
    [ -z "$prefix" ] || return 0
    root systemd-sysusers "$lib/sysusers.d/provision-engine.conf" &&
        root systemd-tmpfiles --create "$lib/tmpfiles.d/provision-engine.conf" &&
        root systemctl daemon-reload ||
        say "setting up the service failed (see above); the program itself is installed"
}

remove_service() {
    if [ -z "$prefix" ] && has_systemd && [ -e "$lib/systemd/system/provision-engine.service" ]; then
        root systemctl disable --now --quiet $units || true
    fi
    for unit in $units; do
        root rm -f "$lib/systemd/system/$unit"
    done
    root rm -f "$lib/sysusers.d/provision-engine.conf" "$lib/tmpfiles.d/provision-engine.conf" \
        "$prefix/etc/logrotate.d/provision-engine"
    root rm -rf "$share"
    [ -n "$prefix" ] || ! has_systemd || root systemctl daemon-reload || true
}

# Runs the check if the user's credentials for OpenNebula are available. Never fatal.
check_installation() {
    [ -z "$prefix" ] && [ -r "${ONE_AUTH:-${HOME:-/root}/.one/one_auth}" ] || return 0
    say "checking the installation as the user in ${ONE_AUTH:-${HOME:-/root}/.one/one_auth}:"
    "$bin/provision-engine" check </dev/null ||
        say "fix what failed at any time, then run provision-engine check again"
}

# The user who installed the engine can run it too, without being root.
install_directories() {
    for directory in "$logs" "$run"; do
        [ -d "$directory" ] || {
            root mkdir -p "$directory"
            [ -z "$sudo" ] || root chown "$(id -u):$(id -g)" "$directory"
        }
    done
}

install_engine() {
    choose_python
    choose_sudo
    require_safe "$python" "choose another one with PYTHON=/path/to/python3"
    [ "$1" = copy ] || require_safe "$checkout" "use install.sh copy, or a checkout of root's"
    make_environment
    "install_$1"
    install_configuration
    install_commands
    install_directories
    [ -z "$sudo" ] || root chown -hR 0:0 "$opt"
    version=$("$bin/provision-engine" --version) || fail "the installed program does not run"
    say "installed: $version"
    say "  configuration  $etc/engine.conf"
    say "  logs           $logs"
    if [ "$1" = copy ]; then install_service; else remove_service; fi # of an earlier copy
    check_installation
    if [ -n "$(running)" ]; then
        say "the running engine is still the previous one: $bin/provision-engine restart"
    else
        say "start it with: $bin/provision-engine start"
        ! has_systemd || [ "$1" = link ] || say "or as a service: systemctl enable --now provision-engine"
    fi
}

# ---- clean -----------------------------------------------------------------------------------

clean() {
    choose_sudo
    stop_engine
    for command in $commands; do
        case $(readlink "$bin/$command" 2>/dev/null || true) in
            "$opt"/*) root rm -f "$bin/$command" ;;
        esac
    done
    remove_service
    root rm -rf "$opt" "$run"
    say "removed: the program"
}

purge() {
    clean
    root rm -rf "$etc" "$logs"
    say "removed: configuration and logs"
}

case "$#:$*" in
    0: | 1:copy) install_engine copy ;;
    1:link) install_engine link ;;
    1:clean) clean ;;
    "2:clean purge") purge ;;
    1:-h | 1:--help | 1:help) usage ;;
    *)
        usage >&2
        exit 2
        ;;
esac
