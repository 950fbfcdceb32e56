//! Parses the rows of a CSV file, and collects the problems of all lines.

use std::collections::BTreeMap;
use std::str::FromStr;

use csv::{ReaderBuilder, StringRecord};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::admin::{AgentSettings, ImportProblem, ImportedAgent, ImportedForm};
use crate::cli::args::parse_customer;
use crate::domain::ids::{AgentName, Customer, FlowName, TeamName};
use crate::domain::submission::IdempotencyKey;

/// Columns of agents.
const AGENT_COLUMNS: [&str; 5] = ["name", "team", "weight", "max", "max_per_day"];

type Problems = Vec<ImportProblem>;

/// Cells of a line by the names of their columns. Empty cells are absent.
type Cells = BTreeMap<String, String>;

/// Parses a file of agents.
pub(super) fn parse_agents(text: &str) -> Result<Vec<ImportedAgent>, Problems> {
    let header = read_header(text)?;
    let mut problems = Problems::new();
    for name in header.iter().filter(|name| !AGENT_COLUMNS.contains(name)) {
        let known = AGENT_COLUMNS.join(", ");
        problems.push(problem(1, format!("unknown column {name:?}: use {known}")));
    }
    for name in ["name", "team"] {
        if !header.iter().any(|known| known == name) {
            problems.push(problem(1, format!("the column {name} is missing")));
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let mut lines_by_name: BTreeMap<String, u64> = BTreeMap::new();
    let agents = parse_lines(text, |line, cells| {
        let agent = parse_agent(line, cells)?;
        match lines_by_name.insert(agent.name.to_string(), line) {
            Some(first) => Err(format!("agent {} is also in line {first}", agent.name)),
            None => Ok(agent),
        }
    })?;
    Ok(agents)
}

fn parse_agent(line: u64, cells: &Cells) -> Result<ImportedAgent, String> {
    let cell = |name: &str| cells.get(name).map(String::as_str);
    let name = AgentName::new(cell("name").unwrap_or_default());
    let team = TeamName::new(cell("team").unwrap_or_default());
    let settings = AgentSettings {
        weight: parse_number("weight", cell("weight"))?,
        max_leads: parse_number("max", cell("max"))?,
        max_leads_per_day: parse_number("max_per_day", cell("max_per_day"))?,
    };
    Ok(ImportedAgent {
        line,
        name: name.map_err(|error| error.to_string())?,
        team: team.map_err(|error| error.to_string())?,
        settings,
    })
}

fn parse_number(name: &str, text: Option<&str>) -> Result<Option<u32>, String> {
    let number = text.map(u32::from_str).transpose();
    number.map_err(|_| {
        let text = text.unwrap_or_default();
        format!("{name} must be a whole number, not {text:?}")
    })
}

/// Parses a file of leads or bookings of `flow`.
pub(super) fn parse_forms(text: &str, flow: &FlowName) -> Result<Vec<ImportedForm>, Problems> {
    read_header(text)?;
    let mut lines_by_token: BTreeMap<String, u64> = BTreeMap::new();
    parse_lines(text, |line, cells| {
        let form = parse_form(line, cells, flow)?;
        match lines_by_token.insert(form.token.clone(), line) {
            Some(first) => Err(format!(
                "the same as line {first}: remove it, or give both a different reference"
            )),
            None => Ok(form),
        }
    })
}

fn parse_form(line: u64, cells: &Cells, flow: &FlowName) -> Result<ImportedForm, String> {
    let phone = cells
        .get("phone")
        .map(|text| parse_phone(text))
        .transpose()?;
    let customer = Customer::new(cells.get("user_id").map(String::as_str), phone.as_deref());
    let is_answer = |name: &str| !["phone", "user_id", "reference"].contains(&name);
    let answers: Map<String, Value> = cells
        .iter()
        .filter(|(name, _)| is_answer(name))
        .map(|(name, text)| (name.clone(), Value::String(text.clone())))
        .collect();
    Ok(ImportedForm {
        line,
        customer,
        token: token_of(cells, flow),
        data: Value::Object(answers).to_string(),
    })
}

fn parse_phone(text: &str) -> Result<String, String> {
    let phone = parse_customer(text)
        .ok()
        .and_then(|customer| customer.phone);
    match phone {
        Some(phone) if !phone.starts_with('0') => Ok(phone.into()),
        _ => Err("phone must be a number with country code, as +491511234567".to_owned()),
    }
}

/// Returns the token that identifies a row: its reference or, without one, all of its cells.
fn token_of(cells: &Cells, flow: &FlowName) -> String {
    let mut hash = Sha256::new();
    let mut add = |text: &str| {
        hash.update(u64::try_from(text.len()).unwrap_or(u64::MAX).to_le_bytes());
        hash.update(text.as_bytes());
    };
    add(flow.as_str());
    match cells.get("reference") {
        Some(reference) => add(reference),
        None => cells.iter().for_each(|(name, text)| {
            add(name);
            add(text);
        }),
    }
    format!("import-{}", IdempotencyKey::from_hash(hash))
}

/// Calls `parse` with each line that has a cell. Returns the problems of all lines, if any.
fn parse_lines<T>(
    text: &str,
    mut parse: impl FnMut(u64, &Cells) -> Result<T, String>,
) -> Result<Vec<T>, Problems> {
    let header = read_header(text)?;
    let (mut parsed, mut problems) = (Vec::new(), Problems::new());
    for record in reader(text).records().skip(1) {
        let record = match record {
            Ok(record) => record,
            Err(error) => {
                let line = line_of(text, error.position());
                problems.push(problem(line, error.to_string()));
                continue;
            }
        };
        let line = line_of(text, record.position());
        if record.len() > header.len() {
            let text = format!("{} cells, but {} columns", record.len(), header.len());
            problems.push(problem(line, text));
            continue;
        }
        let names = header.iter().map(str::to_owned);
        let cells = names.zip(record.iter().map(|cell| cell.trim().to_owned()));
        let cells: Cells = cells.filter(|(_, cell)| !cell.is_empty()).collect();
        if cells.is_empty() {
            continue;
        }
        match parse(line, &cells) {
            Ok(row) => parsed.push(row),
            Err(text) => problems.push(problem(line, text)),
        }
    }
    if problems.is_empty() {
        Ok(parsed)
    } else {
        Err(problems)
    }
}

/// Returns the line number of a record. The position of the reader is before the empty lines that
/// precede the record.
fn line_of(text: &str, position: Option<&csv::Position>) -> u64 {
    let Some(position) = position else {
        return 0;
    };
    let start = usize::try_from(position.byte()).unwrap_or(usize::MAX);
    let rest = without_mark(text).as_bytes().iter().skip(start);
    let line_ends = rest.take_while(|byte| matches!(byte, b'\r' | b'\n'));
    let empty_lines = line_ends.filter(|byte| **byte == b'\n').count();
    let empty_lines = u64::try_from(empty_lines).unwrap_or_default();
    position.line().saturating_add(empty_lines)
}

/// Returns the text without the byte order mark that spreadsheets write.
fn without_mark(text: &str) -> &str {
    text.trim_start_matches('\u{feff}')
}

/// Returns the names of the columns.
fn read_header(text: &str) -> Result<StringRecord, Problems> {
    let header = reader(text).records().next().and_then(Result::ok);
    let header = header.unwrap_or_default();
    let header: StringRecord = header.iter().map(str::trim).collect();
    let mut problems = Problems::new();
    if header.is_empty() {
        problems.push(problem(
            1,
            "the header line with the names of the columns is missing".to_owned(),
        ));
    }
    for (at, name) in header.iter().enumerate() {
        if name.is_empty() {
            problems.push(problem(1, format!("column {} has no name", at + 1)));
        } else if header.iter().take(at).any(|earlier| earlier == name) {
            problems.push(problem(1, format!("two columns are named {name:?}")));
        }
    }
    if problems.is_empty() {
        Ok(header)
    } else {
        Err(problems)
    }
}

/// Creates a reader of all lines. The separator is the one that the header has most often, because
/// spreadsheets write semicolons in some countries.
fn reader(text: &str) -> csv::Reader<&[u8]> {
    let text = without_mark(text);
    let header = text.lines().next().unwrap_or_default();
    let count = |separator: &u8| header.bytes().filter(|byte| byte == separator).count();
    let separators = [b'\t', b';', b','];
    let delimiter = separators.into_iter().max_by_key(count).unwrap_or(b',');
    ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(delimiter)
        .from_reader(text.as_bytes())
}

const fn problem(line: u64, problem: String) -> ImportProblem {
    ImportProblem { line, problem }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow() -> FlowName {
        FlowName::new("visit").unwrap()
    }

    fn lines(problems: &[ImportProblem]) -> Vec<u64> {
        problems.iter().map(|found| found.line).collect()
    }

    #[test]
    fn agents_have_known_columns_and_all_problems_are_found() {
        let agents = parse_agents("\u{feff}name;team;weight\nAnn;sales;2\n\nBob;sales;\n").unwrap();
        let weights: Vec<_> = agents.iter().map(|agent| agent.settings.weight).collect();
        assert_eq!(weights, [Some(2), None]);
        assert_eq!(agents[1].line, 4);
        let wrong = "name,team,weight\nA b,sales,1\nAnn,,1\nBob,sales,x\nBob,sales\nZoe,a,1\nZoe,b,1\nX,a,1,1\n";
        assert_eq!(lines(&parse_agents(wrong).unwrap_err()), [2, 3, 4, 7, 8]);
        assert_eq!(lines(&parse_agents("nmae,team\n").unwrap_err()), [1, 1]);
        assert_eq!(lines(&parse_agents("").unwrap_err()), [1]);
        assert_eq!(lines(&parse_agents("name,,name\n").unwrap_err()), [1, 1]);
    }

    #[test]
    fn other_columns_of_leads_are_answers() {
        let text = "phone,name,note\n+49 151 1234567,Ann,\"a, b\"\n,Bob,\n";
        let forms = parse_forms(text, &flow()).unwrap();
        assert_eq!(forms[0].customer.phone.as_deref(), Some("491511234567"));
        assert_eq!(forms[0].data, r#"{"name":"Ann","note":"a, b"}"#);
        assert!(forms[1].customer.is_unknown());
        assert_eq!(parse_forms(text, &flow()).unwrap(), forms);
        let wrong = "phone,name\n0151 1234567,Ann\nAnn,Ann\n491511234567,Bob\n491511234567,Bob\n";
        assert_eq!(lines(&parse_forms(wrong, &flow()).unwrap_err()), [2, 3, 5]);
    }

    #[test]
    fn reference_identifies_a_row_whose_answers_change() {
        let token = |text: &str| parse_forms(text, &flow()).unwrap()[0].token.clone();
        let ann = token("reference,name\n7,Ann\n");
        assert_eq!(ann, token("reference,name\n7,Anna\n"));
        assert_ne!(ann, token("reference,name\n8,Ann\n"));
        assert_ne!(token("name\nAnn\n"), token("name\nAnna\n"));
    }
}
