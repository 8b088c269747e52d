//! A child process that runs inputs, and the parent that watches it.

use crate::Wanted;
use crate::targets::{Input, Target, Verdict};
use convroof_kernels::data::Rng;
use libtest_mimic::Failed;
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// Environment variable with the target of a child.
pub(crate) const CHILD: &str = "CONVROOF_FUZZ_TARGET";
/// Environment variable with the duration of a child, in seconds.
const SHARE: &str = "CONVROOF_FUZZ_SHARE";

/// Limits per input: CPU time, which doesn't depend on other load, then elapsed time and memory in bytes.
const SLOWEST: Duration = Duration::from_secs(10);
const STUCK: Duration = Duration::from_secs(120);
const MEMORY: u64 = 1 << 30;
/// Most bytes that may be written for an input, to files and to the terminal.
fn output_limit(input: usize) -> u64 {
    (4 << 20) + 100 * input as u64
}

/// Least number of mutated inputs, however slow the machine is.
const LEAST: u64 = 20;

/// Names in the child's folder: the work folder with the input and all output, the number of the input, the printed
/// text, the result.
const WORK: &str = "nested/work";
const NUMBER: &str = "number";
const SAID: &str = "said";
const RESULT: &str = "result";

/// Starts a child and waits for its end, or ends it when it exceeds a limit.
pub(crate) fn parent(target: &Target, wanted: Wanted, share: Duration) -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let folder = folder.path();
    std::fs::create_dir_all(folder.join(WORK))?;
    let said = OpenOptions::new()
        .append(true)
        .create(true)
        .open(folder.join(SAID))?;
    let mut child = Command::new(std::env::current_exe()?)
        .env(CHILD, target.name)
        .env("RUST_BACKTRACE", "0")
        .env(SHARE, share.as_secs_f64().to_string())
        .env("CONVROOF_FUZZ_SEED", wanted.seed.to_string())
        .env("CONVROOF_FUZZ_FROM", wanted.from.to_string())
        .current_dir(folder.join(WORK))
        .stdin(std::process::Stdio::null())
        .stdout(said.try_clone()?)
        .stderr(said)
        .spawn()?;
    let ended = watch(&mut child, folder);
    let _ = child.kill();
    let _ = child.wait();
    let read = |name: &str| {
        String::from_utf8_lossy(&std::fs::read(folder.join(name)).unwrap_or_default()).into_owned()
    };
    match ended {
        Ok(()) => {
            println!("{}: {}", target.name, read(RESULT));
            Ok(())
        }
        Err(why) => {
            let number = read(NUMBER);
            let kept = keep(target, &number, &folder.join(WORK))?;
            let said = read(SAID);
            let lines: Vec<&str> = said.lines().collect();
            let last = lines[lines.len().saturating_sub(20)..].join("\n");
            Err(format!(
                "input {number}: {why}\n{last}\nIt is in {}; repeat it with CONVROOF_FUZZ_SEED={} CONVROOF_FUZZ_FROM={number} cargo test --test fuzz {}",
                kept.display(),
                wanted.seed,
                target.name
            )
            .into())
        }
    }
}

fn watch(child: &mut Child, folder: &Path) -> Result<(), String> {
    let process = child.id();
    let used = || cpu_time(process).unwrap_or_default();
    let mut number = (None, Instant::now(), used());
    loop {
        if let Some(status) = child.try_wait().map_err(|e| e.to_string())? {
            return match status.success() {
                true => Ok(()),
                false => Err(format!("the program ended with {status}")),
            };
        }
        // None while the child makes its seeds.
        let now = std::fs::read(folder.join(NUMBER)).ok();
        if now != number.0 {
            number = (now, Instant::now(), used());
        }
        if number.0.is_some() && used() - number.2 > SLOWEST || number.1.elapsed() > STUCK {
            return Err(format!(
                "it takes longer than {SLOWEST:?} of a CPU, or {STUCK:?}"
            ));
        }
        if memory(process).is_some_and(|bytes| bytes > MEMORY) {
            return Err(format!("it takes more than {} MB of memory", MEMORY >> 20));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// CPU time of a process, to 10 ms; none if the system doesn't tell (only Linux does).
fn cpu_time(process: u32) -> Option<Duration> {
    let text = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The program's name may contain spaces. User and system time are the 12th and 13th field after it.
    let times = text.rsplit(')').next()?.split_whitespace().skip(11);
    let ticks: u64 = times.take(2).filter_map(|t| t.parse::<u64>().ok()).sum();
    Some(Duration::from_millis(10 * ticks))
}

/// Resident bytes of a process; none if the system doesn't tell (only Linux does).
fn memory(process: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{process}/statm")).ok()?;
    let pages: u64 = text.split(' ').nth(1)?.parse().ok()?;
    Some(4096 * pages)
}

/// Copies an input and its files to a permanent folder.
fn keep(target: &Target, number: &str, work: &Path) -> std::io::Result<PathBuf> {
    let base = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fuzz");
    let kept = base.join(format!("{}-{number}", target.name));
    std::fs::create_dir_all(&kept)?;
    for file in files(work) {
        let name = file
            .strip_prefix(work)
            .expect("inside")
            .to_string_lossy()
            .replace('/', "-");
        std::fs::copy(&file, kept.join(name))?;
    }
    Ok(kept)
}

/// All files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => found.extend(files(&entry.path())),
            _ => found.push(entry.path()),
        }
    }
    found
}

/// Runs inputs until the time is over. Panics at the first violation.
pub(crate) fn child(target: &Target, wanted: Wanted) {
    let share: f64 = std::env::var(SHARE)
        .ok()
        .and_then(|s| s.parse().ok())
        .expect("seconds");
    let folder = std::env::current_dir().expect("a folder");
    let folder = folder.ancestors().nth(2).expect("of the parent's making");
    let work = folder.join(WORK);
    let write =
        |name: &str, text: String| std::fs::write(folder.join(name), text).expect("written");
    let mut inputs = (target.inputs)();
    let known = inputs.seeds.len() as u64;
    let began = Instant::now();
    let (mut taken, mut refused, mut slowest) = (0u64, 0u64, Duration::ZERO);
    let mut number = wanted.from;
    while began.elapsed().as_secs_f64() < share || number < wanted.from + known + LEAST {
        // The seeds come first, unchanged, then mutations of them.
        let mut rng = Rng::new(wanted.seed.wrapping_mul(0x9e37_79b9).wrapping_add(number));
        let input = match inputs.seeds.get(number as usize) {
            Some(seed) => seed.clone(),
            None => {
                let [seed, other] = [rng.pick(&inputs.seeds), rng.pick(&inputs.seeds)];
                let bytes = (inputs.mutate)(&mut rng, &seed.bytes, &other.bytes);
                Input::odd(seed.name, bytes, &seed.origin)
            }
        };
        write(NUMBER, number.to_string());
        for file in files(&work) {
            std::fs::remove_file(file).expect("removed");
        }
        let start = Instant::now();
        let verdict = (inputs.run)(&mut rng, &input).unwrap_or_else(|why| panic!("{why}"));
        slowest = slowest.max(start.elapsed());
        match verdict {
            Verdict::Taken => taken += 1,
            Verdict::Refused => {
                assert!(!input.is_valid, "a good file was refused: {}", input.name);
                refused += 1;
            }
        }
        let size = |path: &Path| std::fs::metadata(path).map_or(0, |m| m.len());
        let written = files(&work).iter().map(|f| size(f)).sum::<u64>() + size(&folder.join(SAID));
        let limit = output_limit(input.bytes.len());
        assert!(
            written <= limit,
            "{written} bytes were written, allowed are {limit}"
        );
        // Text from a file must not reach the terminal as a command, or a page as markup.
        let said = std::fs::read(folder.join(SAID)).expect("read");
        let control = said.iter().find(|b| **b < 32 && !b"\n\t".contains(b));
        assert!(
            control.is_none(),
            "it said the control character {control:?}"
        );
        for page in files(&work) {
            let is_page = page.extension().is_some_and(|e| e == "html" || e == "svg");
            let text = std::fs::read(&page).expect("read");
            let markup = is_page && text.windows(8).any(|w| w == b"<b class");
            assert!(!markup, "{} has markup of its input's", page.display());
        }
        // Files are written only in the work folder.
        for file in files(folder).iter().filter(|f| !f.starts_with(&work)) {
            let name = file.strip_prefix(folder).expect("inside");
            let own = [NUMBER, SAID].map(Path::new).contains(&name);
            assert!(own, "{} was written", file.display());
        }
        File::options()
            .write(true)
            .truncate(true)
            .open(folder.join(SAID))
            .expect("emptied");
        number += 1;
    }
    // If all mutations were refused or all accepted, only the parser or only the code after it would be tested.
    assert!(taken > 0 && refused > 0, "{taken} taken, {refused} refused");
    write(
        RESULT,
        format!("{taken} inputs were taken, {refused} refused; the slowest took {slowest:.0?}"),
    );
}
