//! Quantities as text with readable units.

use convroof_kernels::probe::Arithmetic;

/// A time with a readable unit.
pub fn time(ns: f64) -> String {
    match ns {
        ns if ns < 1e3 => format!("{ns:.0} ns"),
        ns if ns < 1e5 => format!("{:.1} us", ns / 1e3),
        ns if ns < 1e6 => format!("{:.0} us", ns / 1e3),
        ns if ns < 1e9 => format!("{:.2} ms", ns / 1e6),
        ns => format!("{:.2} s", ns / 1e9),
    }
}

/// A size of memory with a readable unit, a power of 1024 bytes: 32 KiB, 1.5 MiB. Rates are in GB/s, 10^9 bytes per
/// second.
pub fn bytes(bytes: f64) -> String {
    const UNITS: [&str; 3] = ["KiB", "MiB", "GiB"];
    if bytes < 1024.0 {
        return format!("{bytes:.0} B");
    }
    let (mut size, mut unit) = (bytes / 1024.0, 0);
    // 1023.95 would be shown as 1024.0.
    while size >= 1023.95 && unit + 1 < UNITS.len() {
        (size, unit) = (size / 1024.0, unit + 1);
    }
    let text = format!("{size:.1}");
    format!("{} {}", text.trim_end_matches(".0"), UNITS[unit])
}

/// A count in words.
pub fn count(n: f64) -> String {
    match n {
        n if n < 1e6 => format!("{:.0} thousand", n / 1e3),
        n if n < 1e9 => format!("{:.0} million", n / 1e6),
        n => format!("{:.2} billion", n / 1e9),
    }
}

/// Name of a peak in texts.
pub fn peak(arithmetic: Arithmetic) -> &'static str {
    match arithmetic {
        Arithmetic::F32 => "FMA peak",
        Arithmetic::Bf16 => "bf16 peak",
        Arithmetic::Int8 => "int8 peak",
    }
}

/// Unit of a rate of operations: 10^9 per second. Operations on integers are not floating-point ones.
pub fn rate(arithmetic: Arithmetic) -> &'static str {
    match arithmetic {
        Arithmetic::F32 | Arithmetic::Bf16 => "GFLOP/s",
        Arithmetic::Int8 => "GOP/s",
    }
}

/// "1 thread", "2 threads".
pub fn threads(threads: usize) -> String {
    plural(threads, "thread")
}

/// A number of things: "1 layer", "2 layers". The plural of the noun ends with an s.
pub fn plural(n: usize, noun: &str) -> String {
    match n {
        1 => format!("1 {noun}"),
        n => format!("{n} {noun}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_in_powers_of_1024() {
        let kib = 1024.0;
        for (size, text) in [
            (0.0, "0 B"),
            (1023.0, "1023 B"),
            (32.0 * kib, "32 KiB"),
            (48.5 * kib, "48.5 KiB"),
            (1023.99 * kib, "1 MiB"),
            (1.5 * kib * kib, "1.5 MiB"),
            (3.0 * kib * kib * kib, "3 GiB"),
            (4096.0 * kib * kib * kib, "4096 GiB"),
        ] {
            assert_eq!(bytes(size), text);
        }
    }

    #[test]
    fn one_is_singular() {
        assert_eq!(
            [0, 1, 2].map(|n| plural(n, "layer")),
            ["0 layers", "1 layer", "2 layers"]
        );
        assert_eq!(threads(1), "1 thread");
    }
}
