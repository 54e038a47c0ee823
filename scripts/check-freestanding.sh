#!/usr/bin/env bash
# The core (src/base, src/wire, src/stack) needs no operating system: check-freestanding.sh [cc ...]
#
# Compiled with -ffreestanding by each compiler (cc by default) and joined into one object, it may
# refer to the four functions that every compiler takes for granted and to the compiler's own
# helpers, and may hold no writable data. Assertions are left out, as whoever has no libc would.
set -euo pipefail
cd "$(dirname "$0")/.."

# C11 lets a compiler emit calls of these four by itself (gcc's manual, "Standards"). __udivdi3 and
# the like are libgcc's or compiler-rt's arithmetic for 32-bit machines.
allowed='^(memcpy|memmove|memset|memcmp|__u?(div|mod|divmod)(di|ti|moddi)[34]|__(ctz|clz|popcount|bswap|ashl|ashr|lshr|cmp|ucmp|mul)[dst]i[234]|_GLOBAL_OFFSET_TABLE_)$'

objects=$(mktemp -d)
trap 'rm -rf "$objects"' EXIT
status=0

check()
{
    local cc=$1 folder undefined writable
    local args=(-std=gnu17 -O2 -DNDEBUG -ffreestanding -nostdlib -Iinclude -Isrc)
    read -ra extra <<<"${CFLAGS-}"
    rm -f "$objects"/*
    # One at a time: a name may occur in two folders.
    for folder in base wire stack; do
        for source in "src/$folder"/*.c; do
            "$cc" "${args[@]}" "${extra[@]}" -c "$source" \
                -o "$objects/$folder-$(basename "$source" .c).o" || return 1
        done
    done
    "$cc" -r -nostdlib "${extra[@]}" "$objects"/*.o -o "$objects/core" || return 1
    undefined=$(nm -u "$objects/core" | awk '{ print $NF }' | grep -Ev "$allowed" || true)
    # .data.rel.ro is constant but for relocations; it is read-only before any code of ours runs.
    writable=$(nm --format=sysv "$objects/core" |
        awk -F '|' '$7 ~ /^ *(\.data|\.bss|\.tdata|\.tbss|\*COM\*)/ && $7 !~ /\.data\.rel\.ro/ {
            gsub(/ /, "", $1); print $1 }')
    [[ -z $undefined ]] ||
        echo "check-freestanding: $cc: the core refers to: ${undefined//$'\n'/ }" >&2
    [[ -z $writable ]] ||
        echo "check-freestanding: $cc: writable global data: ${writable//$'\n'/ }" >&2
    [[ -z $undefined && -z $writable ]] || return 1
    echo "check-freestanding: $cc: the core needs$(nm -u "$objects/core" | awk '{ printf " %s", $NF }')"
}

for cc in "${@:-cc}"; do
    check "$cc" || status=1
done
exit "$status"
