#!/usr/bin/env bash
# How large libfoyer is in a program, beside lwIP: size-report.sh [cc]
#
# All of the library's calls are kept (what a program does not call falls away further), compiled
# with -Os into sections of their own, joined, and the unused ones dropped; assertions are out.
# lwIP is Debian's shared library (liblwip0), built with -O2, so libfoyer is shown with -O2, too. Of
# lwIP the same modules are counted: from each of their exported functions to the next function, which
# takes in the private ones between.
set -euo pipefail
cd "$(dirname "$0")/.."
cc=${1:-cc}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

roots=$(sed -n 's/^ *\(foyer_[a-z0-9_]*\);/-u \1/p' src/stack/libfoyer.map)

measure()
{
    local name=$1 folder source
    shift
    rm -f "$work"/*
    for folder in base wire stack; do
        for source in "src/$folder"/*.c; do
            "$cc" -std=gnu17 -Os -DNDEBUG -ffunction-sections -fdata-sections -fno-pie \
                -fno-asynchronous-unwind-tables "$@" -Iinclude -Isrc -c "$source" \
                -o "$work/$folder-$(basename "$source" .c).o"
        done
    done
    # shellcheck disable=SC2086
    ld -r --gc-sections -e 0 $roots "$work"/*.o -o "$work/all"
    size "$work/all" | awk -v name="$name" 'NR == 2 { printf "%-44s %7d %6d %6d\n", name, $1, $2, $3 }'
}

# Bytes of lwIP's code that belong to the functions whose names match.
modules()
{
    nm -D --numeric-sort "$1" | awk -v pattern="$2" -v name="$3" '
        tolower($2) != "t" { next }
        { at = strtonum("0x" $1); if (last != "" && last ~ pattern) text += at - start
          last = $3; start = at }
        END { printf "%-44s %7d\n", name, text }'
}

printf '%-44s %7s %6s %6s\n' '' text data bss
measure 'libfoyer, all of it'
measure 'libfoyer, IPv4 only' -DFOYER_WITH_IPV6=0
measure 'libfoyer, all of it, -O2' -O2
measure 'libfoyer, IPv4 only, -O2' -O2 -DFOYER_WITH_IPV6=0
library=$(find /usr/lib -name 'liblwip.so.0*' -type f 2>/dev/null | head -1)
if [[ -n $library ]]; then
    size "$library" | awk 'NR == 2 { printf "%-44s %7d %6d %6d\n", "liblwip.so, whole, -O2", $1, $2, $3 }'
    v4='^(tcp|udp|ip4|ip_|icmp_|igmp|etharp|ethernet|netif|pbuf|inet|ipaddr|mem|memp|sys_|dhcp_|acd|autoip|raw|lwip_(htons|htonl|init|standard|chksum))'
    v6='^(ip6|nd6|mld6|icmp6|dhcp6|ethip6)'
    modules "$library" "$v4" 'lwIP, IPv4, TCP, UDP, DHCP, -O2'
    modules "$library" "$v4|$v6" 'lwIP, the same with IPv6, -O2'
else
    echo 'liblwip0 is not installed (scripts/setup.sh bench)'
fi
