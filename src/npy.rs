//! NumPy arrays (`.npy`) of f32, with a one-line error for each defect of a file.

use crate::escape::visible;
use crate::files::{self, WriteError};
use anyhow::{Context, Result, anyhow, bail};
use convroof_kernels::problem::excerpt;
use npyz::WriterBuilder;
use std::fs::File;
use std::io::{BufReader, Cursor, Read};
use std::path::Path;

/// Upper limit for the bytes of a header: NumPy's own (`max_header_size` of `numpy.load`). The header parser is slow
/// on long headers.
const MOST_HEADER: usize = 10_000;

/// Upper limit for nested brackets: a structured type has four. The header parser recurses at each.
const MOST_BRACKETS: usize = 8;

/// Upper limit for the characters of an array's type or shape in an error.
const MOST_QUOTED: usize = 80;

/// Reads an operand's array from the file that `flag` names. A problem with this operand has a `shape` and needs the
/// file. A problem without it must have no file: then the array is empty.
///
/// # Errors
/// When the file is missing, not expected or damaged, or its array has another shape or type.
pub fn read(flag: &str, path: Option<&Path>, shape: Option<&[usize]>) -> Result<Vec<f32>> {
    let (path, shape) = match (path, shape) {
        (None, None) => return Ok(Vec::new()),
        (Some(_), None) => bail!("{flag} is given, but the problem has none"),
        (None, Some(_)) => bail!("{flag} is missing: the problem needs it"),
        (Some(path), Some(shape)) => (path, shape),
    };
    let file = File::open(path).with_context(|| format!("can't read {flag} {}", path.display()))?;
    array(BufReader::new(file), shape).map_err(|why| anyhow!("{flag} {} {why}", path.display()))
}

/// Writes an array.
///
/// # Errors
/// When the file can't be written.
pub fn write(path: &Path, values: &[f32], shape: &[usize]) -> Result<(), WriteError> {
    let shape: Vec<u64> = shape.iter().map(|&d| d as u64).collect();
    files::write_with(path, |to| {
        let mut writer = npyz::WriteOptions::new()
            .default_dtype()
            .shape(&shape)
            .writer(to)
            .begin_nd()?;
        writer.extend(values.iter().copied())?;
        writer.finish()
    })
}

/// The elements of an array with the shape `wanted`, or the defect: a phrase that follows the file's name.
fn array(mut file: impl Read, wanted: &[usize]) -> Result<Vec<f32>, String> {
    let header = header(&mut file)?;
    let found = shape(&header.text)?;
    // The crate needs header and data as one stream.
    let file = Cursor::new(header.bytes).chain(file);
    let array = npyz::NpyFile::new(file).map_err(|e| not_one(&e.to_string()))?;
    if array.shape() != found {
        return Err(not_one("its header has two shapes"));
    }
    let as_text = |dims: &[u64]| match dims {
        [] => "of a single number".to_string(),
        _ => dims
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(" x "),
    };
    let wanted: Vec<u64> = wanted.iter().map(|&d| d as u64).collect();
    if found != wanted {
        return Err(format!(
            "has the shape {}, the problem wants {}",
            excerpt(&as_text(&found), MOST_QUOTED),
            as_text(&wanted)
        ));
    }
    if array.order() == npyz::Order::Fortran {
        return Err("is in Fortran order: save np.ascontiguousarray(x)".into());
    }
    let dtype = array.dtype().descr();
    let dtype = visible(&dtype);
    let elements = array.len();
    let values = array.data::<f32>().map_err(|_| {
        format!(
            "has the type {}, expected float32: save x.astype(np.float32)",
            excerpt(&dtype, MOST_QUOTED)
        )
    })?;
    let mut read = Vec::new();
    for value in values {
        match value {
            Ok(value) => read.push(value),
            Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => {
                return Err(format!(
                    "is cut short: it has {} elements of {elements}; copy or save it again",
                    read.len()
                ));
            }
            Err(e) => return Err(format!("can't be read: {e}")),
        }
    }
    Ok(read)
}

fn not_one(why: &str) -> String {
    let why = visible(why);
    format!("is not a .npy file: {}", excerpt(&why, 2 * MOST_QUOTED))
}

struct Header {
    /// All bytes before the data.
    bytes: Vec<u8>,
    /// Text of the header.
    text: String,
}

/// Reads the header and checks that it is short and flat enough for the parser.
fn header(file: &mut impl Read) -> Result<Header, String> {
    let mut bytes = Vec::new();
    let mut take = |file: &mut dyn Read, len: usize| {
        let start = bytes.len();
        let read = file.take(len as u64).read_to_end(&mut bytes);
        match read {
            Err(e) => Err(format!("can't be read: {e}")),
            Ok(read) if read < len => Err(not_one("it ends within its header")),
            Ok(_) => Ok(bytes[start..].to_vec()),
        }
    };
    let start = take(file, 8)?;
    let (b"\x93NUMPY", [major, minor]) = start.split_at(6) else {
        return Err(not_one("it doesn't begin with \\x93NUMPY"));
    };
    let len = match (major, minor) {
        (1, 0) => usize::from(u16::from_le_bytes(
            take(file, 2)?.try_into().expect("two bytes"),
        )),
        (2 | 3, 0) => u32::from_le_bytes(take(file, 4)?.try_into().expect("four bytes")) as usize,
        _ => {
            return Err(format!(
                "has version {major}.{minor} of the format: 1.0, 2.0 and 3.0 are read"
            ));
        }
    };
    if len > MOST_HEADER {
        return Err(format!(
            "has a header of {len} bytes: at most {MOST_HEADER} are read, NumPy's own limit"
        ));
    }
    let text = String::from_utf8(take(file, len)?)
        .map_err(|_| not_one("its header is no text of UTF-8"))?;
    let mut depth = 0usize;
    for c in text.chars() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MOST_BRACKETS {
            return Err(not_one(&format!(
                "its header has more than {MOST_BRACKETS} brackets inside of each other"
            )));
        }
    }
    Ok(Header { bytes, text })
}

/// Parses the shape in a header, in NumPy's notation. This happens before the crate parses it, to refuse shapes whose
/// number of elements overflows.
fn shape(header: &str) -> Result<Vec<u64>, String> {
    let dims = || {
        let (_, behind) = header
            .split_once("'shape':")
            .or_else(|| header.split_once("\"shape\":"))?;
        let (dims, _) = behind.trim_start().strip_prefix('(')?.split_once(')')?;
        let dims = dims.trim().trim_end_matches(',');
        let dims = dims.split(',').filter(|_| !dims.is_empty());
        dims.map(|d| d.trim().parse::<u64>().ok())
            .collect::<Option<Vec<u64>>>()
    };
    let dims = dims()
        .ok_or_else(|| not_one("its header has no shape such as 'shape': (1, 64, 56, 56)"))?;
    // Each dimension counts as at least 1: the crate multiplies them one by one, in both directions, so partial
    // products must not overflow.
    let bytes = dims
        .iter()
        .try_fold(4u64, |bytes, &d| bytes.checked_mul(d.max(1)));
    match bytes.filter(|&bytes| bytes < 1 << 62) {
        Some(_) => Ok(dims),
        None => Err("has a shape of more elements than there can be".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file with this header.
    fn file(version: u8, header: &str, data: &[u8]) -> Vec<u8> {
        let mut bytes = b"\x93NUMPY".to_vec();
        bytes.extend([version, 0]);
        match version {
            1 => bytes.extend((header.len() as u16).to_le_bytes()),
            _ => bytes.extend((header.len() as u32).to_le_bytes()),
        }
        bytes.extend(header.bytes());
        bytes.extend(data);
        bytes
    }

    fn described(descr: &str, order: &str, shape: &str) -> String {
        format!("{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}\n")
    }

    fn little(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|x| x.to_le_bytes()).collect()
    }

    #[test]
    fn arrays_are_read_in_either_byte_order_and_all_versions() {
        let values = [1.5, -2.0, f32::INFINITY, 1e-40, 0.0, 7.0];
        for version in [1, 2, 3] {
            let bytes = file(
                version,
                &described("'<f4'", "False", "(2, 3)"),
                &little(&values),
            );
            assert_eq!(array(&bytes[..], &[2, 3]), Ok(values.to_vec()));
        }
        let big: Vec<u8> = values.iter().flat_map(|x| x.to_be_bytes()).collect();
        let bytes = file(1, &described("'>f4'", "False", "(6,)"), &big);
        assert_eq!(array(&bytes[..], &[6]), Ok(values.to_vec()));
    }

    #[test]
    fn what_is_wrong_is_one_line() {
        let data = little(&[0.0; 6]);
        let plain =
            |descr: &str, order: &str, shape: &str| file(1, &described(descr, order, shape), &data);
        let f4 = |shape: &str| plain("'<f4'", "False", shape);
        let deep = |open: &str, close: &str| {
            let descr = format!("{}'<f4'{}", open.repeat(3000), close.repeat(3000));
            file(2, &described(&descr, "False", "(6,)"), &data)
        };
        let long_name = format!("[('{}', '<f4')]", "x\u{1b}".repeat(2000));
        for (bytes, part) in [
            (Vec::new(), "it ends within its header"),
            (b"\x93NUMPY\x01".to_vec(), "it ends within its header"),
            (b"hello, world".to_vec(), "doesn't begin with \\x93NUMPY"),
            (file(9, "", &[]), "version 9.0 of the format"),
            (file(1, "", &[]), "no shape"),
            (f4("(6,)")[..40].to_vec(), "it ends within its header"),
            (
                f4("(6,)")[..f4("(6,)").len() - 3].to_vec(),
                "cut short: it has 5 elements of 6",
            ),
            (
                file(2, &" ".repeat(10_001), &data),
                "10001 bytes: at most 10000",
            ),
            (
                [&b"\x93NUMPY\x02\x00"[..], &[0xff; 4]].concat(),
                "4294967295 bytes",
            ),
            (deep("(", ",)"), "brackets inside of each other"),
            (deep("[", "]"), "brackets inside of each other"),
            (deep("{", "}"), "brackets inside of each other"),
            (f4("(2, 3)"), "has the shape 2 x 3, the problem wants 6"),
            (f4("()"), "has the shape of a single number"),
            (f4("(0,)"), "has the shape 0,"),
            (f4("(-6,)"), "no shape"),
            (f4("(99999999999999999999,)"), "no shape"),
            (
                f4("(4294967296, 4294967296)"),
                "more elements than there can be",
            ),
            (
                f4("(0, 4294967296, 4294967296, 4294967296)"),
                "more elements",
            ),
            (plain("'<f4'", "True", "(6,)"), "is in Fortran order"),
            (plain("'<f4'", "1", "(6,)"), "is not a .npy file"),
            (
                plain("'|O'", "False", "(6,)"),
                "has the type '|O', expected float32",
            ),
            (
                plain("'<f8'", "False", "(6,)"),
                "has the type '<f8', expected float32",
            ),
            (
                plain("'<f99999999999999999999'", "False", "(6,)"),
                "is not a .npy file",
            ),
            (plain("[('a', '<f4')]", "False", "(6,)"), "expected float32"),
            (plain(&long_name, "False", "(6,)"), "expected float32"),
            (plain("'\u{1b}[2J'", "False", "(6,)"), "is not a .npy file"),
            (plain("'<f4'", "False", "(6,), 'shape': (7,)"), "two shapes"),
            (file(1, "{'shape': (6,)}", &data), "is not a .npy file"),
            (
                [&b"\x93NUMPY\x01\x00\x02\x00"[..], &[0xff, 0xfe]].concat(),
                "no text of UTF-8",
            ),
        ] {
            let error = array(&bytes[..], &[6]).expect_err(part);
            assert!(error.contains(part), "{part}: {error}");
            assert!(
                error.chars().count() < 300 && !error.contains(char::is_control),
                "{error}"
            );
        }
    }

    /// Damaged files: every prefix of a file, and every value of every byte in its header.
    #[test]
    fn damaged_arrays_are_read_or_refused() {
        let bytes = file(
            1,
            &described("'<f4'", "False", "(2, 3)"),
            &little(&[0.0; 6]),
        );
        for len in 0..bytes.len() {
            assert!(array(&bytes[..len], &[2, 3]).is_err());
        }
        for at in 0..bytes.len() - 24 {
            for byte in 0..=255 {
                let mut damaged = bytes.clone();
                damaged[at] = byte;
                let _ = array(&damaged[..], &[2, 3]);
            }
        }
    }
}
