//! Description of the machine and the program for the record.

use super::Topology;
use crate::record::{Calibration, Conditions, Fingerprint, IsaName, KIND, Run, SCHEMA, Tool};
use convroof_kernels::Isa;
use std::ffi::OsString;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::time::SystemTime;

/// Fingerprint of the machine that this program runs on.
pub fn fingerprint(topology: &Topology) -> Fingerprint {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let read = |path: &str| {
        std::fs::read_to_string(path)
            .ok()
            .map(|t| t.trim().to_string())
    };
    let isas = Isa::REAL
        .into_iter()
        .filter(|i| i.detect().is_some())
        .map(IsaName::from)
        .collect();
    let number = |key: &str| cpu_field(&cpuinfo, key).and_then(|v| v.parse().ok());
    let mut fingerprint = Fingerprint {
        id: String::new(),
        arch: std::env::consts::ARCH.into(),
        os: std::env::consts::OS.into(),
        isas,
        online_cpus: topology.online,
        physical_cores: topology.physical_cores(),
        caches: topology.caches.clone(),
        cpu_model: cpu_field(&cpuinfo, "model name").or_else(brand_from_cpuid),
        vendor: cpu_field(&cpuinfo, "vendor_id").or_else(|| cpu_field(&cpuinfo, "CPU implementer")),
        family: number("cpu family"),
        model: number("model"),
        stepping: number("stepping"),
        microcode: cpu_field(&cpuinfo, "microcode"),
        sockets: topology.sockets,
        smt: topology.smt,
        governor: topology.cores.first().and_then(|cpu| {
            read(&format!(
                "/sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_governor"
            ))
        }),
        boost: boost(),
        hypervisor: hypervisor(&cpuinfo),
        kernel: read("/proc/sys/kernel/osrelease"),
        huge_pages: read("/sys/kernel/mm/transparent_hugepage/enabled")
            .as_deref()
            .and_then(chosen),
        memory_bytes: read("/proc/meminfo").as_deref().and_then(memory_total),
        load_average: read("/proc/loadavg").and_then(|t| t.split(' ').next()?.parse().ok()),
        flush_to_zero: Some(flushes_to_zero()),
    };
    fingerprint.id = id(&fingerprint);
    fingerprint
}

/// A short, stable id that is a valid folder name: the CPU's name and a hash of all that affects speed.
fn id(f: &Fingerprint) -> String {
    let model = f.cpu_model.as_deref().unwrap_or(&f.arch).to_lowercase();
    let words: Vec<&str> = model
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|w| !["", "r", "tm", "cpu", "core", "processor", "with"].contains(w))
        .take(4)
        .collect();
    // Hash the texts, so that ids stay the same when the types change. Sets that extend another one came later than ids.
    let extends = |isa: &IsaName| matches!(isa, IsaName::Isa(isa) if isa.base() != *isa);
    let isas = f.isas.iter().filter(|isa| !extends(isa));
    let isas: Vec<&str> = isas.map(IsaName::as_str).collect();
    let mut hasher = DefaultHasher::new();
    (
        &f.arch,
        &f.os,
        isas,
        &f.cpu_model,
        f.family,
        f.model,
        f.stepping,
    )
        .hash(&mut hasher);
    (f.physical_cores, f.smt, &f.hypervisor).hash(&mut hasher);
    f.caches
        .iter()
        .for_each(|c| (c.level, c.bytes).hash(&mut hasher));
    format!(
        "{}-{}c-{:06x}",
        words.join("-"),
        f.physical_cores,
        hasher.finish() & 0xff_ffff
    )
}

fn cpu_field(cpuinfo: &str, key: &str) -> Option<String> {
    let line = cpuinfo
        .lines()
        .find(|line| line.split(':').next().map(str::trim) == Some(key))?;
    let value = line.split_once(':')?.1.trim();
    (!value.is_empty()).then(|| value.to_string())
}

#[cfg(target_arch = "x86_64")]
fn brand_from_cpuid() -> Option<String> {
    Some(
        raw_cpuid::CpuId::new()
            .get_processor_brand_string()?
            .as_str()
            .trim()
            .to_string(),
    )
}

#[cfg(not(target_arch = "x86_64"))]
fn brand_from_cpuid() -> Option<String> {
    None
}

fn hypervisor(cpuinfo: &str) -> Option<String> {
    #[cfg(target_arch = "x86_64")]
    if let Some(info) = raw_cpuid::CpuId::new().get_hypervisor_info() {
        return Some(format!("{:?}", info.identify()));
    }
    let flags = cpu_field(cpuinfo, "flags")?;
    flags
        .split(' ')
        .any(|f| f == "hypervisor")
        .then(|| "unknown".to_string())
}

fn boost() -> Option<bool> {
    let cpu = "/sys/devices/system/cpu";
    let read = |path: String| std::fs::read_to_string(path).ok().map(|t| t.trim() == "1");
    read(format!("{cpu}/cpufreq/boost"))
        .or_else(|| read(format!("{cpu}/intel_pstate/no_turbo")).map(|off| !off))
}

/// The word in brackets of `always [madvise] never`.
fn chosen(text: &str) -> Option<String> {
    Some(text.split_once('[')?.1.split_once(']')?.0.to_string())
}

fn memory_total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find(|l| l.starts_with("MemTotal:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
}

/// True if denormal results are flushed to zero in this process.
fn flushes_to_zero() -> bool {
    std::hint::black_box(f32::MIN_POSITIVE) * std::hint::black_box(0.5) == 0.0
}

/// Command line of this program. Only the file name of the program is kept, so that no private path is published.
pub fn command_line() -> Vec<String> {
    words(std::env::args_os())
}

/// Arguments as text, with replacement characters for invalid UTF-8.
fn words(args: impl Iterator<Item = OsString>) -> Vec<String> {
    let mut args: Vec<OsString> = args.collect();
    if let Some(program) = args.first_mut()
        && let Some(name) = Path::new(&*program).file_name()
    {
        *program = name.to_os_string();
    }
    let text = |arg: OsString| arg.to_string_lossy().into_owned();
    args.into_iter().map(text).collect()
}

/// Version, revision and compiler of this program, on one line.
pub const VERSION: &str = env!("CONVROOF_VERSION");

/// Description of the program as built. `build.rs` records the revision of its sources.
pub fn tool() -> Tool {
    Tool {
        version: env!("CARGO_PKG_VERSION").into(),
        git_revision: option_env!("CONVROOF_REVISION").map(str::to_string),
        git_dirty: option_env!("CONVROOF_DIRTY").map(|dirty| dirty == "true"),
        rustc: option_env!("CONVROOF_RUSTC").map(str::to_string),
        profile: if cfg!(debug_assertions) {
            "debug"
        } else {
            "release"
        }
        .into(),
    }
}

/// A record of a run that begins now, without layers.
pub fn begun(topology: &Topology, conditions: Conditions) -> Run {
    Run {
        kind: KIND.into(),
        schema: SCHEMA,
        started: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        tool: tool(),
        fingerprint: fingerprint(topology),
        calibration: Calibration::default(),
        conditions: Conditions {
            command: command_line(),
            cpus: topology.cores.clone(),
            quota_cpus: topology.quota,
            ..conditions
        },
        layers: Vec::new(),
        measurements: Vec::new(),
        refusals: Vec::new(),
        counters: Vec::new(),
        peers: Vec::new(),
        noise: Vec::new(),
        complete: false,
        notes: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_depends_on_the_machine_and_not_on_its_mood() {
        let machine = Fingerprint {
            arch: "x86_64".into(),
            cpu_model: Some("AMD EPYC 9354 32-Core Processor".into()),
            physical_cores: 2,
            ..Fingerprint::default()
        };
        let first = id(&machine);
        assert!(first.starts_with("amd-epyc-9354-32-2c-"), "{first}");
        let busy = Fingerprint {
            load_average: Some(9.0),
            kernel: Some("6.1".into()),
            ..machine.clone()
        };
        assert_eq!(id(&busy), first);
        let extended = Fingerprint {
            isas: [&machine.isas[..], &[IsaName::Isa(Isa::AvxVnni)]].concat(),
            ..machine.clone()
        };
        assert_eq!(id(&extended), first);
        assert_ne!(
            id(&Fingerprint {
                physical_cores: 4,
                ..machine
            }),
            first
        );
    }

    #[test]
    fn this_machine_has_a_fingerprint() {
        let fingerprint = fingerprint(&Topology::detect());
        assert!(fingerprint.physical_cores >= 1 && !fingerprint.isas.is_empty());
        crate::files::check_id(&fingerprint.id).expect("an id");
    }

    #[cfg(unix)]
    #[test]
    fn arguments_may_be_any_bytes() {
        use std::os::unix::ffi::OsStringExt;
        let args = [
            b"/some/where/convroof".to_vec(),
            b"--out=\xff.json".to_vec(),
        ];
        let args = args.into_iter().map(OsString::from_vec);
        assert_eq!(words(args), ["convroof", "--out=\u{fffd}.json"]);
    }

    #[test]
    fn fields_of_proc() {
        assert_eq!(
            cpu_field("model\t: 17\nmodel name\t: AMD EPYC\n", "model"),
            Some("17".into())
        );
        assert_eq!(chosen("always [madvise] never"), Some("madvise".into()));
        assert_eq!(memory_total("MemTotal:   1024 kB\n"), Some(1 << 20));
    }
}
