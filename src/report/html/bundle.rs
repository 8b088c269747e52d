//! The page's program and styles: the files of `web/`, as one script and one style.
//!
//! The files are ES modules, which node and type checkers read as they are. In the page they are one function. So an
//! import is one line without renaming, and a name at the top of a file is unique among all files. Tests check this.

use crate::report::svg::style;

/// The modules, each after those that it imports, with their sources.
const MODULES: &[(&str, &str)] = &[
    ("document.js", include_str!("../web/document.js")),
    ("format.js", include_str!("../web/format.js")),
    ("dom.js", include_str!("../web/dom.js")),
    ("marks.js", include_str!("../web/marks.js")),
    ("raw.js", include_str!("../web/raw.js")),
    ("state.js", include_str!("../web/state.js")),
    ("compare.js", include_str!("../web/compare.js")),
    ("exporting.js", include_str!("../web/exporting.js")),
    ("facts.js", include_str!("../web/facts.js")),
    ("filter.js", include_str!("../web/filter.js")),
    ("labels.js", include_str!("../web/labels.js")),
    ("scale.js", include_str!("../web/scale.js")),
    ("layer.js", include_str!("../web/layer.js")),
    ("machine.js", include_str!("../web/machine.js")),
    ("tip.js", include_str!("../web/tip.js")),
    ("roofline.js", include_str!("../web/roofline.js")),
    ("summary.js", include_str!("../web/summary.js")),
    ("print.js", include_str!("../web/print.js")),
    ("stills.js", include_str!("../web/stills.js")),
    ("strip.js", include_str!("../web/strip.js")),
    ("table.js", include_str!("../web/table.js")),
    ("theme.js", include_str!("../web/theme.js")),
    ("types.js", include_str!("../web/types.js")),
    ("zoom.js", include_str!("../web/zoom.js")),
    ("main.js", include_str!("../web/main.js")),
];

/// The style of the app, and of other pages.
const STYLE: &str = include_str!("../web/style.css");

/// The style of the static part.
const STATIC: &str = include_str!("../web/static.css");

/// The app as a script.
pub(super) fn app() -> String {
    bundle(MODULES)
}

/// The style of a page: that of its static part and of pictures there, then that of the app.
pub(super) fn style() -> String {
    let (light, dark, picture) = (style::LIGHT, style::DARK, style::PICTURE);
    format!(
        "#static{{{light}}}\n@media(prefers-color-scheme:dark){{#static{{{dark}}}}}\n#static svg{{{picture}}}\n{STATIC}{STYLE}"
    )
}

/// Modules as one script: without imports, and with exports as plain definitions.
fn bundle(modules: &[(&str, &str)]) -> String {
    let mut script = String::from("(() => {\n\"use strict\";\n");
    for line in modules.iter().flat_map(|(_, source)| source.lines()) {
        if !line.starts_with("import ") {
            script += line.strip_prefix("export ").unwrap_or(line);
            script.push('\n');
        }
    }
    script + "})();\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, BTreeSet};

    /// The name that a line at the top of a module defines.
    fn defined(line: &str) -> Option<&str> {
        let line = line.strip_prefix("export ").unwrap_or(line);
        let line = line.strip_prefix("async ").unwrap_or(line);
        let kinds = [
            "function* ",
            "function ",
            "const ",
            "let ",
            "var ",
            "class ",
        ];
        let rest = kinds.iter().find_map(|kind| line.strip_prefix(kind))?;
        rest.split(|c: char| !c.is_alphanumeric() && !"_$".contains(c))
            .next()
    }

    /// Rules that modules break, one a line.
    fn broken(modules: &[(&str, &str)]) -> Vec<String> {
        let mut broken = Vec::new();
        let mut exported: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        let mut defined_in: BTreeMap<&str, &str> = BTreeMap::new();
        for &(file, source) in modules {
            if !source.starts_with("// @ts-check\n") {
                broken.push(format!("{file}: no // @ts-check"));
            }
            let mut own = BTreeSet::new();
            for line in source.lines() {
                if let Some(import) = line.strip_prefix("import ") {
                    let parts = import.strip_prefix("{ ").and_then(|rest| {
                        let (names, from) = rest.split_once(" } from \"./")?;
                        Some((names, from.strip_suffix("\";")?))
                    });
                    let Some((names, from)) = parts else {
                        broken.push(format!("{file}: not one plain line: {line}"));
                        continue;
                    };
                    let Some(known) = exported.get(from) else {
                        broken.push(format!("{file}: {from} comes later or not at all"));
                        continue;
                    };
                    for name in names.split(", ").filter(|name| !known.contains(name)) {
                        broken.push(format!("{file}: {from} does not export {name}"));
                    }
                    continue;
                }
                let name = defined(line);
                if line.starts_with("export") && (!line.starts_with("export ") || name.is_none()) {
                    broken.push(format!("{file}: not an export of a definition: {line}"));
                }
                if let Some(name) = name {
                    if name.is_empty() {
                        broken.push(format!("{file}: no plain name: {line}"));
                    } else if let Some(other) = defined_in.insert(name, file) {
                        broken.push(format!("{file}: {other} defines {name}, too"));
                    }
                    if line.starts_with("export ") {
                        own.insert(name);
                    }
                }
            }
            exported.insert(file, own);
        }
        broken
    }

    #[test]
    fn modules_keep_the_rules_of_the_bundle() {
        assert_eq!(broken(MODULES), Vec::<String>::new());
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/report/web");
        let files = std::fs::read_dir(folder).expect("the folder");
        let names = files.map(|file| file.expect("a file").file_name());
        let names: BTreeSet<String> = names
            .map(|name| name.to_string_lossy().into_owned())
            .filter(|name| name.ends_with(".js"))
            .collect();
        let bundled: BTreeSet<String> = MODULES.iter().map(|(name, _)| name.to_string()).collect();
        assert_eq!(bundled, names, "the list has every module once");
        assert_eq!(MODULES.len(), names.len());
    }

    #[test]
    fn each_rule_can_be_broken() {
        let base = (
            "a.js",
            "// @ts-check\nexport function a() {}\nconst own = 1;\n",
        );
        let with = |source: &str| broken(&[base, ("b.js", &format!("// @ts-check\n{source}\n"))]);
        assert!(with("import { a } from \"./a.js\";\nexport class B {}").is_empty());
        for (source, why) in [
            (
                "import { a as b } from \"./a.js\";",
                "does not export a as b",
            ),
            ("import a from \"./a.js\";", "not one plain line"),
            ("import { own } from \"./a.js\";", "does not export own"),
            ("import { c } from \"./c.js\";", "comes later"),
            ("function own() {}", "defines own"),
            ("let { x } = y;", "no plain name"),
            ("export { b };", "not an export"),
            ("export default 1;", "not an export"),
        ] {
            let broken = with(source).join("\n");
            assert!(broken.contains(why), "{source}: {broken}");
        }
        assert_eq!(broken(&[("c.js", "let c;")]), ["c.js: no // @ts-check"]);
    }

    #[test]
    fn a_bundle_has_no_imports_and_exports() {
        let script = bundle(&[
            ("a.js", "// @ts-check\nexport const a = 1;\n"),
            (
                "b.js",
                "// @ts-check\nimport { a } from \"./a.js\";\nexport async function b() {}\n",
            ),
        ]);
        assert_eq!(
            script,
            "(() => {\n\"use strict\";\n// @ts-check\nconst a = 1;\n// @ts-check\nasync function b() {}\n})();\n"
        );
        let script = app();
        for line in script.lines() {
            assert!(
                !line.starts_with("import ") && !line.starts_with("export "),
                "{line}"
            );
        }
        // Neither text may end the element that holds it.
        assert!(!script.contains("</script") && !script.contains("<!--"));
        assert!(!style().contains("</style"));
    }
}
