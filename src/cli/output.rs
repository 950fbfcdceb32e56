//! Writes the rows of a response: one JSON object a line for scripts, tables or text for people.
//! Tables fit the width of the terminal.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

use comfy_table::presets::NOTHING;
use comfy_table::{Attribute, Cell, Color, ContentArrangement, Table};
use jiff::tz::TimeZone;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::cell::{format_cell, format_times, replace_control_chars};
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

/// Function that builds the table of rows.
type BuildTable = fn(&[Value], &OutputStyle) -> Table;

/// Tables of the fields of an object, by the name of the field. A list of objects in another field
/// is shown with all its fields.
pub(crate) type FieldTables = &'static [(&'static str, BuildTable)];

/// Output format of the rows of a response for people.
#[derive(Debug, Clone, Copy)]
pub(crate) enum OutputFormat {
    /// A table with one line for each row.
    Table {
        /// Builds the table.
        build: BuildTable,
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
    /// A single object with one line for each field, and a table for each list of objects.
    Record(FieldTables),
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

/// Colors, and the time zone of times, in the output for people.
#[derive(Debug, Clone)]
pub(crate) struct OutputStyle {
    use_color: bool,
    /// Time zone of rows that have no `timezone` of their own.
    time_zone: TimeZone,
}

impl OutputStyle {
    /// Returns the time zone of a row: the one that the row names, as bookings do, or the default.
    fn zone_of(&self, row: &Value) -> TimeZone {
        let named = row.get("timezone").and_then(Value::as_str);
        let named = named.and_then(|name| TimeZone::get(name).ok());
        named.unwrap_or_else(|| self.time_zone.clone())
    }
}

/// Writes the rows of a response to `W`, as JSON or in an [`OutputFormat`].
pub(crate) struct OutputWriter<W: Write> {
    output: DeferredErrorWriter<W>,
    format: OutputFormat,
    json: bool,
    style: OutputStyle,
    rows: Vec<Value>,
}

impl OutputWriter<io::Stdout> {
    /// Creates a writer to standard output that shows times in `time_zone`. Colors are on if
    /// standard output is a terminal and `NO_COLOR` is empty or not set.
    pub(crate) fn new(format: OutputFormat, json: bool, time_zone: TimeZone) -> Self {
        let use_color = io::stdout().is_terminal()
            && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty());
        let style = OutputStyle {
            use_color,
            time_zone,
        };
        Self::with_output(io::stdout(), format, json, style)
    }
}

impl<W: Write> OutputWriter<W> {
    fn with_output(output: W, format: OutputFormat, json: bool, style: OutputStyle) -> Self {
        Self {
            output: DeferredErrorWriter::new(output),
            format,
            json,
            style,
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
                let table = build(&self.rows, &self.style);
                writeln!(self.output, "{}", table.trim_fmt())
            }
            OutputFormat::Text { format, .. } => {
                let mut rows = self.rows.iter();
                rows.try_for_each(|row| {
                    let text = format_times(&format(row), &self.style.time_zone);
                    writeln!(self.output, "{text}")
                })
            }
            OutputFormat::Record(tables) => {
                let mut rows = self.rows.iter();
                rows.try_for_each(|row| write_record(&mut self.output, row, tables, &self.style))
            }
        }
    }
}

/// Builds the table of the rows `R`.
pub(crate) fn build_list<R: TableRow>(rows: &[Value], style: &OutputStyle) -> Table {
    let headers = R::COLUMNS.iter().map(|(header, _)| *header);
    let rows = rows.iter().map(|row| (list_cells::<R>(row), row));
    build_table(headers, rows, style)
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
///
/// Each row is a pair of its cells and its object.
fn build_table<'a>(
    headers: impl Iterator<Item = &'a str>,
    rows: impl Iterator<Item = (Vec<Value>, &'a Value)>,
    style: &OutputStyle,
) -> Table {
    let mut table = Table::new();
    table
        .load_style(NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(headers.map(|header| {
        let cell = Cell::new(header);
        if style.use_color {
            cell.add_attribute(Attribute::Bold)
        } else {
            cell
        }
    }));
    for (cells, row) in rows {
        let zone = style.zone_of(row);
        let cells = cells.iter();
        table.add_row(cells.map(|value| build_cell(value, &zone, style.use_color)));
    }
    table
}

fn build_cell(value: &Value, zone: &TimeZone, use_color: bool) -> Cell {
    let text = format_cell(value, zone);
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

/// Writes one object with a line for each field. A list of objects follows its name as a table.
fn write_record<'a>(
    output: &mut impl Write,
    row: &'a Value,
    tables: FieldTables,
    style: &OutputStyle,
) -> io::Result<()> {
    let zone = style.zone_of(row);
    let nested = OutputStyle {
        use_color: false,
        time_zone: zone.clone(),
    };
    let Value::Object(fields) = row else {
        return writeln!(output, "{}", format_cell(row, &zone));
    };
    let width = fields.keys().map(String::len).max().unwrap_or_default();
    for (name, value) in fields {
        let table = tables.iter().find(|(field, _)| *field == name.as_str());
        match (table, value) {
            (Some((_, build)), Value::Array(items)) if !items.is_empty() => {
                writeln!(output, "{name}")?;
                write_indented(output, &build(items, &nested))?;
            }
            (_, Value::Array(items)) if items.iter().any(Value::is_object) => {
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
                let cells = |item: &'a Value| {
                    let cells = columns.iter().map(|name| field(item, name));
                    (cells.collect(), item)
                };
                let headers = columns.iter().copied();
                let table = build_table(headers, items.iter().map(cells), &nested);
                write_indented(output, &table)?;
            }
            // A text of several lines, for example of an e-mail.
            (_, Value::String(text)) if text.trim_end().contains('\n') => {
                writeln!(output, "{name}")?;
                text.trim_end()
                    .lines()
                    .try_for_each(|line| writeln!(output, "   {}", replace_control_chars(line)))?;
            }
            (_, value) => writeln!(output, "{name:<width$}  {}", format_cell(value, &zone))?,
        }
    }
    Ok(())
}

fn write_indented(output: &mut impl Write, table: &Table) -> io::Result<()> {
    let mut lines = table.lines();
    lines.try_for_each(|line| writeln!(output, "  {}", line.trim_end()))
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

    const fn utc_style() -> OutputStyle {
        OutputStyle {
            use_color: false,
            time_zone: TimeZone::UTC,
        }
    }

    const JOBS: OutputFormat = OutputFormat::table::<Job>();

    fn write_rows(format: OutputFormat, json: bool, rows: &[Value]) -> String {
        let mut output = Vec::new();
        let mut writer = OutputWriter::with_output(&mut output, format, json, utc_style());
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
        insta::assert_snapshot!(write_rows(OutputFormat::Record(&[]), false, &[mail]), @"
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
        insta::assert_snapshot!(write_rows(OutputFormat::Record(&[]), false, &[job]), @r#"
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
        insta::assert_snapshot!(write_rows(OutputFormat::Record(&[]), false, &[job]), @r"
        attempt_history
           number  state       error
           1       unreadable  -
           2       -           x
        ");
    }

    #[test]
    fn list_stops_at_closed_pipe_and_record_completes() {
        for (format, more) in [(JOBS, false), (OutputFormat::Record(&[]), true)] {
            let mut writer = OutputWriter::with_output(ClosingPipe(0), format, true, utc_style());
            for _ in 0..2 {
                assert_eq!(writer.write_row(json!({})), more, "{format:?}");
            }
            let error = writer.finish().unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        }
    }
}
