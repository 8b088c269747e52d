//! The list of algorithms: its names, and what each promises. Not among the unit tests: whoever names the list has all
//! kernels compiled into his program, and once is enough.

use convroof_kernels::{Isa, Registry};

#[test]
fn ids_parse_back_and_are_unique() {
    let registry = Registry::builtin();
    let mut seen = std::collections::HashSet::new();
    for variant in registry.variants(&Isa::ALL) {
        let id = variant.id();
        assert_eq!(id.to_string().parse(), Ok(id.clone()));
        assert_eq!(registry.find(&id).expect("listed").id(), id);
        assert!(seen.insert(id));
    }
}

#[test]
fn wrong_names_say_what_is_right() {
    let registry = Registry::builtin();
    let find = |s: &str| s.parse().and_then(|id| registry.find(&id)).expect_err(s);
    assert!(find("direct").contains("direct/avx2/st"));
    assert!(find("direct/avx2/xx").contains("st|mt"));
    assert!(find("nonsense/avx2/st").contains("im2col"));
    assert!(find("direct-nchw/avx2/st").contains("it has scalar"));
}

/// On layers like ResNet's, where the largest output is some 5 standard deviations: what a figure of max
/// |error| / max |ref| is held to.
#[test]
fn tolerances_are_tight_and_follow_the_algorithm() {
    let terms = 64 * 9;
    let largest = 5.0 * (terms as f64 / 9.0).sqrt();
    for (id, about) in [
        ("direct", 3e-6),
        ("strassen-1x1", 6.4e-6),
        ("winograd-f2x3", 3e-6),
        ("winograd-f4x3", 8.3e-6),
        ("winograd-f4x3-std", 3.6e-5),
        ("winograd-f6x3", 5.4e-5),
    ] {
        let registry = Registry::builtin();
        let algorithm = registry.algorithms().iter().find(|a| a.meta().id == id);
        let accuracy = algorithm.expect("listed").meta().accuracy;
        let relative = accuracy.tolerance(terms, 1.0, 1.0) / largest;
        assert!(
            (about / 1.2..about * 1.2).contains(&relative),
            "{id}: {relative:.1e}"
        );
    }
}
