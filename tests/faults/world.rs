//! Environment of one test: its folders, and a mark that all its processes inherit.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use tempfile::TempDir;

pub(crate) const PROBLEM: &str = "mb1ic16ih8oc16oh8kh3ph1";

/// Environment variable that every process of a test inherits.
const MARK: &str = "CONVROOF_TEST_MARK";

pub(crate) struct World {
    folder: TempDir,
    mark: String,
}

/// The program under test.
pub(crate) fn program() -> PathBuf {
    assert_cmd::cargo::cargo_bin!("convroof").into()
}

/// Path of this test program, which is also the fake.
pub(crate) fn fake() -> PathBuf {
    std::env::current_exe().expect("a file")
}

pub(crate) fn json(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).expect("read")).expect("JSON")
}

impl World {
    pub(crate) fn new() -> World {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let folder = crate::command::folder();
        let number = COUNT.fetch_add(1, Ordering::SeqCst);
        std::fs::create_dir(folder.path().join("tmp")).expect("made");
        // Put the fake at the path of a Python host.
        let bin = folder.path().join("peers/venv/bin");
        std::fs::create_dir_all(&bin).expect("made");
        #[cfg(unix)]
        std::os::unix::fs::symlink(fake(), bin.join("python")).expect("linked");
        let mark = format!("{}-{number}", std::process::id());
        World { folder, mark }
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Folder for temporary files of all started programs.
    pub(crate) fn tmp(&self) -> PathBuf {
        self.file("tmp")
    }

    /// Command of the program under test, with a separate folder for temporary files.
    pub(crate) fn command(&self) -> Command {
        self.command_of(program())
    }

    /// Command of any program, in this environment.
    pub(crate) fn command_of(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .env("TMPDIR", self.tmp())
            .env(MARK, &self.mark)
            .env("CONVROOF_PATIENCE", "1")
            .env("CONVROOF_FAKE_FILE", self.file("asked"))
            .stdin(Stdio::null());
        command
    }

    /// Command of a bench of one layer, with a peer's host if the build has peers. It resumes a record that already has
    /// ceilings, since calibration takes longest.
    pub(crate) fn bench(&self, record: &Path) -> Command {
        std::fs::write(record, calibrated()).expect("written");
        let mut bench = self.command();
        bench.args(["bench", "--variant", "direct/scalar/st", "--resume"]);
        bench.arg(record);
        if cfg!(feature = "peers") {
            bench.arg("--peers=onnxruntime").arg("--peers-from");
            bench.arg(self.file("peers"));
        }
        bench
    }

    /// Processes of this test that still run.
    pub(crate) fn survivors(&self) -> Vec<String> {
        let mark = format!("{MARK}={}\0", self.mark);
        let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let own = processes.filter(|process| {
            let environment = std::fs::read(process.path().join("environ")).unwrap_or_default();
            String::from_utf8_lossy(&environment).contains(&mark)
        });
        own.map(|process| {
            let line = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            format!(
                "{} {}",
                process.file_name().display(),
                line.chars().take(120).collect::<String>()
            )
        })
        .collect()
    }

    /// Waits until no process is left; fails if some stay.
    pub(crate) fn assert_no_survivors(&self) {
        for _ in 0..100 {
            if self.survivors().is_empty() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        panic!("still there: {:?}", self.survivors());
    }

    /// Asserts that no process and no temporary file is left.
    pub(crate) fn assert_empty(&self) {
        self.assert_no_survivors();
        let left = crate::command::walk(&self.tmp());
        let folders = std::fs::read_dir(self.tmp()).expect("listed").count();
        assert!(left.is_empty() && folders == 0, "left behind: {left:?}");
    }
}

/// A record of one layer without measurements.
fn calibrated() -> &'static str {
    static RECORD: OnceLock<String> = OnceLock::new();
    RECORD.get_or_init(|| {
        let folder = crate::command::folder();
        let path = folder.path().join("record.json");
        let mut bench = Command::new(program());
        bench.args([
            "bench",
            "--problem",
            PROBLEM,
            "--variant",
            "direct/scalar/st",
        ]);
        bench.args(["--threads", "1", "--budget", "0.1", "--out"]);
        let out = bench.arg(&path).output().expect("started");
        assert!(
            out.status.success(),
            "{}",
            String::from_utf8_lossy(&out.stderr)
        );
        let mut record = json(&path);
        for list in ["measurements", "refusals"] {
            record[list] = Vec::<Value>::new().into();
        }
        record["complete"] = false.into();
        record.to_string()
    })
}
