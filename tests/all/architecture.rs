//! Checks the module order of ARCHITECTURE.md against every `use` and path in the sources of both crates.
//!
//! An arrow goes from a file to another file of the same crate that it names. There are two rules:
//!
//! * A module uses only modules of earlier groups in its crate's list.
//! * Files don't use each other in a circle, within a folder or across folders.
//!
//! Some names make no arrow: a `mod` declaration, and a re-export of a child, since a parent may list its children. A
//! re-exported name stands for the file that defines it. Code for tests is ignored. A call of a method or macro has no
//! path, so it makes no arrow.
//!
//! In reading order: the lexer, the parser of a file, the arrows of a crate, the rules. Then follow the sources of this
//! repository and tests on made-up sources.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;

// Lexer

/// A token: an identifier, `::`, or any other single character.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Token<'a> {
    text: &'a str,
    line: usize,
}

/// Tokens of Rust source, without comments, literals and lifetimes.
fn tokens(source: &str) -> Vec<Token<'_>> {
    let bytes = source.as_bytes();
    let at = |i: usize| bytes.get(i).copied().unwrap_or(0);
    let is_word = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b >= 0x80;
    let (mut found, mut i, mut line) = (Vec::new(), 0, 1);
    while i < bytes.len() {
        let start = i;
        match at(i) {
            b'/' if at(i + 1) == b'/' => {
                while i < bytes.len() && at(i) != b'\n' {
                    i += 1;
                }
            }
            b'/' if at(i + 1) == b'*' => {
                let mut depth = 0;
                loop {
                    match (at(i), at(i + 1)) {
                        (b'/', b'*') => (depth, i) = (depth + 1, i + 2),
                        (b'*', b'/') => (depth, i) = (depth - 1, i + 2),
                        _ => i += 1,
                    }
                    if depth == 0 || i >= bytes.len() {
                        break;
                    }
                }
            }
            b'"' => i = after_string(bytes, i),
            // A character literal or a lifetime.
            b'\'' => {
                let character = source[i + 1..].chars().next().map_or(0, char::len_utf8);
                if at(i + 1) == b'\\' {
                    i += 3;
                    while i < bytes.len() && at(i) != b'\'' {
                        i += 1;
                    }
                    i += 1;
                } else if at(i + 1 + character) == b'\'' {
                    i += character + 2;
                } else {
                    i += 1;
                    while is_word(at(i)) {
                        i += 1;
                    }
                }
            }
            b if is_word(b) => {
                while is_word(at(i)) {
                    i += 1;
                }
                let word = &source[start..i];
                let hashes = bytes[i..].iter().take_while(|b| **b == b'#').count();
                match word {
                    "r" | "br" | "cr" if at(i + hashes) == b'"' => {
                        let end = format!("\"{}", "#".repeat(hashes));
                        let body = i + hashes + 1;
                        let len = source[body..].find(&end).map(|len| len + end.len());
                        i = len.map_or(bytes.len(), |len| body + len);
                    }
                    "b" | "c" if at(i) == b'"' => i = after_string(bytes, i),
                    // The literal after the prefix is the next token.
                    "b" if at(i) == b'\'' => {}
                    // A raw identifier: its name is the next token.
                    "r" if hashes == 1 => i += 1,
                    _ if word.as_bytes()[0].is_ascii_digit() => {}
                    _ => found.push(Token { text: word, line }),
                }
            }
            b':' if at(i + 1) == b':' => {
                i += 2;
                found.push(Token { text: "::", line });
            }
            b => {
                i += 1;
                if !b.is_ascii_whitespace() {
                    let text = &source[start..i];
                    found.push(Token { text, line });
                }
            }
        }
        i = i.min(bytes.len());
        line += bytes[start..i].iter().filter(|b| **b == b'\n').count();
    }
    found
}

/// Index after the string that begins with the quote at `i`.
fn after_string(bytes: &[u8], mut i: usize) -> usize {
    i += 1;
    while i < bytes.len() && bytes[i] != b'"' {
        i += if bytes[i] == b'\\' { 2 } else { 1 };
    }
    i + 1
}

// Parser of one file

/// A module path from the root of the crate: `["micro", "gemm"]`.
type Module = Vec<String>;

/// A path in the code, or a name that a `use` imports.
#[derive(Debug)]
struct Named {
    /// The module that contains it, which may be an inline one.
    module: Module,
    path: Vec<String>,
    line: usize,
    /// For a `use`: the imported name, `*` for all.
    name: Option<String>,
    /// For a `use`: true if it is `pub`, a re-export.
    public: bool,
}

/// Declarations and names of a file.
#[derive(Debug, Default)]
struct File {
    /// Path from the root of the repository.
    path: String,
    module: Module,
    inline: Vec<Module>,
    test_only: Vec<Module>,
    uses: Vec<Named>,
    paths: Vec<Named>,
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Index of the bracket that closes the one at `open`.
fn closing(tokens: &[Token], open: usize) -> usize {
    let mut depth = 0;
    for (i, token) in tokens.iter().enumerate().skip(open) {
        match token.text {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return i;
        }
    }
    tokens.len()
}

/// Index after the item that begins at `i`: after its `;` or its block.
fn after_item(tokens: &[Token], mut i: usize) -> usize {
    while i < tokens.len() {
        match tokens[i].text {
            ";" => return i + 1,
            "{" => return closing(tokens, i) + 1,
            "(" | "[" => i = closing(tokens, i) + 1,
            _ => i += 1,
        }
    }
    i
}

/// Parses a `use` tree that begins at `i`. Returns the index after it.
fn use_tree(
    tokens: &[Token],
    mut i: usize,
    mut path: Vec<String>,
    add: &mut dyn FnMut(Vec<String>, String, usize),
) -> usize {
    let text = |i: usize| tokens.get(i).map_or(";", |t| t.text);
    loop {
        match text(i) {
            "::" => i += 1,
            "{" => {
                let end = closing(tokens, i);
                i += 1;
                while i < end {
                    i = use_tree(tokens, i, path.clone(), add);
                    if text(i) == "," {
                        i += 1;
                    }
                }
                return end + 1;
            }
            "*" => {
                add(path, "*".into(), tokens[i].line);
                return i + 1;
            }
            name if is_name(name) => {
                let line = tokens[i].line;
                // `a::{self}` is `a`, but `self::a` isn't.
                if name != "self" || path.is_empty() {
                    path.push(name.into());
                }
                i += 1;
                if text(i) == "::" {
                    continue;
                }
                let mut brings = path.last().cloned().unwrap_or_default();
                if text(i) == "as" {
                    brings = text(i + 1).into();
                    i += 2;
                }
                add(path, brings, line);
                return i;
            }
            _ => return i + 1,
        }
    }
}

/// Parses one file, which is the module `module` of its crate.
fn parse(path: &str, module: Module, source: &str) -> File {
    let tokens = tokens(source);
    let text = |i: usize| tokens.get(i).map_or("", |t| t.text);
    let mut file = File {
        path: path.into(),
        module: module.clone(),
        ..File::default()
    };
    let child = |module: &Module, name: &str| [module.as_slice(), &[name.to_string()]].concat();
    // Module of each open brace.
    let mut scopes = vec![module];
    let (mut i, mut public) = (0, false);
    while i < tokens.len() {
        let here = scopes.last().cloned().unwrap_or_default();
        let mut stays_public = false;
        match text(i) {
            "#" if text(i + 1) == "[" && text(i + 2) == "cfg" => {
                let end = closing(&tokens, i + 1);
                let words = &tokens[i..end];
                let has = |name| words.iter().any(|t| t.text == name);
                i = end + 1;
                let tests = has("test") || has("doctest");
                if tests && !has("not") && !has("any") {
                    let item = i;
                    i = after_item(&tokens, i);
                    let words: Vec<&str> = tokens[item..i].iter().map(|t| t.text).collect();
                    if let Some(at) = words.iter().position(|word| *word == "mod") {
                        file.test_only.push(child(&here, words[at + 1]));
                    }
                }
            }
            "pub" => {
                i += 1;
                if text(i) == "(" {
                    i = closing(&tokens, i) + 1;
                }
                stays_public = true;
            }
            "mod" if is_name(text(i + 1)) => {
                if text(i + 2) == "{" {
                    let inline = child(&here, text(i + 1));
                    file.inline.push(inline.clone());
                    scopes.push(inline);
                }
                i += 3;
            }
            // Except `use<'a>` in a type.
            "use" if text(i + 1) != "<" => {
                i = use_tree(&tokens, i + 1, Vec::new(), &mut |path, name, line| {
                    file.uses.push(Named {
                        module: here.clone(),
                        path,
                        line,
                        name: Some(name),
                        public,
                    });
                });
            }
            "{" => {
                scopes.push(here);
                i += 1;
            }
            "}" => {
                scopes.pop();
                i += 1;
            }
            name if is_name(name) => {
                let (first, line) = (i, tokens[i].line);
                let mut path = vec![name.to_string()];
                i += 1;
                while text(i) == "::" && is_name(text(i + 1)) {
                    path.push(text(i + 1).into());
                    i += 2;
                }
                let before = if first == 0 { "" } else { text(first - 1) };
                if before != "." && before != "::" {
                    file.paths.push(Named {
                        module: here,
                        path,
                        line,
                        name: None,
                        public: false,
                    });
                }
            }
            _ => i += 1,
        }
        public = stays_public;
    }
    file
}

// Arrows of a crate

/// The files of a crate and their imports.
struct Crate {
    files: Vec<File>,
    /// File of each module, including inline modules.
    owners: BTreeMap<Module, usize>,
}

/// The first place where a file names another one.
#[derive(Clone, Copy, Debug)]
struct Arrow {
    from: usize,
    to: usize,
    line: usize,
}

impl Crate {
    /// Parses a crate's sources, each with its path from the root of the repository. `root` is the crate's source
    /// folder.
    fn new(root: &str, sources: &[(String, String)]) -> Crate {
        let files = sources.iter().filter_map(|(path, source)| {
            let inside = path.strip_prefix(root)?.strip_prefix('/')?;
            let inside = inside.strip_suffix(".rs")?;
            let mut module: Module = inside.split('/').map(str::to_string).collect();
            match module.last()?.as_str() {
                // A program is a separate crate.
                "main" if module.len() == 1 => return None,
                "lib" if module.len() == 1 => module.clear(),
                "mod" => {
                    module.pop();
                }
                _ => {}
            }
            Some(parse(path, module, source))
        });
        let mut files: Vec<File> = files.collect();
        let test_only: BTreeSet<Module> = files.iter().flat_map(|f| f.test_only.clone()).collect();
        files.retain(|f| !test_only.iter().any(|module| f.module.starts_with(module)));
        let mut owners = BTreeMap::new();
        for (i, file) in files.iter().enumerate() {
            owners.insert(file.module.clone(), i);
            owners.extend(file.inline.iter().map(|module| (module.clone(), i)));
        }
        Crate { files, owners }
    }

    /// The `use` that imports `name` into a module.
    fn import(&self, module: &Module, name: &str) -> Option<&Named> {
        let file = &self.files[*self.owners.get(module)?];
        let mut uses = file.uses.iter();
        uses.find(|u| &u.module == module && u.name.as_deref() == Some(name))
    }

    /// The module that defines the target of a path in `module`; none for other crates and for local names.
    fn resolve(&self, module: &Module, path: &[String], depth: usize) -> Option<Module> {
        // A `use` of another crate by its own name resolves to itself again and again.
        if depth == 8 {
            return None;
        }
        let mut here = module.clone();
        for (i, name) in path.iter().enumerate() {
            let mut inner = here.clone();
            inner.push(name.clone());
            match name.as_str() {
                "crate" => here.clear(),
                "self" => {}
                "super" => {
                    here.pop();
                }
                _ if self.owners.contains_key(&inner) => here = inner,
                _ => match self.import(&here, name) {
                    Some(import) if i > 0 || import.path != path => {
                        let rest = [import.path.as_slice(), &path[i + 1..]].concat();
                        return self.resolve(&here, &rest, depth + 1);
                    }
                    _ if i == 0 => return None,
                    // An item of this module, or a part of it.
                    _ => return Some(here),
                },
            }
        }
        Some(here)
    }

    /// All pairs of files of which one names the other, with the first such line.
    fn arrows(&self) -> Vec<Arrow> {
        let mut arrows = BTreeMap::new();
        for (from, file) in self.files.iter().enumerate() {
            // A single name in code may be local. If it is imported, its target counts.
            let paths = file.paths.iter().filter(|named| {
                named.path.len() > 1 || self.import(&named.module, &named.path[0]).is_some()
            });
            for named in file.uses.iter().chain(paths) {
                let to = self.resolve(&named.module, &named.path, 0);
                let Some(to) = to.and_then(|to| self.owners.get(&to)) else {
                    continue;
                };
                let is_child = self.files[*to].module.starts_with(&file.module);
                if *to != from && !(named.public && is_child) {
                    let line = arrows.entry((from, *to)).or_insert(named.line);
                    *line = named.line.min(*line);
                }
            }
        }
        let arrows = arrows.into_iter();
        arrows
            .map(|((from, to), line)| Arrow { from, to, line })
            .collect()
    }
}

// Rules

/// Position of a module in its crate's list.
#[derive(Clone, Copy, Debug)]
struct Place {
    group: usize,
    /// Line in ARCHITECTURE.md.
    line: usize,
}

/// Modules of a crate, as listed in ARCHITECTURE.md.
type Order = BTreeMap<String, Place>;

/// Parses the block that begins with "```order <root>". Each line has a module and its description. A blank line ends a
/// group.
fn order(document: &str, root: &str) -> Result<Order, String> {
    let opening = format!("```order {root}");
    let mut lines = document.lines().zip(1..);
    if !lines.any(|(line, _)| line == opening) {
        return Err(format!("ARCHITECTURE.md has no line '{opening}'"));
    }
    let (mut order, mut group) = (Order::new(), 0);
    for (text, line) in lines.take_while(|(line, _)| *line != "```") {
        let Some(module) = text.split_whitespace().next() else {
            group += 1;
            continue;
        };
        if order.insert(module.into(), Place { group, line }).is_some() {
            return Err(format!(
                "ARCHITECTURE.md:{line}: module '{module}' is listed twice"
            ));
        }
    }
    Ok(order)
}

/// All violations of the rules, one message each.
fn breaches(document: &str, root: &str, sources: &[(String, String)]) -> Vec<String> {
    let order = match order(document, root) {
        Ok(order) => order,
        Err(message) => return vec![message],
    };
    let package = Crate::new(root, sources);
    let mut breaches = Vec::new();

    let modules: BTreeMap<&str, &str> = package
        .files
        .iter()
        .filter_map(|file| Some((file.module.first()?.as_str(), file.path.as_str())))
        .collect();
    for (module, file) in &modules {
        if !order.contains_key(*module) {
            breaches.push(format!(
                "{file}: ARCHITECTURE.md does not list module '{module}' in its block 'order {root}'"
            ));
        }
    }
    for (module, Place { line, .. }) in &order {
        if !modules.contains_key(module.as_str()) {
            breaches.push(format!(
                "ARCHITECTURE.md:{line}: {root} has no module '{module}'"
            ));
        }
    }

    let arrows = package.arrows();
    for arrow in &arrows {
        let (from, to) = (&package.files[arrow.from], &package.files[arrow.to]);
        let place = format!("{}:{}", from.path, arrow.line);
        let Some(user) = from.module.first() else {
            continue;
        };
        let Some(used) = to.module.first() else {
            breaches.push(format!(
                "{place}: module '{user}' uses an item of {}, which is above all modules",
                to.path
            ));
            continue;
        };
        let (Some(own), Some(other)) = (order.get(user), order.get(used)) else {
            continue;
        };
        if user != used && other.group >= own.group {
            breaches.push(format!(
                "{place}: module '{user}' (ARCHITECTURE.md:{}) uses '{used}' (ARCHITECTURE.md:{}): \
                 a module may use only modules of earlier groups in that list",
                own.line, other.line
            ));
        }
    }

    for circle in circles(package.files.len(), &arrows) {
        let mut message = "no files may use each other in a circle, and these do:".to_string();
        for arrow in circle {
            let (from, to) = (&package.files[arrow.from], &package.files[arrow.to]);
            let _ = write!(
                message,
                "\n    {}:{} uses {}",
                from.path, arrow.line, to.path
            );
        }
        breaches.push(message);
    }
    breaches
}

/// Circles of files, each the shortest one through its first file. No file is in two circles.
fn circles(files: usize, arrows: &[Arrow]) -> Vec<Vec<Arrow>> {
    let mut seen = vec![false; files];
    let mut circles = Vec::new();
    for start in 0..files {
        // The arrow on which a breadth-first walk from `start` first reached each file.
        let mut came: BTreeMap<usize, Arrow> = BTreeMap::new();
        let mut queue = vec![start];
        let mut next = 0;
        while next < queue.len() && !came.contains_key(&start) {
            let from = queue[next];
            next += 1;
            for arrow in arrows.iter().filter(|arrow| arrow.from == from) {
                if let Entry::Vacant(first) = came.entry(arrow.to) {
                    first.insert(*arrow);
                    queue.push(arrow.to);
                }
            }
        }
        let mut circle = Vec::new();
        let mut last = came.get(&start);
        while let Some(arrow) = last {
            circle.push(*arrow);
            last = came.get(&arrow.from).filter(|_| arrow.from != start);
        }
        circle.reverse();
        if !circle.is_empty() && !circle.iter().any(|arrow| seen[arrow.from]) {
            circles.push(circle.clone());
        }
        for arrow in circle {
            seen[arrow.from] = true;
        }
    }
    circles
}

// The sources of this repository

/// Rust files below a folder, with their paths from the root of the repository.
fn sources(folder: &str) -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    let entries = std::fs::read_dir(root.join(folder));
    for entry in entries.unwrap_or_else(|e| panic!("can't read {folder}: {e}")) {
        let name = entry.expect("a directory entry").file_name();
        let path = format!("{folder}/{}", name.to_str().expect("a name in UTF-8"));
        if root.join(&path).is_dir() {
            found.extend(sources(&path));
        } else if path.ends_with(".rs") {
            let text = std::fs::read_to_string(root.join(&path));
            let text = text.unwrap_or_else(|e| panic!("can't read {path}: {e}"));
            found.push((path, text));
        }
    }
    found.sort();
    found
}

/// Checks a crate that has the arrow `known` between two modules.
fn check(root: &str, known: [&str; 2]) {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("ARCHITECTURE.md");
    let document = std::fs::read_to_string(document).expect("ARCHITECTURE.md");
    let sources = sources(root);
    // A parser that finds no arrows would find no violation, so test that it finds a known one.
    let package = Crate::new(root, &sources);
    let module = |file: usize| package.files[file].module.first().map(String::as_str);
    let arrows = package.arrows();
    let ends = arrows.iter().map(|a| [module(a.from), module(a.to)]);
    let known = known.map(Some);
    assert!(ends.into_iter().any(|ends| ends == known), "no {known:?}");

    let breaches = breaches(&document, root, &sources);
    let count = breaches.len();
    assert!(count == 0, "{count} breaches:\n{}", breaches.join("\n"));
}

#[test]
fn kernels_keep_to_the_order_of_modules() {
    check("kernels/src", ["algo", "micro"]);
}

#[test]
fn the_suite_keeps_to_the_order_of_modules() {
    check("src", ["cli", "net"]);
}

// Tests on made-up sources

/// A module list of two groups: `low` and `other`, then `high`.
const LIST: &str = "# Title\n```order src\nlow    a\nother  b\n\nhigh   c\n```\n";

/// Violations in files under `src`. Modules of [`LIST`] without a file are empty.
fn found(files: &[(&str, &str)]) -> Vec<String> {
    let mut all = BTreeMap::from([("low.rs", ""), ("other.rs", ""), ("high.rs", "")]);
    for (path, source) in files {
        if let Some(folder) = path.strip_suffix("/mod.rs") {
            all.remove(format!("{folder}.rs").as_str());
        }
        all.insert(path, source);
    }
    let sources = all.into_iter();
    let sources: Vec<_> = sources
        .map(|(path, source)| (format!("src/{path}"), source.to_string()))
        .collect();
    breaches(LIST, "src", &sources)
}

/// The only violation in some files.
fn only(files: &[(&str, &str)]) -> String {
    let breaches = found(files);
    assert_eq!(breaches.len(), 1, "{breaches:#?}");
    breaches.concat()
}

#[test]
fn an_arrow_down_is_no_breach() {
    let high = "//! Text.\nuse crate::low::{Item, part};\nfn f() { crate::other::g(part()) }";
    assert_eq!(found(&[("high.rs", high)]), [""; 0]);
}

#[test]
fn an_arrow_up_is_found_in_every_form() {
    for line in [
        "use crate::high::Item;",
        "use crate::{high, other as _};",
        "use crate::{other as _, high::{Item, Part}};",
        "pub use crate::high::Item as Renamed;",
        "pub(crate) use super::high::*;",
        "use super::high;",
        "use super::{self as root}; use root::high::Item;",
        "fn f() { let x: &'static str = r#\"\"\"#; crate::high::f(x, '\"', b'\\'') }",
        "impl super::high::Trait for u8 {}",
        "mod inner { mod more { use super::super::super::high::Item; } }",
        "macro_rules! m { () => { $crate::high::f() } }",
        "#[cfg(not(test))] use crate::high::Item;",
        "#[cfg(test)] fn f(x: [u8; 2]) {} use crate::high::Item;",
    ] {
        // Modules of the same group must not use each other, either.
        let line = line.replace("other as _", "low as _");
        let breach = only(&[("low.rs", &format!("//! Text.\n\n{line}"))]);
        let expected = "src/low.rs:3: module 'low' (ARCHITECTURE.md:3) uses 'high' (ARCHITECTURE.md:6): \
                        a module may use only modules of earlier groups in that list";
        assert_eq!(breach, expected, "{line}");
    }
    let breach = only(&[("low.rs", "use crate::other::Item;")]);
    assert!(
        breach.contains("'low' (ARCHITECTURE.md:3) uses 'other' (ARCHITECTURE.md:4)"),
        "{breach}"
    );
}

#[test]
fn what_is_no_code_of_the_crate_is_no_arrow() {
    for text in [
        "/// [`crate::high`]\n// use crate::high::Item;",
        "/* use crate::high; /* nested */ crate::high::f() */",
        "const TEXT: &str = \"crate::high::f()\";",
        "const TEXT: &str = r##\"crate::high \"# crate::high::f()\"##;",
        "const TEXT: &[u8] = b\"\\\"crate::high::f()\";",
        "use high::Item; use ::high::Item; use std::high::Item;",
        "fn f(x: &X) -> impl Fn() + use<'_> { x.high::<u8>(); high::f() }",
        "#[cfg(test)]\nmod tests { use crate::high::Item; fn f() { crate::high::f() } }",
        "#[cfg(all(test, unix))]\n#[allow(unused)]\nuse crate::high::Item;",
    ] {
        assert_eq!(found(&[("low.rs", text)]), [""; 0], "{text}");
    }
    let tests = [
        ("low/mod.rs", "#[cfg(test)]\nmod tests;"),
        ("low/tests.rs", "use crate::high::Item;"),
    ];
    assert_eq!(found(&tests), [""; 0]);
    assert_eq!(
        found(&[(
            "main.rs",
            "mod low; use low::f; fn main() { crate::low::f() }"
        )]),
        [""; 0]
    );
}

#[test]
fn a_list_that_differs_from_the_modules_is_found() {
    let breach = only(&[("more/mod.rs", "")]);
    let expected =
        "src/more/mod.rs: ARCHITECTURE.md does not list module 'more' in its block 'order src'";
    assert_eq!(breach, expected);

    let of = |document: &str| breaches(document, "src", &[("src/low.rs".into(), String::new())]);
    let gone = "```order src\nlow\n\ngone  words\n```";
    assert_eq!(of(gone), ["ARCHITECTURE.md:4: src has no module 'gone'"]);
    let twice = "```order src\nlow\n\nlow\n```";
    assert_eq!(
        of(twice),
        ["ARCHITECTURE.md:4: module 'low' is listed twice"]
    );
    let other = "```order kernels/src\nlow\n```";
    assert_eq!(of(other), ["ARCHITECTURE.md has no line '```order src'"]);
}

#[test]
fn an_item_of_the_root_is_above_all() {
    let root = (
        "lib.rs",
        "pub mod low;\npub use low::Item;\npub const MOST: usize = 1;",
    );
    assert_eq!(found(&[root, ("high.rs", "use crate::Item;")]), [""; 0]);
    let breach = only(&[root, ("low.rs", "pub struct Item;\nuse crate::MOST;")]);
    let expected =
        "src/low.rs:2: module 'low' uses an item of src/lib.rs, which is above all modules";
    assert_eq!(breach, expected);
    // An item that the root re-exports still belongs to its module.
    let root = ("lib.rs", "pub use high::Item;");
    let breach = only(&[root, ("low.rs", "use crate::Item;")]);
    assert!(breach.contains("uses 'high'"), "{breach}");
}

#[test]
fn a_circle_of_files_is_found() {
    let circle = "no files may use each other in a circle, and these do:";
    let (a, b) = (
        ("low/a.rs", "\nuse super::b::f;"),
        ("low/b.rs", "use super::a::g;"),
    );
    let parent = "mod a;\nmod b;\npub use a::g;\npub use b::f;";
    let breach = only(&[("low/mod.rs", parent), a, b]);
    let expected = "\n    src/low/a.rs:2 uses src/low/b.rs\n    src/low/b.rs:1 uses src/low/a.rs";
    assert_eq!(breach, format!("{circle}{expected}"));

    // Circles through names that the parent re-exports, and across folders.
    let b = ("low/b.rs", "use crate::low::g;");
    let deeper = [
        ("low/mod.rs", parent),
        ("low/a.rs", "use super::c::x;"),
        ("low/c/mod.rs", "mod d;\npub use d::x;"),
        ("low/c/d.rs", "use crate::low::f;"),
        b,
    ];
    assert_eq!(only(&deeper).lines().count(), 4);

    // Two circles are two violations.
    let twice = ["low", "high"].map(|m| {
        [
            format!("{m}/mod.rs"),
            format!("{m}/a.rs"),
            format!("{m}/b.rs"),
        ]
    });
    let twice: Vec<_> = twice
        .iter()
        .flat_map(|[m, a, b]| {
            [
                (m.as_str(), ""),
                (a, "use super::b::f;"),
                (b, "use super::a::g;"),
            ]
        })
        .collect();
    assert_eq!(found(&twice).len(), 2);
}

#[test]
fn a_parent_and_its_child_may_not_use_each_other() {
    let child = ("low/child.rs", "use super::Item;\npub fn f(_: Item) {}");
    for (parent, circles) in [
        ("mod child;\npub struct Item;", 0),
        ("mod child;\npub use child::f;\npub struct Item;", 0),
        ("mod child;\nuse child::f;\npub struct Item;", 1),
        (
            "mod child;\npub use child::f;\npub struct Item;\nfn g() { f(Item) }",
            1,
        ),
        ("mod child;\npub struct Item;\nfn g() { child::f(Item) }", 1),
        (
            "mod child;\npub struct Item;\nfn g() { self::child::f(Item) }",
            1,
        ),
    ] {
        let breaches = found(&[("low/mod.rs", parent), child]);
        assert_eq!(breaches.len(), circles, "{parent}: {breaches:#?}");
    }
}
