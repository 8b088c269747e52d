//! A fake worker or host that answers correctly until one chosen request.

use convroof::regress::ab::protocol as ab;
use std::io::Write;
use std::time::Duration;

/// A fake with its fault.
struct Fake<'a> {
    /// Request at which it fails, then the kind of fault.
    stage: &'a str,
    fault: &'a str,
}

/// Serves as a fake if this program was started as a worker or host. Returns true if so.
pub(crate) fn serve(fault: &str) -> bool {
    let (stage, fault) = fault.split_once(':').expect("STAGE:FAULT");
    let fake = Fake { stage, fault };
    let args: Vec<String> = std::env::args().collect();
    match args[1].as_str() {
        "worker" => fake.worker(),
        // Called like Python: `-c SCRIPT LIBRARY THREADS`.
        #[cfg(feature = "peers")]
        "-c" => fake.host(),
        _ => return false,
    }
    true
}

fn write(bytes: &[u8]) {
    let mut out = std::io::stdout().lock();
    if out.write_all(bytes).and_then(|()| out.flush()).is_err() {
        std::process::exit(0);
    }
}

fn hang() -> ! {
    loop {
        std::thread::sleep(Duration::from_secs(1000));
    }
}

impl Fake<'_> {
    /// Answers a request correctly, or with the fault at its stage.
    fn answer(&self, stage: &str, right: &str) {
        if stage != self.stage {
            return write(right.as_bytes());
        }
        if let Some(file) = std::env::var_os("CONVROOF_FAKE_FILE") {
            let _ = std::fs::write(file, stage);
        }
        let took = |ns: &str| write(format!("{{\"is\":\"took\",\"ns\":{ns}}}\n").as_bytes());
        match self.fault {
            "close" => std::process::exit(0),
            "exit" => std::process::exit(3),
            "half" => {
                write(&right.as_bytes()[..right.len() / 2]);
                std::process::exit(0);
            }
            "closed" => {
                // Standard output closes, but the process continues.
                let mut sleep = std::process::Command::new("sleep");
                sleep.arg("1000").stdout(std::process::Stdio::null());
                use std::os::unix::process::CommandExt;
                let error = sleep.exec();
                panic!("{error}");
            }
            "endless" => loop {
                write(&[b'x'; 65536]);
            },
            "flood" => loop {
                write(b"{\"is\":\"done\"}\n");
            },
            "utf8" => write(b"\xff\xfe{\"is\":\"done\"}\xff\n"),
            "deep" => write(("[".repeat(50_000) + "\n").as_bytes()),
            "null" => write(b"null\n"),
            "hang" => hang(),
            "stubborn" => {
                use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
                for signal in [SIGTERM, SIGINT, SIGHUP] {
                    let flag = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
                    signal_hook::flag::register(signal, flag).expect("registered");
                }
                hang()
            }
            // From here on it doesn't read.
            "deaf" => hang(),
            "stderr" => loop {
                let _ = std::io::stderr().write_all(&[b'x'; 65536]);
            },
            "order" => write(b"{\"is\":\"done\"}\n"),
            "orphans" => {
                // A child of the fake continues and keeps the pipe open.
                let sleep = std::process::Command::new("sleep").arg("1000").spawn();
                sleep.expect("started");
                std::process::exit(0);
            }
            "twice" => write(right.repeat(2).as_bytes()),
            "nan" => took("NaN"),
            "zero" if stage == "time" => took("0"),
            "negative" if stage == "time" => took("-5"),
            "huge" => took("1e250"),
            "infinite" => took("1e999"),
            "text" => took("\"fast\""),
            "bytes" => write(right.replace("1000", "18446744073709551615").as_bytes()),
            "zero" => write(right.replace("100000.0", "0.0").as_bytes()),
            "threads" => write(right.replace("\"threads\":1", "\"threads\":7").as_bytes()),
            "output" => write(b"{\"is\":\"output\",\"len\":1024}\n"),
            "longer" => write(b"{\"is\":\"output\",\"len\":1025}\n"),
            "shorter" => write(b"{\"is\":\"output\",\"len\":1023}\n"),
            "negative" => write(b"{\"is\":\"output\",\"len\":-1}\n"),
            "type" => write(b"{\"is\":\"output\",\"len\":1024,\"numbers\":\"f64\"}\n"),
            "most" => write(b"{\"is\":\"output\",\"len\":18446744073709551615}\n"),
            "cut" => {
                write(b"{\"is\":\"output\",\"len\":1024}\n");
                write(&[0; 1000]);
                std::process::exit(0);
            }
            other => panic!("no fault {other}"),
        }
    }

    fn worker(&self) {
        let mut from = std::io::stdin().lock();
        self.answer(
            "hello",
            "{\"is\":\"hello\",\"protocol\":1,\"variants\":[\"direct/scalar/st\"],\"debug\":false}\n",
        );
        while let Ok(Some(request)) = ab::hear::<ab::Request>(&mut from) {
            let planned = "{\"is\":\"planned\",\"ns\":100000.0,\"bytes\":1000,\"output\":\"x\"}\n";
            match request {
                ab::Request::Plan { .. } => self.answer("plan", planned),
                ab::Request::Time { runs, .. } => {
                    std::thread::sleep(Duration::from_micros(100 * runs as u64));
                    self.answer("time", "{\"is\":\"took\",\"ns\":100000.0}\n");
                }
                ab::Request::Peak { .. } => {
                    self.answer("peak", "{\"is\":\"peak\",\"gflops\":9.0}\n");
                }
                ab::Request::Output { .. } => {
                    self.answer("output", "{\"is\":\"output\",\"output\":\"x\"}\n");
                }
                ab::Request::Linger { .. } => self.answer("linger", "{\"is\":\"done\"}\n"),
            }
        }
    }

    #[cfg(feature = "peers")]
    fn host(&self) {
        use convroof::peers::protocol::{REQUEST, Request, floats, receive};
        let mut from = std::io::stdin().lock();
        self.answer(
            "hello",
            "{\"is\":\"hello\",\"library\":\"fake\",\"version\":\"1\",\"threads\":1}\n",
        );
        while let Ok(Some(request)) = receive::<Request>(&mut from, REQUEST) {
            let planned = "{\"is\":\"planned\",\"implementation\":\"none\",\"packed_bytes\":1000,\"workspace_bytes\":0}\n";
            match request {
                Request::Plan { .. } | Request::Network { .. } => self.answer("plan", planned),
                Request::Clear => self.answer("clear", "{\"is\":\"done\"}\n"),
                Request::Load {
                    src,
                    weights,
                    bias,
                    residual,
                    ..
                } => {
                    if self.stage == "load" {
                        self.answer("load", "");
                    }
                    let all = src + weights + bias + residual;
                    floats(&mut from, all).expect("operands");
                    write(b"{\"is\":\"done\"}\n");
                }
                Request::Time { runs, .. } => {
                    std::thread::sleep(Duration::from_micros(100 * runs as u64));
                    let ns = 100_000.0 * runs as f64;
                    self.answer("time", &format!("{{\"is\":\"took\",\"ns\":{ns}}}\n"));
                }
                Request::Output { .. } => {
                    if self.stage == "output" {
                        self.answer("output", "");
                    }
                    write(b"{\"is\":\"output\",\"len\":1024}\n");
                    write(&[0; 4096]);
                }
            }
        }
    }
}
