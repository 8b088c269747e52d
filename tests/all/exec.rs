//! Tests of `convroof exec` with array files.

use crate::command::{convroof, folder};
use assert_cmd::Command;
use predicates::prelude::*;
use std::path::PathBuf;
use tempfile::TempDir;

/// The bytes of an array in NumPy's format.
fn array(descr: &str, shape: &[usize], elements: &[u8]) -> Vec<u8> {
    let dims: String = shape.iter().map(|d| format!("{d}, ")).collect();
    let text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({dims})}}\n");
    let length = (text.len() as u16).to_le_bytes();
    let header = [b"\x93NUMPY\x01\x00", &length[..], text.as_bytes()].concat();
    [&header[..], elements].concat()
}

/// Elements of f32.
fn f32s(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|x| x.to_le_bytes()).collect()
}

/// A folder with arrays, and the output `y.npy`.
struct Arrays(TempDir);

impl Arrays {
    fn new() -> Self {
        Arrays(folder())
    }

    fn write(&self, name: &str, descr: &str, shape: &[usize], elements: &[u8]) {
        let path = self.0.path().join(name);
        std::fs::write(path, array(descr, shape, elements)).expect("written");
    }

    /// Runs a scalar kernel with operands: options and their files.
    fn exec(&self, algorithm: &str, problem: &str, operands: &[(&str, &str)]) -> Command {
        let mut command = convroof();
        command.current_dir(self.0.path()).arg("exec");
        command.arg(format!("--variant={algorithm}/scalar/st"));
        command.arg(format!("--problem={problem}"));
        for (option, file) in operands {
            command.args([option, file]);
        }
        command.args(["--dst", "y.npy"]);
        command
    }

    fn output(&self) -> PathBuf {
        self.0.path().join("y.npy")
    }

    /// Type and elements of the output, which has this shape.
    fn result(&self, shape: &str) -> (String, Vec<u8>) {
        let bytes = std::fs::read(self.output()).expect("written");
        // As NumPy writes it: two cache lines of header, then the elements.
        let (header, elements) = bytes.split_at(128);
        let header = String::from_utf8_lossy(&header[10..]).into_owned();
        let descr = header
            .strip_prefix("{'descr': '")
            .and_then(|rest| rest.split('\'').next())
            .expect("a type");
        let wanted = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}");
        assert_eq!(header.trim_end(), wanted);
        (descr.into(), elements.into())
    }

    /// Runs with these operands, and expects an error with a part, and no output.
    fn refuses(&self, algorithm: &str, problem: &str, operands: &[(&str, &str)], part: &str) {
        let output = self.exec(algorithm, problem, operands).assert().code(2);
        output.stderr(predicate::str::contains(part));
        assert!(!self.output().exists(), "{part}");
    }
}

#[test]
fn exec_computes_on_arrays() {
    const PROBLEM: &str = "mb1ic1ih3oc2oh3kh3ph1";
    let arrays = Arrays::new();
    arrays.write("x.npy", "<f4", &[1, 1, 3, 3], &f32s(&[1.0; 9]));
    let weights = [[1.0f32; 9], [-1.0; 9]].concat();
    arrays.write("w.npy", "<f4", &[2, 1, 3, 3], &f32s(&weights));
    arrays.write("b.npy", "<f4", &[2], &f32s(&[0.5, -0.5]));
    let operands = |weights| {
        [
            ("--src", "x.npy"),
            ("--weights", weights),
            ("--bias", "b.npy"),
        ]
    };
    let mut run = arrays.exec("direct", PROBLEM, &operands("w.npy"));
    run.assert().success();
    let sums = [4.0, 6.0, 4.0, 6.0, 9.0, 6.0, 4.0, 6.0, 4.0];
    let expected: Vec<f32> = sums
        .iter()
        .map(|s| s + 0.5)
        .chain(sums.iter().map(|s| -s - 0.5))
        .collect();
    assert_eq!(
        arrays.result("(1, 2, 3, 3)"),
        ("<f4".into(), f32s(&expected))
    );

    // The error names the wrong array, and no output is written.
    std::fs::remove_file(arrays.output()).expect("removed");
    arrays.write("short.npy", "<f4", &[2, 1, 3, 2], &f32s(&[1.0; 12]));
    std::fs::write(arrays.0.path().join("text.npy"), "hello").expect("written");
    for (weights, part) in [
        (
            "short.npy",
            "has the shape 2 x 1 x 3 x 2, the problem wants 2 x 1 x 3 x 3",
        ),
        ("text.npy", "not a .npy file"),
        ("missing.npy", "can't read --weights"),
    ] {
        arrays.refuses("direct", PROBLEM, &operands(weights), part);
    }
}

/// A layer of bytes whose outputs can be computed by hand: sums of 4, 6 or 9 products of 3 - 1 and 1 or -1, times 0.5
/// and the channel's scale, plus bias and residual, divided by 2.
#[test]
fn exec_computes_on_bytes() {
    const PROBLEM: &str = "--dt=u8:s8:s8 --attr-scales=src:common:0.5+dst:common:2 --attr-zero-points=src:common:1 mb1ic1ih3oc2oh3kh3ph1";
    let arrays = Arrays::new();
    arrays.write("x.npy", "|u1", &[1, 1, 3, 3], &[3; 9]);
    arrays.write("w.npy", "|i1", &[2, 1, 3, 3], &[[1; 9], [0xff; 9]].concat());
    arrays.write("scales.npy", "<f4", &[2], &f32s(&[1.0, 2.0]));
    arrays.write("b.npy", "<f4", &[2], &f32s(&[4.0, -4.0]));
    let residual = [[2i8; 9], [-100; 9]].concat();
    let residual: Vec<u8> = residual.iter().map(|r| r.cast_unsigned()).collect();
    arrays.write("r.npy", "|i1", &[1, 2, 3, 3], &residual);
    let operands = [
        ("--src", "x.npy"),
        ("--weights", "w.npy"),
        ("--scales", "scales.npy"),
        ("--bias", "b.npy"),
        ("--residual", "r.npy"),
    ];
    arrays
        .exec("implicit-gemm", PROBLEM, &operands)
        .assert()
        .success();
    // 15 / 2 is rounded to the even 8.
    let expected = [
        [5i8, 6, 5, 6, 8, 6, 5, 6, 5],
        [-56, -58, -56, -58, -61, -58, -56, -58, -56],
    ];
    let expected: Vec<u8> = expected
        .concat()
        .iter()
        .map(|y| y.cast_unsigned())
        .collect();
    assert_eq!(arrays.result("(1, 2, 3, 3)"), ("|i1".into(), expected));

    std::fs::remove_file(arrays.output()).expect("removed");
    arrays.write("x32.npy", "<f4", &[1, 1, 3, 3], &f32s(&[3.0; 9]));
    arrays.write("zero.npy", "<f4", &[2], &f32s(&[1.0, 0.0]));
    for (at, file, part) in [
        (
            0,
            "x32.npy",
            "--src x32.npy has the type '<f4', the problem wants uint8: save x.astype(np.uint8)",
        ),
        (1, "x32.npy", "--weights x32.npy has the shape"),
        (2, "x.npy", "--scales x.npy has the shape"),
        (2, "zero.npy", "--scales has 0 for output channel 1"),
        (4, "x.npy", "--residual x.npy has the shape"),
    ] {
        let mut wrong = operands;
        wrong[at].1 = file;
        arrays.refuses("implicit-gemm", PROBLEM, &wrong, part);
    }
}

#[test]
fn scales_belong_to_layers_that_have_them() {
    let arrays = Arrays::new();
    arrays.write("x.npy", "|u1", &[1, 1, 1, 1], &[3]);
    arrays.write("w.npy", "|i1", &[1, 1, 1, 1], &[1]);
    arrays.write("scales.npy", "<f4", &[1], &f32s(&[2.0]));
    let (src, weights) = (("--src", "x.npy"), ("--weights", "w.npy"));
    let with = [src, weights, ("--scales", "scales.npy")];
    let layer = |flags: &str| format!("{flags} mb1ic1ih1oc1oh1kh1");
    let each = layer("--dt=u8:s8:f32 --attr-scales=wei:per_oc");
    for (problem, operands, part) in [
        (&each, &with[..2], "--scales is missing"),
        (
            &layer("--dt=u8:s8:f32 --attr-scales=wei:common:0.5"),
            &with[..],
            "write wei:per_oc in place of wei:common:0.5",
        ),
        (
            &layer("--dt=f32"),
            &with[..],
            "scales and zero points are for sources of u8 and s8",
        ),
    ] {
        arrays.refuses("implicit-gemm", problem, operands, part);
    }
    for problem in [&each, &layer("--dt=u8:s8:f32")] {
        arrays
            .exec("implicit-gemm", problem, &with)
            .assert()
            .success();
        assert_eq!(arrays.result("(1, 1, 1, 1)"), ("<f4".into(), f32s(&[6.0])));
    }
}

/// bf16 as `ml_dtypes` writes it, and as its bits.
#[test]
fn exec_computes_on_bf16() {
    let arrays = Arrays::new();
    // 1.5 and -2, times 2 and 0.5.
    arrays.write("x.npy", "<V2", &[1, 2, 1, 1], &[0xc0, 0x3f, 0x00, 0xc0]);
    arrays.write("w.npy", "<u2", &[1, 2, 1, 1], &[0x00, 0x40, 0x00, 0x3f]);
    let operands = [("--src", "x.npy"), ("--weights", "w.npy")];
    for (dst, descr, expected) in [
        ("bf16", "<V2", vec![0x00, 0x40]),
        ("f32", "<f4", f32s(&[2.0])),
    ] {
        let problem = format!("--dt=bf16:bf16:{dst} mb1ic2ih1oc1oh1kh1");
        arrays
            .exec("implicit-gemm", &problem, &operands)
            .assert()
            .success();
        assert_eq!(arrays.result("(1, 1, 1, 1)"), (descr.into(), expected));
    }
}

#[test]
fn integers_of_32_bits_are_exact() {
    let arrays = Arrays::new();
    // 600 products of 255 and 127, one of which is 255 less: an odd number above 2^24, which is no f32.
    arrays.write("x.npy", "|u1", &[1, 600, 1, 1], &[255; 600]);
    let mut weights = [127; 600];
    weights[77] = 126;
    arrays.write("w.npy", "|i1", &[1, 600, 1, 1], &weights);
    let operands = [("--src", "x.npy"), ("--weights", "w.npy")];
    let problem = "--dt=u8:s8:s32 mb1ic600ih1oc1oh1kh1";
    arrays
        .exec("implicit-gemm", problem, &operands)
        .assert()
        .success();
    let expected = (600 * 255 * 127 - 255i32).to_le_bytes().to_vec();
    assert_eq!(arrays.result("(1, 1, 1, 1)"), ("<i4".into(), expected));

    arrays.write(
        "r.npy",
        "<i4",
        &[1, 1, 1, 1],
        &(-19_430_000i32).to_le_bytes(),
    );
    let problem = "--dt=u8:s8:f32 --attr-post-ops=add:s32:per_tensor mb1ic600ih1oc1oh1kh1";
    let operands = [operands[0], operands[1], ("--residual", "r.npy")];
    arrays
        .exec("implicit-gemm", problem, &operands)
        .assert()
        .success();
    // The sum is rounded to an even number before the addition.
    assert_eq!(
        arrays.result("(1, 1, 1, 1)"),
        ("<f4".into(), f32s(&[744.0]))
    );
}
