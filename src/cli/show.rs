//! How answers look: one JSON object a line for scripts; tables fitted to the terminal, or lines, for people.

use std::io::{self, IsTerminal, Write};

use comfy_table::presets::NOTHING;
use comfy_table::{Attribute, Cell, Color, ContentArrangement, Table};
use serde_json::Value;

use super::output::Output;

/// A column: its head, and the field of a row that it shows.
pub type Column = (&'static str, &'static str);

/// How the rows of an answer are shown.
#[derive(Debug, Clone, Copy)]
pub enum Look {
    /// As a table; the text stands in for one without rows.
    Table {
        /// The columns.
        columns: &'static [Column],
        /// What is said where there is nothing.
        empty: &'static str,
    },
    /// Each as a few lines of text; the other text stands in for none.
    Told {
        /// The lines of one row, without control characters.
        text: fn(&Value) -> String,
        /// What is said where there is nothing.
        empty: &'static str,
    },
    /// One thing, field by field.
    Whole,
}

/// Takes the rows of an answer and prints them.
pub struct Printer<W: Write> {
    out: Output<W>,
    look: Look,
    json: bool,
    colour: bool,
    rows: Vec<Value>,
}

impl Printer<io::Stdout> {
    /// A printer to standard output.
    #[must_use]
    pub fn new(look: Look, json: bool) -> Self {
        let colour = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty());
        Self::to(io::stdout(), look, json, colour)
    }
}

impl<W: Write> Printer<W> {
    fn to(out: W, look: Look, json: bool, colour: bool) -> Self {
        Self { out: Output::new(out), look, json, colour, rows: Vec::new() }
    }

    /// Takes one row. Returns false if nobody reads the rest of a list. An error may follow the row of one thing, so that one
    /// is always taken to its end. JSON goes out at once, a table only when it is whole.
    pub fn take(&mut self, row: Value) -> bool {
        if self.json {
            // `Output` keeps the error for `finish`.
            let _ = writeln!(self.out, "{row}");
        } else {
            self.rows.push(row);
        }
        self.out.is_open() || matches!(self.look, Look::Whole)
    }

    /// Whether rows wait to be printed.
    pub const fn has_rows(&self) -> bool {
        !self.rows.is_empty()
    }

    /// Prints what is left to print.
    ///
    /// # Errors
    /// The first error of the output.
    pub fn finish(mut self) -> io::Result<()> {
        if !self.json {
            self.print_rows()?;
        }
        self.out.finish()
    }

    fn print_rows(&mut self) -> io::Result<()> {
        match self.look {
            Look::Table { empty, .. } | Look::Told { empty, .. } if self.rows.is_empty() => {
                writeln!(self.out, "{empty}")
            }
            Look::Table { columns, .. } => writeln!(self.out, "{}", table(columns, &self.rows, self.colour).trim_fmt()),
            Look::Told { text, .. } => self.rows.iter().try_for_each(|row| writeln!(self.out, "{}", text(row))),
            Look::Whole => self.rows.iter().try_for_each(|row| whole(&mut self.out, row)),
        }
    }
}

/// A table without lines: what is copied from it is what was in it.
fn table(columns: &[(&str, &str)], rows: &[Value], colour: bool) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(columns.iter().map(|(head, _)| {
        let cell = Cell::new(head);
        if colour { cell.add_attribute(Attribute::Bold) } else { cell }
    }));
    for row in rows {
        table.add_row(columns.iter().map(|(_, field)| cell(row.get(field).unwrap_or(&Value::Null), colour)));
    }
    table
}

fn cell(value: &Value, colour: bool) -> Cell {
    let text = short(value);
    let meaning = match text.as_str() {
        "dead" | "conflict" | "cancelled" | "discarded" | "expired" => Some(Color::Red),
        "scheduled" | "running" | "accepted" => Some(Color::Yellow),
        "done" | "open" | "confirmed" => Some(Color::Green),
        _ => None,
    };
    let cell = Cell::new(text);
    meaning.filter(|_| colour).map(|colour| cell.clone().fg(colour)).unwrap_or(cell)
}

/// A value as one cell shows it.
pub(super) fn short(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::Array(items) if items.is_empty() => "-".to_owned(),
        Value::String(text) => point_in_time(text).unwrap_or_else(|| printable(text)),
        other => printable(&other.to_string()),
    }
}

/// `2026-11-24T08:00:00.123Z` as `2026-11-24 08:00:00Z`: the milliseconds are for scripts.
fn point_in_time(text: &str) -> Option<String> {
    let (seconds, rest) = text.split_once('.')?;
    let is_point = rest.len() == 4 && rest.ends_with('Z') && seconds.parse::<jiff::civil::DateTime>().is_ok();
    is_point.then(|| format!("{}Z", seconds.replace('T', " ")))
}

/// Without control characters: what a customer typed must not steer an admin's terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// One thing, a line for each field, lists of things below their name.
fn whole(out: &mut impl Write, row: &Value) -> io::Result<()> {
    let Value::Object(fields) = row else { return writeln!(out, "{}", short(row)) };
    let width = fields.keys().map(String::len).max().unwrap_or_default();
    for (name, value) in fields {
        match value {
            Value::Array(items) if items.iter().any(Value::is_object) => {
                // One that can't be read has other fields than the rest.
                let mut columns: Vec<(&str, &str)> = Vec::new();
                for key in items.iter().filter_map(Value::as_object).flat_map(|item| item.keys()) {
                    if columns.iter().all(|(known, _)| known != key) {
                        columns.push((key, key));
                    }
                }
                writeln!(out, "{name}")?;
                table(&columns, items, false).lines().try_for_each(|line| writeln!(out, "  {}", line.trim_end()))?;
            }
            // A mail's text, say.
            Value::String(text) if text.trim_end().contains('\n') => {
                writeln!(out, "{name}")?;
                text.trim_end().lines().try_for_each(|line| writeln!(out, "   {}", printable(line)))?;
            }
            value => writeln!(out, "{name:<width$}  {}", short(value))?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::output::tests::Leaves;
    use super::*;

    const JOBS: Look =
        Look::Table { columns: &[("ID", "id"), ("STATE", "state"), ("DUE", "due_at")], empty: "no jobs" };

    fn printed(look: Look, json: bool, rows: &[Value]) -> String {
        let mut out = Vec::new();
        let mut printer = Printer::to(&mut out, look, json, false);
        assert!(rows.iter().all(|row| printer.take(row.clone())));
        printer.finish().unwrap();
        String::from_utf8(out).unwrap()
    }

    fn jobs() -> [Value; 2] {
        [
            json!({"id": 12, "state": "done", "due_at": "2026-11-24T08:00:00.123Z", "more": 1}),
            json!({"id": 3, "state": "dead", "due_at": null}),
        ]
    }

    #[test]
    fn a_list_is_a_table_for_people() {
        insta::assert_snapshot!(printed(JOBS, false, &jobs()), @r"
        ID  STATE  DUE
        12  done   2026-11-24 08:00:00Z
        3   dead   -
        ");
        assert_eq!(printed(JOBS, false, &[]), "no jobs\n");
    }

    #[test]
    fn a_list_is_one_object_a_line_for_scripts() {
        let expected = "{\"id\":12,\"state\":\"done\",\"due_at\":\"2026-11-24T08:00:00.123Z\",\"more\":1}\n\
                        {\"id\":3,\"state\":\"dead\",\"due_at\":null}\n";
        assert_eq!(printed(JOBS, true, &jobs()), expected);
        assert_eq!(printed(JOBS, true, &[]), "");
    }

    #[test]
    fn a_text_of_several_lines_is_shown_below_its_name_and_steers_no_terminal() {
        let mail = json!({"id": 12, "body": "one\r\n\u{1b}[2Jtwo\n", "short": "a\u{7}\n"});
        insta::assert_snapshot!(printed(Look::Whole, false, &[mail]), @"
        id     12
        body
           one
           �[2Jtwo
        short  a��
        ");
    }

    #[test]
    fn one_thing_is_shown_field_by_field() {
        let job = json!({"id": 12, "last_error": null, "history": [{"number": 1, "error": "x"}], "data": {"a": 1}});
        insta::assert_snapshot!(printed(Look::Whole, false, &[job]), @r#"
        id          12
        last_error  -
        history
           number  error
           1       x
        data        {"a":1}
        "#);
    }

    #[test]
    fn every_field_of_a_list_in_one_thing_has_a_column() {
        let job = json!({"history": [{"number": 1, "state": "unreadable"}, {"number": 2, "error": "x"}]});
        insta::assert_snapshot!(printed(Look::Whole, false, &[job]), @r"
        history
           number  state       error
           1       unreadable  -
           2       -           x
        ");
    }

    #[test]
    fn what_a_customer_typed_does_not_steer_the_terminal() {
        assert_eq!(short(&json!("a\u{1b}[2Jb\nc")), "a\u{fffd}[2Jb\u{fffd}c");
    }

    #[test]
    fn a_list_ends_when_its_reader_leaves_and_one_thing_is_taken_to_its_end() {
        for (look, more) in [(JOBS, false), (Look::Whole, true)] {
            let mut printer = Printer::to(Leaves(0), look, true, false);
            for _ in 0..2 {
                assert_eq!(printer.take(json!({})), more, "{look:?}");
            }
            assert_eq!(printer.finish().unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        }
    }
}
