//! Detection of alarms that come from code layout and not from the source. If the hot code is equal in both builds,
//! only its addresses can differ. They affect the alignment of loops and conflicts in the caches (Mytkowicz et al.
//! 2009).
//!
//! The hot functions are found by sampling. The worker runs the kernel and is stopped some hundred times. Each time the
//! system gives the instruction pointers of its threads (Linux, `/proc/<pid>/task/<tid>/syscall`). This needs no
//! counters, no privileges and no debugger.
//!
//! Two functions are equal if their names without hash and their instructions are equal. Addresses relative to the
//! instruction aren't compared, since code and constants move in every build.

use super::Pair;
use super::client::{Answer, Client, Side};
use anyhow::{Context, Result, bail};
use object::{Object, ObjectSection, ObjectSymbol, SymbolKind};
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Duration of the sampling, ms, and number of samples.
const LOOK_MS: u64 = 400;
#[cfg(target_os = "linux")]
const LOOKS: usize = 100;

/// Fewest samples in the program's own code that suffice for an answer.
const ENOUGH: usize = 25;

/// Least fraction of the samples in a hot function.
const HOT: f64 = 0.02;

/// A function of a program: its address, its bytes, its name without a hash.
struct Function {
    from: u64,
    code: Vec<u8>,
    name: String,
}

/// Functions of a build, and the indices of those that take a pair's time.
struct Profile {
    functions: Vec<Function>,
    hot: Vec<usize>,
}

/// True if the code that takes a pair's time is equal in both builds. None if that is unknown.
///
/// # Errors
/// When a worker fails.
pub fn same_code(a: &Side, b: &Side, pair: &Pair) -> Result<Option<bool>> {
    let (Some(a), Some(b)) = (profile(a, pair)?, profile(b, pair)?) else {
        return Ok(None);
    };
    Ok(Some(a.is_within(&b) && b.is_within(&a)))
}

impl Profile {
    /// True if the other build has every hot function of this one.
    fn is_within(&self, other: &Profile) -> bool {
        self.hot.iter().all(|&i| {
            let own = &self.functions[i];
            let shape = own.shape();
            // Instances of a generic function share a name.
            let mut namesakes = other.functions.iter().filter(|f| f.name == own.name);
            namesakes.any(|f| f.code.len() == own.code.len() && f.shape() == shape)
        })
    }
}

impl Function {
    fn shape(&self) -> u64 {
        shape(&self.code, self.from)
    }
}

fn profile(side: &Side, pair: &Pair) -> Result<Option<Profile>> {
    let mut client = Client::start(side)?;
    let Answer::Planned(planned) = client.plan(pair, false)? else {
        bail!("{} can't do {pair} any more", side.letter);
    };
    let mut seen = Vec::new();
    client.linger(planned.plan, LOOK_MS, |process| seen = look(process))?;
    drop(client);
    let Ok(functions) = functions(&std::fs::read(&side.program)?) else {
        return Ok(None);
    };
    let hot = hot(&functions, &seen);
    Ok((!hot.is_empty()).then_some(Profile { functions, hot }))
}

/// Hot functions among the sampled addresses; empty if too few samples hit a function.
fn hot(functions: &[Function], seen: &[u64]) -> Vec<usize> {
    let mut hits: BTreeMap<usize, usize> = BTreeMap::new();
    for &at in seen {
        let index = functions.partition_point(|f| f.from <= at).checked_sub(1);
        if let Some(index) = index
            && at - functions[index].from < functions[index].code.len() as u64
        {
            *hits.entry(index).or_default() += 1;
        }
    }
    let all: usize = hits.values().sum();
    let least = (HOT * all as f64).max(1.0);
    let hot = hits.into_iter().filter(|(_, n)| *n as f64 >= least);
    match all {
        0..ENOUGH => Vec::new(),
        _ => hot.map(|(index, _)| index).collect(),
    }
}

/// Functions of an ELF program, by address.
fn functions(program: &[u8]) -> Result<Vec<Function>> {
    let file = object::File::parse(program)?;
    let mut functions = Vec::new();
    for symbol in file.symbols() {
        if symbol.kind() != SymbolKind::Text || symbol.size() == 0 {
            continue;
        }
        let section = symbol.section_index().context("no section")?;
        let section = file.section_by_index(section)?;
        if let Some(code) = section.data_range(symbol.address(), symbol.size())? {
            let name = symbol.name()?;
            functions.push(Function {
                from: symbol.address(),
                code: code.to_vec(),
                name: format!("{:#}", rustc_demangle::demangle(name)),
            });
        }
    }
    functions.sort_by_key(|f| f.from);
    Ok(functions)
}

/// Hash of a function's instructions. It doesn't change if the function or its targets move.
#[cfg(target_arch = "x86_64")]
fn shape(code: &[u8], from: u64) -> u64 {
    use iced_x86::{Decoder, DecoderOptions, OpKind};
    let mut hasher = DefaultHasher::new();
    let mut decoder = Decoder::with_ip(64, code, from, DecoderOptions::NONE);
    let inside = from..from + code.len() as u64;
    while decoder.can_decode() {
        let mut instruction = decoder.decode();
        if instruction.is_ip_rel_memory_operand() {
            instruction.set_memory_displacement64(0);
        }
        if instruction.op0_kind() == OpKind::NearBranch64 {
            // A jump within the function keeps its offset. A jump elsewhere moves with its target.
            let target = instruction.near_branch_target();
            instruction.set_near_branch64(if inside.contains(&target) {
                target - from
            } else {
                u64::MAX
            });
        }
        instruction.hash(&mut hasher);
    }
    hasher.finish()
}

/// Hash of a function's instructions on AArch64. It ignores addresses, which are in `adr`, `adrp`, the 12 bits of the
/// next addition or load, and branches that leave.
#[cfg(not(target_arch = "x86_64"))]
fn shape(code: &[u8], from: u64) -> u64 {
    let mut hasher = DefaultHasher::new();
    let mut page = None;
    let words = code.chunks_exact(4).enumerate();
    for (i, word) in words {
        let mut word = u32::from_le_bytes(word.try_into().expect("four bytes"));
        let register = word & 31;
        let base = word >> 5 & 31;
        if word & 0x1f00_0000 == 0x1000_0000 {
            page = Some(register);
            word &= 0x9f00_001f;
        } else if page == Some(base)
            && (word & 0x7f80_0000 == 0x1100_0000 || word & 0x3b00_0000 == 0x3900_0000)
        {
            word &= 0xffc0_03ff;
        } else if word & 0x7c00_0000 == 0x1400_0000 {
            let offset = (((word << 6) as i32) >> 4) as i64;
            let target = (from + 4 * i as u64) as i64 + offset;
            if !(from as i64..(from + code.len() as u64) as i64).contains(&target) {
                word &= 0xfc00_0000;
            }
        }
        word.hash(&mut hasher);
    }
    hasher.finish()
}

/// Sampled instruction pointers of a process, as addresses in its program's file. Empty if the system doesn't give
/// them.
#[cfg(target_os = "linux")]
fn look(process: u32) -> Vec<u64> {
    use rustix::process::{Pid, Signal, kill_process};
    use std::time::Duration;
    let Some(pid) = i32::try_from(process).ok().and_then(Pid::from_raw) else {
        return Vec::new();
    };
    let read = |path: String| std::fs::read_to_string(path).unwrap_or_default();
    let Some(base) = base(&read(format!("/proc/{process}/maps"))) else {
        return Vec::new();
    };
    let mut seen = Vec::new();
    for _ in 0..LOOKS {
        std::thread::sleep(Duration::from_micros(
            LOOK_MS * 1000 * 2 / 3 / LOOKS as u64 / 2,
        ));
        let _ = kill_process(pid, Signal::STOP);
        // A signal takes a moment to arrive.
        std::thread::sleep(Duration::from_micros(
            LOOK_MS * 1000 * 2 / 3 / LOOKS as u64 / 2,
        ));
        let tasks = std::fs::read_dir(format!("/proc/{process}/task"));
        for task in tasks.into_iter().flatten().flatten() {
            // For a computing thread: -1, stack pointer, instruction pointer. A waiting thread is in a system call.
            let line = read(task.path().join("syscall").display().to_string());
            let mut words = line.split_whitespace();
            if words.next() == Some("-1")
                && let Some(at) = words
                    .nth(1)
                    .and_then(|w| u64::from_str_radix(w.trim_start_matches("0x"), 16).ok())
            {
                seen.extend(at.checked_sub(base));
            }
        }
        let _ = kill_process(pid, Signal::CONT);
    }
    seen
}

#[cfg(not(target_os = "linux"))]
fn look(_: u32) -> Vec<u64> {
    Vec::new()
}

/// Load address of a program: the first mapping of its file.
#[cfg(target_os = "linux")]
fn base(maps: &str) -> Option<u64> {
    let line = maps.lines().find(|l| l.contains('/'))?;
    u64::from_str_radix(line.split('-').next()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn moved_code_is_the_same_and_changed_code_is_not() {
        // lea rax,[rip+x]; call y; vaddps zmm0,zmm0,zmm1; jne -16 (to the start); ret
        let code = |data: i32, call: i32, register: u8| {
            let mut code = vec![0x48, 0x8d, 0x05];
            code.extend(data.to_le_bytes());
            code.push(0xe8);
            code.extend(call.to_le_bytes());
            code.extend([0x62, 0xf1, 0x7c, 0x48, 0x58, register, 0x75, 0xec, 0xc3]);
            code
        };
        let here = shape(&code(0x100, 0x2000, 0xc1), 0x1000);
        assert_eq!(shape(&code(0x1f0, 0x1234, 0xc1), 0x9000), here);
        assert_ne!(shape(&code(0x100, 0x2000, 0xc2), 0x1000), here);
    }

    #[test]
    fn looks_are_counted_by_function() {
        let function = |from, name: &str| Function {
            from,
            code: vec![0xc3; 16],
            name: name.into(),
        };
        let functions = [function(0, "cold"), function(32, "kernel")];
        let seen: Vec<u64> = (0..200)
            .map(|i| if i == 0 { 3 } else { 32 + i % 16 })
            .collect();
        assert_eq!(hot(&functions, &seen), [1]);
        assert_eq!(
            hot(&functions, &[1000; 200]),
            [0; 0],
            "outside of any function"
        );
        assert_eq!(hot(&functions, &seen[..9]), [0; 0], "too few");
    }

    #[inline(never)]
    fn to_be_found() {
        std::hint::black_box(());
    }

    #[test]
    fn this_program_has_functions() {
        to_be_found();
        let own = std::env::current_exe().expect("a program");
        let program = std::fs::read(own).expect("read");
        if cfg!(target_os = "linux") {
            let functions = functions(&program).expect("ELF");
            assert!(functions.iter().any(|f| f.name.contains("to_be_found")));
        }
    }
}
