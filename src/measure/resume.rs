//! An interrupted record, opened to be continued on its machine and its CPUs.

use crate::files::Lock;
use crate::machine::{Topology, fingerprint, pool};
use crate::record::{self, Run};
use anyhow::{Context, Result, bail};
use std::path::Path;

/// An interrupted record. It is locked as long as this value exists.
pub struct Resumed {
    /// The record.
    pub run: Run,
    /// Its machine, with workers on the record's CPUs.
    pub topology: Topology,
    _lock: Lock,
}

impl Resumed {
    /// Opens a record. This process stays on the record's CPUs from now on.
    ///
    /// # Errors
    /// When it is no record, another process continues it, it was begun on another machine or other CPUs, or this
    /// program can't parse its problems.
    pub fn open(path: &Path) -> Result<Resumed> {
        // The first load avoids a lock beside a file that is no record. The second sees changes by a process that ended
        // just now.
        record::load(path)?;
        let lock = Lock::now(path)?;
        let run = record::load(path)?;
        let name = path.display();
        let topology = begun_on(&run.conditions.cpus)
            .with_context(|| format!("{name} was begun on other CPUs: start a new record"))?;
        let here = fingerprint::fingerprint(&topology);
        if run.fingerprint.id != here.id {
            bail!(
                "{name} was begun on {}, this is {}",
                run.fingerprint.id,
                here.id
            );
        }
        for layer in &run.layers {
            let problem = layer.problem.parsed();
            problem.with_context(|| name.to_string())?;
        }
        Ok(Resumed {
            run,
            topology,
            _lock: lock,
        })
    }
}

/// The machine with workers on the CPUs of a record. Records of older programs have no list of CPUs.
fn begun_on(cpus: &[usize]) -> Result<Topology> {
    let topology = Topology::detect();
    if cpus.is_empty() || cpus == topology.cores {
        return Ok(topology);
    }
    let numbers: Vec<_> = cpus.iter().map(ToString::to_string).collect();
    pool::confined(&numbers.join(","))
}
