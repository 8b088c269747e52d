//! Results as data: JSON lines, or CSV with the same keys.

use super::output::write;
use crate::escape;
use crate::record::Text;
use anyhow::Result;
use convroof_kernels::Problem;
use convroof_kernels::dtype::DType;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use std::fmt;

/// Options for rows in place of text.
#[derive(clap::Args, Clone, Copy, Debug, Default)]
pub(super) struct Format {
    /// Print rows as JSON, one object per line
    #[arg(long)]
    json: bool,
    /// Print rows as CSV with the keys of --json; a cell with a list or an object is JSON text
    #[arg(long, conflicts_with = "json")]
    csv: bool,
}

impl Format {
    /// True if rows are wanted, not text.
    pub(super) fn is_data(self) -> bool {
        self.json || self.csv
    }

    /// Printer of rows; none if text is wanted.
    pub(super) fn rows(self) -> Option<Rows> {
        match (self.json, self.csv) {
            (false, false) => None,
            (true, _) => Some(Rows(None)),
            (false, true) => Some(Rows(Some(Vec::new()))),
        }
    }
}

/// Printer of rows. JSON is printed at once, CSV at the end, when all its columns are known.
pub(super) struct Rows(Option<Vec<Fields>>);

impl Rows {
    /// Prints these rows and ends.
    pub(super) fn print<T: Serialize>(mut self, rows: &[T]) -> Result<()> {
        self.add(rows)?;
        self.end()
    }

    /// Prints more rows. They may have other keys than earlier ones.
    pub(super) fn add<T: Serialize>(&mut self, rows: &[T]) -> Result<()> {
        let mut text = String::new();
        for row in rows {
            match &mut self.0 {
                Some(all) => all.push(serde_json::from_str(&serde_json::to_string(row)?)?),
                None => text += &line(row)?,
            }
        }
        write(text.as_bytes())
    }

    /// Prints what is left.
    pub(super) fn end(self) -> Result<()> {
        match self.0 {
            Some(rows) => write(&table(&rows)?),
            None => Ok(()),
        }
    }
}

/// A row about a problem, with the element type of its source.
#[derive(Serialize)]
pub(super) struct Typed<'a, T> {
    #[serde(flatten)]
    row: &'a T,
    /// None if this program can't read the problem.
    #[serde(skip_serializing_if = "Option::is_none")]
    dt: Option<Text<DType>>,
}

impl<'a, T> Typed<'a, T> {
    /// Adds the type to each row, whose problem `problem` returns.
    pub(super) fn all(rows: &'a [T], problem: impl Fn(&T) -> Option<Problem>) -> Vec<Self> {
        let typed = rows.iter().map(|row| Typed {
            row,
            dt: problem(row).map(|problem| Text::of(problem.dtypes.src)),
        });
        typed.collect()
    }
}

/// An object as a line of JSON, escaped.
pub(super) fn line(row: &impl Serialize) -> Result<String> {
    Ok(format!("{}\n", escape::json(&serde_json::to_string(row)?)))
}

/// Fields of an object, in their order.
struct Fields(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct InOrder;

        impl<'de> Visitor<'de> for InOrder {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Fields(fields))
            }
        }

        from.deserialize_map(InOrder)
    }
}

/// A table with a column for each key. A cell without a value is empty.
fn table(rows: &[Fields]) -> Result<Vec<u8>> {
    let mut keys: Vec<&str> = Vec::new();
    for (key, _) in rows.iter().flat_map(|row| &row.0) {
        if !keys.contains(&key.as_str()) {
            keys.push(key);
        }
    }
    let mut text = Vec::new();
    let mut table = csv::Writer::from_writer(&mut text);
    if !keys.is_empty() {
        table.write_record(&keys)?;
    }
    for row in rows {
        table.write_record(keys.iter().map(|key| {
            let value = row.0.iter().find(|(own, _)| own == key);
            value.map_or(String::new(), |(_, value)| cell(value))
        }))?;
    }
    table.flush()?;
    drop(table);
    Ok(text)
}

/// A value as the text of a cell.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => escape::visible(text).into(),
        other => escape::json(&other.to_string()).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_have_the_type_of_their_problem() {
        #[derive(Serialize)]
        struct Row {
            problem: &'static str,
        }
        let rows = [
            "--dt=u8:s8:f32 mb1ic4ih5oc16kh1",
            "mb1ic4ih5oc16kh1",
            "of a newer program",
        ];
        let rows = rows.map(|problem| Row { problem });
        let typed = Typed::all(&rows, |row| row.problem.parse().ok());
        let lines = typed.iter().map(|row| line(row).expect("JSON"));
        assert_eq!(
            lines.collect::<String>(),
            r#"{"problem":"--dt=u8:s8:f32 mb1ic4ih5oc16kh1","dt":"u8"}
{"problem":"mb1ic4ih5oc16kh1","dt":"f32"}
{"problem":"of a newer program"}
"#
        );
    }

    #[test]
    fn csv_has_the_keys_of_json_in_their_order() {
        let rows = [
            r#"{"z":"a,b","a":1.5,"list":[1,"x"]}"#,
            r#"{"a":null,"new":true,"z":"line\nbreak"}"#,
        ];
        let rows = rows.map(|row| serde_json::from_str(row).expect("an object"));
        let text = String::from_utf8(table(&rows).expect("a table")).expect("UTF-8");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines,
            [
                "z,a,list,new",
                r#""a,b",1.5,"[1,""x""]","#,
                r"line\nbreak,,,true",
            ]
        );
        assert!(table(&[]).expect("a table").is_empty());
    }
}
