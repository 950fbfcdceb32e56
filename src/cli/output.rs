//! Writes the rows of a response: one JSON object a line for scripts, tables or text for people.
//! Tables fit the width of the terminal.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

use comfy_table::presets::NOTHING;
use comfy_table::{Attribute, Cell, Color, ContentArrangement, Table};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::deferred_error_writer::DeferredErrorWriter;

/// A column: its header, and its value in a row.
pub(crate) type Column<R> = (&'static str, fn(&R) -> Value);

/// Row of a list, with the table that shows such rows.
pub(crate) trait TableRow: DeserializeOwned + 'static {
    /// Columns, from left to right.
    const COLUMNS: &'static [Column<Self>];
    /// Text that replaces a table without rows.
    const EMPTY: &'static str;
}

/// Output format of the rows of a response for people.
#[derive(Debug, Clone, Copy)]
pub(crate) enum OutputFormat {
    /// A table with one line for each row.
    Table {
        /// Builds the table. The flag turns colors on.
        build: fn(&[Value], bool) -> Table,
        /// Text that replaces a table without rows.
        empty: &'static str,
    },
    /// Lines of text for each row.
    Text {
        /// Formats one row as lines without control characters.
        format: fn(&Value) -> String,
        /// Text that is written if there are no rows.
        empty: &'static str,
    },
    /// A single object with one line for each field.
    Record,
}

impl OutputFormat {
    /// Creates the format for a list of the rows `R`.
    pub(crate) const fn table<R: TableRow>() -> Self {
        Self::Table {
            build: build_list::<R>,
            empty: R::EMPTY,
        }
    }

    /// Creates the format for rows `R` that are shown as text.
    pub(crate) const fn text<R: DeserializeOwned + Display>(empty: &'static str) -> Self {
        Self::Text {
            format: format_row::<R>,
            empty,
        }
    }
}

/// Writes the rows of a response to `W`, as JSON or in an [`OutputFormat`].
pub(crate) struct OutputWriter<W: Write> {
    output: DeferredErrorWriter<W>,
    format: OutputFormat,
    json: bool,
    use_color: bool,
    rows: Vec<Value>,
}

impl OutputWriter<io::Stdout> {
    /// Creates a writer to standard output. Colors are on if standard output is a terminal and
    /// `NO_COLOR` is empty or not set.
    pub(crate) fn new(format: OutputFormat, json: bool) -> Self {
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

    /// Writes or buffers one row. Returns `false` if the reader of a table has closed the pipe, so
    /// that the caller can stop.
    ///
    /// For text and a single object the method always returns `true`, because an error may follow
    /// the row. JSON is written at once. The rest is written by [`OutputWriter::finish`], because
    /// the column widths of a table depend on all rows.
    pub(crate) fn write_row(&mut self, row: Value) -> bool {
        if self.json {
            // `DeferredErrorWriter` stores the error until `finish`.
            let _ = writeln!(self.output, "{row}");
        } else {
            self.rows.push(row);
        }
        self.output.is_open() || !matches!(self.format, OutputFormat::Table { .. })
    }

    /// Returns `true` if buffered rows wait to be written.
    pub(crate) const fn has_rows(&self) -> bool {
        !self.rows.is_empty()
    }

    /// Writes the buffered rows and flushes the output.
    ///
    /// # Errors
    /// Returns the first error of the output.
    pub(crate) fn finish(mut self) -> io::Result<()> {
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
            OutputFormat::Table { build, .. } => {
                let table = build(&self.rows, self.use_color);
                writeln!(self.output, "{}", table.trim_fmt())
            }
            OutputFormat::Text { format, .. } => {
                let mut rows = self.rows.iter();
                rows.try_for_each(|row| writeln!(self.output, "{}", format(row)))
            }
            OutputFormat::Record => {
                let mut rows = self.rows.iter();
                rows.try_for_each(|row| write_record(&mut self.output, row))
            }
        }
    }
}

/// Builds the table of the rows `R`.
fn build_list<R: TableRow>(rows: &[Value], use_color: bool) -> Table {
    let headers = R::COLUMNS.iter().map(|(header, _)| *header);
    build_table(headers, rows.iter().map(list_cells::<R>), use_color)
}

/// Returns the values of all columns of a row.
fn list_cells<R: TableRow>(row: &Value) -> Vec<Value> {
    let columns = R::COLUMNS.iter();
    match R::deserialize(row) {
        Ok(row) => columns.map(|(_, value)| value(&row)).collect(),
        // An unreadable row has only its key, its state and an error.
        Err(_) => columns
            .map(|(header, _)| field(row, &header.to_lowercase()))
            .collect(),
    }
}

fn field(row: &Value, name: &str) -> Value {
    row.get(name).cloned().unwrap_or_default()
}

/// Formats a row with its type. A row of a server with another version may not have this type.
fn format_row<R: DeserializeOwned + Display>(row: &Value) -> String {
    R::deserialize(row).map_or_else(|_| row.to_string(), |row| row.to_string())
}

/// Builds a table without border characters, so that text copied from it contains only the values.
fn build_table<'a>(
    headers: impl Iterator<Item = &'a str>,
    rows: impl Iterator<Item = Vec<Value>>,
    use_color: bool,
) -> Table {
    let mut table = Table::new();
    table
        .load_style(NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(headers.map(|header| {
        let cell = Cell::new(header);
        if use_color {
            cell.add_attribute(Attribute::Bold)
        } else {
            cell
        }
    }));
    for row in rows {
        table.add_row(row.iter().map(|value| build_cell(value, use_color)));
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
    match color.filter(|_| use_color) {
        Some(color) => Cell::new(text).fg(color),
        None => Cell::new(text),
    }
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
                let objects = items.iter().filter_map(Value::as_object);
                let mut columns: Vec<&str> = Vec::new();
                for key in objects.flat_map(|item| item.keys()) {
                    if !columns.contains(&key.as_str()) {
                        columns.push(key);
                    }
                }
                writeln!(output, "{name}")?;
                let cells = |item: &Value| columns.iter().map(|name| field(item, name)).collect();
                let headers = columns.iter().copied();
                build_table(headers, items.iter().map(cells), false)
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
    use serde::Deserialize;
    use serde_json::json;

    use super::*;
    use crate::cli::deferred_error_writer::ClosingPipe;

    #[derive(Deserialize)]
    struct Job {
        id: u32,
        state: String,
        due_at: Option<String>,
    }

    impl TableRow for Job {
        const COLUMNS: &'static [Column<Self>] = &[
            ("ID", |job| json!(job.id)),
            ("STATE", |job| json!(job.state)),
            ("DUE", |job| json!(job.due_at)),
        ];
        const EMPTY: &'static str = "no jobs";
    }

    const JOBS: OutputFormat = OutputFormat::table::<Job>();

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
    fn unreadable_row_shows_its_key_and_state() {
        let rows = [
            json!({"id": 12, "state": "unreadable", "error": "row 12 is cut off"}),
            json!({"id": 3, "state": "dead"}),
        ];
        insta::assert_snapshot!(write_rows(JOBS, false, &rows), @r"
        ID  STATE       DUE
        12  unreadable  -
        3   dead        -
        ");
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
        let cell = format_cell(&json!("a\u{1b}[2Jb\nc"));
        assert_eq!(cell, "a\u{fffd}[2Jb\u{fffd}c");
    }

    #[test]
    fn list_stops_at_closed_pipe_and_record_completes() {
        for (format, more) in [(JOBS, false), (OutputFormat::Record, true)] {
            let mut writer = OutputWriter::with_output(ClosingPipe(0), format, true, false);
            for _ in 0..2 {
                assert_eq!(writer.write_row(json!({})), more, "{format:?}");
            }
            let error = writer.finish().unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        }
    }
}
