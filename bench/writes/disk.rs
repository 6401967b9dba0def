//! A disk that takes two milliseconds longer to flush, where and when one is wanted: a library between PostgreSQL and
//! fdatasync, which it flushes its log with.

use std::ffi::OsString;
use std::fs::{self, File, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use tokio::process::Command;

const SWITCH: &str = "SLOW_DISK";

/// Whether servers that start here have it.
pub fn is_there() -> bool {
    std::env::var_os(SWITCH).is_some()
}

/// Builds the library with the C compiler that links Rust programs too, and runs this program again with it.
pub async fn run_again() -> Result<()> {
    let folder = tempfile::tempdir()?;
    // the server is somebody else
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755))?;
    let library = folder.path().join("slow_disk.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("bench/writes/slow_disk.c");
    let compiler = std::env::var_os("CC").unwrap_or_else(|| OsString::from("cc"));
    let mut compile = Command::new(&compiler);
    compile.args(["-shared", "-fPIC", "-O2", "-o"]).arg(&library).arg(source).arg("-ldl");
    let compiled = compile.status().await.with_context(|| format!("cannot start {}", compiler.display()))?;
    ensure!(compiled.success(), "{} cannot compile slow_disk.c", compiler.display());
    let mut again = Command::new(std::env::current_exe()?);
    again.args(std::env::args_os().skip(1)).env("LD_PRELOAD", library).env(SWITCH, folder.path().join("slow"));
    ensure!(again.status().await?.success(), "the benchmark has failed");
    Ok(())
}

/// From now on.
pub fn set_slow(slow: bool) -> Result<()> {
    let switch = PathBuf::from(std::env::var_os(SWITCH).context("the server has no slow disk")?);
    match slow {
        true => drop(File::create(switch)?),
        false => match fs::remove_file(switch) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        },
    }
    Ok(())
}
