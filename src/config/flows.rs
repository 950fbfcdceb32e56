//! `[flows.NAME]`: paths that nothing else answers, bookings in calendars that exist, messages that are one flow's.
//!
//! Screens and fields are read by `screens`. What a flow then does with an answer is `crate::domain::flow`'s.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::nearest::hint;
use super::raw::Table;
use super::screens;
use super::value::Item;
use crate::domain::field::Field;
use crate::domain::flow::{BookingRule, Flow, LeadRule, Screen, SignatureRule, WebhookRule};
use crate::domain::ids::{CalendarName, FlowName, TeamName};

/// Paths that the server answers itself.
const TAKEN_PATHS: [&str; 3] = ["/webhook", "/healthz", "/readyz"];

/// Below this, unofficial gateways will call.
const TAKEN_FOLDER: &str = "/gateways";

/// No proxy lets much longer ones through.
const PATH_BYTES_MAX: usize = 512;

/// Reads `[flows]`. `calendars` are the names under `[calendars]`.
pub(super) fn read(root: &Table<'_>, calendars: &[&str]) -> BTreeMap<FlowName, Arc<Flow>> {
    let Some(flows) = root.get("flows") else { return BTreeMap::new() };
    let read = flows.names(|table| {
        let mut paths: BTreeMap<String, String> = BTreeMap::new();
        let mut rules: Vec<(String, WebhookRule)> = Vec::new();
        let mut read = BTreeMap::new();
        for item in table.named() {
            let Some(flow) = flow(&item, calendars) else { continue };
            let name = flow.name.to_string();
            if let Some(other) = paths.insert(flow.path.clone(), name.clone()) {
                item.refuse_key(format!("flows `{other}` and `{name}` have the same path, {}", flow.path));
            }
            if let Some((other, _)) =
                rules.iter().find(|(_, rule)| flow.webhook.conditions() > 0 && *rule == flow.webhook)
            {
                let why = "all forms would go to the first by name";
                item.refuse_key(format!("flows `{other}` and `{name}` have the same webhook rule: {why}"));
            }
            rules.push((name, flow.webhook.clone()));
            read.insert(flow.name.clone(), Arc::new(flow));
        }
        read
    });
    read.unwrap_or_default()
}

/// One flow; `None` where it has no name or no path.
fn flow(item: &Item<'_>, calendars: &[&str]) -> Option<Flow> {
    let name = item.parsed_key(FlowName::new);
    item.table(|table| {
        encryption(table);
        let signature = table.get("signature").and_then(|item| item.word(&["required", "none"]));
        let screens = table.get("screens").map(|item| screens::read(&item)).unwrap_or_default();
        let path = path(table, name.as_ref());
        Some(Flow {
            signature: if signature == Some("none") { SignatureRule::None } else { SignatureRule::Required },
            booking: table.table("booking", |booking_table| booking(booking_table, calendars, &screens)).flatten(),
            lead: table.table("lead", lead).flatten(),
            webhook: table.table("webhook", webhook).unwrap_or_default(),
            screens,
            name: name?,
            path: path?,
        })
    })?
}

fn encryption(table: &Table<'_>) {
    if let Some(item) = table.get("encryption")
        && item.word(&["none", "required"]) == Some("required")
    {
        item.refuse(
            "this version has no encrypted flows yet: write \"none\", for a flow whose sender posts plain JSON",
        );
    }
    table.refuse_for_now("private_keys", "encrypted flows");
    table.refuse_for_now("upstream", "programs of yours behind a flow");
    table.refuse_for_now("deliver", "deliveries");
}

fn path(table: &Table<'_>, name: Option<&FlowName>) -> Option<String> {
    if let Some(item) = table.get("path") {
        return item.parsed(check_path).map(str::to_owned);
    }
    let path = format!("/flows/{}", name?);
    if check_path(&path).is_err() {
        table.refuse("`path` is missing, and can't be made of a name that has more than plain letters and digits");
        return None;
    }
    Some(path)
}

/// A path that a URL can carry as it stands, and that nothing else answers.
fn check_path(path: &str) -> Result<&str, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._~/!$&'()*+,;=:@".contains(c);
    let of_ours = path.strip_prefix(TAKEN_FOLDER).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    let problem = if !path.starts_with('/') {
        "must begin with '/', like \"/flows/appointment\"".to_owned()
    } else if path.len() > PATH_BYTES_MAX {
        format!("must have at most {PATH_BYTES_MAX} characters")
    } else if path.contains(['?', '#']) {
        "must be the path alone, without '?' or '#'".to_owned()
    } else if let Some(bad) = path.chars().find(|c| !plain(*c)) {
        format!("may not have {bad:?}: letters, digits and -._~/ are safe")
    } else if path.split('/').skip(1).any(|part| part.is_empty() || part == "." || part == "..") {
        "may have no empty part, no \".\" and no \"..\" between its slashes, and none behind the last".to_owned()
    } else if TAKEN_PATHS.contains(&path) || of_ours {
        "is answered by the server itself: choose another, like \"/flows/appointment\"".to_owned()
    } else {
        return Ok(path);
    };
    Err(format!("{path:?} {problem}"))
}

fn booking(table: &Table<'_>, calendars: &[&str], screens: &[Screen]) -> Option<BookingRule> {
    let calendar = table.need("calendar").and_then(|item| {
        let name = item.text()?;
        if !calendars.contains(&name) {
            let none = if calendars.is_empty() { ": add [calendars.NAME]" } else { "" };
            item.refuse(format!("there is no calendar {name:?}{none}{}", hint(name, calendars.iter().copied())));
            return None;
        }
        CalendarName::new(name).ok()
    });
    let field = |key, kinds: [&str; 3]| {
        let item = table.need(key)?;
        let name = item.some_text()?;
        let declared = || screens.iter().flat_map(|screen| &screen.fields);
        let found: Vec<&Field> = declared().filter(|field| field.name == name).collect();
        if found.is_empty() && !screens.is_empty() {
            let names = declared().map(|field| field.name.as_str());
            item.refuse(format!("no screen has a field {name:?}{}", hint(name, names)));
        }
        if let Some(field) = found.iter().find(|field| !kinds.contains(&field.kind.as_str())) {
            let (kind, fits) = (field.kind.as_str(), kinds.join("\", \""));
            item.refuse(format!("field {name:?} is of type \"{kind}\", which names no {key}: make it \"{fits}\""));
        }
        Some(name.to_owned())
    };
    let (date, time) = (field("date", ["date", "text", "choice"]), field("time", ["time", "text", "choice"]));
    Some(BookingRule { calendar: calendar?, date: date?, time: time? })
}

fn lead(table: &Table<'_>) -> Option<LeadRule> {
    let team = table.need("team").and_then(|item| item.parsed(TeamName::new));
    let sticky = table.boolean("sticky", false);
    Some(LeadRule { team: team?, sticky })
}

fn webhook(table: &Table<'_>) -> WebhookRule {
    let before = table.problems_so_far();
    let number = |item: &Item<'_>| {
        let id = item.some_text()?;
        if !id.bytes().all(|b| b.is_ascii_digit()) {
            item.refuse(format!("{id:?} is no phone number id: it has digits only (and is not the phone number)"));
        }
        Some(id.to_owned())
    };
    let value = |item: Item<'_>| Some((item.key.to_owned(), item.text()?.to_owned()));
    let numbers = table.get("phone_number_ids").and_then(|item| item.some_items());
    let fields = table.get("field").and_then(|item| item.names(Table::named));
    let rule = WebhookRule {
        phone_number_ids: numbers.iter().flatten().filter_map(number).collect(),
        token_prefix: table.get("token_prefix").and_then(|item| item.some_text().map(str::to_owned)),
        fields: fields.into_iter().flatten().filter_map(value).collect(),
    };
    if rule.conditions() == 0 && table.problems_so_far() == before {
        table.refuse("names nothing to tell this flow's messages by: `phone_number_ids`, `token_prefix` or `field`");
    }
    rule
}
