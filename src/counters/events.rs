//! Hardware events of each CPU and their encodings.
//!
//! Raw codes are `umask << 8 | event`. Sources: intel/perfmon, Linux's tools/perf/pmu-events, AMD's Processor
//! Programming References, LIKWID's groups. A microarchitecture that isn't listed gets only the generic events.

use crate::record::{CounterSource, CounterStatus, Level};

/// An event that a counter can count.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Name in records.
    pub name: &'static str,
    /// Encoding for the operating system's kernel.
    pub code: Code,
    /// Group of events that are counted at the same time. If there are too few counters, groups take turns.
    pub group: &'static str,
    /// Units per count, such as issue slots per cycle.
    pub scale: f64,
}

/// Encoding of an event for the operating system's kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// Generic hardware event of perf, by number.
    Hardware(u64),
    /// Software event of perf, by number.
    Software(u64),
    /// Raw event of the core's PMU.
    Raw(u64),
    /// Raw event of every PMU whose name in sysfs has this prefix, such as memory controllers.
    Uncore(&'static str, u64),
}

impl Event {
    /// Source of the counts: hardware or software.
    pub fn source(&self) -> CounterSource {
        match self.code {
            Code::Software(_) => CounterSource::Software,
            _ => CounterSource::Pmu,
        }
    }

    /// Entry for the record: whether the event could be opened, or else the reason.
    pub fn status(&self, opened: Result<(), String>) -> CounterStatus {
        let available = opened.is_ok();
        CounterStatus {
            event: self.name.into(),
            source: self.source(),
            available,
            reason: opened.err(),
        }
    }
}

const fn event(name: &'static str, group: &'static str, code: Code) -> Event {
    Event {
        name,
        code,
        group,
        scale: 1.0,
    }
}

/// A raw event of the group of issue slots; each count stands for `scale` slots.
const fn slots(name: &'static str, code: u64, scale: f64) -> Event {
    Event {
        name,
        code: Code::Raw(code),
        group: "slots",
        scale,
    }
}

/// Generic hardware events of perf, on every CPU with a PMU.
const GENERIC: [Event; 6] = [
    event("cycles", "core", Code::Hardware(0)),
    event("instructions", "core", Code::Hardware(1)),
    event("cache-references", "core", Code::Hardware(2)),
    event("cache-misses", "core", Code::Hardware(3)),
    event("branches", "core", Code::Hardware(4)),
    event("branch-misses", "core", Code::Hardware(5)),
];

/// Software events of perf, which need no PMU.
const SOFTWARE: [Event; 4] = [
    event("task-clock-ns", "software", Code::Software(1)),
    event("page-faults", "software", Code::Software(2)),
    event("context-switches", "software", Code::Software(3)),
    event("migrations", "software", Code::Software(4)),
];

/// `FP_ARITH_INST_RETIRED`, single precision. The hardware counts an FMA twice.
const INTEL_FLOPS: [Event; 4] = [
    event("fp-scalar", "flops", Code::Raw(0x02c7)),
    event("fp-128", "flops", Code::Raw(0x08c7)),
    event("fp-256", "flops", Code::Raw(0x20c7)),
    event("fp-512", "flops", Code::Raw(0x80c7)),
];

/// Issue-slot events of Skylake, which has four slots per cycle. They give the first level of top-down analysis (Yasin
/// 2014, *A Top-Down method for performance analysis and counters architecture*). Lost to wrong speculation are the
/// slots that issued but never retired, and the cycles of recovery.
const SKYLAKE_SLOTS: [Event; 5] = [
    slots(SLOTS, 0x003c, 4.0),
    slots(RETIRED, 0x02c2, 1.0),
    slots(FRONTEND, 0x019c, 1.0),
    slots(ISSUED, 0x010e, 1.0),
    slots(RECOVERY, 0x010d, 4.0),
];

/// Issue-slot events since Ice Lake, which counts slots itself. These raw codes can join any group. perf's own top-down
/// metrics must lead their group.
const INTEL_SLOTS: [Event; 4] = [
    slots(SLOTS, 0x01a4, 1.0),
    slots(BACKEND, 0x02a4, 1.0),
    slots(RETIRED, 0x02c2, 1.0),
    slots(FRONTEND, 0x019c, 1.0),
];

/// Issue-slot events of Zen 4 and 5, with `width` slots per cycle: `de_no_dispatch_per_slot`, event 1A0h.
const fn zen_slots(width: f64) -> [Event; 4] {
    [
        slots(SLOTS, 0x0076, width),
        slots(BACKEND, 0x1_0000_1ea0, 1.0),
        slots(RETIRED, 0x00c1, 1.0),
        slots(FRONTEND, 0x1_0000_01a0, 1.0),
    ]
}

/// Issue-slot events of Neoverse, with `width` slots per cycle. Operations that were speculated but didn't retire are
/// lost.
const fn neoverse_slots(width: f64) -> [Event; 4] {
    [
        slots(SLOTS, 0x11, width),
        slots(BACKEND, 0x3d, 1.0),
        slots(RETIRED, 0x3a, 1.0),
        slots(FRONTEND, 0x3e, 1.0),
    ]
}

/// Name of all issue slots.
pub const SLOTS: &str = "slots";
/// Name of the slots whose operation retired.
pub const RETIRED: &str = "slots-retired";
/// Name of the slots left empty by fetch and decode.
pub const FRONTEND: &str = "slots-frontend";
/// Name of the slots left empty by the back end: execution units and data.
pub const BACKEND: &str = "slots-backend";
/// Name of the slots that issued an operation.
pub const ISSUED: &str = "slots-issued";
/// Name of the slots lost during recovery from wrong speculation.
pub const RECOVERY: &str = "slots-recovery";

/// Number of f32 operations per event; none if the event counts no operations.
pub fn flops_per_event(name: &str) -> Option<f64> {
    match name {
        "fp-scalar" => Some(1.0),
        "fp-128" => Some(4.0),
        "fp-256" => Some(8.0),
        "fp-512" => Some(16.0),
        // AMD counts operations. Arm counts speculated operations, added up in the same way.
        "fp-ops" | "fp-fixed-ops" => Some(1.0),
        // Operations per 128 bits of a scalable vector.
        "fp-scale-ops" => Some(1.0),
        _ => None,
    }
}

/// The level of the memory from which an event counts cache lines; none if it counts something else.
pub fn lines_from(name: &str) -> Option<Level> {
    match name {
        "dram-read-lines" | "dram-write-lines" | "dram-read-lines-1" | "dram-write-lines-1" => {
            Some(Level::Dram)
        }
        // Lines that L2 takes in come from L3 at least.
        "l2-lines-in" => Some(Level::L3),
        _ => None,
    }
}

/// Bytes per event of a memory counter: one cache line.
pub const LINE_BYTES: f64 = 64.0;

/// Identification of a CPU model by its maker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuModel<'a> {
    /// `GenuineIntel`, `AuthenticAMD`, or an Arm implementer (`0x41`).
    pub vendor: &'a str,
    /// CPUID family; 0 on Arm.
    pub family: u32,
    /// CPUID model; the part number on Arm.
    pub model: u32,
}

/// All events of a CPU, including software events.
pub fn for_cpu(cpu: CpuModel<'_>) -> Vec<Event> {
    let mut events: Vec<Event> = [&GENERIC[..], &SOFTWARE].concat();
    events.extend(specific(cpu));
    events
}

fn specific(cpu: CpuModel<'_>) -> Vec<Event> {
    let mut events = Vec::new();
    let dram = |read, write| {
        [
            event("dram-read-lines", "dram", Code::Uncore("uncore_imc", read)),
            event(
                "dram-write-lines",
                "dram",
                Code::Uncore("uncore_imc", write),
            ),
        ]
    };
    let raw = |name, code| event(name, "cache", Code::Raw(code));
    match (cpu.vendor, cpu.family, cpu.model) {
        // Skylake-X, Cascade Lake, Cooper Lake.
        ("GenuineIntel", 6, 85) => {
            events.extend(INTEL_FLOPS);
            events.extend(SKYLAKE_SLOTS);
            events.push(raw("l1d-replacement", 0x0151));
            events.push(raw("l2-lines-in", 0x1ff1));
            events.extend(dram(0x0304, 0x0c04));
        }
        // Ice Lake server.
        ("GenuineIntel", 6, 106 | 108) => {
            events.extend(INTEL_FLOPS);
            events.extend(INTEL_SLOTS);
            events.push(raw("l1d-replacement", 0x0151));
            events.push(raw("l2-lines-in", 0x1ff1));
            events.push(raw("l2-lines-out-dirty", 0x02f2));
            events.extend(dram(0x0f04, 0x3004));
        }
        // Sapphire and Emerald Rapids; Granite Rapids, where each memory channel has two halves.
        ("GenuineIntel", 6, 143 | 207 | 173 | 174) => {
            events.extend(INTEL_FLOPS);
            events.extend(INTEL_SLOTS);
            events.push(raw("l1d-replacement", 0x0151));
            events.push(raw("l2-lines-in", 0x1f25));
            events.push(raw("l2-lines-out-dirty", 0x0226));
            events.extend(dram(0xcf05, 0xf005));
            if matches!(cpu.model, 173 | 174) {
                let half = |name, code| event(name, "dram", Code::Uncore("uncore_imc", code));
                events.push(half("dram-read-lines-1", 0xcf06));
                events.push(half("dram-write-lines-1", 0xf006));
            }
        }
        // Zen 2 and 3: one count of operations for all precisions.
        ("AuthenticAMD", 0x17, 0x30..) | ("AuthenticAMD", 0x19, 0x00..=0x0f | 0x20..=0x5f) => {
            events.push(event("fp-ops", "flops", Code::Raw(0xff03)));
        }
        // Zen 4 (family 19h) and 5 (1Ah).
        ("AuthenticAMD", family @ (0x19 | 0x1a), _) => {
            events.extend(zen_slots(if family == 0x19 { 6.0 } else { 8.0 }));
            events.push(event("fp-ops", "flops", Code::Raw(0xff03)));
            events.push(event(
                "dram-read-lines",
                "dram",
                Code::Uncore("amd_umc", 0x010a),
            ));
            events.push(event(
                "dram-write-lines",
                "dram",
                Code::Uncore("amd_umc", 0x020a),
            ));
        }
        // Neoverse N1: no event counts operations.
        ("0x41", _, 0xd0c) => {
            events.push(raw("l2d-refill", 0x17));
            events.push(raw("l2d-writeback", 0x18));
        }
        // Neoverse N2, V1, V2: speculated operations, fixed-width and scalable.
        ("0x41", _, part @ (0xd49 | 0xd40 | 0xd4f)) => {
            events.extend(neoverse_slots(if part == 0xd49 { 5.0 } else { 8.0 }));
            events.push(event("fp-scale-ops", "flops", Code::Raw(0x80c0)));
            events.push(event("fp-fixed-ops", "flops", Code::Raw(0x80c1)));
            events.push(raw("l3d-refill", 0x2a));
            events.push(raw("ll-cache-miss-read", 0x37));
        }
        _ => {}
    }
    events
}

/// All events of the CPU that this program runs on.
pub fn for_this_cpu() -> Vec<Event> {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |key: &str| {
        let line = cpuinfo
            .lines()
            .find(|l| l.split(':').next().map(str::trim) == Some(key))?;
        Some(line.split_once(':')?.1.trim().to_string())
    };
    let number = |key: &str| -> u32 {
        let text = field(key).unwrap_or_default();
        match text.strip_prefix("0x") {
            Some(hex) => u32::from_str_radix(hex, 16).unwrap_or(0),
            None => text.parse().unwrap_or(0),
        }
    };
    match (field("vendor_id"), field("CPU implementer")) {
        (Some(vendor), _) => {
            let (family, model) = (number("cpu family"), number("model"));
            for_cpu(CpuModel {
                vendor: &vendor,
                family,
                model,
            })
        }
        (None, Some(vendor)) => for_cpu(CpuModel {
            vendor: &vendor,
            family: 0,
            model: number("CPU part"),
        }),
        (None, None) => for_cpu(CpuModel {
            vendor: "",
            family: 0,
            model: 0,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(vendor: &str, family: u32, model: u32, name: &str) -> Option<Code> {
        let events = for_cpu(CpuModel {
            vendor,
            family,
            model,
        });
        events.into_iter().find(|e| e.name == name).map(|e| e.code)
    }

    #[test]
    fn each_microarchitecture_has_its_events() {
        let intel = |model, name| code("GenuineIntel", 6, model, name);
        for model in [85, 106, 143, 207, 173] {
            assert_eq!(intel(model, "fp-512"), Some(Code::Raw(0x80c7)));
        }
        assert_eq!(intel(85, "l2-lines-in"), Some(Code::Raw(0x1ff1)));
        assert_eq!(
            intel(85, "dram-read-lines"),
            Some(Code::Uncore("uncore_imc", 0x0304))
        );
        assert_eq!(
            intel(106, "dram-write-lines"),
            Some(Code::Uncore("uncore_imc", 0x3004))
        );
        assert_eq!(intel(207, "l2-lines-in"), Some(Code::Raw(0x1f25)));
        assert_eq!(
            intel(207, "dram-read-lines"),
            Some(Code::Uncore("uncore_imc", 0xcf05))
        );
        assert_eq!(
            intel(173, "dram-read-lines-1"),
            Some(Code::Uncore("uncore_imc", 0xcf06))
        );
        let amd = |family, model, name| code("AuthenticAMD", family, model, name);
        assert_eq!(amd(0x17, 0x31, "fp-ops"), Some(Code::Raw(0xff03)));
        assert_eq!(amd(0x19, 0x01, "dram-read-lines"), None);
        assert_eq!(
            amd(0x19, 0x11, "dram-read-lines"),
            Some(Code::Uncore("amd_umc", 0x010a))
        );
        assert_eq!(amd(0x1a, 0x02, "fp-ops"), Some(Code::Raw(0xff03)));
        assert_eq!(code("0x41", 0, 0xd0c, "l2d-refill"), Some(Code::Raw(0x17)));
        assert_eq!(code("0x41", 0, 0xd0c, "fp-fixed-ops"), None);
        assert_eq!(
            code("0x41", 0, 0xd4f, "fp-fixed-ops"),
            Some(Code::Raw(0x80c1))
        );
    }

    #[test]
    fn slots_are_counted_where_they_can_be() {
        let slots = |vendor, family, model| {
            let events = for_cpu(CpuModel {
                vendor,
                family,
                model,
            });
            let found = events.into_iter().find(|e| e.name == SLOTS);
            found.map(|e| (e.code, e.scale))
        };
        for (vendor, family, model, code, scale) in [
            ("GenuineIntel", 6, 85, 0x003c, 4.0),
            ("GenuineIntel", 6, 106, 0x01a4, 1.0),
            ("GenuineIntel", 6, 207, 0x01a4, 1.0),
            ("GenuineIntel", 6, 173, 0x01a4, 1.0),
            ("AuthenticAMD", 0x19, 0x11, 0x76, 6.0),
            ("AuthenticAMD", 0x1a, 0x02, 0x76, 8.0),
            ("0x41", 0, 0xd49, 0x11, 5.0),
            ("0x41", 0, 0xd4f, 0x11, 8.0),
        ] {
            assert_eq!(
                slots(vendor, family, model),
                Some((Code::Raw(code), scale)),
                "{vendor} {family} {model}"
            );
        }
        assert_eq!(slots("AuthenticAMD", 0x17, 0x31), None);
        assert_eq!(slots("0x41", 0, 0xd0c), None);
    }

    #[test]
    fn an_unknown_cpu_has_the_generic_events() {
        let events = for_cpu(CpuModel {
            vendor: "Nobody",
            family: 1,
            model: 1,
        });
        assert_eq!(events.len(), GENERIC.len() + SOFTWARE.len());
    }

    #[test]
    fn every_flop_counter_has_a_weight() {
        for (vendor, family, model) in [
            ("GenuineIntel", 6, 85),
            ("AuthenticAMD", 0x19, 0x11),
            ("0x41", 0, 0xd4f),
        ] {
            for event in for_cpu(CpuModel {
                vendor,
                family,
                model,
            }) {
                assert_eq!(
                    event.name.starts_with("fp-"),
                    flops_per_event(event.name).is_some(),
                    "{}",
                    event.name
                );
            }
        }
    }
}
