#!/usr/bin/env bash
# Reduced libraries (include/foyer/features.h): each is built, refuses what it lacks, and does the rest.
#
# Without optimisation: what is left out must not even be referred to where nothing folds constants.
# unit.stack.features asks the same of every variant, an echo between two hosts included; the other
# tests are those that need nothing of what is left out.
set -euo pipefail
top=$(cd "$(dirname "$0")/../.." && pwd)
builds=$FOYER_BUILD/portability-features
prefix=$builds/installed
# Compilers differ in what they fold: two variants, which leave out everything between them, are clang's.
other=()
command -v clang >/dev/null && other=(-DCMAKE_C_COMPILER=clang)

# variant NAME 'unit tests' CMAKE-ARGUMENT...
variant()
{
    local build=$builds/$1 units unit args
    read -ra units <<<"features $2"
    args=(-DCMAKE_BUILD_TYPE=Debug -DFOYER_PROGRAMS=OFF -DFOYER_BENCH=OFF -DFOYER_EXAMPLES=OFF
        -DFOYER_LINK_XDP=OFF -DCMAKE_INSTALL_PREFIX="$prefix" "${@:3}")
    command -v ninja >/dev/null && [[ ! -e $build/CMakeCache.txt ]] && args+=(-G Ninja)
    mkdir -p "$build"
    cmake -S "$top" -B "$build" "${args[@]}" >"$build/configure.log"
    # The shared library as well: a call of what is not there fails to link.
    cmake --build "$build" --parallel "${JOBS:-2}" \
        --target "${units[@]/#/unit.stack.}" foyer foyer_shared >"$build/build.log" ||
        { grep -E 'error|undefined' "$build/build.log" || tail -20 "$build/build.log"; exit 1; }
    for unit in "${units[@]}"; do
        "$build/tests/unit.stack.$unit" >"$build/unit.log" 2>&1 ||
            { cat "$build/unit.log"; echo "$1: unit.stack.$unit failed"; exit 1; }
    done
    check_symbols "$build" "$1"
    echo "$1: ok"
}

# Nothing of what is left out is in the library (but what headers inline, without optimisation).
check_symbols()
{
    local symbols
    symbols=$(nm "$1/lib/libfoyer.so" | awk '$2 ~ /[tT]/ { print $3 }')
    check_none()
    {
        if grep -E "$2" <<<"$symbols"; then
            echo "$1: this is in the library" >&2
            exit 1
        fi
    }
    case $2 in
    no-tcp) check_none "$2" '^(tcp_(input|output|timer|cc|connect)|time_wait_find|request_find|fastopen|wire_tcp)' ;;
    no-udp) check_none "$2" '^(udp_(input|next|error)|dhcp4|dhcp6|wire_dhcp|wire_udp)' ;;
    no-multicast) check_none "$2" '^(group_(own|timer)|igmp|mld|frag_|wire_igmp|tcp_cc_(bbr|dctcp))' ;;
    smallest) check_none "$2" '^(tcp_input|dhcp4|igmp|frag_)' ;;
    esac
}

# Whoever installs the library and builds a program with it sees what was left out, both ways.
check_installed()
{
    local user=$builds/user
    local -a flags
    rm -rf "$prefix" "$user"
    mkdir -p "$user"
    cmake --install "$builds/$1" >/dev/null
    cat >"$user/user.c" <<'C'
#include <foyer/foyer.h>
#if FOYER_WITH_TCP || FOYER_WITH_DHCP != FOYER_WITH_UDP || FOYER_SMALL
#error "the headers do not know what was left out"
#endif
int main(void)
{
    return foyer_host_create(NULL, 0) != NULL;
}
C
    read -ra flags <<<"$(PKG_CONFIG_PATH=$(dirname "$(find "$prefix" -name foyer.pc)") \
        pkg-config --cflags --libs foyer)"
    cc "$user/user.c" -o "$user/by-pkg-config" "${flags[@]}"
    cat >"$user/CMakeLists.txt" <<'CMAKE'
cmake_minimum_required(VERSION 3.21)
project(user C)
find_package(foyer REQUIRED)
add_executable(by-package user.c)
target_link_libraries(by-package PRIVATE foyer::foyer)
CMAKE
    cmake -S "$user" -B "$user/b" -DCMAKE_PREFIX_PATH="$prefix" >/dev/null
    cmake --build "$user/b" >/dev/null
    "$user/b/by-package"
}

variant ipv4-only 'dhcp4 tcp_cc tcp_options tcp_rack tcp_random tcp_ranges tcp_recovery tcp_request
    tcp_send tcp_states tcp_timers' -DFOYER_WITH_IPV6=OFF
variant no-tcp 'group_source ndp udp_checksum dhcp4 dhcp6 redirect' -DFOYER_WITH_TCP=OFF
check_installed no-tcp
variant no-udp 'tcp_states tcp_send tcp_time_wait tcp_rack' -DFOYER_WITH_UDP=OFF -DFOYER_CONGESTION= \
    "${other[@]}"
variant no-multicast 'tcp_states tcp_recovery tcp_cc udp_message' -DFOYER_WITH_MULTICAST=OFF -DFOYER_WITH_DHCP=OFF \
    -DFOYER_WITH_REASSEMBLY=OFF -DFOYER_CONGESTION=cubic
variant small 'tcp_send tcp_time_wait udp_message ports' -DFOYER_SMALL=ON -DFOYER_CONGESTION=
variant smallest '' -DFOYER_SMALL=ON -DFOYER_WITH_TCP=OFF -DFOYER_WITH_IPV6=OFF \
    -DFOYER_WITH_DHCP=OFF -DFOYER_WITH_MULTICAST=OFF -DFOYER_WITH_REASSEMBLY=OFF "${other[@]}"
