//! Columns and cells of an exported table.
//!
//! A spreadsheet runs a cell that begins with `=`, `+`, `-`, `@`, a tab or a carriage return as a
//! formula. Customers write the answers, so such a cell gets an apostrophe in front. Phone numbers
//! and numbers are no formulas and stay unchanged.

use indexmap::IndexSet;
use serde_json::Value;

use super::kind::ExportKind;
use crate::domain::phone_number::PhoneNumber;

/// Maximum number of columns for answers. Further answers are in the last column.
const ANSWER_COLUMNS_MAX: usize = 500;

/// Columns of a table.
pub(super) struct CsvTable {
    columns: Vec<&'static str>,
    has_answers: bool,
    answers: IndexSet<String>,
}

impl CsvTable {
    /// Creates the table of a kind of rows.
    pub(super) fn new(kind: ExportKind) -> Self {
        Self {
            columns: columns_of(kind).split_whitespace().collect(),
            has_answers: matches!(kind, ExportKind::Submissions | ExportKind::Drafts),
            answers: IndexSet::new(),
        }
    }

    /// Returns `true` if the rows have answers.
    pub(super) const fn has_answers(&self) -> bool {
        self.has_answers
    }

    /// Adds a column for each answer of the row.
    pub(super) fn add_answers(&mut self, row: &Value) {
        let answers = row.get("data").and_then(Value::as_object);
        for name in answers.into_iter().flat_map(serde_json::Map::keys) {
            if self.answers.len() < ANSWER_COLUMNS_MAX && !self.answers.contains(name) {
                self.answers.insert(name.clone());
            }
        }
    }

    /// Returns the names of the columns.
    pub(super) fn header(&self) -> Vec<String> {
        let fixed = self.columns.iter().map(|name| (*name).to_owned());
        let answers = self.answers.iter().map(|name| format!("answer.{name}"));
        let other = self.has_answers.then(|| "other_answers".to_owned());
        fixed.chain(answers).chain(other).collect()
    }

    /// Returns the cells of a row.
    pub(super) fn cells(&self, row: &Value) -> Vec<String> {
        let fixed = self.columns.iter().map(|name| cell(row.get(name)));
        let mut cells: Vec<String> = fixed.collect();
        if !self.has_answers {
            return cells;
        }
        let data = row.get("data");
        let answers = data.and_then(Value::as_object);
        let answer = |name: &String| cell(answers.and_then(|answers| answers.get(name)));
        cells.extend(self.answers.iter().map(answer));
        let other = match (answers, data) {
            (Some(answers), _) => {
                let rest = answers
                    .iter()
                    .filter(|(name, _)| !self.answers.contains(*name));
                let rest: serde_json::Map<String, Value> = rest
                    .map(|(name, value)| (name.clone(), value.clone()))
                    .collect();
                (!rest.is_empty()).then_some(Value::Object(rest))
            }
            (None, data) => data.cloned(),
        };
        cells.push(cell(other.as_ref()));
        cells
    }
}

/// Returns the names of the columns of a kind, separated by spaces.
const fn columns_of(kind: ExportKind) -> &'static str {
    match kind {
        ExportKind::Submissions => {
            "id flow customer state received_at sent_at channel flow_token message_id lead_id agent \
             booking_id job_id conflict problems"
        }
        ExportKind::Drafts => "flow customer state screen updated_at flow_token",
        ExportKind::Leads => {
            "id flow team agent state created_at assigned_at closed_at reason submission_id"
        }
        ExportKind::Bookings => {
            "id calendar date time state start end made_at cancelled_at submission_id"
        }
        ExportKind::Deliveries => {
            "id destination event flow state attempts status due_at created_at last_error \
             submission_id"
        }
        ExportKind::DeadLetters => {
            "id kind destination event attempts died_at created_at reason last_error \
             submission_id payload"
        }
        ExportKind::Jobs => {
            "id kind state attempts due_at created_at last_error submission_id lead_id"
        }
        ExportKind::Agents => {
            "id name team active weight current_leads max_leads max_per_day total_leads \
             unavailable_reason"
        }
    }
}

/// Returns the text of a cell. A list of plain values is joined, and any other value is JSON.
fn cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => defuse_formula(text.clone()),
        Some(Value::Array(items)) if items.iter().all(is_plain) => {
            let items: Vec<String> = items.iter().map(plain_text).collect();
            defuse_formula(items.join("; "))
        }
        Some(value) => value.to_string(),
    }
}

const fn is_plain(value: &Value) -> bool {
    !matches!(value, Value::Array(_) | Value::Object(_) | Value::Null)
}

fn plain_text(value: &Value) -> String {
    let text = value.as_str().map(str::to_owned);
    text.unwrap_or_else(|| value.to_string())
}

/// Puts an apostrophe in front of a text that a spreadsheet would run as a formula.
fn defuse_formula(text: String) -> String {
    let is_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    // Digits with separators, as people write phone numbers, contain no function and no cell.
    let is_number = text.parse::<f64>().is_ok()
        || PhoneNumber::parse(&text.replace([' ', '-', '(', ')', '/', '.'], "")).is_ok();
    if is_formula && !is_number {
        format!("'{text}")
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn formulas_are_defused_and_numbers_stay() {
        for (text, expected) in [
            ("=1+1", "'=1+1"),
            ("+cmd|' /C calc'!A0", "'+cmd|' /C calc'!A0"),
            ("-2+3", "'-2+3"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("\t=1", "'\t=1"),
            ("+491511234567", "+491511234567"),
            ("+49 151 1234567", "+49 151 1234567"),
            ("-12.5", "-12.5"),
            ("Ann", "Ann"),
            ("", ""),
        ] {
            assert_eq!(cell(Some(&json!(text))), expected, "{text:?}");
        }
        assert_eq!(cell(Some(&json!(["=a", "b"]))), "'=a; b");
        assert_eq!(cell(Some(&json!(-5))), "-5");
        assert_eq!(cell(Some(&json!({"a": 1}))), r#"{"a":1}"#);
    }

    #[test]
    fn each_answer_has_its_column() {
        let mut table = CsvTable::new(ExportKind::Drafts);
        let row = |data: Value| json!({"flow": "visit", "screen": "A", "data": data});
        table.add_answers(&row(json!({"name": "Ann", "size": 2})));
        table.add_answers(&row(json!("no object")));
        let header = table.header();
        assert_eq!(header[6..], ["answer.name", "answer.size", "other_answers"]);
        let cells = table.cells(&row(json!({"size": 3, "new": true})));
        assert_eq!(cells[6..], ["", "3", r#"{"new":true}"#]);
        let cells = table.cells(&row(json!("=no object")));
        assert_eq!(cells[6..], ["", "", "'=no object"]);
    }
}
