//! Pages about a folder of records: from one machine or many, of one run or many.
//!
//! Whatever runs the jobs gathers their records in a folder. `index.html` there lists machines, runs and networks.
//! `fleet.html` compares the machines. Each record also has its own report beside it.
//!
//! In reading order: this file (records and pages), `nodes.rs` (facts of a record), `table.rs` (comparison of machines).

mod nodes;
mod table;

use crate::claims::session as claims;
use crate::escape;
use crate::files::{self, WriteError};
use crate::record;
use crate::report::document::Source;
use crate::report::{html, rows};
use crate::units::plural;
use minijinja::Value;
use minijinja::value::Serde;
use nodes::{Node, newest};
use serde::Serialize;
use std::path::{Path, PathBuf};
use table::{Changing, Line, Outlier};

const INDEX: &str = include_str!("index.html");
const FLEET: &str = include_str!("fleet.html");

/// Depth of folders that are searched: DIR/MACHINE/runs/RECORD.json.
const DEPTH: usize = 3;

/// Reason why a folder has no pages.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// No file in it is a record with measurements.
    #[error("{} has no record with measurements: {why}", folder.display())]
    None {
        /// The folder.
        folder: PathBuf,
        /// Reason for the first file.
        why: String,
    },
    /// A page can't be written.
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// Written pages.
#[derive(Debug)]
pub struct Pages {
    /// The list of all records.
    pub index: PathBuf,
    /// Files that are not in the pages, each with the reason.
    pub left_out: Vec<String>,
}

/// True for a folder of gathered records: it has no runs of its own, but JSON files.
pub fn is_one(folder: &Path) -> bool {
    !folder.join("runs").exists() && !found(folder).is_empty()
}

/// All JSON files of a folder, sorted. Links to folders are not followed.
fn found(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    gather(folder, DEPTH, &mut files);
    files.sort();
    files
}

fn gather(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() && depth > 1 => gather(&path, depth - 1, files),
            Ok(kind) if kind.is_file() && path.extension().is_some_and(|e| e == "json") => {
                files.push(path);
            }
            _ => {}
        }
    }
}

/// Writes the report of each record in a folder, and the pages about all of them.
///
/// # Errors
/// When there is no record, or a page can't be written.
pub fn write(folder: &Path) -> Result<Pages, FleetError> {
    let (mut nodes, mut left_out) = (Vec::new(), Vec::new());
    for path in found(folder) {
        match node(&path, folder)? {
            Ok(node) => nodes.push(node),
            Err(why) => left_out.push(format!("left out: {why}")),
        }
    }
    if nodes.is_empty() {
        return Err(FleetError::None {
            folder: folder.to_path_buf(),
            why: left_out.into_iter().next().unwrap_or_default(),
        });
    }
    let index = folder.join("index.html");
    files::write(&index, &index_page(&nodes))?;
    files::write(&folder.join("fleet.html"), &fleet_page(&nodes))?;
    Ok(Pages { index, left_out })
}

/// Writes the report of a record. Returns its facts, or the reason why it has none.
fn node(path: &Path, folder: &Path) -> Result<Result<Node, String>, WriteError> {
    let run = match record::load(path) {
        Ok(run) if run.measurements.is_empty() => {
            return Ok(Err(format!("{} has no measurements", path.display())));
        }
        Ok(run) => run,
        Err(error) => return Ok(Err(error.to_string())),
    };
    let rows = rows(&run);
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    let source = Source {
        file: &file,
        run: &run,
        claims: &claims::load(folder, &run.fingerprint.id),
    };
    let page = path.with_extension("html");
    files::write(&page, &html::page(&[(source, &rows)], None))?;
    let relative = |path: &Path| path.strip_prefix(folder).unwrap_or(path).to_path_buf();
    Ok(Ok(Node::new(
        relative(path),
        link(&relative(&page)),
        &run,
        &rows,
    )))
}

/// A relative path as an address.
fn link(path: &Path) -> String {
    let encoded = |part: &str| -> String {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-~".contains(&b);
        let one = |b: u8| match plain(b) {
            true => char::from(b).to_string(),
            false => format!("%{b:02X}"),
        };
        part.bytes().map(one).collect()
    };
    let parts = path
        .components()
        .map(|part| encoded(&part.as_os_str().to_string_lossy()));
    format!("./{}", parts.collect::<Vec<_>>().join("/"))
}

/// A machine with its records.
#[derive(Serialize)]
struct Machine<'a> {
    id: &'a str,
    title: &'a str,
    runs: Vec<&'a Node>,
}

/// Machines by their ids. Runs are in the order of their time.
fn machines(nodes: &[Node]) -> Vec<Machine<'_>> {
    let mut sorted: Vec<&Node> = nodes.iter().collect();
    sorted.sort_by(|a, b| (&a.id, &a.started, &a.file).cmp(&(&b.id, &b.started, &b.file)));
    let groups = sorted.chunk_by(|a, b| a.id == b.id);
    groups
        .map(|runs| Machine {
            id: &runs[0].id,
            title: &runs[0].title,
            runs: runs.to_vec(),
        })
        .collect()
}

/// All data of the list.
#[derive(Serialize)]
struct IndexPage<'a> {
    style: String,
    counts: String,
    machines: Vec<Machine<'a>>,
}

fn index_page(nodes: &[Node]) -> String {
    let machines = machines(nodes);
    let page = IndexPage {
        style: html::style(),
        counts: format!(
            "{} of {}",
            plural(nodes.len(), "record"),
            plural(machines.len(), "machine")
        ),
        machines,
    };
    escape::page(INDEX, Value::from(Serde(&page)))
}

/// All data of the comparison.
#[derive(Serialize)]
struct FleetPage {
    style: String,
    /// Each machine as its newest records show it.
    machines: Vec<Node>,
    networks: Vec<Line>,
    changes: Vec<Changing>,
    outliers: Vec<Outlier>,
    rule: String,
}

fn fleet_page(nodes: &[Node]) -> String {
    let machines = machines(nodes);
    let machines: Vec<Node> = machines.iter().filter_map(|m| newest(&m.runs)).collect();
    let shown: Vec<&Node> = machines.iter().collect();
    let page = FleetPage {
        style: html::style(),
        networks: table::networks(&shown),
        changes: table::changes(&shown),
        outliers: table::outliers(nodes),
        rule: table::rule(),
        machines,
    };
    escape::page(FLEET, Value::from(Serde(&page)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Run;
    use crate::record::tests::sample;

    fn saved(folder: &Path, name: &str, run: &Run) {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        record::save(run, &path).expect("saved");
    }

    fn read(path: &Path) -> String {
        std::fs::read_to_string(path).expect("a page")
    }

    #[test]
    fn a_folder_of_records_has_pages() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut other = sample();
        other.fingerprint.id = "other".into();
        other.fingerprint.cpu_model = Some("<b>CPU".into());
        saved(dir.path(), "one/runs/a b.json", &sample());
        saved(dir.path(), "two/b.json", &other);
        std::fs::write(dir.path().join("c.json"), "{}").expect("written");
        assert!(is_one(dir.path()) && !is_one(&dir.path().join("one")));
        let pages = write(dir.path()).expect("pages");
        assert_eq!(pages.left_out.len(), 1);
        assert!(pages.left_out[0].starts_with("left out: "), "{pages:?}");
        let index = read(&pages.index);
        for text in [
            "2 records of 2 machines",
            "href=\"./one/runs/a%20b.html\"",
            "href=\"./two/b.html\"",
            "href=\"./fleet.html\"",
            "&lt;b&gt;CPU",
            "conv2_x.3x3, 1 thread: compute bound",
        ] {
            assert!(index.contains(text), "{text}");
        }
        assert!(index.contains("script-src 'none'"), "{index}");
        let fleet = read(&dir.path().join("fleet.html"));
        assert!(fleet.contains("resnet50, 1 thread") && fleet.contains("&lt;b&gt;CPU"));
        assert!(read(&dir.path().join("one/runs/a b.html")).contains("</html>"));
    }

    #[test]
    fn a_folder_without_records_has_no_pages() {
        let dir = tempfile::tempdir().expect("a folder");
        assert!(!is_one(dir.path()));
        std::fs::write(dir.path().join("c.json"), "{}").expect("written");
        let error = write(dir.path()).expect_err("no record").to_string();
        assert!(error.contains("has no record with measurements"), "{error}");
    }

    #[test]
    fn addresses_are_relative_and_plain() {
        assert_eq!(
            link(Path::new("a/java script:ü.html")),
            "./a/java%20script%3A%C3%BC.html"
        );
    }
}
