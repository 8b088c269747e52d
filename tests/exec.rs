//! Tests of `convroof exec` with array files.

mod command;

use command::{convroof, folder};
use predicates::prelude::*;
use std::path::Path;

/// The header of an array of f32 in NumPy's format.
fn header(shape: &[usize]) -> Vec<u8> {
    let dims: String = shape.iter().map(|d| format!("{d}, ")).collect();
    let text = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({dims})}}\n");
    let length = (text.len() as u16).to_le_bytes();
    [b"\x93NUMPY\x01\x00", &length[..], text.as_bytes()].concat()
}

/// Writes an array of f32 in NumPy's format.
fn npy(path: &Path, shape: &[usize], values: &[f32]) {
    let values = values.iter().flat_map(|x| x.to_le_bytes());
    let bytes: Vec<u8> = header(shape).into_iter().chain(values).collect();
    std::fs::write(path, bytes).expect("written");
}

#[test]
fn exec_computes_on_arrays() {
    let dir = folder();
    let path = |name: &str| dir.path().join(name);
    npy(&path("x.npy"), &[1, 1, 3, 3], &[1.0; 9]);
    npy(
        &path("w.npy"),
        &[2, 1, 3, 3],
        &[[1.0f32; 9], [-1.0; 9]].concat(),
    );
    npy(&path("b.npy"), &[2], &[0.5, -0.5]);
    let exec = |weights: &str| {
        let mut command = convroof();
        command.args([
            "exec",
            "--variant",
            "direct/scalar/st",
            "--problem",
            "mb1ic1ih3oc2oh3kh3ph1",
        ]);
        command
            .arg("--src")
            .arg(path("x.npy"))
            .arg("--weights")
            .arg(path(weights));
        command
            .arg("--bias")
            .arg(path("b.npy"))
            .arg("--dst")
            .arg(path("y.npy"));
        command
    };
    exec("w.npy").assert().success();
    let bytes = std::fs::read(path("y.npy")).expect("written");
    // As NumPy writes it: two cache lines of header, then the elements.
    let (header, values) = bytes.split_at(128);
    let header = String::from_utf8_lossy(&header[10..]);
    let wanted = "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2, 3, 3), }";
    assert_eq!(header.trim_end(), wanted);
    let values: Vec<f32> = values
        .as_chunks()
        .0
        .iter()
        .map(|&bytes| f32::from_le_bytes(bytes))
        .collect();
    let sums = [4.0, 6.0, 4.0, 6.0, 9.0, 6.0, 4.0, 6.0, 4.0];
    let expected: Vec<f32> = sums
        .iter()
        .map(|s| s + 0.5)
        .chain(sums.iter().map(|s| -s - 0.5))
        .collect();
    assert_eq!(values, expected);

    // The error names the wrong array, and no output is written.
    std::fs::remove_file(path("y.npy")).expect("removed");
    npy(&path("short.npy"), &[2, 1, 3, 2], &[1.0; 12]);
    std::fs::write(path("text.npy"), "hello").expect("written");
    for (weights, part) in [
        (
            "short.npy",
            "has the shape 2 x 1 x 3 x 2, the problem wants 2 x 1 x 3 x 3",
        ),
        ("text.npy", "not a .npy file"),
        ("missing.npy", "can't read --weights"),
    ] {
        exec(weights)
            .assert()
            .code(2)
            .stderr(predicate::str::contains(part));
        assert!(!path("y.npy").exists());
    }
}
