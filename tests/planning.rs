//! Tests that planning is cheap: `list` answers for any valid problem within 2 s of CPU time and 1 GB, whatever its
//! sizes.
#![cfg(unix)]

mod command;

use command::convroof;
use convroof_kernels::Problem;
use convroof_kernels::data::Rng;
use std::process::Command;

/// Number of problems; the variable `CONVROOF_PROBLEMS` overrides it.
const PROBLEMS: usize = 60;

/// Runs `list` on a problem, with limits on CPU time (s) and address space (kB).
fn list(problem: &str, seconds: usize, kilobytes: usize) -> std::process::Output {
    let program = convroof().get_program().to_os_string();
    let limited = format!("ulimit -t {seconds}; ulimit -v {kilobytes}; exec \"$@\"");
    Command::new("sh")
        .args(["-c", &limited, "sh"])
        .arg(program)
        .args(["list", "--json", "--problem", problem])
        .output()
        .expect("a shell")
}

/// Asserts that `list` answers within the limits.
fn answers(problem: &str) {
    let out = list(problem, 2, 1 << 20);
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{problem}: {:?} {said}", out.status);
    assert!(said.is_empty(), "{problem}: {said}");
    for line in command::json_lines(&out.stdout) {
        let refused = line["refusals"].as_array().map_or(0, Vec::len);
        let supported = line["supported"].as_u64().expect("a number");
        assert_eq!(refused as u64 + supported, 1, "{problem}: {line}");
    }
}

/// Generator of sizes of all magnitudes, also next to powers of two. Their product stays below `room`.
struct Sizes<'a> {
    rng: &'a mut Rng,
    room: u64,
}

impl Sizes<'_> {
    fn below(&mut self, most: u64) -> u64 {
        let bits = 64 - most.min(self.room).max(1).leading_zeros() as usize;
        let magnitude = 1u64 << self.rng.below(bits);
        let size = match self.rng.below(4) {
            0 => magnitude,
            1 => magnitude + 1,
            2 => magnitude.saturating_sub(1),
            _ => magnitude + self.rng.below(magnitude as usize) as u64,
        };
        let size = size.clamp(1, most.min(self.room).max(1));
        self.room = (self.room / size).max(1);
        size
    }

    fn any(&mut self) -> u64 {
        self.below((1 << 31) - 1)
    }

    /// A size that doesn't reduce `room`.
    fn step(&mut self, most: u64) -> u64 {
        let room = std::mem::replace(&mut self.room, most);
        let size = self.below(most);
        self.room = room;
        size
    }
}

/// Text of a window and its maps; `channels` is the text of the channels before it.
fn window(sizes: &mut Sizes<'_>, channels: &str) -> String {
    let square = sizes.rng.below(3) == 0;
    let mut text = channels.to_string();
    let axes: &[(&str, &str)] = if square {
        &[("h", "")]
    } else {
        &[("h", "h"), ("w", "w")]
    };
    for (axis, _) in axes {
        let kernel = if sizes.rng.below(2) == 0 {
            sizes.below(12)
        } else {
            sizes.any()
        };
        let size = match sizes.rng.below(6) {
            0 => kernel,
            _ => sizes.any(),
        };
        let stride = if sizes.rng.below(2) == 0 {
            1
        } else {
            sizes.step(size)
        };
        let pad = match sizes.rng.below(3) {
            0 => 0,
            1 => kernel / 2,
            _ => sizes.step(size.max(kernel)),
        };
        let reach = (size + 2 * pad).saturating_sub(1) / kernel.max(2).saturating_sub(1);
        let dilation = match sizes.rng.below(3) {
            0 => sizes.step(reach.max(1)) - 1,
            _ => 0,
        };
        text +=
            &format!("i{axis}{size}k{axis}{kernel}s{axis}{stride}p{axis}{pad}d{axis}{dilation}");
    }
    text
}

/// A random problem, which may be invalid.
fn problem(rng: &mut Rng) -> String {
    let kind = rng.below(14);
    let room = 1 << (8 + rng.below(39));
    let sizes = &mut Sizes { rng, room };
    match kind {
        0..=4 => {
            let groups = if sizes.rng.below(4) == 0 {
                sizes.any()
            } else {
                1
            };
            let few = if sizes.rng.below(2) == 0 {
                4
            } else {
                (1 << 31) - 1
            };
            let [c_in, c_out] = [sizes.below(few), sizes.any()].map(|c| c * groups);
            let n = sizes.any();
            window(sizes, &format!("g{groups}mb{n}ic{c_in}oc{c_out}"))
        }
        5..=7 => {
            let algorithms = [
                "max",
                "avg_p",
                "avg_np",
                "l2",
                "stochastic",
                "draw:7",
                "linf",
                "ceil max",
            ];
            let alg = algorithms[sizes.rng.below(algorithms.len())];
            let (n, c) = (sizes.any(), sizes.any());
            let shape = window(sizes, &format!("mb{n}ic{c}"));
            format!("--pool --alg={alg} {shape}")
        }
        8 => {
            let [n, c, size, out] = [sizes.any(), sizes.any(), sizes.any(), sizes.any()];
            format!("--ip mb{n}ic{c}ih{size}iw1oc{out}")
        }
        9 => {
            let [n, c, h, w] = [sizes.any(), sizes.any(), sizes.any(), sizes.any()];
            let maps = format!("{n}x{c}x{h}x{w}");
            match sizes.rng.below(8) {
                0 => format!("--eltwise --alg=relu {maps}"),
                1 => format!("--binary --alg=add {maps}:{maps}"),
                2 => format!("--bnorm --flags=GCH mb{n}ic{c}ih{h}iw{w}"),
                3 => format!("--statistics mb{n}ic{c}ih{h}iw{w}"),
                4 => format!("--softmax --axis=1 {maps}"),
                5 => format!("--concat --axis=1 {maps}:{maps}"),
                6 => format!("--binary --alg=add {maps}:1x{c}x1x1"),
                _ => format!("--lrn mb{n}ic{c}ih{h}iw{w}ls5alpha0.0001beta0.75k1"),
            }
        }
        10 => {
            let [n, c, h, hidden] = [sizes.any(), sizes.any(), sizes.any(), sizes.any()];
            format!("--attention --hidden={hidden} {n}x{c}x{h}x1")
        }
        11 => {
            let c = sizes.below(1 << 23);
            sizes.room = (sizes.room / c).max(1);
            let h = sizes.any();
            let alg = ["half", "full_root", "full"][sizes.rng.below(3)];
            format!("--bilinear --alg={alg} 1x{c}x{h}x1")
        }
        12 => {
            let c = sizes.below(4);
            let (out, kernel) = (sizes.any(), 1 + sizes.rng.below(9));
            let [h, w] = [sizes.any(), sizes.any()];
            let (pool, stride) = (sizes.step(h), sizes.step(h));
            format!(
                "mb1ic{c}ih{h}iw{w}oc{out}kh{kernel}ph{pad} + --pool --alg=max mb1ic{out}ih{h}iw{w}kh{pool}kw1sh{stride}sw1",
                pad = kernel / 2
            )
        }
        _ => {
            let [c, mid, out, h, w] = std::array::from_fn(|_| sizes.any());
            let (kernel, stride) = (sizes.step(h), sizes.step(h));
            format!(
                "mb1ic{c}ih{h}iw{w}oc{mid}kh1 + mb1ic{mid}ih{h}iw{w}oc{out}kh{kernel}kw1sh{stride}sw1ph{pad}pw0",
                pad = kernel / 2
            )
        }
    }
}

#[test]
fn list_answers_for_what_once_hung_or_aborted() {
    for text in [
        "mb1ic16ih2160iw3840oc16kh3kw3ph1pw1",
        "mb1ic64ih2048oc64kh3ph1",
        "mb1ic1iw100000000oc1kw1000000",
        "mb1ic16ih4096oc16kh7ph3",
        "mb1ic16ih512oc16kh65ph32",
        "--pool --alg=max mb1ic1ih1iw2147483647kh1kw2147483647",
        "--pool --alg=max mb1ic1ih1iw2147483647kh1kw1sh1sw1",
        "mb1ic1ih1oc2147483647kh1",
        "mb1ic3ih2147483647iw1oc1kh3kw2ph1pw1sh2sw2",
        "g8388608mb1ic8388608ih1oc8388608kh1",
    ] {
        answers(text);
    }
}

#[test]
fn list_answers_for_any_problem() {
    let more = std::env::var("CONVROOF_PROBLEMS");
    let wanted = more.map_or(PROBLEMS, |n| n.parse().expect("a number"));
    let mut rng = Rng::new(28);
    let (mut tried, mut drawn) = (0, 0);
    while tried < wanted {
        drawn += 1;
        assert!(drawn < 50 * wanted + 1000, "{tried} of {drawn} parse");
        let text = problem(&mut rng);
        if text.parse::<Problem>().is_ok() {
            answers(&text);
            tried += 1;
        }
    }
}

/// True if this process, and so its children, ignores a signal.
fn ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

#[test]
fn a_signal_ends_a_planning_program_at_once() {
    use rustix::process::{Pid, Signal, kill_process};
    use std::os::unix::process::ExitStatusExt;
    use std::time::{Duration, Instant};
    for signal in [Signal::INT, Signal::TERM] {
        // A background process of a shell ignores SIGINT, and its children inherit that.
        if ignored(signal.as_raw()) {
            println!("{signal:?} is ignored here, so it ends nothing");
            continue;
        }
        // A dozen plans, each with tables of 100 MB.
        let mut child = Command::new(convroof().get_program())
            .args(["counts", "--variant", "direct/*,im2col/*,implicit-gemm/*"])
            .args(["--problem", "mb1ic16ih1280oc16kh3ph1"])
            .stdout(std::process::Stdio::null())
            .spawn()
            .expect("started");
        std::thread::sleep(Duration::from_millis(200));
        let sent = Instant::now();
        kill_process(Pid::from_child(&child), signal).expect("it runs");
        let status = child.wait().expect("it ends");
        assert!(sent.elapsed() < Duration::from_secs(2));
        let by_signal = status.signal() == Some(signal.as_raw());
        let by_code = status.code() == Some(128 + signal.as_raw());
        assert!(by_signal || by_code, "{status:?} after {signal:?}");
    }
}
