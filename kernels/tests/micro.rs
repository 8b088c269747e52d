//! Each kernel alone: the tests in `kernels/src/micro/tests/`. Debug builds alone have them.

fn main() {
    let tests: Vec<libtest_mimic::Trial> = tests();
    libtest_mimic::run(&libtest_mimic::Arguments::from_args(), tests).exit();
}

#[cfg(kernel_tests)]
fn tests() -> Vec<libtest_mimic::Trial> {
    let trial = |(subject, name, test): (_, _, fn())| {
        libtest_mimic::Trial::test(format!("{subject}::{name}"), move || {
            test();
            Ok(())
        })
    };
    convroof_kernels::kernel_tests::all().map(trial).collect()
}

#[cfg(not(kernel_tests))]
fn tests() -> Vec<libtest_mimic::Trial> {
    Vec::new()
}
