//! NumPy arrays (`.npy`) of each element type, with a one-line error for each defect of a file.
//!
//! A file is `\x93NUMPY`, a version, the length of the header, the header, and the elements. The header is a Python
//! dictionary: `{'descr': '<f4', 'fortran_order': False, 'shape': (1, 64, 56, 56), }`
//! (numpy.org/doc/stable/reference/generated/numpy.lib.format.html).
//!
//! NumPy has no bf16. The Python package `ml_dtypes` adds it, and NumPy writes such an array as two bytes without a
//! meaning (`<V2`). Arrays of the bits (`<u2`) are read, too.

use crate::escape::visible;
use crate::files::{self, WriteError};
use anyhow::{Context, Result, anyhow, bail};
use convroof_kernels::dtype::{Bf16, DType};
use convroof_kernels::problem::excerpt;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

const MAGIC: &[u8; 6] = b"\x93NUMPY";

/// Upper limit for the bytes of a header: NumPy's own (`max_header_size` of `numpy.load`).
const MOST_HEADER: usize = 10_000;

/// The elements begin at a multiple of this many bytes.
const ALIGNED: usize = 64;

/// Upper limit for the characters of an array's type or shape in an error.
const MOST_QUOTED: usize = 80;

/// Bytes of the largest element.
const LARGEST: usize = 4;

/// Representation of an element type in arrays.
struct Format {
    dtype: DType,
    /// Names in NumPy's notation, without the byte order. The first is written.
    codes: &'static [&'static str],
    /// Name of the type in Python.
    name: &'static str,
    /// Python that makes such an array of `x`.
    conversion: &'static str,
    /// Value of an element. Its bytes come first, the least significant one leading, and zeros follow.
    decode: fn([u8; LARGEST]) -> f32,
    /// Bytes of an element with this value, the least significant one first. The others are ignored.
    encode: fn(f64) -> [u8; LARGEST],
}

/// The formats, one for each element type. s32 is read as the nearest f32, with which kernels compute.
const FORMATS: [Format; 5] = [
    Format {
        dtype: DType::F32,
        codes: &["f4"],
        name: "float32",
        conversion: "x.astype(np.float32)",
        decode: f32::from_le_bytes,
        encode: |y| (y as f32).to_le_bytes(),
    },
    Format {
        dtype: DType::Bf16,
        codes: &["V2", "u2", "bfloat16"],
        name: "bfloat16",
        conversion: "x.astype(ml_dtypes.bfloat16), or its bits as uint16",
        decode: |[low, high, ..]| Bf16::from_bits(u16::from_le_bytes([low, high])).to_f32(),
        encode: |y| u32::from(Bf16::from_f32(y as f32).to_bits()).to_le_bytes(),
    },
    Format {
        dtype: DType::S8,
        codes: &["i1"],
        name: "int8",
        conversion: "x.astype(np.int8)",
        decode: |[byte, ..]| f32::from(byte.cast_signed()),
        encode: |y| (y as i32).to_le_bytes(),
    },
    Format {
        dtype: DType::U8,
        codes: &["u1"],
        name: "uint8",
        conversion: "x.astype(np.uint8)",
        decode: |[byte, ..]| f32::from(byte),
        encode: |y| (y as i32).to_le_bytes(),
    },
    Format {
        dtype: DType::S32,
        codes: &["i4"],
        name: "int32",
        conversion: "x.astype(np.int32)",
        decode: |bytes| i32::from_le_bytes(bytes) as f32,
        encode: |y| (y as i32).to_le_bytes(),
    },
];

impl Format {
    /// The format of an element type.
    fn of(dtype: DType) -> &'static Format {
        let found = FORMATS.iter().find(|format| format.dtype == dtype);
        found.expect("each type has a format")
    }

    /// The type in NumPy's notation, as it is written.
    fn descr(&self) -> String {
        let order = if self.dtype.size() == 1 { '|' } else { '<' };
        format!("{order}{}", self.codes[0])
    }

    /// True if a header's type, with its quotes, is that of big-endian elements of this format, false for little-endian
    /// ones. None for another type.
    fn is_big_endian(&self, descr: &str) -> Option<bool> {
        let unquoted = |quote: char| descr.strip_prefix(quote)?.strip_suffix(quote);
        let descr = unquoted('\'').or_else(|| unquoted('"'))?;
        let code = descr.trim_start_matches(['<', '>', '|']);
        let known = descr.len() - code.len() <= 1 && self.codes.contains(&code);
        known.then(|| descr.starts_with('>'))
    }

    /// Value of an element in its file.
    fn value(&self, element: &[u8], is_big_endian: bool) -> f32 {
        let mut bytes = [0; LARGEST];
        let own = &mut bytes[..element.len()];
        own.copy_from_slice(element);
        if is_big_endian {
            own.reverse();
        }
        (self.decode)(bytes)
    }
}

/// Reads an operand's array from the file that `flag` names. A problem with this operand has a `shape` and needs the
/// file. A problem without it must have no file: then the array is empty. The elements have the type `dtype`.
///
/// # Errors
/// When the file is missing, not expected or damaged, or its array has another shape or type.
pub fn read(
    flag: &str,
    path: Option<&Path>,
    shape: Option<&[usize]>,
    dtype: DType,
) -> Result<Vec<f32>> {
    let (path, shape) = match (path, shape) {
        (None, None) => return Ok(Vec::new()),
        (Some(_), None) => bail!("{flag} is given, but the problem has none"),
        (None, Some(_)) => bail!("{flag} is missing: the problem needs it"),
        (Some(path), Some(shape)) => (path, shape),
    };
    let file = File::open(path).with_context(|| format!("can't read {flag} {}", path.display()))?;
    array(BufReader::new(file), shape, dtype)
        .map_err(|why| anyhow!("{flag} {} {why}", path.display()))
}

/// Writes an array with elements of type `dtype`, which hold the `values` exactly.
///
/// # Errors
/// When the file can't be written.
pub fn write(path: &Path, values: &[f64], shape: &[usize], dtype: DType) -> Result<(), WriteError> {
    let dims: String = shape.iter().map(|d| format!("{d}, ")).collect();
    let dims = match shape {
        [_] => dims.trim_end(),
        _ => dims.trim_end_matches(", "),
    };
    let format = Format::of(dtype);
    let descr = format.descr();
    let mut header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({dims}), }}");
    // The length of the header takes two bytes, the line ends with a line feed.
    let before = MAGIC.len() + 4;
    let padded = (before + header.len() + 1).next_multiple_of(ALIGNED) - before;
    header = format!("{header:<0$}\n", padded - 1);
    let length = u16::try_from(header.len()).expect("a header of few dimensions");
    files::write_with(path, |to| {
        to.write_all(MAGIC)?;
        to.write_all(&[1, 0])?;
        to.write_all(&length.to_le_bytes())?;
        to.write_all(header.as_bytes())?;
        let size = dtype.size();
        values
            .iter()
            .try_for_each(|&value| to.write_all(&(format.encode)(value)[..size]))
    })
}

/// The elements of an array with the shape `wanted` and the type `dtype`, or the defect: a phrase that follows the
/// file's name.
fn array(mut file: impl Read, wanted: &[usize], dtype: DType) -> Result<Vec<f32>, String> {
    let text = header_text(&mut file)?;
    let header = Header::parse(&text)?;
    let as_text = |dims: &[usize]| match dims {
        [] => "of a single number".to_string(),
        _ => dims
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(" x "),
    };
    if header.shape != wanted {
        return Err(format!(
            "has the shape {}, the problem wants {}",
            excerpt(&as_text(&header.shape), MOST_QUOTED),
            as_text(wanted)
        ));
    }
    if header.fortran_order {
        return Err("is in Fortran order: save np.ascontiguousarray(x)".into());
    }
    let format = Format::of(dtype);
    let Some(is_big_endian) = format.is_big_endian(header.descr) else {
        return Err(format!(
            "has the type {}, the problem wants {}: save {}",
            excerpt(&visible(header.descr), MOST_QUOTED),
            format.name,
            format.conversion
        ));
    };
    let (size, elements) = (dtype.size(), wanted.iter().product::<usize>());
    let mut bytes = Vec::new();
    file.take((size * elements) as u64)
        .read_to_end(&mut bytes)
        .map_err(|e| format!("can't be read: {e}"))?;
    let whole = bytes.chunks_exact(size);
    if whole.len() < elements {
        return Err(format!(
            "is cut short: it has {} elements of {elements}; copy or save it again",
            whole.len()
        ));
    }
    let values = whole.map(|element| format.value(element, is_big_endian));
    Ok(values.collect())
}

fn not_one(why: &str) -> String {
    let why = visible(why);
    format!("is not a .npy file: {}", excerpt(&why, 2 * MOST_QUOTED))
}

/// Reads the text of a header.
fn header_text(file: &mut impl Read) -> Result<String, String> {
    let mut take = |len: usize| {
        let mut bytes = Vec::new();
        match file.by_ref().take(len as u64).read_to_end(&mut bytes) {
            Err(e) => Err(format!("can't be read: {e}")),
            Ok(read) if read < len => Err(not_one("it ends within its header")),
            Ok(_) => Ok(bytes),
        }
    };
    let start = take(MAGIC.len() + 2)?;
    let Some(&[major, minor]) = start.strip_prefix(MAGIC) else {
        return Err(not_one("it doesn't begin with \\x93NUMPY"));
    };
    let digits = match (major, minor) {
        (1, 0) => 2,
        (2 | 3, 0) => 4,
        _ => {
            return Err(format!(
                "has version {major}.{minor} of the format: 1.0, 2.0 and 3.0 are read"
            ));
        }
    };
    let digits = take(digits)?;
    let len = digits
        .iter()
        .rev()
        .fold(0, |len, &d| len << 8 | usize::from(d));
    if len > MOST_HEADER {
        return Err(format!(
            "has a header of {len} bytes: at most {MOST_HEADER} are read, NumPy's own limit"
        ));
    }
    String::from_utf8(take(len)?).map_err(|_| not_one("its header is no text of UTF-8"))
}

/// Type, order and shape of an array.
struct Header<'a> {
    /// The type, in NumPy's notation, with its quotes.
    descr: &'a str,
    /// True if the first dimension varies fastest.
    fortran_order: bool,
    /// The dimensions.
    shape: Vec<usize>,
}

impl<'a> Header<'a> {
    /// Parses the text of a header, or returns the defect.
    fn parse(text: &'a str) -> Result<Self, String> {
        const KEYS: [&str; 3] = ["descr", "fortran_order", "shape"];
        let mut values = [None; KEYS.len()];
        let entries = entries(text).ok_or_else(|| not_one("its header is no dictionary"))?;
        for (key, value) in entries {
            let known = KEYS.iter().position(|known| *known == key);
            let place = known.map(|i| &mut values[i]);
            let place = place.ok_or_else(|| not_one(&format!("its header has a {key}")))?;
            if place.replace(value).is_some() {
                return Err(not_one(&format!("its header has two values of {key}")));
            }
        }
        let value =
            |i: usize| values[i].ok_or_else(|| not_one(&format!("its header has no {}", KEYS[i])));
        Ok(Header {
            descr: value(0)?,
            fortran_order: match value(1)? {
                "True" => true,
                "False" => false,
                other => return Err(not_one(&format!("its fortran_order is {other}"))),
            },
            shape: dims(value(2)?).ok_or_else(|| {
                not_one("its header has no shape such as 'shape': (1, 64, 56, 56)")
            })?,
        })
    }
}

/// Keys and values of a dictionary, in Python's notation; none if the text is not one.
fn entries(text: &str) -> Option<Vec<(&str, &str)>> {
    let body = text.trim().strip_prefix('{')?.strip_suffix('}')?;
    let (mut depth, mut quote, mut start) = (0usize, None, 0);
    let mut parts = Vec::new();
    for (at, c) in body.char_indices() {
        match (quote, c) {
            (Some(open), _) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(c),
            (None, '(' | '[' | '{') => depth += 1,
            (None, ')' | ']' | '}') => depth = depth.checked_sub(1)?,
            (None, ',') if depth == 0 => {
                parts.push(&body[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    // A comma may follow the last value.
    let last = &body[start..];
    if !last.trim().is_empty() {
        parts.push(last);
    }
    if depth > 0 || quote.is_some() {
        return None;
    }
    parts.into_iter().map(entry).collect()
}

/// A key without its quotes, and a value.
fn entry(text: &str) -> Option<(&str, &str)> {
    let (key, value) = text.split_once(':')?;
    let key = key.trim();
    let mut quotes = ['\'', '"'].into_iter();
    let key = quotes.find_map(|quote| key.strip_prefix(quote)?.strip_suffix(quote))?;
    Some((key, value.trim()))
}

/// The dimensions of a tuple in Python's notation; none if it is none.
fn dims(tuple: &str) -> Option<Vec<usize>> {
    let inner = tuple.strip_prefix('(')?.strip_suffix(')')?.trim();
    if inner.is_empty() {
        return Some(Vec::new());
    }
    let inner = inner.strip_suffix(',').unwrap_or(inner);
    inner.split(',').map(|d| d.trim().parse().ok()).collect()
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

    fn read_f32(bytes: &[u8], shape: &[usize]) -> Result<Vec<f32>, String> {
        array(bytes, shape, DType::F32)
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
            assert_eq!(read_f32(&bytes, &[2, 3]), Ok(values.to_vec()));
        }
        let big: Vec<u8> = values.iter().flat_map(|x| x.to_be_bytes()).collect();
        let bytes = file(1, &described("'>f4'", "False", "(6,)"), &big);
        assert_eq!(read_f32(&bytes, &[6]), Ok(values.to_vec()));
    }

    #[test]
    fn written_arrays_are_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x.npy");
        for shape in [&[][..], &[5], &[2, 3], &[1, 2, 3, 4]] {
            for dtype in DType::ALL {
                let values: Vec<f32> = (0..shape.iter().product()).map(|i| i as f32).collect();
                let exact: Vec<f64> = values.iter().map(|&x| x.into()).collect();
                write(&path, &exact, shape, dtype).expect("written");
                let bytes = std::fs::read(&path).expect("read");
                assert_eq!((bytes.len() - dtype.size() * values.len()) % ALIGNED, 0);
                assert_eq!(array(&bytes[..], shape, dtype), Ok(values), "{dtype}");
            }
        }
    }

    /// Element type, its names in headers, bytes of two elements, and their values.
    type Elements<'a> = (DType, &'a [&'a str], &'a [u8], &'a [f32]);

    /// Bytes of the limits of each type, as NumPy stores them on either kind of machine.
    #[test]
    fn elements_of_each_type_have_their_bytes() {
        let cases: [Elements<'_>; 8] = [
            (
                DType::U8,
                &["'|u1'", "'<u1'", "\"|u1\""],
                &[0, 255],
                &[0.0, 255.0],
            ),
            (
                DType::S8,
                &["'|i1'", "'>i1'"],
                &[0x80, 0x7f],
                &[-128.0, 127.0],
            ),
            (
                DType::S32,
                &["'<i4'"],
                &[0xfe, 0xff, 0xff, 0xff, 0, 0, 0, 0x80],
                &[-2.0, -2_147_483_648.0],
            ),
            (
                DType::S32,
                &["'>i4'"],
                &[0, 0, 1, 2, 0xff, 0xff, 0xff, 0xfd],
                &[258.0, -3.0],
            ),
            (
                DType::Bf16,
                &["'<V2'", "'|V2'", "'<u2'", "'bfloat16'"],
                &[0xc0, 0xbf, 1, 0],
                &[-1.5, f32::from_bits(1 << 16)],
            ),
            (
                DType::Bf16,
                &["'>u2'", "'>V2'"],
                &[0xbf, 0xc0, 0x7f, 0x80],
                &[-1.5, f32::INFINITY],
            ),
            (
                DType::F32,
                &["'<f4'"],
                &[0, 0, 0xc0, 0x3f, 0, 0, 0, 0x80],
                &[1.5, -0.0],
            ),
            (
                DType::F32,
                &["'>f4'"],
                &[0x3f, 0xc0, 0, 0, 0, 0, 0, 1],
                &[1.5, 1e-45],
            ),
        ];
        for (dtype, types, data, values) in cases {
            for descr in types {
                let bytes = file(1, &described(descr, "False", "(2,)"), data);
                let read = array(&bytes[..], &[2], dtype);
                assert_eq!(read, Ok(values.to_vec()), "{dtype} {descr}");
            }
        }
    }

    #[test]
    fn elements_are_written_to_the_last_bit() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x.npy");
        let largest = i32::MAX.to_le_bytes();
        let cases: [(DType, &str, f64, &[u8]); 6] = [
            (DType::F32, "<f4", -0.0, &[0, 0, 0, 0x80]),
            (DType::Bf16, "<V2", -1.5, &[0xc0, 0xbf]),
            (DType::U8, "|u1", 255.0, &[255]),
            (DType::S8, "|i1", -128.0, &[0x80]),
            (DType::S32, "<i4", f64::from(i32::MAX), &largest),
            (DType::S32, "<i4", -16_777_217.0, &[0xff, 0xff, 0xff, 0xfe]),
        ];
        for (dtype, descr, value, wanted) in cases {
            write(&path, &[value], &[1], dtype).expect("written");
            let bytes = std::fs::read(&path).expect("read");
            assert!(bytes.ends_with(wanted), "{dtype}: {bytes:?}");
            let text = String::from_utf8_lossy(&bytes[10..bytes.len() - wanted.len()]).into_owned();
            let wanted = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': (1,), }}");
            assert_eq!(text.trim_end(), wanted);
        }
    }

    #[test]
    fn another_type_is_named_with_the_wanted_one() {
        for (dtype, descr, wanted) in [
            (DType::U8, "'<f4'", "uint8: save x.astype(np.uint8)"),
            (DType::S8, "'|u1'", "int8: save x.astype(np.int8)"),
            (DType::U8, "'<<u1'", "uint8: "),
            (DType::U8, "|u1", "uint8: "),
            (DType::S32, "'<u4'", "int32: "),
            (DType::S32, "'<i8'", "int32: "),
            (DType::F32, "'bfloat16'", "float32: "),
            (
                DType::Bf16,
                "'<f2'",
                "bfloat16: save x.astype(ml_dtypes.bfloat16), or its bits as uint16",
            ),
        ] {
            let bytes = file(1, &described(descr, "False", "(1,)"), &[0; 8]);
            let error = array(&bytes[..], &[1], dtype).expect_err(descr);
            let expected = format!("has the type {descr}, the problem wants {wanted}");
            assert!(error.starts_with(&expected), "{error}");
        }
    }

    #[test]
    fn a_cut_array_of_narrow_elements_has_a_count() {
        let bytes = file(1, &described("'<V2'", "False", "(6,)"), &[0; 11]);
        let error = array(&bytes[..], &[6], DType::Bf16).expect_err("cut");
        assert!(error.contains("it has 5 elements of 6"), "{error}");
    }

    /// The header that NumPy writes, and two others that say the same in Python.
    #[test]
    fn numpys_headers_are_read() {
        for text in [
            "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }          \n",
            "{\"shape\":(2,3),\"descr\":\"<f4\",\"fortran_order\":False}",
            " { 'fortran_order' : False , 'descr' : '<f4' , 'shape' : ( 2 , 3 , ) } ",
        ] {
            let bytes = file(1, text, &little(&[1.0; 6]));
            assert_eq!(read_f32(&bytes, &[2, 3]), Ok(vec![1.0; 6]), "{text}");
        }
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
            (file(1, "", &[]), "no dictionary"),
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
            (deep("(", ",)"), "has the type ((((("),
            (deep("[", "]"), "has the type [[[[["),
            (deep("{", "}"), "has the type {{{{{"),
            (deep("(", ""), "no dictionary"),
            (deep("", ")"), "no dictionary"),
            (f4("(2, 3)"), "has the shape 2 x 3, the problem wants 6"),
            (f4("()"), "has the shape of a single number"),
            (f4("(0,)"), "has the shape 0,"),
            (f4("(-6,)"), "no shape"),
            (f4("(99999999999999999999,)"), "no shape"),
            (
                f4("(4294967296, 4294967296)"),
                "has the shape 4294967296 x 4294967296,",
            ),
            (f4("(6,,)"), "no shape"),
            (f4("(,)"), "no shape"),
            (f4("6"), "no shape"),
            (plain("'<f4'", "True", "(6,)"), "is in Fortran order"),
            (plain("'<f4'", "1", "(6,)"), "its fortran_order is 1"),
            (
                plain("'|O'", "False", "(6,)"),
                "has the type '|O', the problem wants float32",
            ),
            (
                plain("'<f8'", "False", "(6,)"),
                "has the type '<f8', the problem wants float32",
            ),
            (
                plain("'<f99999999999999999999'", "False", "(6,)"),
                "has the type '<f99999999999999999999', the problem wants float32",
            ),
            (
                plain("[('a', '<f4')]", "False", "(6,)"),
                "the problem wants float32",
            ),
            (
                plain(&long_name, "False", "(6,)"),
                "the problem wants float32",
            ),
            (
                plain("'\u{1b}[2J'", "False", "(6,)"),
                "the problem wants float32",
            ),
            (
                plain("'<f4'", "False", "(6,), 'shape': (7,)"),
                "two values of shape",
            ),
            (plain("'<f4'", "False", "(6,), 'more': 1"), "has a more"),
            (file(1, "{'shape': (6,)}", &data), "has no descr"),
            (
                [&b"\x93NUMPY\x01\x00\x02\x00"[..], &[0xff, 0xfe]].concat(),
                "no text of UTF-8",
            ),
        ] {
            let error = read_f32(&bytes, &[6]).expect_err(part);
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
            assert!(read_f32(&bytes[..len], &[2, 3]).is_err());
        }
        for at in 0..bytes.len() - 24 {
            for byte in 0..=255 {
                let mut damaged = bytes.clone();
                damaged[at] = byte;
                let _ = read_f32(&damaged, &[2, 3]);
            }
        }
    }
}
