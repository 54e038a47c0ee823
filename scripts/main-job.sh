#!/usr/bin/env bash
#
# The main job: what foyer is for, shown with real servers and real clients.
#
# Two unmodified servers (FTP and web) share one address on host "building"; clients on host
# "visitor" reach each through its port; a second server on a taken port is told who holds it;
# the machine's own kernel reaches them through a TAP device where the caller has the right.
#
# It runs in a building of its own (FOYER_DIR in a temporary folder), so it disturbs no other
# foyer, and it takes everything down again. Exit status 0 only if all of it held.
set -uo pipefail

top=$(cd "$(dirname "$0")/.." && pwd)
build=${FOYER_BUILD:-$top/build}
CLIENTS=${CLIENTS:-50}

PATH=$build/bin:$PATH:/usr/sbin:/sbin
work=$(mktemp -d "${TMPDIR:-/tmp}/foyer-main-job.XXXXXX")
export FOYER_DIR=$work/run
mkdir -m 700 "$FOYER_DIR"

passed=0 failed=0 skipped=0
servers=()

# Shows a command as a person would type it, then runs it.
show() {
    printf '\n$ %s\n' "$*"
    "$@"
}
# The same for a server: it goes on in the background and is ended by finish.
serve() {
    printf '\n$ %s &\n' "$*"
    "$@" &
    servers+=($!)
}
step() { printf '\n== %s\n' "$*"; }
ok() { passed=$((passed + 1)); printf '   ok: %s\n' "$*"; }
bad() { failed=$((failed + 1)); printf '   FAILED: %s\n' "$*"; }
skip() { skipped=$((skipped + 1)); printf '   skipped: %s\n' "$*"; }
check() { # check TEXT COMMAND...
    local text=$1
    shift
    if "$@"; then ok "$text"; else bad "$text"; fi
}

finish() {
    local pid
    for pid in "${servers[@]}"; do
        kill "$pid" 2>/dev/null
    done
    for pid in "${servers[@]}"; do
        wait "$pid" 2>/dev/null
    done
    foyer down --force >/dev/null 2>&1
    chmod -R u+w "$work" # the FTP root is read-only; only root could remove it so
    rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Waits until HOST listens on PORT: asks foyer, at most ten seconds.
listening() { # listening HOST PORT
    local deadline=$((SECONDS + 10))
    while ! foyer ports "$1" --listening 2>/dev/null | grep -Eq "[:.]$2 +(\*|-)"; do
        [ "$SECONDS" -lt "$deadline" ] || return 1
        sleep 0.05
    done
}

# ---- the servers' own files: an ordinary nginx and vsftpd configuration -------------------------

site=$work/site
mkdir -p "$site" "$work/nginx"
head -c 1000000 /dev/urandom >"$site/file.bin"
want=$(sha256sum <"$site/file.bin")
chmod 755 "$work" "$site"
chmod a-w "$site" # vsftpd refuses a writable anonymous root

nginx_conf() { # nginx_conf NAME
    cat >"$work/nginx/$1.conf" <<CONF
daemon off;
worker_processes 2;
pid $work/nginx/$1.pid;
error_log stderr warn;
events { worker_connections 256; }
http {
    access_log off;
    client_body_temp_path $work/nginx/$1-body;
    proxy_temp_path $work/nginx/$1-proxy;
    fastcgi_temp_path $work/nginx/$1-fastcgi;
    uwsgi_temp_path $work/nginx/$1-uwsgi;
    scgi_temp_path $work/nginx/$1-scgi;
    server { listen 80; root $site; }
}
CONF
    # As root, nginx would give its workers to an account that cannot read the temporary folder.
    [ "$(id -u)" -ne 0 ] || sed -i '1i user root;' "$work/nginx/$1.conf"
}
nginx_conf first
nginx_conf second

cat >"$work/vsftpd.conf" <<CONF
listen=YES
background=NO
run_as_launching_user=YES
ftp_username=$(id -un)
anonymous_enable=YES
no_anon_password=YES
local_enable=NO
anon_root=$site
secure_chroot_dir=$site
connect_from_port_20=NO
seccomp_sandbox=NO
isolate=NO
isolate_network=NO
max_per_ip=0
max_clients=0
CONF

# ---- 1 -------------------------------------------------------------------------------------------

step "1. An FTP server and a web server on host building, at one address"
serve foyer run --host building -- vsftpd "$work/vsftpd.conf"
check "vsftpd listens on port 21 of building" listening building 21
serve foyer run --host building -- nginx -c "$work/nginx/first.conf"
check "nginx listens on port 80 of building" listening building 80
show foyer host list
address=$(foyer run --host visitor -- getent ahostsv4 building | awk '{ print $1; exit }')
check "the name building resolves on host visitor ($address)" test -n "$address"

# ---- 2 -------------------------------------------------------------------------------------------

step "2. $CLIENTS FTP and $CLIENTS HTTP clients on host visitor, all at the same time"
cat <<'TEXT'

$ foyer run --host visitor -- curl ftp://building/file.bin     (each of them)
$ foyer run --host visitor -- curl http://building/file.bin
TEXT
fetch() { # fetch SCHEME NUMBER
    foyer run --host visitor -- curl -sS --max-time 30 -o "$work/$1.$2" \
        -w '%{local_ip}:%{local_port}\n' "$1://building/file.bin" \
        >"$work/$1.$2.port" 2>"$work/$1.$2.error"
}
clients=()
for ((i = 0; i < CLIENTS; i++)); do
    fetch ftp "$i" &
    clients+=($!)
    fetch http "$i" &
    clients+=($!)
done
clients_failed=0
for pid in "${clients[@]}"; do
    wait "$pid" || clients_failed=$((clients_failed + 1))
done
check "all $((2 * CLIENTS)) clients ended with exit status 0" test "$clients_failed" -eq 0
for scheme in ftp http; do
    same=0
    for ((i = 0; i < CLIENTS; i++)); do
        [ -f "$work/$scheme.$i" ] && [ "$(sha256sum <"$work/$scheme.$i")" = "$want" ] &&
            same=$((same + 1))
    done
    check "$same of $CLIENTS files fetched by $scheme have the right SHA-256" \
        test "$same" -eq "$CLIENTS"
    ports=$(cat "$work/$scheme".*.port | grep -o '[0-9]*$' | sort -n)
    printf '   ephemeral ports of the %s clients:\n' "$scheme"
    printf '%s\n' "$ports" | paste -s -d ' ' | fold -s -w 90 | sed 's/^/     /'
    check "each of them had a port of the dynamic range" test \
        "$(printf '%s\n' "$ports" | awk '$1 >= 49152 && $1 <= 65535' | wc -l)" -eq "$CLIENTS"
done
for error in "$work"/*.error; do
    [ -s "$error" ] && sed "s|^|   $(basename "$error" .error): |" "$error"
done

# ---- 3 -------------------------------------------------------------------------------------------

step "3. Who listens, who is connected"
show foyer ports
show foyer who 80

# ---- 4 -------------------------------------------------------------------------------------------

step "4. A second web server on the same host and port, then on a host of its own"
printf '\n$ %s\n' "foyer run --host building -- nginx -c $work/nginx/second.conf"
timeout 20 foyer run --host building -- nginx -c "$work/nginx/second.conf" \
    >"$work/conflict" 2>&1
status=$?
cat "$work/conflict"
check "it ends with an error status ($status)" test "$status" -ne 0 -a "$status" -ne 124
check "one line tells who holds port 80" test \
    "$(grep -c '^foyer: .*80/tcp.*building.*nginx.*pid' "$work/conflict")" -eq 1
serve foyer run --host annex -- nginx -c "$work/nginx/second.conf"
check "the same server listens on port 80 of host annex" listening annex 80
got=$(foyer run --host visitor -- curl -sS --max-time 30 http://annex/file.bin | sha256sum)
check "a client fetched the file from annex" test "$got" = "$want"

# ---- 5 -------------------------------------------------------------------------------------------

step "5. The machine's own kernel, through a TAP device"
tap=foyer$((RANDOM % 9000 + 1000))
if show foyer link add tap "$tap" 2>"$work/tap.error"; then
    show foyer link list
    for url in "http://$address/file.bin" "ftp://$address/file.bin"; do
        printf '\n$ curl -O %s\n' "$url"
        got=$(curl -sS --noproxy '*' --max-time 30 "$url" | sha256sum)
        check "the kernel's curl fetched $url" test "$got" = "$want"
    done
    show foyer link remove "$tap"
elif grep -q CAP_NET_ADMIN "$work/tap.error"; then
    cat "$work/tap.error"
    skip "needs CAP_NET_ADMIN"
else
    cat "$work/tap.error"
    bad "foyer link add tap"
fi

# ---- 6 -------------------------------------------------------------------------------------------

step "6. Everything down again"
for pid in "${servers[@]}"; do
    kill "$pid" 2>/dev/null
done
for pid in "${servers[@]}"; do
    wait "$pid" 2>/dev/null
done
servers=()
deadline=$((SECONDS + 10))
until show foyer down >"$work/down" 2>&1 || [ "$SECONDS" -ge "$deadline" ]; do
    sleep 0.05
done
cat "$work/down"
foyer status >/dev/null 2>&1
check "foyerd has stopped" test $? -ne 0

printf '\nSummary: %s passed, %s failed, %s skipped\n' "$passed" "$failed" "$skipped"
[ "$failed" -eq 0 ]
