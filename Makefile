# SPDX-License-Identifier: MIT OR Apache-2.0
# cleave: what people and CI type. `make` alone explains itself.
# GNU make 3.81 and a POSIX shell are enough. The variables of a run are not read here:
# make hands them to scripts/qemu through the environment.

# Variables that have a meaning here, as make help lists them; those of a run, and the others.
RUN   := MACHINE CPU SMP MEM GIC EL FIRMWARE DTB ACCEL BOOTARGS ICOUNT TIMEOUT REPORT QEMU QEMU_ARGS
OTHER := GDB GDB_PORT SECONDS WRITE

# A name on the command line that has none is a slip. What comes from the environment, or from a make above, is not
# judged. Cargo's and rustup's own settings may stand on the command line too, and make's choice of a shell.
GIVEN   := $(foreach name,$(.VARIABLES),$(if $(filter command,$(firstword $(origin $(name)))),$(name)))
UNKNOWN := $(filter-out $(RUN) $(OTHER) V SHELL PATH CARGO_% RUST% CLEAVE_%,$(GIVEN))
ifeq ($(MAKELEVEL),0)
ifneq ($(UNKNOWN),)
$(error $(shell scripts/unknown-variable $(UNKNOWN) -- $(RUN) $(OTHER)))
endif
endif

TARGET  := aarch64-unknown-none-softfloat
BUILT   := $(if $(CARGO_TARGET_DIR),$(CARGO_TARGET_DIR),target)
ELF     := $(BUILT)/$(TARGET)/release/cleave
IMAGE   := $(BUILT)/image
GDB_PORT ?= 1234
SECONDS  ?= 600

export $(RUN) GDB GDB_PORT

.PHONY: help setup checked build image rpi4 run minimal figures debug monitor test check soak watch doc clean

help:
	@cat scripts/help.txt

setup:
	@scripts/setup all

# A value that cannot be is told before the build.
checked:
	@scripts/qemu --check $(if $(filter debug,$(MAKECMDGOALS)),--gdb "$(GDB_PORT)")
	@$(if $(and $(filter debug,$(MAKECMDGOALS)),$(filter-out none,$(GDB))),scripts/gdb-path >/dev/null)

# The runner needs QEMU, building does not.
build:
	@scripts/setup build
	@scripts/cargo-aarch64 build --release --bin cleave

image: build
	@scripts/image "$(ELF)" "$(IMAGE)"

rpi4: build
	@$(if $(filter tfa,$(FIRMWARE)),scripts/setup rpi4)
	@scripts/card "$(ELF)" "$(BUILT)/rpi4"

run: checked build
	@scripts/setup $(if $(filter raspi4b,$(MACHINE)),rpi4,run)
	@scripts/qemu "$(ELF)"

# A second kernel, which uses the library alone: docs/using-the-library.md.
minimal:
	@scripts/setup build
	@scripts/setup run
	@scripts/cargo-aarch64 build --release --package minimal-kernel
	@scripts/minimal "$(BUILT)/$(TARGET)/release/minimal"

# Counted boots, for docs/figures.md: instructions, and no time of a machine.
figures: build
	@scripts/setup run
	@scripts/figures $(if $(WRITE),--write) "$(ELF)"

# Boots into the monitor, whose keyboard this terminal is. `off` ends it; so does Ctrl-A X.
monitor: checked build
	@scripts/setup $(if $(filter raspi4b,$(MACHINE)),rpi4,run)
	@scripts/qemu --monitor "$(ELF)"

debug: checked build
	@scripts/setup $(if $(filter none,$(GDB)),run,debug)
	@scripts/debug "$(ELF)"

test:
	@scripts/setup all
	@scripts/check tests

check:
	@scripts/setup all
	@scripts/check all

# The seeded defects; then the abstract machine's random cases, for SECONDS, both groups at once: each says how many it did.
soak:
	@scripts/setup all
	@SOAK_SECONDS=$(SECONDS) scripts/check soak

# What the image really executes, judged by the abstract machine: docs/watcher.md.
watch: build
	@scripts/setup rpi4
	@core=$$(scripts/env) && eval "$$core" && cargo build --quiet --profile model --package cleave-watch
	@scripts/watch "$(BUILT)/model" "$(ELF)"

doc:
	@scripts/setup build
	@core=$$(scripts/env) && eval "$$core" && cargo doc --no-deps --package cleave --package cleave-model

# Keeps .cache/ (the source-built core, package lists): remove that by hand to start anew.
clean:
	@cargo clean --quiet
	@find scripts -name __pycache__ -exec rm -rf {} +
