//! Tells the program which compiler built it, for its records.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    if let Ok(out) = Command::new(rustc).arg("--version").output()
        && out.status.success()
    {
        println!(
            "cargo::rustc-env=CONVROOF_RUSTC={}",
            String::from_utf8_lossy(&out.stdout).trim()
        );
    }
}
