// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tells the compiler which commit this is, and the linker how the kernel image is laid out.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR"));
    // The sources decide whether the tree is dirty.
    for file in ["build.rs", "src", "crates/cleave", "boot", "linker.ld", "Cargo.toml", "Cargo.lock"] {
        println!("cargo:rerun-if-changed={}", root.join(file).display());
    }

    // Only what runs without an operating system has its own layout: not the host's tests.
    if env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("none") {
        let script = root.join("linker.ld");
        println!("cargo:rustc-link-arg-bins=-T{}", script.display());
    }

    // rustc passes this feature on to LLVM without knowing it, so there is no `cfg` for it.
    let avoided = env::var("CARGO_ENCODED_RUSTFLAGS").is_ok_and(|flags| flags.contains("+fix-cortex-a53-835769"));
    println!("cargo:rerun-if-env-changed=CARGO_TARGET_AARCH64_UNKNOWN_NONE_SOFTFLOAT_RUSTFLAGS");
    println!("cargo:rustc-env=CLEAVE_ERRATUM_835769={}", if avoided { "avoided" } else { "possible" });

    println!("cargo:rustc-env=CLEAVE_PROFILE={}", env::var("PROFILE").unwrap_or_else(|_| "unknown".into()));
    println!("cargo:rustc-env=CLEAVE_COMMIT={}", commit(&root).unwrap_or_else(|| "unknown".into()));
}

/// The commit the tree is at, with `-dirty` when tracked files differ from it; `None` without git or a repository.
fn commit(root: &Path) -> Option<String> {
    // Only when this directory is the repository's top: a copy unpacked inside another repository has no commit.
    let top = PathBuf::from(git(root, &["rev-parse", "--show-toplevel"])?);
    if top.canonicalize().ok()? != root.canonicalize().ok()? {
        return None;
    }
    // HEAD changes on a checkout, the branch it names on every commit.
    for file in ["HEAD", "refs/heads", "packed-refs"] {
        let path = root.join(git(root, &["rev-parse", "--git-path", file])?);
        // A path that does not exist would make cargo run this on every build.
        if path.exists() {
            println!("cargo:rerun-if-changed={}", path.display());
        }
    }
    git(root, &["describe", "--always", "--dirty", "--abbrev=12"])
}

/// What git prints, without the newline; `None` when it fails or prints nothing.
fn git(root: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").arg("-C").arg(root).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}
