# SPDX-License-Identifier: MIT OR Apache-2.0
"""core, alloc and compiler_builtins for the target, built from the distribution's sources.

For machines whose rustup has no such target and was told to fetch nothing. The
sources must be of exactly the compiler's version. They are unpacked into the
project's cache and never into the toolchain: a second copy of core there would
break every later build (E0464).
"""
from __future__ import annotations

import glob
import os
import re
import shutil
import subprocess
import sys

import apt
import tools

# Where Debian keeps sources of the newest compilers, most likely first.
SUITES = ("trixie-backports", "forky-backports", "forky", "sid")
PACKAGES = ("rust-src", "rust-web-src")


class CoreError(Exception):
    """The core library could not be built; the text says why."""


def build(rustc: tools.Rustc) -> None:
    """Builds the sysroot that `tools.source_sysroot` then finds."""
    work = rustc.cache()
    os.makedirs(work, exist_ok=True)
    print(f"setup: building core {rustc.release} for {tools.TARGET} from source", file=sys.stderr)
    library = _library(work) or _fetch(rustc, work)
    _install(_compile(rustc, work, library), work)
    # Half a gigabyte of sources and objects: three libraries are all that is used.
    for name in ("src", "build", "empty"):
        shutil.rmtree(os.path.join(work, name), ignore_errors=True)


def _library(work: str) -> str | None:
    """Returns the unpacked `library` directory, if a package was already unpacked here."""
    found = glob.glob(os.path.join(work, "src", "usr", "src", "rustc-*", "library", "core", "Cargo.toml"))
    return os.path.dirname(os.path.dirname(found[0])) if found else None


def _fetch(rustc: tools.Rustc, work: str) -> str:
    """Unpacks the source package of the compiler's own version."""
    if not apt.usable():
        raise CoreError("no apt here to get Rust's sources from")
    if apt.os_release()["ID"] == "debian":
        mirror = apt.main_mirror()
        tries = [[(mirror, suite, "main")] for suite in SUITES]
    else:
        tries = []
    # The release itself and its security suite, which carries rust-web-src.
    tries.insert(1, apt.base_suites())
    seen = []
    with apt.Apt("rust-src") as private:
        for suites in tries:
            try:
                private.update(suites)
            except apt.NoNetwork:
                raise
            except apt.AptError as error:
                seen.append(str(error))
                continue
            for package in PACKAGES:
                for version, suite in private.versions(package):
                    if upstream(version) == rustc.release:
                        private.unpack(package, version, os.path.join(work, "src"))
                        library = _library(work)
                        if library:
                            return library
                    seen.append(f"{package} {version} in {suite}")
    raise CoreError(f"no source package of Rust {rustc.release}; found: "
                    + ("; ".join(sorted(set(seen))) or "none"))


def upstream(version: str) -> str:
    """Returns the project's own part of a package version: 1.95.0 of 1.95.0+dfsg1-1~bpo13+1."""
    return re.split(r"[-+~]", version.split(":")[-1])[0]


def _compile(rustc: tools.Rustc, work: str, library: str) -> str:
    """Builds an empty no_std crate with its own core; returns where the rlibs are."""
    crate = os.path.join(work, "empty")
    os.makedirs(os.path.join(crate, "src"), exist_ok=True)
    with open(os.path.join(crate, "src", "lib.rs"), "w", encoding="utf-8") as file:
        file.write("#![no_std]\n")
    with open(os.path.join(crate, "Cargo.toml"), "w", encoding="utf-8") as file:
        # Its own workspace, or cargo would take it for a lost member of the project's.
        file.write('[package]\nname = "empty"\nversion = "0.0.0"\nedition = "2021"\n\n[workspace]\n')
    env = {k: v for k, v in os.environ.items()
           if not k.startswith("CARGO_") and k not in ("RUSTC_WRAPPER", "MAKEFLAGS", "MAKELEVEL")}
    env.update({
        # The compiler is stable; building its own library is what the switch is for.
        "RUSTC_BOOTSTRAP": "1",
        "RUSTUP_AUTO_INSTALL": "0",
        "__CARGO_TESTS_ONLY_SRC_ROOT": library,
        "CARGO_TARGET_DIR": os.path.join(work, "build"),
        # Replaces the project's flags: the linker script is not for this crate.
        # The bitcode is for the kernel's link-time optimisation.
        "RUSTFLAGS": "-Cforce-frame-pointers=yes -Cembed-bitcode=yes",
    })
    for key in ("CARGO_HOME", "CARGO_NET_OFFLINE"):
        if key in os.environ:
            env[key] = os.environ[key]
    done = subprocess.run(
        ["cargo", "build", "--quiet", "--release", "-Zbuild-std=core,alloc",
         "-Zbuild-std-features=compiler-builtins-mem", "--target", tools.TARGET],
        cwd=crate, env=env, stdout=sys.stderr, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise CoreError("cargo could not build core from source")
    return os.path.join(work, "build", tools.TARGET, "release", "deps")


def _install(deps: str, work: str) -> None:
    """Puts the three rlibs where --sysroot looks, all of them or none."""
    fresh = os.path.join(work, "sysroot.new")
    shutil.rmtree(fresh, ignore_errors=True)
    libdir = os.path.join(fresh, "lib", "rustlib", tools.TARGET, "lib")
    os.makedirs(libdir)
    for crate in ("core", "alloc", "compiler_builtins"):
        for rlib in glob.glob(os.path.join(deps, f"lib{crate}-*.rlib")):
            shutil.copy(rlib, libdir)
    if not tools.has_core(libdir):
        raise CoreError(f"the build left no usable core in {deps}")
    final = os.path.join(work, "sysroot")
    shutil.rmtree(final, ignore_errors=True)
    os.rename(fresh, final)
