# The front door. Everything here is a short call into CMake or scripts/; `make help` lists it.
#
# BUILD is the build folder; the other presets build beside it (BUILD-asan, BUILD-bench).

BUILD ?= build
PREFIX ?= /usr/local
JOBS ?= $(shell nproc 2>/dev/null || echo 2)
FUZZ_SECONDS ?= 60

export BUILD JOBS FUZZ_SECONDS

.DEFAULT_GOAL := build
.PHONY: build all run test lint format bench fuzz install help clean

## build    (default) what people use: foyer, foyerd, libfoyer, libfoyer-preload.so
build:
	@scripts/setup.sh build
	@scripts/build.sh dev '$(BUILD)' foyer-programs

## all      the same with tests, benchmarks and examples
all:
	@scripts/setup.sh test
	@scripts/build.sh dev '$(BUILD)' all

## run      the main job: real programs on one building, shown at work
run:
	@scripts/setup.sh run
	@scripts/build.sh dev '$(BUILD)' foyer-programs
	@FOYER_BUILD='$(abspath $(BUILD))' scripts/main-job.sh

## test     everything that CI runs: set-up, build, lint, tests plain and with sanitizers
test:
	@scripts/test.sh

## lint     style and static checks only
lint:
	@scripts/setup.sh test
	@scripts/build.sh dev '$(BUILD)' configure
	@scripts/lint.sh '$(BUILD)'

## format   rewrite the sources in the house format
format:
	@scripts/lint.sh --format

## bench    measure an optimised build, beside the kernel's own figures
bench:
	@scripts/setup.sh bench
	@scripts/build.sh bench '$(BUILD)-bench' all
	@FOYER_BUILD='$(abspath $(BUILD))-bench' scripts/bench.sh

## fuzz     every fuzz target for FUZZ_SECONDS (60)
fuzz:
	@scripts/setup.sh test
	@scripts/build.sh fuzz '$(BUILD)-fuzz' all
	@scripts/fuzz.sh '$(BUILD)-fuzz' '$(FUZZ_SECONDS)'

## install  into DESTDIR/PREFIX (/usr/local), optimised build
install:
	@scripts/setup.sh build
	@CMAKE_ARGS='-DCMAKE_INSTALL_PREFIX=$(PREFIX)' \
		scripts/build.sh release '$(BUILD)-release' foyer-programs
	@DESTDIR='$(DESTDIR)' cmake --install '$(BUILD)-release'

## clean    remove all build folders
clean:
	rm -rf '$(BUILD)' '$(BUILD)-asan' '$(BUILD)-tsan' '$(BUILD)-fuzz' '$(BUILD)-release' '$(BUILD)-bench'

## help     this list
help:
	@sed -n 's/^## /  make /p' Makefile
