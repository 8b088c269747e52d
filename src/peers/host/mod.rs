//! The library's end of the pipe: a process that holds one library, its plans and their data.
//!
//! In reading order: `library.rs` (the interface of a library), this file (the loop that answers requests), `gemm.rs`
//! (matrix products in Rust), `onednn/`.

mod gemm;
mod library;
mod onednn;

use super::protocol::{REQUEST, Reply, Request, floats, receive, send};
use anyhow::{Result, bail};
use convroof_kernels::reference::Operands;
use library::{Library, Output, Prepared, Refused};
use std::io::{BufReader, BufWriter};
use std::path::Path;
use std::time::Instant;

/// Serves one library on standard input and output until the input ends. `path` is the file of a shared library.
///
/// # Errors
/// When there is no such library, or the pipe breaks.
pub fn serve(library: &str, path: Option<&Path>, threads: usize) -> Result<()> {
    crate::process::die_with_parent()?;
    if path.is_some() {
        // A shared library has its own threads. Environment variables pin them to cores.
        return answer_all(library, path, threads);
    }
    let cores: Vec<usize> = std::env::var("CONVROOF_CORES")
        .unwrap_or_default()
        .split(',')
        .filter_map(|c| c.parse().ok())
        .collect();
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .start_handler(move |i| {
            if let Some(&id) = cores.get(i) {
                core_affinity::set_for_current(core_affinity::CoreId { id });
            }
        })
        .build_global()?;
    // Inside the pool, parallel work starts without a wake-up from outside.
    rayon::scope(|_| answer_all(library, path, threads))
}

fn answer_all(library: &str, path: Option<&Path>, threads: usize) -> Result<()> {
    let mut from = BufReader::new(std::io::stdin());
    let mut to = BufWriter::new(std::io::stdout());
    let opened: Result<Box<dyn Library>> = match (library, path) {
        ("onednn", Some(path)) => onednn::open(path),
        ("gemm", _) => gemm::open(gemm::Backend::Gemm, threads),
        ("matrixmultiply", _) => gemm::open(gemm::Backend::MatrixMultiply, threads),
        ("rten", _) => gemm::open(gemm::Backend::Rten, threads),
        _ => bail!("unknown peer library '{library}'"),
    };
    let mut library = match opened {
        Ok(library) => library,
        Err(error) => {
            let reason = format!("{error:#}");
            return Ok(send(&mut to, &Reply::Failed { reason }, &[])?);
        }
    };
    let (name, version, threads) = library.hello();
    let hello = Reply::Hello {
        library: name,
        version,
        threads,
    };
    send(&mut to, &hello, &[])?;

    let mut plans: Vec<Box<dyn Prepared>> = Vec::new();
    while let Some(request) = receive::<Request>(&mut from, REQUEST)? {
        let mut output = None;
        let reply = answer(
            request,
            library.as_mut(),
            &mut plans,
            &mut from,
            &mut output,
        );
        let reply = reply.unwrap_or_else(|error| {
            let reason = format!("{error:#}");
            match error.downcast_ref::<Refused>() {
                Some(_) => Reply::Refused { reason },
                None => Reply::Failed { reason },
            }
        });
        let numbers = output.as_ref().map_or(&[][..], Output::bytes);
        send(&mut to, &reply, &[numbers])?;
    }
    Ok(())
}

/// A plan by its index. Refused plans have none.
fn planned(plans: &mut [Box<dyn Prepared>], plan: usize) -> Result<&mut dyn Prepared> {
    match plans.get_mut(plan) {
        Some(plan) => Ok(plan.as_mut()),
        None => bail!("there is no plan {plan}"),
    }
}

fn answer(
    request: Request,
    library: &mut dyn Library,
    plans: &mut Vec<Box<dyn Prepared>>,
    from: &mut BufReader<std::io::Stdin>,
    output: &mut Option<Output>,
) -> Result<Reply> {
    Ok(match request {
        Request::Plan { problem, form, .. } => {
            let plan = library.plan(&problem.parse()?, &form)?;
            let (packed_bytes, workspace_bytes) = plan.memory();
            let implementation = plan.implementation();
            plans.push(plan);
            Reply::Planned {
                implementation,
                packed_bytes,
                workspace_bytes,
            }
        }
        Request::Network { .. } => bail!(Refused("one layer at a time".into())),
        Request::Load {
            plan,
            src,
            weights,
            bias,
            residual,
            scales,
        } => {
            let src = floats(from, src)?;
            let weights = floats(from, weights)?;
            let bias = floats(from, bias)?;
            let residual = floats(from, residual)?;
            let scales = floats(from, scales)?;
            planned(plans, plan)?.load(Operands {
                src: &src,
                weights: &weights,
                bias: &bias,
                residual: &residual,
                scales: &scales,
            })?;
            Reply::Done
        }
        Request::Time { plan, runs } => {
            let plan = planned(plans, plan)?;
            plan.run()?;
            plan.poison();
            let start = Instant::now();
            for _ in 0..runs {
                plan.run()?;
            }
            let ns = start.elapsed().as_nanos() as f64;
            Reply::Took { ns }
        }
        Request::Output { plan } => output.insert(planned(plans, plan)?.output()?).reply(),
        Request::Clear => {
            plans.clear();
            Reply::Done
        }
    })
}
