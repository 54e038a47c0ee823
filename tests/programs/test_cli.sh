#!/usr/bin/env bash
# Every command of foyer, against a real foyerd in a runtime folder of its own.
#
# What needs root or a device that this machine lacks is left out, and said so. Processes are waited
# for by what they write or by their end, never by time.
# shellcheck disable=SC2016 # what stands in single quotes is for an inner shell
set -uo pipefail

here=$(cd "$(dirname "$0")" && pwd)
build=${FOYER_BUILD:-$here/../../build}
foyer=$build/bin/foyer

for part in bin/foyer bin/foyerd lib/libfoyer-preload.so; do
    [[ -e $build/$part ]] || {
        echo "$build/$part is not built"
        exit 77
    }
done
for tool in python3 timeout; do
    command -v "$tool" >/dev/null || {
        echo "$tool is not installed"
        exit 77
    }
done

work=$(mktemp -d /tmp/foyer-test-cli-XXXXXX)
chmod 711 "$work"
unset FOYER_BUILDING FOYER_SOCKET FOYER_HOST FOYER_FD FOYER_SERVICES LD_PRELOAD SUDO_UID SUDO_USER
unset XDG_RUNTIME_DIR XDG_CONFIG_HOME
export FOYER_DIR=$work/run HOME=$work TZ=UTC
# A sanitized foyer is itself run under foyer here, whose module then comes before the runtime.
export ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}verify_asan_link_order=0
started=()
sudo_folder=
failures=0 checks=0

cleanup()
{
    local pid building
    for pid in "${started[@]}"; do
        kill "$pid" 2>/dev/null
    done
    for building in default other race broken; do
        "$foyer" down --force --building "$building" >/dev/null 2>&1
    done
    if [[ -n $sudo_folder ]]; then
        rm -rf "$sudo_folder"
        rmdir "${sudo_folder%/*}" 2>/dev/null
    fi
    rm -rf "$work"
}
trap cleanup EXIT

fail()
{
    failures=$((failures + 1))
    echo "FAILED: $1"
    sed 's/^/    out: /' "$work/out"
    sed 's/^/    err: /' "$work/err"
}

left_out()
{
    echo "left out: $1"
}

# run STATUS COMMAND...: runs it, output to $work/out and $work/err.
run()
{
    local expected=$1 status
    shift
    checks=$((checks + 1))
    timeout 60 "$@" >"$work/out" 2>"$work/err" </dev/null
    status=$?
    [[ $status -eq $expected ]] || fail "status $status instead of $expected: $*"
}

# What the last command wrote. $2 is an extended regular expression.
has()
{
    checks=$((checks + 1))
    grep -Eq -- "$2" "$work/$1" || fail "std$1 lacks: $2"
}

has_not()
{
    checks=$((checks + 1))
    ! grep -Eq -- "$2" "$work/$1" || fail "std$1 has: $2"
}

# json EXPRESSION: python over the last command's JSON, as `j`.
json()
{
    checks=$((checks + 1))
    python3 -c "import json, sys; j = json.load(open(sys.argv[1])); sys.exit(not ($1))" \
        "$work/out" 2>>"$work/err" || fail "JSON is not as expected: $1"
}

# Starts a program that writes "ready ..." when it serves; leaves its pid in $pid and the rest of
# the line in $ready. It ends when its standard input does, or by cleanup.
serve()
{
    local word line=""
    coproc SERVER { exec "$@" 2>"$work/err"; }
    pid=$SERVER_PID
    started+=("$pid")
    ready=
    IFS= read -r -t 30 line <&"${SERVER[0]}" || true
    read -r word ready <<<"$line"
    [[ $word == ready ]] || {
        : >"$work/out"
        fail "does not serve: $*"
        return 1
    }
}

end_server()
{
    local input=${SERVER[1]}
    exec {input}>&-
    wait "$pid" 2>/dev/null
}

# A server in Python: protocol and port, 0 for any.
server_text='
import socket, sys
kind = socket.SOCK_STREAM if sys.argv[1] == "tcp" else socket.SOCK_DGRAM
s = socket.socket(socket.AF_INET, kind)
s.bind((sys.argv[3] if len(sys.argv) > 3 else "", int(sys.argv[2])))
if sys.argv[1] == "tcp":
    s.listen(7)
print("ready", s.getsockname()[1], flush=True)
sys.stdin.read()
'

# ---- the command itself --------------------------------------------------------------------------

test_help()
{
    local command
    run 2 "$foyer"
    has err '^usage: foyer COMMAND'
    run 0 "$foyer" help
    for command in run ports who services host link up down status help version; do
        has out "^  $command +[a-z]"
    done
    for command in run ports who services host link up down status help version; do
        run 0 "$foyer" "$command" --help
        has out "^usage: foyer $command"
        run 0 "$foyer" help "$command"
        has out "^usage: foyer $command"
        run 2 "$foyer" "$command" --no-such-option
        has err 'no-such-option'
    done
    run 0 "$foyer" version
    has out '^foyer [0-9]+\.[0-9]+\.[0-9]+$'
    run 0 "$foyer" --version
    run 2 "$foyer" prots
    has err "did you mean 'ports'"
    run 2 "$foyer" help prots
    run 2 "$foyer" frobnicate
    has_not err 'did you mean'
    run 2 "$foyer" status --building Not_A_Name
    has err 'Not_A_Name'
    run 2 "$foyer" status --json=1
    run 2 "$foyer" status surplus
    checks=$((checks + 1))
    if [[ -e /dev/full ]]; then
        "$foyer" help >/dev/full 2>"$work/err" && fail "a full disk goes unnoticed"
    fi
}

test_absent()
{
    run 1 "$foyer" status
    has err "does not run for building 'default'"
    has err 'foyer up'
    run 1 "$foyer" ports
    run 1 "$foyer" host
    run 1 "$foyer" link list
    run 0 "$foyer" down
    run 1 env FOYER_BUILDING=Bad_Name "$foyer" status
    has err 'Bad_Name'
}

test_services()
{
    run 0 "$foyer" services https --protocol tcp
    has out '^https +443 +tcp +well-known'
    run 0 "$foyer" services 443 --json
    json 'any(s["name"] == "https" and s["port"] == 443 for s in j["services"])'
    json 'j["class"] == "well-known"'
    run 0 "$foyer" services 20-23 --protocol tcp
    has out '^ssh +22 '
    has_not out '^domain '
    run 1 "$foyer" services htps
    has err 'did you mean .*https'
    run 1 "$foyer" services htps --json
    json '"https" in j["suggestions"] and j["services"] == []'
    run 1 "$foyer" services 60000
    has err 'dynamic'
    run 2 "$foyer" services 23-20
    run 2 "$foyer" services 65536
    run 2 "$foyer" services http --protocol ipx
    printf 'my-thing 4711/tcp\nbroken line here\n' >"$work/services"
    run 0 env FOYER_SERVICES="$work/services" "$foyer" services my-thing
    has out '^my-thing +4711 +tcp +registered +name +user'
    has err 'services, line 2'
    mkdir -p "$work/.config/foyer"
    mv "$work/services" "$work/.config/foyer/services"
    run 0 "$foyer" services 4711 --protocol tcp
    has out '^my-thing '
    rm -r "$work/.config"
}

# ---- run: what is refused, what is passed on -----------------------------------------------------

test_run_refusals()
{
    run 2 "$foyer" run
    run 2 "$foyer" run --host Bad_Host true
    run 127 "$foyer" run no-such-program
    has err "'no-such-program' was not found in the directories of PATH"
    run 127 "$foyer" run "$work/nothing"
    run 126 "$foyer" run "$work"
    has err 'is a directory'
    echo 'exit 0' >"$work/plain"
    chmod 644 "$work/plain"
    run 126 "$foyer" run "$work/plain"
    has err 'may not be run'
    printf '#!/nowhere/interpreter\n' >"$work/script"
    chmod 755 "$work/script"
    run 126 "$foyer" run "$work/script"
    has err '/nowhere/interpreter'
    printf '\177ELF\002\001\001' >"$work/damaged"
    chmod 755 "$work/damaged"
    run 126 "$foyer" run "$work/damaged"
    if echo 'int main(void) { return 0; }' | cc -static -x c -o "$work/static" - 2>/dev/null; then
        # Nothing of this has started foyerd.
        run 1 "$foyer" status
        run 0 "$foyer" run "$work/static"
        printf '#!%s\n' "$work/static" >"$work/script"
        run 0 "$foyer" run "$work/script"
    else
        left_out "statically linked program: no compiler or no static libc"
    fi
}

test_run_passes_on()
{
    # Closed standard descriptors stay the program's business, also where foyerd is started.
    run 0 "$foyer" down
    run 0 sh -c "'$foyer' run sh -c '[ ! -e /proc/self/fd/0 ] && [ ! -e /proc/self/fd/2 ]' <&- >&- 2>&-"
    run 0 "$foyer" status
    run 0 "$foyer" run true
    run 7 "$foyer" run -- sh -c 'exit 7'
    run 3 "$foyer" run sh -c 'exit "$1"' sh 3
    run 143 "$foyer" run sh -c 'kill -TERM $$'
    run 0 "$foyer" run --host web sh -c 'echo "$FOYER_HOST:$FOYER_BUILDING:$FOYER_FD"'
    has out '^web::[0-9]+$'
    run 0 "$foyer" run env
    has out '^FOYER_HOST=env$'
    has out "^FOYER_SOCKET=$FOYER_DIR/default/foyerd.sock$"
    has out "^LD_PRELOAD=/[^: ]*/libfoyer-preload.so$"
    run 0 "$foyer" run "$foyer" run --host inner env
    has out '^FOYER_HOST=inner$'
    has out '^LD_PRELOAD=/[^: ]*/libfoyer-preload.so$'
    run 0 sh -c "cd / && echo text | '$foyer' run sh -c 'pwd; cat'"
    has out '^/$'
    has out '^text$'
    # The program is the process that was started: foyer leaves no other between.
    run 0 sh -c "exec '$foyer' run sh -c 'echo \$\$ \$PPID'"
    checks=$((checks + 1))
    "$foyer" run sh -c 'echo $$' >"$work/out" 2>"$work/err" &
    wait $!
    [[ $(<"$work/out") == "$!" ]] || fail "the program's pid is not foyer's"
    # The descriptor is in place, and it is the only one that was added.
    run 0 "$foyer" run python3 -c '
import os
fd = os.environ["FOYER_FD"]
assert os.readlink("/proc/self/fd/" + fd).startswith("socket:")'
    printf '#!/bin/sh\necho script\n' >"$work/-dash"
    chmod 755 "$work/-dash"
    run 0 env PATH="$work:$PATH" "$foyer" run -- -dash
    has out '^script$'
}

# ---- foyerd --------------------------------------------------------------------------------------

test_up_and_down()
{
    run 0 "$foyer" down --force
    run 1 "$foyer" up --net4 10.20.0.1/16
    run 0 "$foyer" down
    has out 'does not run'
    run 0 "$foyer" up --net4 10.20.0.0/16 --net6 fd00:20::/64
    has out 'was started'
    run 0 "$foyer" up
    has out 'runs already'
    run 0 "$foyer" status
    has out '^networks +10\.20\.0\.0/16 +fd00:20::/64$'
    run 0 "$foyer" status --json
    json 'j["net4"] == "10.20.0.0/16" and j["building"] == "default" and j["links"] == 0'
    run 2 "$foyer" up --net4 10.20.0.0
    run 2 "$foyer" up --net4 fd00::/64
    run 1 "$foyer" up --net4 10.20.0.0/31
    run 0 "$foyer" up --building other
    run 0 "$foyer" status --building other --json
    json 'j["building"] == "other" and j["net4"] != "10.20.0.0/16"'
    run 0 env FOYER_BUILDING=other "$foyer" status
    has out '^building +other$'
    run 0 env FOYER_BUILDING=other "$foyer" run sh -c 'echo "$FOYER_BUILDING"'
    has out '^other$'
    run 0 "$foyer" down --building other
    run 1 "$foyer" status --building other
    run 0 "$foyer" status
    run 0 "$foyer" down
    # Ended means ended: it can be started anew at once.
    run 0 "$foyer" up
    has out 'was started'
}

test_killed_foyerd()
{
    local daemon
    run 0 "$foyer" status --json
    daemon=$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["pid"])' "$work/out")
    kill -KILL "$daemon"
    # It is no child of ours; its lock tells when it is gone.
    python3 -c 'import fcntl, sys; fcntl.flock(open(sys.argv[1]), fcntl.LOCK_EX)' \
        "$FOYER_DIR/default/foyerd.lock"
    run 1 "$foyer" status
    run 0 "$foyer" run true
    run 0 "$foyer" status
}

test_many_at_once()
{
    local i pids=() child
    checks=$((checks + 1))
    for ((i = 0; i < 12; i++)); do
        "$foyer" run --building race --host "h$i" true >>"$work/out" 2>>"$work/err" &
        pids+=($!)
    done
    for child in "${pids[@]}"; do
        wait "$child" || fail "one of many at once failed"
    done
    [[ $(grep -c 'serves building race' "$FOYER_DIR/race/foyerd.log") -eq 1 ]] ||
        fail "not exactly one foyerd was started"
    run 0 "$foyer" down --force --building race
}

test_bad_directories()
{
    mkdir -m 755 "$work/open"
    run 125 env FOYER_DIR="$work/open" "$foyer" run true
    has err 'mode 0700'
    run 1 env FOYER_DIR="$work/open" "$foyer" up
    run 1 env FOYER_DIR="$work/$(printf 'x%.0s' {1..200})" "$foyer" up
    has err 'FOYER_DIR'
    # foyerd cannot start, and says why: the lock is no file.
    mkdir -m 700 "$FOYER_DIR/broken" "$FOYER_DIR/broken/foyerd.lock"
    run 1 "$foyer" up --building broken
    has err "cannot start for building 'broken'"
    has err 'foyerd: .*/foyerd.lock: '
}

# ---- hosts, links --------------------------------------------------------------------------------

test_hosts()
{
    run 0 "$foyer" down --force
    run 0 "$foyer" up --net4 10.20.0.0/16 --net6 fd00:20::/64
    run 0 "$foyer" host add shop --address4 10.20.5.5 --address6 fd00:20::55
    has out '^IPv4 +10\.20\.5\.5$'
    run 1 "$foyer" host add shop --address4 10.20.5.6
    has err shop
    run 1 "$foyer" host add far --address4 11.0.0.1
    run 0 "$foyer" host add plain --json
    json 'j["name"] == "plain" and j["persistent"] and j["address4"].startswith("10.20.")'
    run 0 "$foyer" host
    has out '^NAME +IPV4'
    has out '^shop +10\.20\.5\.5 +fd00:20::55 +[0-9a-f:]{17} +yes +0 +0$'
    run 0 "$foyer" host list --json
    json 'sorted(h["name"] for h in j["hosts"]) == ["plain", "shop"]'
    run 0 "$foyer" host show shop --json
    json 'j["address6"] == "fd00:20::55"'
    run 1 "$foyer" host show nobody
    run 0 "$foyer" host remove plain
    run 1 "$foyer" host remove plain
    run 1 "$foyer" up --net4 10.21.0.0/16
    run 2 "$foyer" host add
    run 2 "$foyer" host add a b
    run 2 "$foyer" host add Bad_Name
    run 2 "$foyer" host add x --address4 fd00::1
    run 2 "$foyer" host list --address4 10.20.0.9
    run 2 "$foyer" host frob
}

# In a network namespace of its own, so that the machine's routes stay as they are. The host shop of
# test_hosts answers: its refusal shows that frames go both ways.
link_session='
set -e
"$0" link add tap --json >"$1/added"
ip -br address show foyer0
"$0" link list
timeout 20 bash -c "exec 3<>/dev/tcp/10.20.5.5/9" 2>&1 || true
timeout 20 bash -c "exec 3<>/dev/tcp/fd00:20::55/9" 2>&1 || true
"$0" link list --json >"$1/links"
! "$0" link add tap || exit 9
"$0" link remove foyer0
! ip link show foyer0 2>/dev/null || exit 9
"$0" link add tap mytap --address 10.20.0.7/24
ip -br address show mytap
"$0" link remove mytap'

test_links()
{
    run 2 "$foyer" link add
    run 2 "$foyer" link add bridge
    run 2 "$foyer" link add tap a/b
    run 2 "$foyer" link add tap x --address 10.0.0.1
    run 2 "$foyer" link list --address 10.0.0.1/8
    run 1 "$foyer" link remove nothing
    if [[ $(id -u) -ne 0 || ! -w /dev/net/tun ]] || ! command -v ip >/dev/null ||
        ! unshare -n true 2>/dev/null; then
        left_out "making a TAP: needs root, /dev/net/tun, ip and unshare"
        return
    fi
    run 0 unshare -n bash -c "$link_session" "$foyer" "$work"
    has out '^foyer0 +.*10\.20\.0\.1/16.*fd00:20::1/64'
    has out '^foyer0 +tap '
    has out 'Connection refused'
    has err 'an interface foyer0 exists'
    has out '^mytap  up  10\.20\.0\.7/24$'
    has out '^mytap +.*10\.20\.0\.7/24'
    cp "$work/links" "$work/out"
    json 'j["links"][0]["rx_packets"] > 0 and j["links"][0]["tx_packets"] > 0'
    run 0 "$foyer" link list --json
    json 'j["links"] == []'
}

# ---- ports, who ----------------------------------------------------------------------------------

test_ports()
{
    run 0 "$foyer" ports
    has out '^HOST +PROTO +LOCAL +REMOTE +STATE +PID +PROGRAM +USER +SINCE +SERVICE$'
    run 1 "$foyer" ports no-such-host
    run 2 "$foyer" ports --protocol sctp
    serve "$foyer" run --host site python3 -c "$server_text" tcp 80 || return
    run 0 "$foyer" ports
    has out "^site +tcp +\S+:80 +- +LISTEN +$pid +python3\S* +\S+ +20[0-9-]+ [0-9:]+ +http$"
    run 0 "$foyer" ports site --json
    json "[(s['protocol'], s['state'], s['pid'], s['service'], s['remote'])
        for s in j['sockets']] == [('tcp', 'LISTEN', $pid, 'http', None)]"
    run 0 "$foyer" ports --connected
    has_not out '^site '
    run 0 "$foyer" ports --listening --protocol udp
    has_not out '^site '
    run 0 "$foyer" ports shop
    has_not out '^site '
    run 0 "$foyer" host show site
    has out '^programs +[1-9]'
    run 1 "$foyer" host remove site
    run 0 "$foyer" who http
    has out "^site +tcp +\S+:80 +- +LISTEN +$pid "
    run 0 "$foyer" who 80/tcp --json
    json "any(h['where'] == 'foyer' and h['host'] == 'site' and h['pid'] == $pid
        for h in j['holders'])"
    run 1 "$foyer" down
    has err 'python3'
    run 0 "$foyer" down --force
    end_server
}

test_who_on_machine()
{
    local port protocol
    for protocol in tcp udp; do
        serve python3 -c "$server_text" "$protocol" 0 127.0.0.1 || return
        port=$ready
        run 0 "$foyer" who "$port"
        has out "^\(machine\) +$protocol +127\.0\.0\.1:$port +- +(LISTEN|UNCONNECTED) +$pid +python3"
        run 0 "$foyer" who "$port/$protocol" --json
        json "[(h['where'], h['pid'], h['protocol']) for h in j['holders']] ==
            [('machine', $pid, '$protocol')]"
        json "abs(j['holders'][0]['since'] - __import__('time').time()) < 120"
        as_nobody_who "$port"
        end_server
        run 1 "$foyer" who "$port"
        has err 'nobody holds port'
    done
    run 1 "$foyer" who htps
    has err 'did you mean .*https'
    run 2 "$foyer" who 0
    run 2 "$foyer" who 80/sctp
    run 2 "$foyer" who
}

# ---- other users ---------------------------------------------------------------------------------

# Can this test play another user who may run the build?
nobody_works()
{
    [[ $(id -u) -eq 0 ]] && command -v setpriv >/dev/null &&
        as_nobody "$foyer" version >/dev/null 2>&1
}

as_nobody()
{
    setpriv --reuid=65534 --regid=65534 --clear-groups "$@"
}

as_nobody_who()
{
    nobody_works || {
        left_out "rights of another user: needs root, setpriv and a build that others can read"
        return
    }
    run 0 as_nobody_in "$work/none" "$foyer" who "$1"
    has out '^\(machine\) .* - +- +root '
    has err 'rights of this user do not suffice'
}

# `timeout` runs programs, no functions.
cat >"$work/as_nobody_in" <<'SCRIPT'
#!/bin/sh
FOYER_DIR=$1
[ -n "$1" ] && export FOYER_DIR || unset FOYER_DIR
shift
exec setpriv --reuid=65534 --regid=65534 --clear-groups "$@"
SCRIPT
chmod 755 "$work/as_nobody_in"
PATH=$PATH:$work

test_other_user()
{
    local building=test-$$ folder=/tmp/foyer-65534
    nobody_works || {
        left_out "another user: needs root, setpriv and a build that others can read"
        return
    }
    cp "$(type -P true)" "$work/setid"
    chmod 4755 "$work/setid"
    run 125 as_nobody_in "$work/none" "$foyer" run "$work/setid"
    has err 'set-user-ID'
    # A building of nobody's: closed to others, open to root, who finds it under sudo.
    run 0 as_nobody_in "" "$foyer" up --building "$building"
    [[ -d $folder/$building ]] && sudo_folder=$folder/$building
    run 1 env -u FOYER_DIR "$foyer" status --building "$building"
    run 0 env -u FOYER_DIR SUDO_UID=65534 "$foyer" status --building "$building"
    has out "^socket +$folder/$building/foyerd.sock$"
    run 1 env -u FOYER_DIR SUDO_UID=65533 "$foyer" status --building "$building"
    run 1 as_nobody_in "" "$foyer" link add tap --building "$building"
    has err 'CAP_NET_ADMIN'
    has err 'sudo foyer link add tap'
    run 0 as_nobody_in "" "$foyer" down --building "$building"
    # Root's building is not nobody's business.
    run 1 as_nobody_in "$FOYER_DIR" "$foyer" status
    has err 'another user|not permitted|does not run'
}

test_help
test_absent
test_services
test_run_refusals
test_run_passes_on
test_up_and_down
test_killed_foyerd
test_many_at_once
test_bad_directories
test_hosts
test_links
test_who_on_machine
test_other_user
test_ports

echo "$checks checks, $failures failures"
[[ $failures -eq 0 ]]
