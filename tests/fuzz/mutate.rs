//! Mutations of bytes, of JSON documents, and of texts of words and numbers.

use convroof_kernels::data::Rng;
use serde_json::Value;

/// Texts that are dangerous as a name, a path, a table cell or markup.
const TEXTS: [&str; 18] = [
    "",
    " ",
    "a",
    "../../../escaped",
    "/",
    "convroof-run",
    "NaN",
    "-0",
    "\u{1b}[31mred\u{7}",
    "line\nline\r\n",
    "| cell | ``` |",
    "<b class=fuzz>&\"'",
    "\u{e9}\u{fc}\u{4e2d}\u{6587}\u{1f980}",
    "\u{202e}reversed",
    "mb1ic16ih8oc16oh8kh3ph1",
    "mb1ic1iw100000000oc1kw1000000",
    "direct/avx2/st",
    "9999-99-99T99:99:99Z",
];

/// Numbers at the limits of arithmetic.
const NUMBERS: [&str; 18] = [
    "0",
    "-0.0",
    "1",
    "-1",
    "2",
    "3",
    "0.5",
    "255",
    "65536",
    "2147483648",
    "4294967295",
    "9007199254740993",
    "9223372036854775807",
    "18446744073709551615",
    "18446744073709551616",
    "1e-320",
    "1e308",
    "-1e308",
];

/// Number of mutations of an input. Most inputs get a single one, since most mutations make an input invalid.
fn some(rng: &mut Rng) -> usize {
    1 + rng.below(2) * rng.below(4)
}

/// Applies a few mutations to bytes.
pub(crate) fn bytes(rng: &mut Rng, seed: &[u8], other: &[u8]) -> Vec<u8> {
    let mut out = seed.to_vec();
    for _ in 0..some(rng) {
        let at = rng.below(out.len() + 1);
        // Short runs are as frequent as long ones.
        let longest = 1 << rng.below(12);
        let length = 1 + rng.below(longest);
        let to = (at + length).min(out.len());
        match rng.below(10) {
            0 => out.truncate(at),
            1 => drop(out.drain(at..to)),
            2 if at < out.len() => out[at] ^= 1 << rng.below(8),
            3 if at < out.len() => {
                out[at] = rng.pick(b"\0\n\t \"\\{}[]<>:,.-+019eE\x7f\x80\xc3\xff");
            }
            4 => {
                let copy = out[at..to].to_vec();
                for _ in 0..=rng.below(4) {
                    out.splice(at..at, copy.iter().copied());
                }
            }
            5 => {
                let text = rng.pick(&TEXTS);
                out.splice(at..to, text.bytes());
            }
            6 => {
                let number = rng.pick(&NUMBERS);
                out.splice(at..at, number.bytes());
            }
            // Replace a whole number, if there is one.
            7 => {
                let digits = |b: &u8| b.is_ascii_digit();
                if let Some(start) = out[at..].iter().position(digits).map(|i| at + i) {
                    let end = out[start..]
                        .iter()
                        .position(|b| !digits(b))
                        .map_or(out.len(), |i| start + i);
                    out.splice(start..end, rng.pick(&NUMBERS).bytes());
                }
            }
            8 if !other.is_empty() => {
                let from = rng.below(other.len());
                let end = (from + length).min(other.len());
                out.splice(at..to, other[from..end].iter().copied());
            }
            _ => {
                // Deep nesting.
                let depth = 1 << rng.below(15);
                let open = rng.pick(&["[", "{\"a\":", "(", "-", " + "]);
                out.splice(at..at, open.repeat(depth).bytes());
            }
        }
    }
    out
}

/// Applies a few mutations to a document. It stays JSON, and mostly keeps its form.
pub(crate) fn json(rng: &mut Rng, document: &mut Value) {
    for _ in 0..some(rng) {
        let donor = node(rng, document).clone();
        let target = node(rng, document);
        match target {
            Value::Number(number) if rng.below(8) > 0 => {
                let whole = number.is_u64() && rng.below(4) > 0;
                let other = serde_json::from_str::<Value>(rng.pick(&NUMBERS));
                if let Some(other) = other.ok().filter(|o| o.is_u64() || !whole) {
                    *target = other;
                }
            }
            Value::String(text) if rng.below(8) > 0 => match rng.below(4) {
                0 => *text = rng.pick(&TEXTS).into(),
                1 => text.push_str(rng.pick(&TEXTS)),
                2 => {
                    let length = rng.below(text.chars().count() + 1);
                    *text = text.chars().take(length).collect();
                }
                _ => *text = text.repeat(rng.below(100)),
            },
            Value::Array(list) if rng.below(8) > 0 => {
                let at = rng.below(list.len() + 1);
                match rng.below(5) {
                    0 => list.truncate(at),
                    1 if at < list.len() => drop(list.remove(at)),
                    2 if at < list.len() => {
                        let copies = vec![list[at].clone(); rng.below(40)];
                        list.extend(copies);
                    }
                    3 => list.reverse(),
                    _ => list.insert(at, donor),
                }
            }
            Value::Object(map) if rng.below(4) > 0 => {
                let keys: Vec<String> = map.keys().cloned().collect();
                if let (false, 0) = (keys.is_empty(), rng.below(4)) {
                    map.remove(&rng.pick(&keys));
                } else if let (false, 0) = (keys.is_empty(), rng.below(3)) {
                    map.insert(rng.pick(&keys), donor);
                } else if rng.below(8) == 0 {
                    map.insert(rng.pick(&TEXTS).into(), donor);
                }
            }
            other => {
                *other = match rng.below(6) {
                    0 => Value::Null,
                    1 => Value::Bool(rng.below(2) == 0),
                    2 => Value::Array(vec![]),
                    3 => Value::Object(Default::default()),
                    _ => donor,
                }
            }
        }
    }
}

/// A random node of a document, at any depth.
fn node<'a>(rng: &mut Rng, document: &'a mut Value) -> &'a mut Value {
    let mut node = document;
    loop {
        let children = match node {
            Value::Array(list) => list.len(),
            Value::Object(map) => map.len(),
            _ => 0,
        };
        if children == 0 || rng.below(12) == 0 {
            return node;
        }
        let child = rng.below(children);
        node = match node {
            Value::Array(list) => &mut list[child],
            Value::Object(map) => map.values_mut().nth(child).expect("counted"),
            _ => unreachable!("it has children"),
        };
    }
}

/// Bytes of a document, mutated as a document or as bytes.
pub(crate) fn json_bytes(rng: &mut Rng, seed: &[u8], other: &[u8]) -> Vec<u8> {
    match serde_json::from_slice::<Value>(seed) {
        Ok(mut document) if rng.below(4) > 0 => {
            json(rng, &mut document);
            document.to_string().into_bytes()
        }
        _ => bytes(rng, seed, other),
    }
}

/// Mutates the words and numbers of a text: drops, doubles, moves or replaces some. Replacements come from the seed,
/// from another seed, or from the dangerous values.
pub(crate) fn words(rng: &mut Rng, seed: &[u8], other: &[u8]) -> Vec<u8> {
    if rng.below(4) == 0 {
        return bytes(rng, seed, other);
    }
    let (seed, other) = (
        String::from_utf8_lossy(seed),
        String::from_utf8_lossy(other),
    );
    let mut parts = split(&seed);
    let others = split(&other);
    for _ in 0..some(rng) {
        let at = rng.below(parts.len() + 1);
        let number = |part: &&str| part.starts_with(|c: char| c.is_ascii_digit());
        match rng.below(6) {
            0 if at < parts.len() => drop(parts.remove(at)),
            1 if !parts.is_empty() => {
                let part = rng.pick(&parts);
                parts.insert(at, part);
            }
            2 if !others.is_empty() => parts.insert(at, rng.pick(&others)),
            3 if at < parts.len() => {
                let with = rng.below(parts.len());
                parts.swap(at, with);
            }
            4 => parts.insert(at, rng.pick(&TEXTS)),
            _ => {
                let places: Vec<usize> = (0..parts.len()).filter(|&i| number(&parts[i])).collect();
                if !places.is_empty() {
                    parts[rng.pick(&places)] = rng.pick(&NUMBERS);
                }
            }
        }
    }
    parts.concat().into_bytes()
}

/// Splits a text into runs of digits, runs of letters, and other single characters.
fn split(text: &str) -> Vec<&str> {
    let kind = |c: char| match c {
        '0'..='9' => 0,
        c if c.is_alphabetic() => 1,
        _ => 2,
    };
    let mut parts = Vec::new();
    let mut start = 0;
    let mut last = None;
    for (i, c) in text.char_indices() {
        if last.is_some_and(|l| l != kind(c) || l == 2) {
            parts.push(&text[start..i]);
            start = i;
        }
        last = Some(kind(c));
    }
    parts.push(&text[start..]);
    parts
}
