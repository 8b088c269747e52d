//! The file that keeps the times of tuned plans, one for each machine.

use super::contest::Measured;
use crate::files;
use crate::networks::Graph;
use crate::record::{CandidateId, Text};
use crate::stats::Estimate;
use anyhow::{Context, Result, bail};
use convroof_kernels::Problem;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Value of `kind` in a plan file.
pub const KIND: &str = "convroof-plan";

/// Measured times on one machine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanFile {
    /// Always `convroof-plan`.
    pub kind: String,
    /// Version of the schema: 1.
    pub schema: u32,
    /// Fingerprint of the machine. Times of another machine are not valid here.
    #[serde(deserialize_with = "files::id")]
    pub fingerprint: String,
    /// Networks of which some layers weren't measured, since a signal ended their tuning early.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub incomplete: Vec<Tuning>,
    /// Times, one for each layer and variant.
    pub times: Vec<Time>,
}

/// A network on some images and threads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tuning {
    /// The network.
    pub network: String,
    /// Images.
    pub batch: usize,
    /// Threads.
    pub threads: usize,
}

impl Tuning {
    /// A graph on some threads.
    pub fn of(graph: &Graph, threads: usize) -> Tuning {
        Tuning {
            network: graph.network.name.clone(),
            batch: graph.batch(),
            threads,
        }
    }

    fn has(&self, time: &Time) -> bool {
        (time.network.as_str(), time.batch, time.threads)
            == (self.network.as_str(), self.batch, self.threads)
    }
}

/// A variant's time on a layer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Time {
    /// The network.
    pub network: String,
    /// Images.
    pub batch: usize,
    /// Threads.
    pub threads: usize,
    /// The layer.
    pub layer: String,
    /// Its problem.
    pub problem: Text<Problem>,
    /// `<algorithm>/<isa>/<st|mt>`.
    pub variant: CandidateId,
    /// Time of a run in nanoseconds, estimated from all samples.
    pub ns: f64,
    /// Estimate of the model, nanoseconds.
    pub estimate_ns: f64,
    /// Time over that of the layer's fastest variant, in the rounds that both took part in. Absent in files of older
    /// versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ratio: Option<Estimate>,
}

impl PlanFile {
    /// A plan file without times.
    pub fn new(fingerprint: &str) -> PlanFile {
        PlanFile {
            kind: KIND.into(),
            schema: 1,
            fingerprint: fingerprint.into(),
            incomplete: Vec::new(),
            times: Vec::new(),
        }
    }

    /// Path of a machine's plan file in a folder.
    ///
    /// # Errors
    /// When the fingerprint is not a valid id.
    pub fn path(folder: &Path, fingerprint: &str) -> Result<PathBuf, files::BadId> {
        files::by_id(folder, fingerprint, "json")
    }

    /// Reads the plans of a machine; none if there is no file.
    ///
    /// # Errors
    /// When the file can't be read, is no plan file, or belongs to another machine.
    pub fn load(path: &Path, fingerprint: &str) -> Result<Option<PlanFile>> {
        let text = match std::fs::read_to_string(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            other => other.with_context(|| format!("can't read {}", path.display()))?,
        };
        let file: PlanFile = serde_json::from_str(&text).with_context(|| {
            format!(
                "{} is damaged or no plan file: create it again with convroof tune",
                path.display()
            )
        })?;
        if file.kind != KIND || file.schema != 1 {
            bail!(
                "{} is a {} of schema {}, expected a {KIND} of schema 1",
                path.display(),
                file.kind,
                file.schema
            );
        }
        if file.fingerprint != fingerprint {
            bail!(
                "{} was measured on {}, this is {fingerprint}: create it again with convroof tune",
                path.display(),
                file.fingerprint
            );
        }
        Ok(Some(file))
    }

    /// Writes the file atomically.
    ///
    /// # Errors
    /// When it can't be written.
    fn save(&self, path: &Path) -> Result<(), files::WriteError> {
        let text = serde_json::to_string_pretty(self).expect("plans are JSON");
        files::write(path, &(text + "\n"))
    }

    /// Changes a machine's plan file and returns it. The file is locked and read again before the change, so that
    /// changes by other processes are kept.
    ///
    /// # Errors
    /// Those of [`PlanFile::load`], and when the file can't be written.
    pub fn update(
        path: &Path,
        fingerprint: &str,
        change: impl FnOnce(&mut PlanFile),
    ) -> Result<PlanFile> {
        let _lock = files::Lock::of(path)?;
        let known = PlanFile::load(path, fingerprint)?;
        let mut file = known.unwrap_or_else(|| PlanFile::new(fingerprint));
        change(&mut file);
        file.save(path)?;
        Ok(file)
    }

    /// Replaces a network's old times by new ones. If a signal ended the tuning early, the remaining layers keep
    /// their old times, and the network is listed as incomplete.
    pub fn replace(&mut self, tuning: Tuning, times: Vec<Time>, complete: bool) {
        let old =
            |t: &Time| tuning.has(t) && (complete || times.iter().any(|new| new.layer == t.layer));
        self.times.retain(|t| !old(t));
        self.times.extend(times);
        self.incomplete.retain(|other| *other != tuning);
        if !complete {
            self.incomplete.push(tuning);
        }
    }

    /// Times of a network, by layer and variant. A layer whose problem has changed has none.
    pub fn of(&self, graph: &Graph, threads: usize) -> HashMap<(String, CandidateId), Measured> {
        let network = &graph.network;
        let same = |t: &&Time| {
            t.network == network.name
                && (t.batch, t.threads) == (graph.batch(), threads)
                && network
                    .layer(&t.layer)
                    .is_some_and(|l| t.problem.is(&l.problem))
        };
        let times = self.times.iter().filter(same);
        let measured = |t: &Time| Measured {
            ns: t.ns,
            ratio: t.ratio,
        };
        times
            .map(|t| ((t.layer.clone(), t.variant.clone()), measured(t)))
            .collect()
    }
}
