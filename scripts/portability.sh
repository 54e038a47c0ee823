#!/usr/bin/env bash
# Builds libfoyer for another kind of machine and runs its tests there: portability.sh 32|big [folder]
#
#   32   i686: 32-bit, little-endian; runs on this machine itself
#   big  s390x: 64-bit, big-endian; runs under qemu's user emulation
#
# Unit tests of base, wire, stack and link, and the simulations that end within seconds; statically
# linked, with the small stand-in for cmocka in tests/portability/include. ALL=1 runs every
# simulation, and as many random worlds as on this machine. Exits with 77 where a compiler or the
# emulator is missing (scripts/setup.sh test).
set -euo pipefail
cd "$(dirname "$0")/.."

case "${1-}" in
32) machine=i686 emulator='' ;;
big) machine=s390x emulator=qemu-s390x-static ;;
*)
    echo "usage: $0 32|big [build folder]" >&2
    exit 2
    ;;
esac
build=${2:-build-$machine}
cc=$machine-linux-gnu-gcc

for program in "$cc" $emulator cmake ctest; do
    if ! command -v "$program" >/dev/null; then
        echo "skipped: $program is not installed"
        exit 77
    fi
done
probe=$(mktemp -d)
trap 'rm -rf "$probe"' EXIT
echo 'int main(void) { return 0; }' >"$probe/probe.c"
if ! "$cc" -static "$probe/probe.c" -o "$probe/probe" || ! $emulator "$probe/probe"; then
    echo "skipped: programs of $machine do not run here"
    exit 77
fi

args=(
    -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR="$machine" -DCMAKE_C_COMPILER="$cc"
    -DCMAKE_EXE_LINKER_FLAGS=-static -DCMAKE_BUILD_TYPE=Debug -DCMAKE_C_FLAGS_DEBUG=-O1
    # Conversions of 64-bit sizes in tests warn on 32 bits only.
    -DFOYER_WERROR=OFF
    -DFOYER_PROGRAMS=OFF -DFOYER_BENCH=OFF -DFOYER_EXAMPLES=OFF -DFOYER_TESTS=ON
)
[[ -z $emulator ]] || args+=(-DCMAKE_CROSSCOMPILING_EMULATOR="$emulator")
# A mistake of byte order or size shows in the first worlds; the emulator takes 15 times as long.
[[ ${ALL-} = 1 ]] || args+=(-DFOYER_SIM_WORLDS=200)
command -v ninja >/dev/null && [[ ! -e $build/CMakeCache.txt ]] && args+=(-G Ninja)

mkdir -p "$build"
# No library of this machine may be found.
if ! PKG_CONFIG_LIBDIR=/nonexistent cmake -S . -B "$build" "${args[@]}" >"$build/configure.log" 2>&1; then
    cat "$build/configure.log" >&2
    exit 1
fi
if ! cmake --build "$build" --parallel "${JOBS:-2}" >"$build/build.log" 2>&1; then
    grep -E 'error|undefined' "$build/build.log" >&2 || tail -20 "$build/build.log" >&2
    exit 1
fi
if grep -E '(src|include)/.*warning:' "$build/build.log"; then
    echo "portability: the library warns on $machine" >&2
    exit 1
fi
# TAP devices cannot be made through the emulator.
tests=(-E 'unit\.link\.tap|sim\.(goodput|speed|ecn|mtu)')
[[ ${ALL-} != 1 ]] || tests=(-E 'unit\.link\.tap')
ctest --test-dir "$build" --parallel "${JOBS:-2}" --output-on-failure --no-tests=error "${tests[@]}"
