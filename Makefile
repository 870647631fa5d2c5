# cleave: what people and CI type. `make` alone explains itself.
# GNU make 3.81 and a POSIX shell are enough. The variables of a run are not read here:
# make hands them to scripts/qemu through the environment.

TARGET  := aarch64-unknown-none-softfloat
BUILT   := $(if $(CARGO_TARGET_DIR),$(CARGO_TARGET_DIR),target)
ELF     := $(BUILT)/$(TARGET)/release/cleave
IMAGE   := $(BUILT)/image
GDB_PORT ?= 1234
SECONDS  ?= 600

export MACHINE CPU SMP MEM GIC EL FIRMWARE DTB ACCEL BOOTARGS ICOUNT TIMEOUT REPORT QEMU QEMU_ARGS
export GDB GDB_PORT

NOT_BUILT := mutants litmus bench

.PHONY: help setup build image rpi4 run figures debug monitor test check soak watch doc clean $(NOT_BUILT)

help:
	@cat scripts/help.txt

setup:
	@scripts/setup all

# The runner needs QEMU, building does not.
build:
	@scripts/setup build
	@scripts/cargo-aarch64 build --release --bin cleave

image: build
	@scripts/image "$(ELF)" "$(IMAGE)"

rpi4: build
	@$(if $(filter tfa,$(FIRMWARE)),scripts/setup rpi4)
	@scripts/card "$(ELF)" "$(BUILT)/rpi4"

run: build
	@scripts/setup $(if $(filter raspi4b,$(MACHINE)),rpi4,run)
	@scripts/qemu "$(ELF)"

# Counted boots, for docs/figures.md. Measurements of a machine are `make bench`'s business, not this one's.
figures: build
	@scripts/setup run
	@scripts/figures $(if $(WRITE),--write) "$(ELF)"

# Boots into the monitor, whose keyboard this terminal is. `off` ends it; so does Ctrl-A X.
monitor: build
	@scripts/setup $(if $(filter raspi4b,$(MACHINE)),rpi4,run)
	@scripts/qemu --monitor "$(ELF)"

debug: build
	@scripts/setup $(if $(filter none,$(GDB)),run,debug)
	@scripts/debug "$(ELF)"

test:
	@scripts/setup all
	@scripts/check tests

check:
	@scripts/setup all
	@scripts/check all

# The abstract machine's random cases, for SECONDS; both groups at once, each says how many it did.
soak:
	@scripts/setup all
	@SOAK_SECONDS=$(SECONDS) scripts/check soak

# What the image really executes, judged by the abstract machine: docs/watcher.md.
watch: build
	@scripts/setup rpi4
	@core=$$(scripts/env) && eval "$$core" && cargo build --quiet --profile model --package cleave-watcher
	@scripts/watch "$(BUILT)/model" "$(ELF)"

doc:
	@scripts/setup build
	@core=$$(scripts/env) && eval "$$core" && cargo doc --no-deps --lib --features machine

# Keeps .cache/ (the source-built core, package lists): remove that by hand to start anew.
clean:
	@cargo clean --quiet
	@find scripts -name __pycache__ -exec rm -rf {} +

$(NOT_BUILT):
	@echo "make $@: not built yet"; exit 2
