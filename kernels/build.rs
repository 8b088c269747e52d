//! Tests of each kernel alone, and emulated vectors: only debug builds have them. A feature could not tell tests from benches:
//! with one, `cargo bench` would compile the kernels again.
//!
//! Builds for another machine have no emulated vectors: they are the same code everywhere, and most of a test build.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(emulated, kernel_tests)");
    let [profile, target, host] = ["PROFILE", "TARGET", "HOST"].map(std::env::var);
    if profile.is_ok_and(|profile| profile == "debug") {
        println!("cargo::rustc-cfg=kernel_tests");
        if target == host {
            println!("cargo::rustc-cfg=emulated");
        }
    }
}
