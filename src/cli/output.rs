//! Writes the rows of a response: one JSON object a line for scripts, tables or text for people.
//! Tables fit the width of the terminal.

use std::io::{self, IsTerminal, Write};

use comfy_table::presets::NOTHING;
use comfy_table::{Attribute, Cell, Color, ContentArrangement, Table};
use serde_json::Value;

use super::deferred_error_writer::DeferredErrorWriter;

/// A column: its header, and the field of a row that it shows.
pub type Column = (&'static str, &'static str);

/// Output format of the rows of a response for people.
#[derive(Debug, Clone, Copy)]
pub enum OutputFormat {
    /// A table with one line for each row.
    Table {
        /// Columns, from left to right.
        columns: &'static [Column],
        /// Text that replaces a table without rows.
        empty: &'static str,
    },
    /// A few lines of text for each row.
    Text {
        /// Function that formats one row as lines without control characters.
        text: fn(&Value) -> String,
        /// Text that is written if there are no rows.
        empty: &'static str,
    },
    /// A single object with one line for each field.
    Record,
}

/// Writes the rows of a response to `W`, as JSON or in an [`OutputFormat`].
pub struct OutputWriter<W: Write> {
    output: DeferredErrorWriter<W>,
    format: OutputFormat,
    json: bool,
    use_color: bool,
    rows: Vec<Value>,
}

impl OutputWriter<io::Stdout> {
    /// Creates a writer to standard output. Colors are on if standard output is a terminal and
    /// `NO_COLOR` is empty or not set.
    #[must_use]
    pub fn new(format: OutputFormat, json: bool) -> Self {
        let use_color = io::stdout().is_terminal()
            && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty());
        Self::with_output(io::stdout(), format, json, use_color)
    }
}

impl<W: Write> OutputWriter<W> {
    fn with_output(output: W, format: OutputFormat, json: bool, use_color: bool) -> Self {
        Self {
            output: DeferredErrorWriter::new(output),
            format,
            json,
            use_color,
            rows: Vec::new(),
        }
    }

    /// Writes or buffers one row. Returns `false` if the reader of a list has closed the pipe, so
    /// that the caller can stop.
    ///
    /// For a single object the method always returns `true`, because an error may follow the row.
    /// JSON is written at once. A table is written by [`OutputWriter::finish`], because its column
    /// widths depend on all rows.
    pub fn write_row(&mut self, row: Value) -> bool {
        if self.json {
            // `DeferredErrorWriter` stores the error until `finish`.
            let _ = writeln!(self.output, "{row}");
        } else {
            self.rows.push(row);
        }
        self.output.is_open() || matches!(self.format, OutputFormat::Record)
    }

    /// Returns `true` if buffered rows wait to be written.
    pub const fn has_rows(&self) -> bool {
        !self.rows.is_empty()
    }

    /// Writes the buffered rows and flushes the output.
    ///
    /// # Errors
    /// Returns the first error of the output.
    pub fn finish(mut self) -> io::Result<()> {
        if !self.json {
            self.print_rows()?;
        }
        self.output.finish()
    }

    fn print_rows(&mut self) -> io::Result<()> {
        match self.format {
            OutputFormat::Table { empty, .. } | OutputFormat::Text { empty, .. }
                if self.rows.is_empty() =>
            {
                writeln!(self.output, "{empty}")
            }
            OutputFormat::Table { columns, .. } => {
                writeln!(
                    self.output,
                    "{}",
                    build_table(columns, &self.rows, self.use_color).trim_fmt()
                )
            }
            OutputFormat::Text { text, .. } => self
                .rows
                .iter()
                .try_for_each(|row| writeln!(self.output, "{}", text(row))),
            OutputFormat::Record => self
                .rows
                .iter()
                .try_for_each(|row| write_record(&mut self.output, row)),
        }
    }
}

/// Builds a table without border characters, so that text copied from it contains only the values.
fn build_table(columns: &[(&str, &str)], rows: &[Value], use_color: bool) -> Table {
    let mut table = Table::new();
    table
        .load_style(NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(columns.iter().map(|(head, _)| {
        let cell = Cell::new(head);
        if use_color {
            cell.add_attribute(Attribute::Bold)
        } else {
            cell
        }
    }));
    for row in rows {
        table.add_row(
            columns
                .iter()
                .map(|(_, field)| build_cell(row.get(field).unwrap_or(&Value::Null), use_color)),
        );
    }
    table
}

fn build_cell(value: &Value, use_color: bool) -> Cell {
    let text = format_cell(value);
    let color = match text.as_str() {
        "dead" | "conflict" | "cancelled" | "discarded" | "expired" => Some(Color::Red),
        "scheduled" | "running" | "accepted" => Some(Color::Yellow),
        "done" | "open" | "confirmed" => Some(Color::Green),
        _ => None,
    };
    let cell = Cell::new(text);
    color
        .filter(|_| use_color)
        .map(|use_color| cell.clone().fg(use_color))
        .unwrap_or(cell)
}

/// Formats a value as the text of one cell.
pub(super) fn format_cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::Array(items) if items.is_empty() => "-".to_owned(),
        Value::String(text) => {
            format_timestamp(text).unwrap_or_else(|| replace_control_chars(text))
        }
        other => replace_control_chars(&other.to_string()),
    }
}

/// Formats `2026-11-24T08:00:00.123Z` as `2026-11-24 08:00:00Z`. Only scripts get the milliseconds.
/// Returns `None` for any other text.
fn format_timestamp(text: &str) -> Option<String> {
    let (seconds, fraction) = text.split_once('.')?;
    let is_point = fraction.len() == 4
        && fraction.ends_with('Z')
        && seconds.parse::<jiff::civil::DateTime>().is_ok();
    is_point.then(|| format!("{}Z", seconds.replace('T', " ")))
}

/// Replaces control characters. Without this, text that a customer typed could control the terminal
/// of an admin.
fn replace_control_chars(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

/// Writes one object with a line for each field. A list of objects follows its name as a table.
fn write_record(output: &mut impl Write, row: &Value) -> io::Result<()> {
    let Value::Object(fields) = row else {
        return writeln!(output, "{}", format_cell(row));
    };
    let width = fields.keys().map(String::len).max().unwrap_or_default();
    for (name, value) in fields {
        match value {
            Value::Array(items) if items.iter().any(Value::is_object) => {
                // An unreadable row has other fields than the other rows, so the columns are
                // collected from all rows.
                let mut columns: Vec<(&str, &str)> = Vec::new();
                for key in items
                    .iter()
                    .filter_map(Value::as_object)
                    .flat_map(|item| item.keys())
                {
                    if columns.iter().all(|(known, _)| known != key) {
                        columns.push((key, key));
                    }
                }
                writeln!(output, "{name}")?;
                build_table(&columns, items, false)
                    .lines()
                    .try_for_each(|line| writeln!(output, "  {}", line.trim_end()))?;
            }
            // A text of several lines, for example of an e-mail.
            Value::String(text) if text.trim_end().contains('\n') => {
                writeln!(output, "{name}")?;
                text.trim_end()
                    .lines()
                    .try_for_each(|line| writeln!(output, "   {}", replace_control_chars(line)))?;
            }
            value => writeln!(output, "{name:<width$}  {}", format_cell(value))?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::deferred_error_writer::tests::ClosingPipe;

    const JOBS: OutputFormat = OutputFormat::Table {
        columns: &[("ID", "id"), ("STATE", "state"), ("DUE", "due_at")],
        empty: "no jobs",
    };

    fn write_rows(format: OutputFormat, json: bool, rows: &[Value]) -> String {
        let mut output = Vec::new();
        let mut writer = OutputWriter::with_output(&mut output, format, json, false);
        assert!(rows.iter().all(|row| writer.write_row(row.clone())));
        writer.finish().unwrap();
        String::from_utf8(output).unwrap()
    }

    fn jobs() -> [Value; 2] {
        [
            json!({"id": 12, "state": "done", "due_at": "2026-11-24T08:00:00.123Z", "more": 1}),
            json!({"id": 3, "state": "dead", "due_at": null}),
        ]
    }

    #[test]
    fn list_is_table_by_default() {
        insta::assert_snapshot!(write_rows(JOBS, false, &jobs()), @r"
        ID  STATE  DUE
        12  done   2026-11-24 08:00:00Z
        3   dead   -
        ");
        assert_eq!(write_rows(JOBS, false, &[]), "no jobs\n");
    }

    #[test]
    fn json_list_is_one_object_per_line() {
        let expected = "{\"id\":12,\"state\":\"done\",\"due_at\":\"2026-11-24T08:00:00.123Z\",\"more\":1}\n\
                        {\"id\":3,\"state\":\"dead\",\"due_at\":null}\n";
        assert_eq!(write_rows(JOBS, true, &jobs()), expected);
        assert_eq!(write_rows(JOBS, true, &[]), "");
    }

    #[test]
    fn multiline_text_is_indented_without_control_characters() {
        let mail = json!({"id": 12, "body": "one\r\n\u{1b}[2Jtwo\n", "short": "a\u{7}\n"});
        insta::assert_snapshot!(write_rows(OutputFormat::Record, false, &[mail]), @"
        id     12
        body
           one
           �[2Jtwo
        short  a��
        ");
    }

    #[test]
    fn record_is_shown_field_by_field() {
        let job = json!({"id": 12, "last_error": null, "attempt_history": [{"number": 1, "error": "x"}], "data": {"a": 1}});
        insta::assert_snapshot!(write_rows(OutputFormat::Record, false, &[job]), @r#"
        id               12
        last_error       -
        attempt_history
           number  error
           1       x
        data             {"a":1}
        "#);
    }

    #[test]
    fn nested_list_has_column_for_every_field() {
        let job = json!({"attempt_history": [{"number": 1, "state": "unreadable"}, {"number": 2, "error": "x"}]});
        insta::assert_snapshot!(write_rows(OutputFormat::Record, false, &[job]), @r"
        attempt_history
           number  state       error
           1       unreadable  -
           2       -           x
        ");
    }

    #[test]
    fn cell_replaces_control_characters() {
        assert_eq!(
            format_cell(&json!("a\u{1b}[2Jb\nc")),
            "a\u{fffd}[2Jb\u{fffd}c"
        );
    }

    #[test]
    fn list_stops_at_closed_pipe_and_record_completes() {
        for (format, more) in [(JOBS, false), (OutputFormat::Record, true)] {
            let mut writer = OutputWriter::with_output(ClosingPipe(0), format, true, false);
            for _ in 0..2 {
                assert_eq!(writer.write_row(json!({})), more, "{format:?}");
            }
            assert_eq!(
                writer.finish().unwrap_err().kind(),
                io::ErrorKind::BrokenPipe
            );
        }
    }
}
