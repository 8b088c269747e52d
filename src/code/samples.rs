//! Instruction pointers of a running process, by sampling.
//!
//! A signal stops the process, some hundred times a second. Each time the system shows the instruction pointer of each
//! thread (Linux, `/proc/<pid>/task/<tid>/syscall`). Many systems show this only to the parent of the process.

use std::time::Duration;

/// Sampled instruction pointers of all computing threads of a child process, as addresses in its program's file.
/// Samples in a library lie outside of the program's functions. Empty if the system doesn't show any.
#[cfg(target_os = "linux")]
pub fn samples(process: u32, time: Duration) -> Vec<u64> {
    use rustix::process::{Pid, Signal, kill_process};
    let pid = i32::try_from(process).ok().and_then(Pid::from_raw);
    let (Some(pid), Some(shift)) = (pid, linux::shift(process)) else {
        return Vec::new();
    };
    let tasks = format!("/proc/{process}/task");
    let mut rng = convroof_kernels::data::Rng::new(1);
    let (start, mut seen) = (std::time::Instant::now(), Vec::new());
    while start.elapsed() < time && !crate::interrupt::requested() {
        // Equal intervals could follow the rhythm of the kernel.
        std::thread::sleep(Duration::from_micros(200 + rng.below(800) as u64));
        let _ = kill_process(pid, Signal::STOP);
        let tasks = std::fs::read_dir(&tasks).into_iter().flatten().flatten();
        let pointers = tasks.filter_map(|task| linux::pointer(&task.path()));
        seen.extend(pointers.map(|at| at.wrapping_sub(shift)));
        let _ = kill_process(pid, Signal::CONT);
    }
    seen
}

/// No samples: only Linux shows the instruction pointers of another process without privileges.
#[cfg(not(target_os = "linux"))]
pub fn samples(_: u32, _: Duration) -> Vec<u64> {
    Vec::new()
}

#[cfg(target_os = "linux")]
mod linux {
    use std::io::Read;
    use std::path::Path;
    use std::time::{Duration, Instant};

    /// Time limit for a thread to stop after the signal.
    const STOPS_WITHIN: Duration = Duration::from_millis(20);

    /// Difference between the addresses of a process and those in its program's file.
    pub(super) fn shift(process: u32) -> Option<u64> {
        let mut header = [0; 18];
        let mut program = std::fs::File::open(format!("/proc/{process}/exe")).ok()?;
        program.read_exact(&mut header).ok()?;
        // The type of an ELF file: 2 is a program that is loaded at the addresses in the file.
        if header[16..] == 2u16.to_ne_bytes() {
            return Some(0);
        }
        base(&std::fs::read_to_string(format!("/proc/{process}/maps")).ok()?)
    }

    /// Load address of a program: the first mapping of a file.
    fn base(maps: &str) -> Option<u64> {
        let line = maps.lines().find(|l| l.contains('/'))?;
        u64::from_str_radix(line.split('-').next()?, 16).ok()
    }

    /// Instruction pointer of a thread that is being stopped; none if it is in a system call.
    pub(super) fn pointer(task: &Path) -> Option<u64> {
        let start = Instant::now();
        loop {
            let state = std::fs::read_to_string(task.join("syscall")).ok()?;
            if !state.starts_with("running") {
                return computing(&state);
            }
            if start.elapsed() > STOPS_WITHIN {
                return None;
            }
            std::thread::sleep(Duration::from_micros(20));
        }
    }

    /// Instruction pointer in the state of a stopped thread. For a computing thread this is: -1, stack pointer,
    /// instruction pointer. Otherwise it begins with the number of a system call.
    fn computing(state: &str) -> Option<u64> {
        let mut words = state.split_whitespace();
        let pointer = words
            .next()
            .filter(|&word| word == "-1")
            .and(words.nth(1))?;
        u64::from_str_radix(pointer.strip_prefix("0x")?, 16).ok()
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn only_computing_threads_have_a_pointer() {
            assert_eq!(computing("-1 0x7ffc1000 0x55d0c0de\n"), Some(0x55d0_c0de));
            let waits = "202 0x55d0 0x80 0x0 0x0 0x0 0x0 0x7ffc1000 0x7f00\n";
            for other in [waits, "running\n", "-1 0x7ffc1000\n", "-1 0x0 pointer", ""] {
                assert_eq!(computing(other), None, "{other}");
            }
        }

        #[test]
        fn a_program_is_where_its_first_mapping_is() {
            let maps = "10000-20000 rw-p 0 00:00 0\n\
                        55d0c000-55d0d000 r--p 0 fd:00 1 /bin/convroof\n\
                        7f000000-7f001000 r--p 0 fd:00 2 /lib/libc.so\n";
            assert_eq!(base(maps), Some(0x55d0_c000));
            assert_eq!(base(""), None);
        }

        #[test]
        fn this_process_has_a_shift() {
            let shift = shift(std::process::id()).expect("shown");
            let functions =
                crate::code::functions(&std::fs::read("/proc/self/exe").expect("this program"));
            let functions = functions.expect("ELF");
            let here = (this_process_has_a_shift as fn()) as usize as u64;
            let own = crate::code::function_at(&functions, here - shift).expect("a function");
            let name = &functions[own].name;
            assert!(name.contains("this_process_has_a_shift"), "{name}");
        }
    }
}
