#!/usr/bin/env bash
# How large libfoyer is in a program, whole and reduced, beside lwIP: size-report.sh [cc]
#
# All of the library's calls are kept (what a program does not call falls away further), compiled
# with -Os into sections of their own, joined, and the unused ones dropped; assertions are out. The
# variants are CMake's (include/foyer/features.h). i686 is shown where its compiler is installed.
# lwIP is Debian's shared library (liblwip0), built with -O2, so libfoyer is shown with -O2, too. Of
# lwIP the same modules are counted: from each of their exported functions to the next function, which
# takes in the private ones between.
set -euo pipefail
cd "$(dirname "$0")/.."
read -ra native <<<"${1:-cc}"
i686=(i686-linux-gnu-gcc)
[[ ${native[0]} != ccache ]] || i686=(ccache "${i686[@]}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

roots=$(sed -n 's/^ *\(foyer_[a-z0-9_]*\);/-u \1/p' src/stack/libfoyer.map)

# configure CMAKE-ARGUMENT...: which files, and which definitions, a variant consists of.
configure()
{
    rm -rf "$work/cmake"
    cmake -S . -B "$work/cmake" -DFOYER_PROGRAMS=OFF -DFOYER_TESTS=OFF -DFOYER_BENCH=OFF \
        -DFOYER_EXAMPLES=OFF -DCMAKE_EXPORT_COMPILE_COMMANDS=ON "$@" >/dev/null
    local commands=$work/cmake/compile_commands.json
    mapfile -t sources < <(sed -n 's/^ *"file": "\(.*\)",\{0,1\}$/\1/p' "$commands")
    mapfile -t definitions < <(grep -oE -- '-DFOYER_(WITH_[A-Z0-9]+|SMALL)=[01]' "$commands" | sort -u)
}

# measure NAME LINKER-MODE COMPILER...
measure()
{
    local name=$1 mode=$2
    shift 2
    rm -rf "$work/o"
    mkdir "$work/o"
    # shellcheck disable=SC2016
    printf '%s\n' "${sources[@]}" | xargs -P "${JOBS:-2}" -I{} sh -c '
        out=$1/$(echo "$2" | tr / _).o; shift; source=$1; shift
        exec "$@" -c "$source" -o "$out"' sh "$work/o" {} \
        "$@" -std=gnu17 -DNDEBUG -ffunction-sections -fdata-sections -fno-pie \
        -fno-asynchronous-unwind-tables "${definitions[@]}" -Iinclude -Isrc
    # shellcheck disable=SC2086
    ld -m "$mode" -r --gc-sections -e 0 $roots "$work"/o/*.o -o "$work/all"
    size "$work/all" | awk -v name="$name" 'NR == 2 { printf "%-52s %7d %6d %6d\n", name, $1, $2, $3 }'
}

# variant NAME CMAKE-ARGUMENT...
variant()
{
    configure "${@:2}"
    measure "$1" elf_x86_64 "${native[@]}" -Os
    if command -v "${i686[-1]}" >/dev/null; then
        measure "    i686" elf_i386 "${i686[@]}" -Os -Wno-psabi
    fi
}

# Bytes of lwIP's code that belong to the functions whose names match.
modules()
{
    nm -D --numeric-sort "$1" | awk -v pattern="$2" -v name="$3" '
        tolower($2) != "t" { next }
        { at = strtonum("0x" $1); if (last != "" && last ~ pattern) text += at - start
          last = $3; start = at }
        END { printf "%-52s %7d\n", name, text }'
}

printf '%-52s %7s %6s %6s\n' '' text data bss
variant 'libfoyer, all of it, -Os'
measure 'libfoyer, all of it, -O2' elf_x86_64 "${native[@]}" -O2
variant 'without IPv6' -DFOYER_WITH_IPV6=OFF
measure 'without IPv6, -O2' elf_x86_64 "${native[@]}" -O2
variant 'without TCP' -DFOYER_WITH_TCP=OFF
variant 'without UDP and DHCP' -DFOYER_WITH_UDP=OFF
variant 'without DHCP' -DFOYER_WITH_DHCP=OFF
variant 'without multicast' -DFOYER_WITH_MULTICAST=OFF
variant 'without reassembly' -DFOYER_WITH_REASSEMBLY=OFF
variant 'NewReno alone' -DFOYER_CONGESTION=
as_lwip=(-DFOYER_WITH_IPV6=OFF -DFOYER_CONGESTION= -DFOYER_SMALL=ON)
variant 'IPv4, TCP with NewReno, UDP, DHCP, IGMP, small' "${as_lwip[@]}"
measure '    -O2' elf_x86_64 "${native[@]}" -O2
variant 'IPv4, UDP, no more, small' "${as_lwip[@]}" -DFOYER_WITH_TCP=OFF -DFOYER_WITH_DHCP=OFF \
    -DFOYER_WITH_MULTICAST=OFF -DFOYER_WITH_REASSEMBLY=OFF
library=$(find /usr/lib -name 'liblwip.so.0*' -type f 2>/dev/null | head -1)
if [[ -n $library ]]; then
    size "$library" | awk 'NR == 2 { printf "%-52s %7d %6d %6d\n", "liblwip.so, whole, -O2", $1, $2, $3 }'
    udp='^(udp|ip4|ip_|icmp_|etharp|ethernet|netif|pbuf|inet|ipaddr|mem|memp|sys_|lwip_(htons|htonl|init|standard|chksum))'
    v4='^(tcp|udp|ip4|ip_|icmp_|igmp|etharp|ethernet|netif|pbuf|inet|ipaddr|mem|memp|sys_|dhcp_|acd|autoip|raw|lwip_(htons|htonl|init|standard|chksum))'
    v6='^(ip6|nd6|mld6|icmp6|dhcp6|ethip6)'
    modules "$library" "$udp" 'lwIP, IPv4, UDP, -O2'
    modules "$library" "$v4" 'lwIP, IPv4, TCP, UDP, DHCP, -O2'
    modules "$library" "$v4|$v6" 'lwIP, the same with IPv6, -O2'
else
    echo 'liblwip0 is not installed (scripts/setup.sh bench)'
fi
