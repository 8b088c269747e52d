//! Our end of the pipe to one library.

use super::protocol::{LayerShape, NetworkNode, REPLY, Reply, Request, outputs, receive};
use super::{Peer, ProcessKind, find, python};
use crate::machine::Topology;
use crate::process::{Helper, patience, shortened};
use crate::scratch::Scratch;
use anyhow::{Context, Result, anyhow};
use convroof_kernels::Problem;
use convroof_kernels::cost::Cost;
use convroof_kernels::reference::Operands;
use std::io::{BufReader, Error, ErrorKind};
use std::path::Path;
use std::process::{ChildStdout, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// Source of `host.py`. It is passed to the interpreter as an argument, so no file is written.
const HOST_PY: &str = include_str!("host.py");

/// Upper limit of a plan's bytes; a larger number in a reply is an error.
const MEMORY: u64 = 1 << 46;

/// A process with one library on some threads.
pub struct HostClient {
    host: Helper<(Reply, Vec<f64>)>,
    /// Numbers of the requested output; 0 if none was requested.
    expected: Arc<AtomicUsize>,
    /// The library's name and version.
    pub library: String,
    plans: usize,
    /// Folder for the libraries' files. It is removed with this value, after the process.
    _files: Option<Scratch>,
}

/// A plan in a host.
#[derive(Clone, Debug)]
pub struct HostPlan {
    index: usize,
    /// The library's own name for its implementation.
    pub implementation: String,
    /// Bytes of the weights in the library's layout.
    pub packed_bytes: u64,
    /// Bytes of scratch.
    pub workspace_bytes: u64,
    /// Numbers of its output.
    outputs: usize,
    /// Operations plus bytes of a run, for the time limit.
    work: f64,
}

impl HostClient {
    /// Starts the host of a peer's library on the first `threads` cores. Between requests its process is stopped.
    ///
    /// # Errors
    /// When the library is missing, fails to load, or uses another number of threads.
    pub fn start(
        peer: &Peer,
        folder: &Path,
        topology: &Topology,
        threads: usize,
    ) -> Result<HostClient> {
        let name = format!("peer {}", peer.library);
        let mut files = None;
        let mut command = match peer.kind {
            ProcessKind::Python => {
                let python = python(folder).context("it has no Python: run scripts/peers")?;
                let mut command = Command::new(python);
                let scratch = files.insert(Scratch::new()?);
                command.env("TMPDIR", scratch.path());
                command.args(["-c", HOST_PY, peer.library]);
                command.arg(threads.to_string());
                command
            }
            ProcessKind::Builtin | ProcessKind::Shared(_) => {
                let mut command = Command::new(std::env::current_exe()?);
                command.args(["peer-host", peer.library]);
                command.args(["--threads", &threads.to_string()]);
                if let ProcessKind::Shared(file) = peer.kind {
                    let path = find(folder, file)
                        .with_context(|| format!("there is no {file}: run scripts/peers"))?;
                    command.arg("--path").arg(path);
                }
                command
            }
        };
        // Thread pools of OpenMP libraries: as many threads as ours, on the same cores. They spin between parallel
        // regions, as is their default.
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
            .env("RAYON_NUM_THREADS", threads.to_string());
        let expected = Arc::new(AtomicUsize::new(0));
        let asked = expected.clone();
        let read = move |from: &mut BufReader<ChildStdout>| answer(from, &asked);
        let mut client = HostClient {
            host: Helper::start(&mut command, name, read)?,
            expected,
            library: String::new(),
            plans: 0,
            _files: files,
        };
        match client.host.reply(patience(0.0))?.0 {
            Reply::Hello {
                library,
                version,
                threads: used,
            } => {
                client.library = shortened(&format!("{library} {version}"));
                if used != threads {
                    let what = format!("uses {used} threads, expected {threads}");
                    return Err(client.host.wrong(&what));
                }
            }
            other => return Err(client.unexpected(&other)),
        }
        client.host.pause(true);
        Ok(client)
    }

    /// A plan for a problem.
    ///
    /// # Errors
    /// `Ok(Err(reason))` when the library can't do it; an error when the host fails.
    pub fn plan(&mut self, problem: &Problem, form: &str) -> Result<Result<HostPlan, String>> {
        let Some(layer) = LayerShape::of(problem) else {
            return Ok(Err("peers are not measured on this operation".into()));
        };
        let outputs = layer.outputs();
        let request = Request::Plan {
            problem: problem.to_string(),
            layer,
            form: form.into(),
        };
        self.planned(&request, outputs, work(problem))
    }

    /// A plan for a whole network. `work` is the sum of operations and bytes of a run.
    ///
    /// # Errors
    /// `Ok(Err(reason))` when the library can't do it; an error when the host fails.
    pub fn network(
        &mut self,
        layer: LayerShape,
        nodes: Vec<NetworkNode>,
        work: f64,
    ) -> Result<Result<HostPlan, String>> {
        let outputs = layer.outputs();
        self.planned(&Request::Network { layer, nodes }, outputs, work)
    }

    fn planned(
        &mut self,
        request: &Request,
        outputs: usize,
        work: f64,
    ) -> Result<Result<HostPlan, String>> {
        match self.ask(request, &[], work)?.0 {
            Reply::Planned {
                packed_bytes,
                workspace_bytes,
                ..
            } if packed_bytes.max(workspace_bytes) > MEMORY => {
                let bytes = packed_bytes.max(workspace_bytes);
                Err(self.host.wrong(&format!("reports a plan of {bytes} bytes")))
            }
            Reply::Planned {
                implementation,
                packed_bytes,
                workspace_bytes,
            } => {
                self.plans += 1;
                Ok(Ok(HostPlan {
                    index: self.plans - 1,
                    implementation: shortened(&implementation),
                    packed_bytes,
                    workspace_bytes,
                    outputs,
                    work,
                }))
            }
            Reply::Refused { reason } => Ok(Err(shortened(&reason))),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Sends operands in plain NCHW and OIHW. With `inputs_only` the host keeps its parameters.
    ///
    /// # Errors
    /// When the host fails.
    pub fn load(&mut self, plan: &HostPlan, x: Operands<'_>, inputs_only: bool) -> Result<()> {
        let [weights, bias, scales] = match inputs_only {
            true => [&[][..]; 3],
            false => [x.weights, x.bias, x.scales],
        };
        let request = Request::Load {
            plan: plan.index,
            src: x.src.len(),
            weights: weights.len(),
            bias: bias.len(),
            residual: x.residual.len(),
            scales: scales.len(),
        };
        // Loading may take long: libraries compile and tune their kernels then.
        let floats = [x.src, weights, bias, x.residual, scales];
        match self.ask(&request, &floats, plan.work)?.0 {
            Reply::Done => Ok(()),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Nanoseconds of one run, the mean of `runs`, timed by the host.
    ///
    /// # Errors
    /// When the host fails.
    pub fn time(&mut self, plan: &HostPlan, runs: usize) -> Result<f64> {
        let start = Instant::now();
        let request = Request::Time {
            plan: plan.index,
            runs,
        };
        match self.ask(&request, &[], plan.work * (runs + 1) as f64)?.0 {
            Reply::Took { ns } if ns > 0.0 && ns <= start.elapsed().as_nanos() as f64 => {
                Ok(ns / runs as f64)
            }
            Reply::Took { ns } => {
                let waited = start.elapsed().as_nanos();
                let what = format!("says that a run took {ns} ns, of {waited} ns that it had");
                Err(self.host.wrong(&what))
            }
            other => Err(self.unexpected(&other)),
        }
    }

    /// The output of the last run, in plain NCHW, exactly.
    ///
    /// # Errors
    /// When the host fails.
    pub fn output(&mut self, plan: &HostPlan) -> Result<Vec<f64>> {
        self.expected.store(plan.outputs, Ordering::SeqCst);
        let request = Request::Output { plan: plan.index };
        let bytes = plan.outputs * size_of::<f32>();
        let answer = self.ask(&request, &[], bytes as f64);
        self.expected.store(0, Ordering::SeqCst);
        match answer? {
            (Reply::Output { .. }, output) => Ok(output),
            (other, _) => Err(self.unexpected(&other)),
        }
    }

    /// Deletes every plan.
    ///
    /// # Errors
    /// When the host fails.
    pub fn clear(&mut self) -> Result<()> {
        self.plans = 0;
        match self.ask(&Request::Clear, &[], 0.0)?.0 {
            Reply::Done => Ok(()),
            other => Err(self.unexpected(&other)),
        }
    }

    /// True if it can take requests: a host is ended when it breaks the protocol.
    pub fn alive(&self) -> bool {
        self.host.alive()
    }

    /// One request: resumes the host, waits for its reply, and stops it again.
    fn ask(&mut self, request: &Request, with: &[&[f32]], work: f64) -> Result<(Reply, Vec<f64>)> {
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        let floats = with.iter().map(|part| bytemuck::cast_slice(part).to_vec());
        let parts: Vec<Vec<u8>> = std::iter::once(line).chain(floats).collect();
        let bytes: usize = parts.iter().map(Vec::len).sum();
        self.host.pause(false);
        let reply = self.host.ask(parts, patience(work + bytes as f64));
        self.host.pause(true);
        reply
    }

    /// Handles a reply that doesn't fit the request. A host that only failed or refused can take further requests.
    fn unexpected(&mut self, reply: &Reply) -> anyhow::Error {
        match reply {
            Reply::Failed { reason } | Reply::Refused { reason } => {
                anyhow!("{}: {}", self.host.name(), shortened(reason))
            }
            other => self.host.wrong(&format!("answers {other:?}")),
        }
    }
}

/// A reply, with its numbers if an output of that size was requested.
fn answer(
    from: &mut BufReader<ChildStdout>,
    expected: &AtomicUsize,
) -> std::io::Result<Option<(Reply, Vec<f64>)>> {
    let Some(reply) = receive::<Reply>(from, REPLY)? else {
        return Ok(None);
    };
    let Reply::Output { len, numbers } = reply else {
        return Ok(Some((reply, Vec::new())));
    };
    let asked = expected.swap(0, Ordering::SeqCst);
    if len != asked {
        let what = format!("an output of {len} numbers, expected {asked}");
        return Err(Error::new(ErrorKind::InvalidData, what));
    }
    Ok(Some((reply, outputs(from, len, numbers)?)))
}

/// Nominal operations plus compulsory bytes of a run.
pub(super) fn work(problem: &Problem) -> f64 {
    let cost = Cost::new(problem, 0);
    cost.flops_nominal as f64 + (cost.bytes_read + cost.bytes_written) as f64
}
