//! The gate's end of the pipe to one build.

use super::Pair;
use super::protocol::{PROTOCOL, Reply, Request, hear, say};
use anyhow::{Context, Result, anyhow, bail};
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

/// A worker may think this long before it counts as hung: a reference of a large layer takes a while.
const PATIENCE: Duration = Duration::from_secs(300);

/// One of the two sides: a program, and what to call it.
#[derive(Clone, Debug)]
pub struct Side {
    /// `A` or `B`.
    pub letter: char,
    /// For people: a revision, or a file.
    pub label: String,
    /// The program.
    pub program: PathBuf,
}

/// A worker's process. It ends with this value, or with this process.
pub struct Client {
    child: Child,
    to: Option<ChildStdin>,
    from: Receiver<std::io::Result<Reply>>,
    name: String,
    plans: usize,
    /// Every variant that the build has for this CPU.
    pub variants: Vec<String>,
    /// Whether it was built without optimisation.
    pub debug: bool,
}

/// A plan in a worker.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    /// Its number.
    pub plan: usize,
    /// Time of a run, roughly.
    pub ns: f64,
    /// Memory that it takes.
    pub bytes: u64,
    /// A hash of its output.
    pub output: String,
}

/// What came of asking for a plan.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// Ready.
    Planned(Planned),
    /// It can't, and why.
    Refused(String),
    /// Its output isn't the reference's.
    Wrong(String),
}

impl Client {
    /// Starts a side's worker.
    ///
    /// # Errors
    /// When the program can't be run, or is older than this gate.
    pub fn start(side: &Side) -> Result<Client> {
        let name = format!("{} ({})", side.letter, side.label);
        let mut child = command(&side.program)
            .spawn()
            .with_context(|| format!("{name} can't be started: {}", side.program.display()))?;
        let to = child.stdin.take();
        let mut output = BufReader::new(child.stdout.take().expect("piped"));
        let (sender, from) = channel();
        std::thread::spawn(move || {
            while let Some(message) = hear::<Reply>(&mut output).transpose() {
                let broken = message.is_err();
                if sender.send(message).is_err() || broken {
                    return;
                }
            }
        });
        let mut client = Client {
            child,
            to,
            from,
            name,
            plans: 0,
            variants: Vec::new(),
            debug: false,
        };
        match client.reply() {
            Ok(Reply::Hello {
                protocol,
                variants,
                debug,
            }) if protocol >= PROTOCOL => {
                client.variants = variants;
                client.debug = debug;
                Ok(client)
            }
            _ => bail!(
                "{} has no `convroof worker`, so it can't take turns: it is older than this gate, or no convroof; \
                 record both with `convroof bench --out FILE` and use `convroof compare`",
                client.name
            ),
        }
    }

    /// Makes a pair ready.
    ///
    /// # Errors
    /// When the worker is in trouble.
    pub fn plan(&mut self, pair: &Pair, check: bool) -> Result<Answer> {
        let request = Request::Plan {
            problem: pair.problem.clone(),
            variant: pair.variant.clone(),
            threads: pair.threads,
            check,
        };
        Ok(match self.ask(&request)? {
            Reply::Planned { ns, bytes, output } => {
                self.plans += 1;
                Answer::Planned(Planned {
                    plan: self.plans - 1,
                    ns,
                    bytes,
                    output,
                })
            }
            Reply::Refused { reason } => Answer::Refused(reason),
            Reply::Wrong { reason } => Answer::Wrong(reason),
            other => return Err(self.unexpected(&other)),
        })
    }

    /// Nanoseconds of one run, the mean of `runs`, each with `delay_ns` lost on purpose.
    ///
    /// # Errors
    /// When the worker is in trouble.
    pub fn time(&mut self, plan: usize, runs: usize, delay_ns: f64) -> Result<f64> {
        let request = Request::Time {
            plan,
            runs,
            delay_ns,
        };
        match self.ask(&request)? {
            Reply::Took { ns } if ns > 0.0 => Ok(ns),
            other => Err(self.unexpected(&other)),
        }
    }

    /// The FMA peak of a plan's instruction set and threads, GFLOP/s.
    ///
    /// # Errors
    /// When the worker is in trouble.
    pub fn peak(&mut self, plan: usize) -> Result<f64> {
        match self.ask(&Request::Peak { plan })? {
            Reply::Peak { gflops } => Ok(gflops),
            other => Err(self.unexpected(&other)),
        }
    }

    /// A hash of what a plan's output is now.
    ///
    /// # Errors
    /// When the worker is in trouble.
    pub fn output(&mut self, plan: usize) -> Result<String> {
        match self.ask(&Request::Output { plan })? {
            Reply::Output { output } => Ok(output),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Lets a plan run for some time, and calls `look` with the process's id meanwhile.
    ///
    /// # Errors
    /// When the worker is in trouble.
    pub fn linger(&mut self, plan: usize, ms: u64, look: impl FnOnce(u32)) -> Result<()> {
        self.say(&Request::Linger { plan, ms })?;
        look(self.child.id());
        match self.reply()? {
            Reply::Done => Ok(()),
            other => Err(self.unexpected(&other)),
        }
    }

    fn ask(&mut self, request: &Request) -> Result<Reply> {
        self.say(request)?;
        self.reply()
    }

    fn say(&mut self, request: &Request) -> Result<()> {
        let to = self.to.as_mut().expect("open until the end");
        say(to, request).map_err(|_| self.gone())
    }

    fn reply(&mut self) -> Result<Reply> {
        match self.from.recv_timeout(PATIENCE) {
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(error)) => Err(anyhow!(
                "{} says what nobody understands: {error}",
                self.name
            )),
            Err(RecvTimeoutError::Timeout) => {
                bail!("{} said nothing for {} s", self.name, PATIENCE.as_secs())
            }
            Err(RecvTimeoutError::Disconnected) => Err(self.gone()),
        }
    }

    fn gone(&mut self) -> anyhow::Error {
        match self.child.wait() {
            Ok(status) => anyhow!("{} ended early ({status})", self.name),
            Err(error) => anyhow!("{} is lost: {error}", self.name),
        }
    }

    fn unexpected(&self, reply: &Reply) -> anyhow::Error {
        match reply {
            Reply::Failed { reason } => anyhow!("{}: {reason}", self.name),
            other => anyhow!("{} answers {other:?}", self.name),
        }
    }
}

/// How a worker is started. In a process group of its own: Ctrl-C is the gate's to answer.
fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .arg("worker")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    command
}

impl Drop for Client {
    fn drop(&mut self) {
        drop(self.to.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
