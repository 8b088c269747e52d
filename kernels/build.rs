//! Compiles the emulated widths into debug builds, where tests need them. A feature could not
//! tell tests from benches: with one, `cargo bench` would compile the kernels again.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(emulated)");
    if std::env::var("PROFILE").is_ok_and(|profile| profile == "debug") {
        println!("cargo::rustc-cfg=emulated");
    }
}
