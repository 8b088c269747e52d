//! The suite's end of the pipe to one library.

use super::protocol::{Layer, Reply, Request, floats, receive, send};
use super::{Kind, Peer, find, python};
use crate::machine::Topology;
use anyhow::{Context, Result, anyhow, bail};
use convroof_kernels::Problem;
use convroof_kernels::reference::Operands;
use std::io::{BufReader, BufWriter, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// A host may think this long before it counts as hung: first calls compile and tune.
const PATIENCE: Duration = Duration::from_secs(60);

/// What `host.py` is: written beside nothing, handed to the interpreter.
const HOST_PY: &str = include_str!("host.py");

/// A process with one library, on some threads.
pub struct Client {
    child: Child,
    to: BufWriter<ChildStdin>,
    from: Receiver<std::io::Result<(Reply, Vec<f32>)>>,
    name: String,
    /// The library's name and version.
    pub library: String,
    plans: usize,
}

/// A plan in a host.
#[derive(Clone, Debug)]
pub struct Prepared {
    index: usize,
    /// The name that the library has for what it runs.
    pub implementation: String,
    /// Bytes of weights as the library keeps them.
    pub packed_bytes: u64,
    /// Bytes of scratch.
    pub workspace_bytes: u64,
}

impl Client {
    /// Starts the host of a peer's library on the first `threads` cores, and leaves it stopped.
    ///
    /// # Errors
    /// When the library is missing, was refused, or uses another number of threads.
    pub fn start(
        peer: &Peer,
        folder: &Path,
        topology: &Topology,
        threads: usize,
    ) -> Result<Client> {
        let name = format!("peer {}", peer.library);
        let mut command = match peer.kind {
            Kind::Python => {
                let python = python(folder).context("it has no Python: run scripts/peers")?;
                let mut command = Command::new(python);
                command.args(["-c", HOST_PY, peer.library]);
                command.arg(threads.to_string());
                command
            }
            Kind::Builtin | Kind::Shared(_) => {
                let mut command = Command::new(std::env::current_exe()?);
                command.args(["peer-host", peer.library]);
                command.args(["--threads", &threads.to_string()]);
                if let Kind::Shared(file) = peer.kind {
                    let path = find(folder, file)
                        .with_context(|| format!("there is no {file}: run scripts/peers"))?;
                    command.arg("--path").arg(path);
                }
                command
            }
        };
        // Pools of OpenMP libraries: as many threads as ours, on the same cores, spinning between
        // parallel regions as they do by default (the process is stopped between its turns).
        let cores: Vec<String> = topology.cores[..threads]
            .iter()
            .map(|c| format!("{{{c}}}"))
            .collect();
        command
            .env(
                "CONVROOF_CORES",
                topology.cores[..threads]
                    .iter()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>()
                    .join(","),
            )
            .env("OMP_NUM_THREADS", threads.to_string())
            .env("OMP_PLACES", cores.join(","))
            .env("OMP_PROC_BIND", "true")
            .env("OMP_DYNAMIC", "false")
            .env("RAYON_NUM_THREADS", threads.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = command
            .spawn()
            .with_context(|| format!("{name} can't be started"))?;
        let to = BufWriter::new(child.stdin.take().expect("piped"));
        let mut output = BufReader::new(child.stdout.take().expect("piped"));
        let (sender, from) = channel();
        std::thread::spawn(move || {
            loop {
                let message = match receive::<Reply>(&mut output) {
                    Ok(None) => return,
                    Ok(Some(Reply::Output { len })) => {
                        floats(&mut output, len).map(|floats| (Reply::Output { len }, floats))
                    }
                    Ok(Some(reply)) => Ok((reply, Vec::new())),
                    Err(error) => Err(error),
                };
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
            library: String::new(),
            plans: 0,
        };
        match client.reply()?.0 {
            Reply::Hello {
                library,
                version,
                threads: used,
            } => {
                if used != threads {
                    bail!("{library} uses {used} threads, not the {threads} that it was told");
                }
                client.library = format!("{library} {version}");
            }
            other => return Err(client.unexpected(&other)),
        }
        client.pause(true);
        Ok(client)
    }

    /// A plan for a problem.
    ///
    /// # Errors
    /// `Ok(Err(reason))` when the library can't; an error when the host is in trouble.
    pub fn plan(&mut self, problem: &Problem, form: &str) -> Result<Result<Prepared, String>> {
        let Some(layer) = Layer::of(problem) else {
            return Ok(Err("not asked of peers".into()));
        };
        let request = Request::Plan {
            problem: problem.to_string(),
            layer,
            form: form.into(),
        };
        self.planned(&request)
    }

    /// A plan for a whole network.
    ///
    /// # Errors
    /// `Ok(Err(reason))` when the library can't; an error when the host is in trouble.
    pub fn network(&mut self, request: &Request) -> Result<Result<Prepared, String>> {
        self.planned(request)
    }

    fn planned(&mut self, request: &Request) -> Result<Result<Prepared, String>> {
        match self.ask(request, &[])?.0 {
            Reply::Planned {
                implementation,
                packed_bytes,
                workspace_bytes,
            } => {
                self.plans += 1;
                Ok(Ok(Prepared {
                    index: self.plans - 1,
                    implementation,
                    packed_bytes,
                    workspace_bytes,
                }))
            }
            Reply::Refused { reason } => Ok(Err(reason)),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Hands over operands in plain NCHW and OIHW; parameters stay as they are if `inputs_only`.
    ///
    /// # Errors
    /// When the host is in trouble.
    pub fn load(&mut self, plan: &Prepared, x: Operands<'_>, inputs_only: bool) -> Result<()> {
        let (weights, bias) = if inputs_only {
            (&[][..], &[][..])
        } else {
            (x.weights, x.bias)
        };
        let request = Request::Load {
            plan: plan.index,
            src: x.src.len(),
            weights: weights.len(),
            bias: bias.len(),
            residual: x.residual.len(),
        };
        match self.ask(&request, &[x.src, weights, bias, x.residual])?.0 {
            Reply::Done => Ok(()),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Nanoseconds of one run, the mean of `runs`, timed by the host.
    ///
    /// # Errors
    /// When the host is in trouble.
    pub fn time(&mut self, plan: &Prepared, runs: usize) -> Result<f64> {
        let plan = plan.index;
        match self.ask(&Request::Time { plan, runs }, &[])?.0 {
            Reply::Took { ns } => Ok(ns / runs as f64),
            other => Err(self.unexpected(&other)),
        }
    }

    /// The output of the last run, in plain NCHW.
    ///
    /// # Errors
    /// When the host is in trouble.
    pub fn output(&mut self, plan: &Prepared) -> Result<Vec<f32>> {
        let plan = plan.index;
        match self.ask(&Request::Output { plan }, &[])? {
            (Reply::Output { .. }, floats) => Ok(floats),
            (other, _) => Err(self.unexpected(&other)),
        }
    }

    /// Forgets every plan.
    ///
    /// # Errors
    /// When the host is in trouble.
    pub fn clear(&mut self) -> Result<()> {
        self.plans = 0;
        match self.ask(&Request::Clear, &[])?.0 {
            Reply::Done => Ok(()),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Whether the process is still there.
    pub fn alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// One turn: the host goes on, answers, and is stopped again.
    fn ask(&mut self, request: &Request, with: &[&[f32]]) -> Result<(Reply, Vec<f32>)> {
        self.pause(false);
        let sent = send(&mut self.to, request, with);
        let reply = sent.map_err(|_| self.gone()).and_then(|()| self.reply());
        self.pause(true);
        reply
    }

    fn reply(&mut self) -> Result<(Reply, Vec<f32>)> {
        match self.from.recv_timeout(PATIENCE) {
            Ok(Ok(message)) => Ok(message),
            Ok(Err(error)) => Err(anyhow!(
                "{} says what nobody understands: {error}",
                self.name
            )),
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {
                let _ = self.child.kill();
                bail!("{} said nothing for {} s", self.name, PATIENCE.as_secs())
            }
            Err(_) => Err(self.gone()),
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
            Reply::Failed { reason } | Reply::Refused { reason } => {
                anyhow!("{}: {reason}", self.name)
            }
            other => anyhow!("{} answers {other:?}", self.name),
        }
    }

    /// Stops the process, or lets it go on.
    fn pause(&self, pause: bool) {
        #[cfg(unix)]
        {
            use rustix::process::{Pid, Signal, kill_process};
            let signal = if pause { Signal::STOP } else { Signal::CONT };
            if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
                // A process that is gone is noticed when it is asked something.
                let _ = kill_process(pid, signal);
            }
        }
        #[cfg(not(unix))]
        let _ = pause;
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.to.flush();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
