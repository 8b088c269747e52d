use super::ids::LONGEST_ID;
use super::*;
use std::fs;
use tempfile::{TempDir, tempdir};

fn folder() -> TempDir {
    tempdir().expect("a folder")
}

fn names(folder: &Path) -> Vec<String> {
    let files = fs::read_dir(folder).expect("listed").flatten();
    let mut names: Vec<String> = files
        .map(|f| f.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).expect("read")
}

#[test]
fn a_new_file_gets_its_folder_and_what_the_umask_leaves() {
    let dir = folder();
    let path = dir.path().join("deep/er/a.txt");
    write(&path, "one").expect("written");
    assert_eq!(text(&path), "one");
    let beside = dir.path().join("plain");
    File::create(&beside).expect("created");
    let mode = |path: &Path| fs::metadata(path).expect("there").permissions();
    assert_eq!(mode(&path), mode(&beside));
    assert_eq!(names(path.parent().expect("a folder")), ["a.txt"]);
}

#[test]
fn a_file_is_replaced_whole_or_stays_as_it_was() {
    let dir = folder();
    let path = dir.path().join("a.txt");
    fs::write(&path, "old").expect("written");
    let error = write_with(&path, |to| {
        to.write_all(b"half")?;
        Err(Error::other("the source is gone"))
    });
    let error = error.expect_err("half").to_string();
    assert!(
        error.contains("a.txt") && error.contains("the source is gone"),
        "{error}"
    );
    assert_eq!(
        (text(&path), names(dir.path())),
        ("old".into(), vec!["a.txt".to_string()])
    );
    // A reader that has the old file open still reads the old text.
    let mut open = File::open(&path).expect("opened");
    write(&path, "new").expect("written");
    let mut old = String::new();
    std::io::Read::read_to_string(&mut open, &mut old).expect("read");
    assert_eq!((old.as_str(), text(&path).as_str()), ("old", "new"));
    assert_eq!(names(dir.path()), ["a.txt"]);
}

#[test]
fn what_can_be_no_file_is_refused() {
    let dir = folder();
    let inside = |name: &str| dir.path().join(name);
    fs::write(inside("file"), "").expect("written");
    for path in [
        PathBuf::new(),
        dir.path().into(),
        inside("new/"),
        inside(".."),
        inside("file/below"),
    ] {
        write(&path, "x").expect_err("no file");
        check(&path).expect_err("no file");
    }
    assert_eq!(names(dir.path()), ["file"]);
}

#[test]
fn a_check_leaves_nothing_and_changes_nothing() {
    let dir = folder();
    let old = dir.path().join("old");
    fs::write(&old, "text").expect("written");
    check(&old).expect("can be written");
    check(&dir.path().join("deep/er/new")).expect("can be written");
    assert_eq!(
        (names(dir.path()), text(&old)),
        (vec!["old".to_string()], "text".into())
    );
}

#[test]
fn files_of_one_second_are_all_kept() {
    let dir = folder();
    let found: Vec<PathBuf> = std::thread::scope(|scope| {
        let new = |i: usize| {
            let dir = dir.path();
            scope.spawn(move || write_new(dir, "now", "json", &i.to_string()).expect("written"))
        };
        let all: Vec<_> = (0..8).map(new).collect();
        all.into_iter()
            .map(|t| t.join().expect("no panic"))
            .collect()
    });
    for (i, path) in found.iter().enumerate() {
        assert_eq!(text(path), i.to_string(), "{}", path.display());
    }
    let expected = ["now-02.json", "now-03.json", "now-04.json", "now-05.json"];
    let all = names(dir.path());
    assert_eq!(
        (all.len(), &all[..4], all[7].as_str()),
        (8, &expected.map(String::from)[..], "now.json")
    );
}

#[test]
fn a_lock_is_one_holders() {
    let dir = folder();
    let path = dir.path().join("plans/a.json");
    let lock = Lock::of(&path).expect("free");
    let error = Lock::now(&path).expect_err("taken").to_string();
    assert!(error.contains("another convroof is at work"), "{error}");
    drop(lock);
    drop(Lock::now(&path).expect("free again"));
    Lock::of(&path).expect("free again");
}

#[test]
fn ids_lead_nowhere() {
    let long = "a".repeat(LONGEST_ID);
    for good in ["amd-epyc-9354-2c-0a1b2c", "x", "-", &long] {
        let path = by_id(Path::new("folder"), good, "json").expect("an id");
        assert_eq!(path, Path::new("folder").join(format!("{good}.json")));
    }
    let longer = "a".repeat(LONGEST_ID + 1);
    for bad in [
        "",
        "../../x",
        "a/b",
        "/etc/x",
        "a\\b",
        "a.b",
        "..",
        "A",
        "a b",
        "a\n",
        "a\0",
        "\u{e4}",
        "\u{1b}[2J",
        &longer,
    ] {
        let error = by_id(Path::new("folder"), bad, "json")
            .expect_err("no id")
            .to_string();
        assert!(
            error.chars().all(|c| !c.is_control()) && error.len() < 300,
            "{error}"
        );
    }
}

#[cfg(unix)]
mod unix {
    use super::*;
    use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("there").mode() & 0o7777
    }

    #[test]
    fn the_mode_of_a_file_is_kept() {
        let dir = folder();
        let path = dir.path().join("a.txt");
        fs::write(&path, "old").expect("written");
        for wanted in [0o600, 0o644, 0o666, 0o755] {
            fs::set_permissions(&path, fs::Permissions::from_mode(wanted)).expect("set");
            write(&path, "new").expect("written");
            assert_eq!(mode(&path), wanted);
        }
    }

    #[test]
    fn a_file_that_is_write_protected_is_not_replaced() {
        let dir = folder();
        let path = dir.path().join("a.txt");
        fs::write(&path, "old").expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o444)).expect("set");
        if OpenOptions::new().write(true).open(&path).is_ok() {
            return; // The superuser may write to any file.
        }
        check(&path).expect_err("protected");
        write(&path, "new").expect_err("protected");
        assert_eq!(text(&path), "old");
    }

    #[test]
    fn a_link_stays_and_its_file_is_written() {
        let dir = folder();
        let inside = |name: &str| dir.path().join(name);
        fs::create_dir(inside("there")).expect("made");
        fs::write(inside("there/file"), "old").expect("written");
        symlink("there/file", inside("first")).expect("linked");
        symlink("first", inside("second")).expect("linked");
        symlink("there/none-yet", inside("dangling")).expect("linked");
        symlink("loop", inside("loop")).expect("linked");
        for (link, file) in [("second", "there/file"), ("dangling", "there/none-yet")] {
            check(&inside(link)).expect("can be written");
            write(&inside(link), link).expect("written");
            assert_eq!(text(&inside(file)), link);
            let kind = fs::symlink_metadata(inside(link)).expect("there");
            assert!(kind.is_symlink());
        }
        let error = write(&inside("loop"), "x").expect_err("a loop").to_string();
        assert!(error.contains("too many symbolic links"), "{error}");
        assert_eq!(names(&inside("there")), ["file", "none-yet"]);
    }

    /// The devices are reached by links, so that a fault replaces a link and not the machine's device.
    #[test]
    fn devices_are_written_to_and_stay() {
        let dir = folder();
        let link = dir.path().join("device");
        symlink("/dev/null", &link).expect("linked");
        write(&link, "x").expect("written");
        assert!(is_stream(&link));
        let there = fs::symlink_metadata(&link).expect("there");
        assert!(there.is_symlink());
        let device = fs::metadata("/dev/null").expect("there").file_type();
        assert!(device.is_char_device());
        if Path::new("/dev/full").exists() {
            fs::remove_file(&link).expect("removed");
            symlink("/dev/full", &link).expect("linked");
            write(&link, "x").expect_err("full");
        }
        assert_eq!(names(dir.path()), ["device"]);
    }

    #[test]
    fn a_fifo_is_written_to_and_stays() {
        let dir = folder();
        let fifo = dir.path().join("fifo");
        let made = std::process::Command::new("mkfifo").arg(&fifo).status();
        assert!(made.expect("mkfifo").success());
        check(&fifo).expect("can be written");
        let reader = std::thread::spawn({
            let fifo = fifo.clone();
            move || fs::read_to_string(fifo).expect("read")
        });
        write(&fifo, "through the pipe").expect("written");
        assert_eq!(reader.join().expect("no panic"), "through the pipe");
        let kind = fs::symlink_metadata(&fifo).expect("there").file_type();
        assert!(kind.is_fifo());
        assert_eq!(names(dir.path()), ["fifo"]);
    }

    #[test]
    fn an_open_file_is_written_to_by_its_number() {
        let folders = ["/proc/self/fd", "/dev/fd"];
        let Some(numbers) = folders.into_iter().find(|f| Path::new(f).is_dir()) else {
            return;
        };
        use std::os::fd::AsRawFd;
        let dir = folder();
        let path = dir.path().join("a.txt");
        let mut file = File::create(&path).expect("created");
        file.write_all(b"before ").expect("written");
        let inode = fs::metadata(&path).expect("there").ino();
        let name = PathBuf::from(format!("{numbers}/{}", file.as_raw_fd()));
        assert!(is_stream(&name));
        write(&name, "behind").expect("written");
        assert_eq!(
            (text(&path).as_str(), names(dir.path())),
            ("before behind", vec!["a.txt".to_string()])
        );
        assert_eq!(fs::metadata(&path).expect("there").ino(), inode);
    }
}
