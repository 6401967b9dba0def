//! Puts the page of examples/board into the binary, where `make board` has built it.

use std::path::Path;
use std::{env, fs};

/// What Vite builds.
const FILES: [&str; 3] = ["index.html", "board.js", "board.css"];
/// The page of a binary without it.
const UNBUILT: &str = "src/cli/board/unbuilt.html";

fn main() {
    let dist = Path::new("examples/board/dist");
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed={UNBUILT}");
    // Cargo builds anew every time what waits for a folder that is missing. A checkout has it, empty until `make board`; a
    // package without the board never will.
    if dist.parent().is_some_and(Path::is_dir) {
        println!("cargo:rerun-if-changed={}", dist.display());
    }
    let out = env::var_os("OUT_DIR").expect("cargo says where to write");
    let built: Option<Vec<Vec<u8>>> = FILES.iter().map(|file| fs::read(dist.join(file)).ok()).collect();
    let contents = built.unwrap_or_else(|| vec![fs::read(UNBUILT).expect(UNBUILT), Vec::new(), Vec::new()]);
    for (file, content) in FILES.iter().zip(contents) {
        fs::write(Path::new(&out).join(file), content).expect("OUT_DIR can be written to");
    }
}
