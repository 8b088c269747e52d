//! Problems from files in the format of benchdnn: `--batch=FILE` in place of a problem's sizes.
//!
//! A file has flags and sizes, in any number of lines. A `#` at the beginning of a word starts a comment. A `\` at
//! the end of a line joins its last word and the first of the next line. A flag holds for all following sizes, also
//! in files that are named after it, until it is set again or `--reset` clears all. Values separated by commas are
//! all tried: `--dir=FWD_B,FWD_D`. `--batch=FILE` in a file is searched first beside that file, then in the current
//! folder.
//!
//! ```text
//! --reset
//! --dir=FWD_D,FWD_B --attr-post-ops=,relu     # four combinations
//! mb1ic64ih56oc64oh56kh3ph1n"conv2"
//! --batch=shapes_resnet_50
//! ```
//!
//! A line with ` + ` is a fused layer of two. This is our extension of the format. Such a line has its own flags.

use anyhow::{Context, Result, anyhow, bail};
use convroof_kernels::Problem;
use convroof_kernels::problem::excerpt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Upper limit for the problems of one `--problem`.
const MOST_PROBLEMS: usize = 10_000;
/// Upper limit for the number of files that it reads, repeated ones included.
const MOST_FILES: usize = 1000;
/// Upper limit for the nesting of files.
const MOST_DEPTH: usize = 8;
/// Upper limit for the size of a file, in bytes.
const MOST_BYTES: u64 = 1 << 20;

/// The problems of a text: its own, or those of the files that it names.
///
/// # Errors
/// When a file can't be read, a problem can't be parsed, or there are too many of either.
pub fn problems(text: &str) -> Result<Vec<Problem>> {
    if !text
        .split_whitespace()
        .any(|word| word.starts_with("--batch="))
    {
        return Ok(vec![text.parse()?]);
    }
    let mut reader = Reader::default();
    for word in text.split_whitespace() {
        reader.word(word)?;
    }
    if reader.problems.is_empty() {
        bail!("'{}' names no problem", excerpt(text, 120));
    }
    Ok(reader.problems)
}

#[derive(Default)]
struct Reader {
    problems: Vec<Problem>,
    /// `--conv`, `--pool` and so on. `--reset` keeps it, since benchdnn has one driver per run.
    driver: Option<String>,
    /// Current flags, each with the values to try.
    flags: Vec<(String, Vec<String>)>,
    /// The files that are being read, outermost first.
    open: Vec<PathBuf>,
    files: usize,
}

impl Reader {
    fn word(&mut self, word: &str) -> Result<()> {
        if let Some(name) = word.strip_prefix("--batch=") {
            return self.file(name);
        }
        if word == "--reset" {
            self.flags.clear();
        } else if !word.starts_with('-') {
            self.sizes(word)?;
        } else if let Some((name, values)) = word.split_once('=') {
            let values = values.split(',').map(|value| format!("{name}={value}"));
            self.set(name, values.collect());
        } else if word == "--flip" {
            self.set(word, vec![word.into()]);
        } else {
            self.driver = Some(word.into());
        }
        Ok(())
    }

    fn set(&mut self, name: &str, values: Vec<String>) {
        self.flags.retain(|(other, _)| other != name);
        self.flags.push((name.into(), values));
    }

    /// Adds sizes with every combination of the flags' values. The values of the last flag change fastest.
    fn sizes(&mut self, sizes: &str) -> Result<()> {
        let combinations = self.flags.iter().try_fold(1usize, |all, (_, values)| {
            all.checked_mul(values.len())
                .filter(|&n| n <= MOST_PROBLEMS)
        });
        let combinations = combinations.ok_or_else(too_many)?;
        for index in 0..combinations {
            let (mut rest, mut flags) = (index, Vec::new());
            for (_, values) in self.flags.iter().rev() {
                flags.push(values[rest % values.len()].as_str());
                rest /= values.len();
            }
            flags.extend(self.driver.as_deref());
            flags.reverse();
            flags.push(sizes);
            self.problem(&flags.join(" "))?;
        }
        Ok(())
    }

    fn problem(&mut self, text: &str) -> Result<()> {
        self.problems.push(text.parse()?);
        match self.problems.len() > MOST_PROBLEMS {
            true => Err(too_many()),
            false => Ok(()),
        }
    }

    fn file(&mut self, name: &str) -> Result<()> {
        let shown = excerpt(name, 120);
        let beside = self.open.last().and_then(|file| file.parent());
        let path = beside
            .map(|folder| folder.join(name))
            .filter(|path| path.exists());
        let path = path.unwrap_or_else(|| PathBuf::from(name));
        let canonical = path
            .canonicalize()
            .with_context(|| format!("can't read --batch={shown}"))?;
        if self.open.contains(&canonical) {
            bail!("--batch={shown} names itself (through other files)");
        }
        if self.open.len() == MOST_DEPTH {
            bail!("--batch={shown} is more than {MOST_DEPTH} files deep");
        }
        self.files += 1;
        if self.files > MOST_FILES {
            bail!("--batch={shown} is one of more than {MOST_FILES} files");
        }
        let text = read(&canonical).map_err(|why| anyhow!("--batch={shown} {why}"))?;
        self.open.push(canonical);
        let read = self.lines(&text, &path);
        self.open.pop();
        read
    }

    fn lines(&mut self, text: &str, path: &Path) -> Result<()> {
        // A word that continues in the next line.
        let mut begun = String::new();
        for (number, line) in text.lines().enumerate() {
            self.line(line, &mut begun)
                .with_context(|| format!("{}, line {}", path.display(), number + 1))?;
        }
        match begun.is_empty() {
            true => Ok(()),
            false => self.word(&begun),
        }
    }

    fn line(&mut self, line: &str, begun: &mut String) -> Result<()> {
        let words = line.split_whitespace();
        let mut words: Vec<&str> = words.take_while(|word| !word.starts_with('#')).collect();
        if words.contains(&"+") && begun.is_empty() {
            if !self.flags.is_empty() {
                bail!("a fused layer of two takes no earlier flags: put --reset before it");
            }
            return self.problem(&words.join(" "));
        }
        // The last word may continue in the next line, with or without a space before the `\`.
        let part = words.last().and_then(|last| last.strip_suffix('\\'));
        if let Some(part) = part {
            words.pop();
            words.extend(Some(part).filter(|part| !part.is_empty()));
        }
        let whole = words.len() - usize::from(part.is_some() && !words.is_empty());
        for (at, word) in words.iter().enumerate() {
            begun.push_str(word);
            if at < whole {
                self.word(&std::mem::take(begun))?;
            }
        }
        // An empty line ends a continued word.
        if words.is_empty() && part.is_none() && !begun.is_empty() {
            self.word(&std::mem::take(begun))?;
        }
        Ok(())
    }
}

fn too_many() -> anyhow::Error {
    anyhow!("these are more than {MOST_PROBLEMS} problems")
}

/// A file's text, or the reason why it can't be read.
fn read(path: &Path) -> Result<String, String> {
    let mut text = Vec::new();
    let file = File::open(path).map_err(|e| format!("can't be read: {e}"))?;
    file.take(MOST_BYTES + 1)
        .read_to_end(&mut text)
        .map_err(|e| format!("can't be read: {e}"))?;
    if text.len() as u64 > MOST_BYTES {
        return Err(format!("has more than {MOST_BYTES} bytes"));
    }
    String::from_utf8(text).map_err(|_| "is no text of UTF-8".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with these files.
    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, text) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().expect("inside")).expect("made");
            std::fs::write(path, text).expect("written");
        }
        folder
    }

    fn of(folder: &tempfile::TempDir, flags: &str) -> Result<Vec<String>> {
        let path = folder.path().join("main");
        let problems = problems(&format!("{flags} --batch={}", path.display()))?;
        Ok(problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_text_without_a_file_is_itself() {
        let text = "mb1ic64ih56oc64oh56kh3ph1";
        assert_eq!(problems(text).expect("one").len(), 1);
        assert!(problems("mb1").is_err());
    }

    #[test]
    fn flags_hold_until_they_are_given_again() {
        let main = "# of no network\n--dir=FWD_B,FWD_D \\\n\n--attr-post-ops=, \\\n  re\\\nlu\n\
            ic8ih8oc8kh3ph1n\"a#1\" # --dir=BWD_D\n--reset --mb=1 --alg=wino\n\n  ic8ih8oc8kh1\n--batch=sub/more\nic4ih4oc4kh1";
        let more = "--mb=3 --dir=FWD_B\nic8ih8oc8kh1\n--batch=deep/end";
        let end = "--reset\nic1ih1oc1kh1 ic2ih1oc1kh1\nmb1ic8ih4oc8kh3ph1 + --pool mb1ic8ih4kh2sh2";
        let folder = folder(&[("main", main), ("sub/more", more), ("sub/deep/end", end)]);
        let three = "mb2ic8ih8oc8oh8kh3ph1";
        assert_eq!(
            of(&folder, "--conv").expect("read"),
            [
                format!("--dir=FWD_B {three}"),
                format!("--dir=FWD_B --attr-post-ops=relu {three}"),
                three.into(),
                format!("--attr-post-ops=relu {three}"),
                "mb1ic8ih8oc8oh8kh1ph0".into(),
                "--dir=FWD_B mb3ic8ih8oc8oh8kh1ph0".into(),
                "mb2ic1ih1oc1oh1kh1ph0".into(),
                "mb2ic2ih1oc1oh1kh1ph0".into(),
                "mb1ic8ih4oc8oh4kh3ph1 + --pool --alg=max mb1ic8ih4oh2kh2sh2ph0".into(),
                "mb2ic4ih4oc4oh4kh1ph0".into(),
            ]
        );
    }

    #[test]
    fn a_driver_outside_of_a_file_holds_inside() {
        let folder = folder(&[("main", "--alg=max,avg_p\nmb1ic8ih4kh2sh2")]);
        let pools = ["max", "avg_p"].map(|alg| format!("--pool --alg={alg} mb1ic8ih4oh2kh2sh2ph0"));
        assert_eq!(of(&folder, "--pool").expect("read"), pools);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        let many = "--mb=1,2,3,4,5,6,7,8,9,10\n".to_string() + &"ic1ih1oc1kh1\n".repeat(1001);
        let wide: String = (0..20).map(|i| format!("--flag{i}=,\n")).collect();
        let deep: Vec<(String, String)> = (0..10)
            .map(|i| (format!("deep{i}"), format!("--batch=deep{}", i + 1)))
            .collect();
        let fan = "--batch=fan1\n".repeat(40);
        for (main, part) in [
            (
                "\nic1ih1oc1kh1\nmb1",
                "main, line 3: can't read problem 'mb1'",
            ),
            (
                "--stag=any\n# x\nic1ih1oc1kh1",
                "main, line 3: can't read problem",
            ),
            ("--batch=none", "main, line 1: can't read --batch=none"),
            ("--batch=main", "names itself"),
            ("--batch=b", "b, line 1: --batch=main names itself"),
            ("--batch=deep0", "more than 8 files deep"),
            (&many, "more than 10000 problems"),
            (&(wide + "ic1ih1oc1kh1"), "more than 10000 problems"),
            (&fan, "more than 1000 files"),
            (&"# 34567\n".repeat(140_000), "more than 1048576 bytes"),
            (
                "--dir=FWD_B\nic1ih1oc1kh1 + ic1ih1oc1kh1",
                "--reset before it",
            ),
            ("# nothing", "names no problem"),
            ("--batch=.", "can't be read"),
        ] {
            let mut files = vec![("main", main), ("b", "--batch=main"), ("fan2", "#")];
            let fan1 = "--batch=fan2\n".repeat(40);
            files.push(("fan1", &fan1));
            files.extend(
                deep.iter()
                    .map(|(name, text)| (name.as_str(), text.as_str())),
            );
            let error = of(&folder(&files), "").expect_err(part);
            let error = format!("{error:#}");
            assert!(error.contains(part), "{part}: {error}");
        }
        let folder = folder(&[]);
        std::fs::write(folder.path().join("main"), [0xff, 0xfe]).expect("written");
        let error = of(&folder, "").expect_err("no text").to_string();
        assert!(error.contains("no text of UTF-8"), "{error}");
    }
}
