//! Measured gates on disk: one file each, so that an interrupted audit continues.

use crate::files;
use crate::machine::fingerprint;
use crate::regress::ab::gate::Measured;
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The two kinds of gates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GateKind {
    /// A program against itself.
    Same,
    /// A program against itself, with injected slow-downs.
    Slowed,
}

impl GateKind {
    /// Name of the kind in names of files and messages.
    pub(super) fn name(self) -> &'static str {
        match self {
            GateKind::Same => "same",
            GateKind::Slowed => "slowed",
        }
    }
}

/// One measured gate on disk.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct GateFile {
    kind: String,
    schema: u32,
    #[serde(deserialize_with = "files::id")]
    fingerprint: String,
    started: String,
    revision: Option<String>,
    budget_s: f64,
    measured: Measured,
}

const KIND: &str = "convroof-gate";
const SCHEMA: u32 = 1;

/// A machine's folder of gates of one budget.
pub(super) struct Gates {
    folder: PathBuf,
    /// Id of the machine.
    fingerprint: String,
    /// Measuring time of a gate, seconds.
    budget_s: f64,
}

impl Gates {
    /// The gates in a folder.
    pub(super) fn of(folder: PathBuf, fingerprint: &str, budget_s: f64) -> Gates {
        Gates {
            folder,
            fingerprint: fingerprint.into(),
            budget_s,
        }
    }

    /// The folder.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    fn path(&self, kind: GateKind, number: usize) -> PathBuf {
        self.folder
            .join(format!("{}-{:02}.json", kind.name(), number + 1))
    }

    /// True if the gate with this number, from 0, is measured.
    pub(super) fn has(&self, kind: GateKind, number: usize) -> bool {
        self.path(kind, number).exists()
    }

    /// All gates of a kind, up to the first missing number.
    ///
    /// # Errors
    /// When a file is damaged, or of a newer program or another budget.
    pub(super) fn load_all(&self, kind: GateKind) -> Result<Vec<Measured>> {
        let numbers = (0..).take_while(|&i| self.has(kind, i));
        numbers.map(|i| self.load(kind, i)).collect()
    }

    /// The gate with this number.
    ///
    /// # Errors
    /// Those of [`Gates::load_all`].
    pub(super) fn load(&self, kind: GateKind, number: usize) -> Result<Measured> {
        let (path, budget) = (self.path(kind, number), self.budget_s);
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("can't read {}", path.display()))?;
        let damaged = || format!("{} is damaged or no gate of an audit", path.display());
        let value: serde_json::Value = serde_json::from_str(&text).with_context(damaged)?;
        if value["schema"].as_u64() > Some(u64::from(SCHEMA)) {
            bail!(
                "{} has schema {}, this program reads up to {SCHEMA}: use the convroof that wrote it, or a newer one",
                path.display(),
                value["schema"]
            );
        }
        let file: GateFile = serde_json::from_value(value).with_context(damaged)?;
        if file.budget_s != budget {
            bail!(
                "{} has a budget of {} s, expected {budget} s: use the same --budget, or move the folder away",
                path.display(),
                file.budget_s
            );
        }
        Ok(file.measured)
    }

    /// Writes a gate that began at `started`.
    ///
    /// # Errors
    /// When the file can't be written.
    pub(super) fn save(
        &self,
        kind: GateKind,
        number: usize,
        started: String,
        measured: Measured,
    ) -> Result<()> {
        let file = GateFile {
            kind: KIND.into(),
            schema: SCHEMA,
            fingerprint: self.fingerprint.clone(),
            started,
            revision: fingerprint::tool().git_revision,
            budget_s: self.budget_s,
            measured,
        };
        let text = serde_json::to_string(&file)? + "\n";
        Ok(files::write(&self.path(kind, number), &text)?)
    }
}
