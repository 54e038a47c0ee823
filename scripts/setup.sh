#!/usr/bin/env bash
# Installs the Debian packages that one purpose needs: setup.sh build|run|test|bench
#
# Silent and fast when nothing is missing. Otherwise says what it installs and does it as root,
# through sudo where that works, or prints the command to run and fails.
set -euo pipefail

# An ordinary user's PATH often lacks the folder where nginx, vsftpd and ip live.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

# package:probe. The probe is a command, pc=<pkg-config module>, or dpkg for what leaves neither
# behind. A command from elsewhere (pip, a newer cmake) counts as present.
build_packages=(
    build-essential:cc make:make cmake:cmake ninja-build:ninja pkg-config:pkg-config
    libjansson-dev:pc=jansson
)
run_packages=(
    nginx-light:nginx vsftpd:vsftpd curl:curl procps:ps iproute2:ip
)
test_packages=(
    libcmocka-dev:pc=cmocka
    clang:clang clang-tidy:clang-tidy clang-format:clang-format libclang-rt-14-dev:dpkg
    cppcheck:cppcheck shellcheck:shellcheck codespell:codespell scdoc:scdoc
    python3:python3 redis-server:redis-server redis-tools:redis-benchmark
    iperf3:iperf3 socat:socat netcat-openbsd:nc wrk:wrk tcpdump:tcpdump tshark:tshark
    busybox-static:dpkg hey:hey webhook:webhook
    libcap2-bin:setcap util-linux:unshare passwd:useradd
    dnsmasq-base:dnsmasq iputils-ping:ping passt:passt
    libpython3.11-testsuite:dpkg
    libxdp-dev:pc=libxdp libbpf-dev:pc=libbpf libuv1-dev:pc=libuv
)
# For scripts/portability.sh. Debian's gcc-multilib conflicts with all cross compilers; who has it
# keeps it, and those tests are skipped.
if ! dpkg-query -W -f='${db:Status-Status}' gcc-multilib 2>/dev/null | grep -qx installed; then
    test_packages+=(
        gcc-i686-linux-gnu:i686-linux-gnu-gcc libc6-dev-i386-cross:dpkg
        gcc-s390x-linux-gnu:s390x-linux-gnu-gcc libc6-dev-s390x-cross:dpkg
        qemu-user-static:qemu-s390x-static
    )
fi
bench_packages=(sockperf:sockperf iperf3:iperf3 redis-server:redis-server
    redis-tools:redis-benchmark wrk:wrk liblwip-dev:dpkg liblwip0:dpkg valgrind:valgrind
    memcached:memcached libmemcached-tools:memcaslap)

usage()
{
    echo "usage: $0 build|run|test|bench" >&2
    exit 2
}

case "${1-}" in
build) wanted=("${build_packages[@]}") ;;
run) wanted=("${build_packages[@]}" "${run_packages[@]}") ;;
test) wanted=("${build_packages[@]}" "${run_packages[@]}" "${test_packages[@]}") ;;
bench) wanted=("${build_packages[@]}" "${run_packages[@]}" "${bench_packages[@]}") ;;
*) usage ;;
esac

is_present()
{
    local package=$1 probe=$2
    case "$probe" in
    pc=*) pkg-config --exists "${probe#pc=}" 2>/dev/null ;;
    dpkg) dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed ;;
    *) command -v "$probe" >/dev/null ;;
    esac
}

find_missing()
{
    missing=()
    local entry
    for entry in "${wanted[@]}"; do
        is_present "${entry%%:*}" "${entry#*:}" || missing+=("${entry%%:*}")
    done
}

find_missing
[[ ${#missing[@]} -eq 0 ]] && exit 0

install_command="apt-get install -y --no-install-recommends ${missing[*]}"

if ! command -v apt-get >/dev/null; then
    echo "foyer: these Debian packages, or their counterparts here, are missing: ${missing[*]}" >&2
    exit 1
fi

if [[ $(id -u) -eq 0 ]]; then
    as_root=()
elif command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [[ -t 0 && -t 2 ]]; }; then
    as_root=(sudo)
else
    echo "foyer: packages are missing and this user cannot install them. As root, run:" >&2
    echo "    apt-get update && $install_command" >&2
    exit 1
fi

# Installing nginx, vsftpd or redis would start them as services of this machine, which nobody
# asked for. The policy of an administrator, if there is one, stays untouched.
policy=/usr/sbin/policy-rc.d
policy_is_ours=false

restore_policy()
{
    if $policy_is_ours; then
        policy_is_ours=false
        "${as_root[@]}" rm -f "$policy"
    fi
}
trap restore_policy EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

if [[ ! -e $policy ]]; then
    policy_is_ours=true
    printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$policy" >/dev/null
    "${as_root[@]}" chmod 755 "$policy"
elif ! "$policy" nginx start >/dev/null 2>&1; then
    : # it already forbids starting
else
    echo "foyer: $policy exists and allows services to start; stop them yourself if unwanted" >&2
fi

# Waits for another package manager instead of failing: two checkouts may be set up at once.
apt()
{
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=l \
        apt-get -q -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 \
        -o Dpkg::Options::=--force-confold "$@" </dev/null
}

update()
{
    local try
    for try in 1 2 3; do
        apt update && return
        sleep $((try * 2))
    done
    echo "foyer: apt-get update failed; trying with the package lists at hand" >&2
}

echo "foyer: installing for '$1': ${missing[*]}" >&2
{
    update
    apt install -y --no-install-recommends "${missing[@]}"
} >&2

find_missing
if [[ ${#missing[@]} -ne 0 ]]; then
    echo "foyer: still missing after installation: ${missing[*]}" >&2
    exit 1
fi
