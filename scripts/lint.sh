#!/usr/bin/env bash
# Style and static checks: lint.sh <build folder> | --format
#
# The build folder must be configured: clang-tidy takes its command lines from there. All checks
# run even when one fails; the exit status is 1 if any did. LINT_ONLY="name ..." runs some.
set -euo pipefail
cd "$(dirname "$0")/.."

jobs=${JOBS:-2}

# Files of the working tree that git knows or would add; a source tarball has no git. What was
# deleted but not yet committed is still in the index, hence the test.
list_files()
{
    {
        if git rev-parse --git-dir >/dev/null 2>&1; then
            git ls-files --cached --others --exclude-standard -- "$@"
        else
            local pattern
            for pattern in "$@"; do
                find . -path './build*' -prune -o -type f -name "${pattern##*/}" -print
            done
        fi
    } | sort -u | while IFS= read -r file; do
        [[ -f $file ]] && printf '%s\n' "$file"
    done
    return 0
}

if [[ ${1-} = --format ]]; then
    list_files '*.c' '*.h' | xargs -r clang-format -i
    exit
fi

build=$1
work=$build/lint
mkdir -p "$work"

check_format()
{
    list_files '*.c' '*.h' | xargs -r clang-format --dry-run -Werror
}

# docs/rfc.md is what the tags in code and tests say, and no MUST is without a test or a reason.
check_rfc()
{
    python3 scripts/gen-rfc.py --self-test && python3 scripts/gen-rfc.py --check
}

# The core promises to compile with one bare cc line: no generated header, no definition, no
# option beyond the two include folders.
check_bare_cc()
{
    local sources objects
    mapfile -t sources < <(list_files 'src/base/*.c' 'src/wire/*.c' 'src/stack/*.c')
    [[ ${#sources[@]} -gt 0 ]] || return 0
    sources=("${sources[@]/#/$PWD/}")
    objects=$(mktemp -d)
    local status=0
    (cd "$objects" && cc -std=gnu17 -I"$OLDPWD/include" -I"$OLDPWD/src" -c "${sources[@]}") ||
        status=1
    rm -rf "$objects"
    return "$status"
}

check_includes()
{
    python3 scripts/check-includes.py --self-test && python3 scripts/check-includes.py
}

# A file in two targets has two command lines, and clang-tidy would check it twice. The largest
# come first, so that no core idles at the end.
check_tidy()
{
    python3 - "$build/compile_commands.json" "$work" "$PWD/src/" <<'PYTHON' || return
import json, os, sys
database, work, prefix = sys.argv[1:]
commands = {c["file"]: c for c in json.load(open(database)) if c["file"].startswith(prefix)}
files = sorted(filter(os.path.exists, commands), key=os.path.getsize, reverse=True)
json.dump([commands[f] for f in files], open(os.path.join(work, "compile_commands.json"), "w"))
open(os.path.join(work, "files"), "w").write("".join(f + "\n" for f in files))
PYTHON
    # Each run's output is held back, so that parallel runs do not interleave. gcc-only warning
    # options in the command lines are none of clang's business.
    # shellcheck disable=SC2016
    xargs -r -P "$jobs" -n 1 sh -c '
        output=$(clang-tidy -p "$0" --quiet --extra-arg=-Wno-unknown-warning-option "$1" 2>&1)
        status=$?
        [ "$status" -eq 0 ] || printf "%s\n" "$output" | grep -v "warnings* generated" >&2
        exit "$status"' "$work" <"$work/files"
}

# Not given the system's headers, on purpose (missingInclude): it is faster and brings its own model
# of libc. No portability checks: they ask for readdir_r, which glibc deprecates. No uninit*: it does
# not follow conditions and reports guarded uses; clang's analyzer, the compilers and the sanitizers
# see the real ones. No memleak: a mapping that is compared with MAP_FAILED and returned is no leak.
# No allocaCalled: execl() collects its arguments where malloc must not be called.
check_cppcheck()
{
    mkdir -p "$work/cppcheck"
    list_files 'src/*.c' >"$work/cppcheck.files"
    [[ -s $work/cppcheck.files ]] || return 0
    cppcheck --quiet -j "$jobs" --std=c11 --language=c --library=posix --library=gnu \
        --enable=warning,performance --inline-suppr --error-exitcode=1 \
        --suppress=missingInclude --suppress=missingIncludeSystem \
        --suppress=uninitvar --suppress=uninitStructMember --suppress=ctuuninitvar \
        --suppress=memleak --suppress=allocaCalled \
        --cppcheck-build-dir="$work/cppcheck" -Iinclude -Isrc -DFOYER_VERSION='"0"' \
        --template='{file}:{line}: {severity}: {message} [{id}]' --file-list="$work/cppcheck.files"
}

# Each function that libfoyer exports is on one manual page, and its header says what it does; what
# a person can set in the environment or by an option is on some page.
check_manual()
{
    local status=0
    python3 scripts/man-from-header.py --check || status=1
    python3 scripts/check-documented.py --self-test || status=1
    python3 scripts/check-documented.py || status=1
    return "$status"
}

check_shell()
{
    { list_files '*.sh'; list_files '.ci/run'; } | xargs -r shellcheck
}

check_spelling()
{
    list_files '*' | xargs -r codespell
}

# A file that outgrows its one concern is split while it is still easy; hence a report, no error.
report_sizes()
{
    list_files '*.c' '*.h' | xargs -r wc -l | awk '
        $2 != "total" { lines += $1; files++ }
        $2 != "total" && $1 > 1000 { print $2 ": " $1 " lines, the budget is 1000" }
        END { print lines + 0 " lines in " files + 0 " files" }'
}

failed=()

run_check()
{
    local name=$1 start=$SECONDS status=ok
    shift
    if [[ -n ${LINT_ONLY-} && " $LINT_ONLY " != *" $name "* ]]; then
        return
    fi
    "$@" || {
        status=FAILED
        failed+=("$name")
    }
    printf 'lint: %-13s %s (%d s)\n' "$name" "$status" $((SECONDS - start))
}

run_check format check_format
run_check includes check_includes
run_check rfc check_rfc
run_check mutations python3 scripts/mutate.py --check
run_check bare-cc check_bare_cc
run_check manual check_manual
run_check shellcheck check_shell
run_check codespell check_spelling
run_check cppcheck check_cppcheck
run_check clang-tidy check_tidy
run_check sizes report_sizes

if [[ ${#failed[@]} -ne 0 ]]; then
    echo "lint: failed: ${failed[*]}" >&2
    exit 1
fi
