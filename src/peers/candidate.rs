//! A peer as a candidate.

use super::{HostClient, HostPlan, Peer};
use crate::escape::note;
use crate::interrupt::Stopped;
use crate::machine::Topology;
use crate::machine::pool::Workers;
use crate::measure::{Candidate, Contestant, Facts};
use crate::record::CandidateId;
use anyhow::Result;
use convroof_kernels::conformance;
use convroof_kernels::cost::{Accuracy, Cost};
use convroof_kernels::probe::Arithmetic;
use convroof_kernels::problem::{DType, Scale};
use convroof_kernels::reference::Operands;
use convroof_kernels::registry::Threading;
use convroof_kernels::{Isa, Problem};
use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;

/// A form of a library on some threads.
pub struct PeerCandidate {
    peer: Peer,
    threads: usize,
    host: Rc<RefCell<Host>>,
}

/// A client that deletes its plans at each new problem, so that a host holds the data of one problem only.
pub struct Host {
    client: HostClient,
    problem: Option<Problem>,
    /// Reason why it takes no further part.
    lost: Option<String>,
}

impl PeerCandidate {
    /// A process for the forms of a library.
    ///
    /// # Errors
    /// When the library is missing or fails to load.
    pub fn host(
        peer: &Peer,
        folder: &Path,
        topology: &Topology,
        threads: usize,
    ) -> Result<Rc<RefCell<Host>>> {
        Ok(Rc::new(RefCell::new(Host {
            client: HostClient::start(peer, folder, topology, threads)?,
            problem: None,
            lost: None,
        })))
    }

    /// A candidate for one of the library's forms.
    pub fn new(peer: Peer, threads: usize, host: Rc<RefCell<Host>>) -> Self {
        PeerCandidate {
            peer,
            threads,
            host,
        }
    }

    /// The library's name and version.
    pub fn library(&self) -> String {
        self.host.borrow().client.library.clone()
    }
}

impl Candidate for PeerCandidate {
    fn id(&self) -> CandidateId {
        let threading = if self.threads == 1 {
            Threading::St
        } else {
            Threading::Mt
        };
        self.peer.id(threading)
    }

    fn threads(&self) -> usize {
        self.threads
    }

    fn isa(&self, arithmetic: Arithmetic) -> Isa {
        arithmetic.best().isa()
    }

    fn accuracy(&self) -> Accuracy {
        // The tolerance is wide: it finds wrong outputs, not inexact ones. A peer may choose any algorithm, including
        // a Winograd with much larger errors. The error stands beside the time, and the report compares equally exact
        // results only.
        Accuracy::Transformed {
            amplification: 512.0,
            channel_terms: 9,
        }
    }

    fn tolerance(&self, problem: &Problem, magnitude: f64, largest: f64) -> f64 {
        let allowed = conformance::tolerance(self.accuracy(), problem, magnitude, largest);
        allowed + freedom(problem, largest)
    }

    fn foreign(&self) -> bool {
        true
    }

    fn plan(&self, problem: &Problem, _: &Topology) -> Result<Box<dyn Contestant>, String> {
        let mut host = self.host.borrow_mut();
        if let Some(reason) = &host.lost {
            return Err(reason.clone());
        }
        let plan = host.on(problem, |client| client.plan(problem, self.peer.form));
        let plan = plan.map_err(|e| format!("{e:#}"))??;
        Ok(Box::new(InHost {
            host: self.host.clone(),
            problem: *problem,
            plan,
        }))
    }
}

/// Allowed error of an integer layer where oneDNN promises fewer bits than the definition has, relative to `largest`, which
/// is max |ref|.
///
/// * It converts sums to f32, also those that the definition stores as they are. Integers up to 2^24 keep their value.
/// * It doesn't round the product of a residual and its scale before the addition. So an output of f32 may differ in its last
///   bits, and an integer by one.
fn freedom(problem: &Problem, largest: f64) -> f64 {
    let (dst, residual) = (problem.dtypes.dst, problem.quantisation.residual);
    if !problem.dtypes.are_integers() || largest == 0.0 {
        return 0.0;
    }
    let epsilon = f64::from(f32::EPSILON);
    let mut allowed = 0.0;
    if dst == DType::S32 && largest > f64::from(1 << 24) {
        allowed += epsilon / 2.0;
    }
    if residual.scale != Scale::ONE {
        let unit = f64::from(u8::from(dst.is_integer()));
        allowed += 4.0 * epsilon + unit / largest;
    }
    allowed
}

impl Host {
    /// Sends a request about a problem. A client that was ended gets no further requests.
    fn on<T>(
        &mut self,
        problem: &Problem,
        ask: impl FnOnce(&mut HostClient) -> Result<T>,
    ) -> Result<T> {
        let fresh = self.problem != Some(*problem);
        let answer = if fresh {
            self.client.clear().and_then(|()| ask(&mut self.client))
        } else {
            ask(&mut self.client)
        };
        self.problem = Some(*problem);
        if let Err(error) = &answer
            && !self.client.alive()
            && self.lost.is_none()
        {
            self.lost = Some(format!("{error:#}"));
            // Ctrl-C ends hosts, too: that needs no note.
            if !error.is::<Stopped>() {
                eprintln!("{}", note(&format!("{error:#}; continuing without it")));
            }
        }
        answer
    }
}

/// A plan in a host.
struct InHost {
    host: Rc<RefCell<Host>>,
    problem: Problem,
    plan: HostPlan,
}

impl Contestant for InHost {
    fn facts(&self) -> Facts {
        // The executed operations are unknown, so the nominal ones stand for them.
        let nominal = Cost::new(&self.problem, 0).flops_nominal;
        let cost = Cost::new(&self.problem, nominal);
        let packed_bytes = self.plan.packed_bytes as usize;
        let bytes = (cost.bytes_read + cost.bytes_written) as usize;
        Facts {
            cost,
            packed_bytes,
            workspace_bytes: self.plan.workspace_bytes as usize,
            table_bytes: 0,
            working_set_bytes: bytes,
            implementation: Some(self.plan.implementation.clone()),
        }
    }

    fn load(&mut self, x: Operands<'_>, inputs_only: bool, _: &Workers) -> Result<()> {
        let mut host = self.host.borrow_mut();
        host.on(&self.problem, |c| c.load(&self.plan, x, inputs_only))
    }

    fn sample(&mut self, runs: usize, _: &Workers) -> Result<f64> {
        let mut host = self.host.borrow_mut();
        host.on(&self.problem, |c| c.time(&self.plan, runs))
    }

    fn run(&mut self, _: usize, _: &Workers) -> bool {
        false
    }

    fn output(&mut self, _: &Workers) -> Result<Vec<f64>> {
        let mut host = self.host.borrow_mut();
        host.on(&self.problem, |c| c.output(&self.plan))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_large_sums_and_scaled_residuals_have_a_tolerance() {
        let of = |flags: &str, largest: f64| {
            let text = format!("{flags} mb1ic16ih9oc24kh1");
            freedom(&text.trim().parse().expect("a problem"), largest)
        };
        for exact in [
            "",
            "--attr-post-ops=add:f32:per_tensor",
            "--dt=u8:s8:u8 --attr-scales=wei:per_oc",
            "--dt=u8:s8:u8 --attr-post-ops=add:u8:per_tensor",
            "--dt=u8:s8:u8 --attr-post-ops=sum:1:3:u8",
            "--dt=u8:s8:s32",
        ] {
            assert_eq!(of(exact, 100.0), 0.0, "{exact}");
        }
        let bytes = of("--dt=u8:s8:u8 --attr-post-ops=sum:0.3:3:u8", 100.0);
        assert!((0.01..0.0101).contains(&bytes), "{bytes}");
        let floats = of("--dt=u8:s8:f32 --attr-post-ops=sum:0.3:0:f32", 100.0);
        assert!((1e-7..1e-6).contains(&floats), "{floats}");
        // 2^25 + 3 lies between 2^25 and 2^25 + 4.
        let sums = of("--dt=u8:s8:s32", 33_554_435.0) * 33_554_435.0;
        assert!((1.0..2.5).contains(&sums), "{sums}");
    }
}
