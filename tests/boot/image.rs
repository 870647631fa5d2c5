// SPDX-License-Identifier: MIT OR Apache-2.0
//! The image under test, built once.

use std::{env, path::PathBuf, process::Command, sync::OnceLock};

/// The repository.
pub(crate) const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The flat image: `CLEAVE_IMAGE`, or what `make image` has made.
pub(crate) fn image() -> &'static PathBuf {
    // The failure is kept as well: the build is not tried once a test.
    static IMAGE: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let image = IMAGE.get_or_init(|| match env::var_os("CLEAVE_IMAGE") {
        // Relative to where the tests were started, not to the repository.
        Some(path) => std::path::absolute(path).map_err(|error| error.to_string()),
        None => build(),
    });
    image.as_ref().unwrap_or_else(|why| panic!("no image: {why}"))
}

/// The image's symbols, beside it.
pub(crate) fn symbols() -> PathBuf {
    image().with_file_name("cleave.elf")
}

fn build() -> Result<PathBuf, String> {
    // A make above us must hand down neither its options nor its jobs.
    let made = Command::new("make")
        .arg("image")
        .current_dir(ROOT)
        .env_remove("MAKEFLAGS")
        .env_remove("MFLAGS")
        .env_remove("MAKELEVEL")
        .output()
        .map_err(|error| format!("make: {error}"))?;
    if !made.status.success() {
        let [out, error] = [&made.stdout, &made.stderr].map(|bytes| String::from_utf8_lossy(bytes));
        return Err(format!("make image: {}\n{out}{error}", made.status));
    }
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    Ok(PathBuf::from(ROOT).join(target).join("image/kernel8.img"))
}
