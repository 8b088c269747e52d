//! Compiles the emulated widths into debug builds, where tests need them. A feature could not
//! tell tests from benches: with one, `cargo bench` would compile the kernels again.
//! Builds for another machine have none: they are the same code everywhere, and most of a test build.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(emulated)");
    let [profile, target, host] = ["PROFILE", "TARGET", "HOST"].map(std::env::var);
    if profile.is_ok_and(|profile| profile == "debug") && target == host {
        println!("cargo::rustc-cfg=emulated");
    }
}
