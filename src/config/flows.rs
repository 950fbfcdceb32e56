//! `[flows.NAME]`: paths that nothing else answers, bookings in calendars that exist, messages that are one flow's.
//!
//! Screens and fields are read by `screens`. What a flow then does with an answer is `crate::domain::flow`'s.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::nearest::hint;
use super::raw::Table;
use super::screens;
use super::secrets::SecretRef;
use super::settings::secret;
use super::texts;
use super::upstream::{self, UpstreamRule};
use super::value::Item;
use crate::domain::field::Field;
use crate::domain::flow::{
    ABANDONED_AFTER, BookingRule, Encryption, Flow, LeadRule, Resubmit, Screen, SignatureRule, WebhookRule,
};
use crate::domain::ids::{CalendarName, FlowName, TeamName};
use crate::domain::screen_data::Given;
use crate::domain::time::Millis;

/// Paths that the server answers itself.
const TAKEN_PATHS: [&str; 3] = ["/webhook", "/healthz", "/readyz"];

/// Below this, unofficial gateways will call.
const TAKEN_FOLDER: &str = "/gateways";

/// No proxy lets much longer ones through.
const PATH_BYTES_MAX: usize = 512;

/// Where the private keys of an encrypted flow are.
#[derive(Clone, Debug)]
pub struct KeyPlaces {
    /// Newest first; those behind the first are its predecessors.
    pub private_keys: Vec<SecretRef>,
    /// What those behind a passphrase are opened with.
    pub passphrase: Option<SecretRef>,
}

/// The flows, and what only some of them have.
#[derive(Default)]
pub(super) struct Declared {
    pub(super) flows: BTreeMap<FlowName, Arc<Flow>>,
    pub(super) keys: BTreeMap<FlowName, KeyPlaces>,
    pub(super) upstreams: BTreeMap<FlowName, UpstreamRule>,
}

/// Reads `[flows]`. `calendars` are the names under `[calendars]`, `folder` is the config's.
pub(super) fn read(root: &Table<'_>, calendars: &[&str], folder: &Path) -> Declared {
    let Some(flows) = root.get("flows") else { return Declared::default() };
    let read = flows.names(|table| {
        let mut paths: BTreeMap<String, String> = BTreeMap::new();
        let mut rules: Vec<(String, WebhookRule)> = Vec::new();
        let mut read = Declared::default();
        for item in table.named() {
            let Some((flow, keys, upstream)) = flow(&item, calendars, folder) else { continue };
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
            read.keys.extend(keys.map(|keys| (flow.name.clone(), keys)));
            read.upstreams.extend(upstream.map(|upstream| (flow.name.clone(), upstream)));
            read.flows.insert(flow.name.clone(), Arc::new(flow));
        }
        read
    });
    read.unwrap_or_default()
}

/// One flow; `None` where it has no name or no path.
fn flow(item: &Item<'_>, calendars: &[&str], folder: &Path) -> Option<(Flow, Option<KeyPlaces>, Option<UpstreamRule>)> {
    let name = item.parsed_key(FlowName::new);
    item.table(|table| {
        let keys = encryption(table, folder);
        table.refuse_for_now("deliver", "deliveries");
        let signature = table.get("signature").and_then(|item| item.word(&["required", "none"]));
        let screens = table.get("screens").map(|item| screens::read(&item, calendars)).unwrap_or_default();
        let upstream = upstream::read(table, keys.is_some(), &screens, folder);
        let path = path(table, name.as_ref());
        let flow = Flow {
            encryption: if keys.is_some() { Encryption::Required } else { Encryption::None },
            signature: if signature == Some("none") { SignatureRule::None } else { SignatureRule::Required },
            booking: table.table("booking", |booking_table| booking(booking_table, calendars, &screens)).flatten(),
            lead: table.table("lead", |lead_table| lead(lead_table, &screens)).flatten(),
            webhook: table.table("webhook", webhook).unwrap_or_default(),
            has_program: upstream.is_some(),
            texts: texts::read(table),
            resubmit: resubmit(table, keys.is_some()),
            abandoned_after: table.length(
                "abandoned_after",
                ABANDONED_AFTER,
                Millis::from_secs(60)..=Millis::from_secs(90 * 24 * 3600),
            ),
            screens,
            name: name?,
            path: path?,
        };
        Some((flow, keys, upstream))
    })?
}

/// The keys of an encrypted flow; `None` for a plain one.
fn encryption(table: &Table<'_>, folder: &Path) -> Option<KeyPlaces> {
    let word = table.get("encryption").and_then(|item| item.word(&["none", "required"]));
    let (keys, passphrase) = (table.get("private_keys"), table.get("passphrase"));
    if word != Some("required") {
        for item in [keys, passphrase].into_iter().flatten() {
            item.refuse_key(format!(
                "{}: a flow without `encryption = \"required\"` has no `{}`",
                table.name, item.key
            ));
        }
        return None;
    }
    if keys.is_none() {
        table.refuse("`private_keys` is missing: an encrypted flow needs one, like [\"file:flow_key.pem\"]");
    }
    let keys = keys.and_then(|item| item.some_items()).unwrap_or_default();
    Some(KeyPlaces {
        private_keys: keys.iter().filter_map(|item| secret(item, folder)).collect(),
        passphrase: passphrase.and_then(|item| secret(&item, folder)),
    })
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
            let (kind, [one, other, third]) = (field.kind.as_str(), kinds);
            let hint = format!("make it \"{one}\", \"{other}\" or \"{third}\"");
            item.refuse(format!("field {name:?} is of type \"{kind}\", which names no {key}: {hint}"));
        }
        Some(name.to_owned())
    };
    let (date, time) = (field("date", ["date", "text", "choice"]), field("time", ["time", "text", "choice"]));
    Some(BookingRule { calendar: calendar?, date: date?, time: time? })
}

/// What comes of a token that was used: only encrypted flows have an answer for that.
fn resubmit(table: &Table<'_>, is_encrypted: bool) -> Resubmit {
    let Some(item) = table.get("resubmit") else { return Resubmit::default() };
    let word = item.word(&["success", "refuse"]);
    if word == Some("refuse") && !is_encrypted {
        item.refuse_key(format!("{}: only a flow with `encryption = \"required\"` can refuse a token", table.name));
    }
    if word == Some("refuse") { Resubmit::Refuse } else { Resubmit::Success }
}

fn lead(table: &Table<'_>, screens: &[Screen]) -> Option<LeadRule> {
    let team = table.need("team").and_then(|item| item.parsed(TeamName::new));
    let sticky = table.boolean("sticky", false);
    let agent = table.get("agent").and_then(|item| {
        let name = item.some_text()?;
        let fields = screens.iter().flat_map(|screen| &screen.fields).map(|field| field.name.as_str());
        let shown = screens.iter().flat_map(|screen| &screen.data).filter_map(|(name, given)| match given {
            Given::Agent { .. } => Some(name.as_str()),
            _ => None,
        });
        let known: Vec<&str> = fields.chain(shown).collect();
        if !screens.is_empty() && !known.contains(&name) {
            item.refuse(format!("no screen has a field {name:?}, nor shows an agent as that{}", hint(name, known)));
        }
        Some(name.to_owned())
    });
    Some(LeadRule { team: team?, sticky, agent })
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

#[cfg(test)]
mod tests {
    use super::super::tests::{accepted, assert_refused, refused};

    const CHAIR: &str = "[calendars.chair]\ntimezone = \"UTC\"\nslot = \"1h\"\nopen = { mon = [\"09:00-17:00\"] }\n";

    #[test]
    fn a_path_is_one_that_a_url_can_carry_and_nothing_else_answers() {
        let ours = "is answered by the server itself: choose another, like \"/flows/appointment\"";
        let parts = "may have no empty part, no \".\" and no \"..\" between its slashes, and none behind the last";
        for (path, why) in [
            ("form", "must begin with '/', like \"/flows/appointment\""),
            ("", "must begin with '/', like \"/flows/appointment\""),
            ("/form?a=b", "must be the path alone, without '?' or '#'"),
            ("/form#top", "must be the path alone, without '?' or '#'"),
            ("/my form", "may not have ' ': letters, digits and -._~/ are safe"),
            ("/%2e%2e", "may not have '%': letters, digits and -._~/ are safe"),
            ("/größe", "may not have 'ö': letters, digits and -._~/ are safe"),
            ("/a/../b", parts),
            ("/./a", parts),
            ("/a//b", parts),
            ("/a/", parts),
            ("/", parts),
            ("/webhook", ours),
            ("/healthz", ours),
            ("/readyz", ours),
            ("/gateways", ours),
            ("/gateways/waha", ours),
            (&format!("/{}", "a".repeat(512)), "must have at most 512 characters"),
        ] {
            let expected = format!("2:8: flows.form.path: {path:?} {why}");
            assert_refused("[flows.form]", &[(&format!("path = {path:?}"), &expected)]);
        }
        for path in ["/webhooks", "/gateways-of-ours", "/a.b/c~d", "/a..b"] {
            accepted(&format!("[flows.form]\npath = {path:?}"));
        }
    }

    #[test]
    fn without_a_path_the_name_is_it_and_no_two_flows_share_one() {
        let config = accepted("[flows.form]");
        assert_eq!(config.flows.values().next().unwrap().path, "/flows/form");
        assert_refused(
            "[flows.\"größe\"]",
            &[(
                "",
                "1:8: flows.größe: `path` is missing, and can't be made of a name that has more than plain letters and digits",
            )],
        );
        assert_refused(
            "[flows.a]\npath = \"/flows/b\"",
            &[("[flows.b]", "3:8: flows `a` and `b` have the same path, /flows/b")],
        );
    }

    #[test]
    fn names_and_words_are_checked() {
        assert_refused(
            "",
            &[
                ("[flows.\"a b\"]", "2:8: flows.a b: flow name may have letters, digits, '-', '_' and '.' only"),
                ("flows = 3", "2:9: flows: must be a table, and is a whole number"),
                ("flows.a = 3", "2:11: flows.a: must be a table, and is a whole number"),
            ],
        );
        assert_refused(
            "[flows.form]",
            &[
                ("paht = \"/a\"", "2:1: unknown key `paht` in flows.form: did you mean `path`?"),
                (
                    "signature = \"optional\"",
                    "2:13: flows.form.signature: \"optional\" is not known here: there are `required`, `none`",
                ),
                (
                    "encryption = \"nope\"",
                    "2:14: flows.form.encryption: \"nope\" is not known here: did you mean `none`?",
                ),
                ("lead = {}", "2:8: flows.form.lead: `team` is missing"),
                ("lead = { team = \"\" }", "2:17: flows.form.lead.team: team name is empty"),
                (
                    "lead = { team = \"a\", sticky = \"yes\" }",
                    "2:31: flows.form.lead.sticky: must be true or false, and is a text",
                ),
            ],
        );
    }

    #[test]
    fn what_comes_with_later_versions_is_refused_and_never_suggested() {
        assert_refused(
            "[flows.form]",
            &[("deliver = [\"crm\"]", "2:1: `deliver`: this version has no deliveries yet")],
        );
        assert!(!refused("[flows.form]\ndelivr = []").contains("`deliver`"));
        assert_refused(
            "",
            &[
                ("[destinations.crm]", "2:2: `destinations`: this version has no deliveries yet"),
                ("[gateways.waha]", "2:2: `gateways`: this version has no unofficial gateways yet"),
            ],
        );
    }

    #[test]
    fn an_encrypted_flow_has_keys_and_a_plain_one_has_none() {
        assert_refused(
            "[flows.form]",
            &[
                (
                    "encryption = \"required\"",
                    "1:8: flows.form: `private_keys` is missing: an encrypted flow needs one, like [\"file:flow_key.pem\"]",
                ),
                (
                    "private_keys = [\"file:key\"]",
                    "2:1: flows.form: a flow without `encryption = \"required\"` has no `private_keys`",
                ),
            ],
        );
        assert!(refused("[flows.form]\nencryption = \"required\"\nprivate_keys = []").contains("private_keys"));
        assert!(!refused("[flows.form]\nencryption = \"required\"\nprivate_keys = [\"hush\"]").contains("hush"));
        let config = accepted("[flows.form]\nencryption = \"required\"\nprivate_keys = [\"file:a\", \"env:B\"]");
        assert_eq!(config.keys.values().next().unwrap().private_keys.len(), 2);
    }

    #[test]
    fn a_booking_names_a_calendar_and_fields_that_are_there() {
        assert_refused(
            "[flows.form]",
            &[(
                "booking = { calendar = \"chair\", date = \"day\", time = \"hour\" }",
                "2:24: flows.form.booking.calendar: there is no calendar \"chair\": add [calendars.NAME]",
            )],
        );
        let screen = "screens = [{ name = \"A\", final = true, fields = { day = { type = \"date\" }, ok = { type = \"boolean\" } } }]";
        assert_refused(
            &format!("{CHAIR}[flows.form]\n{screen}"),
            &[
                (
                    "booking = { calendar = \"chiar\", date = \"day\", time = \"day\" }",
                    "7:24: flows.form.booking.calendar: there is no calendar \"chiar\": did you mean `chair`?\n\
                     config.toml:7:54: flows.form.booking.time: field \"day\" is of type \"date\", which names no time: \
                     make it \"time\", \"text\" or \"choice\"",
                ),
                (
                    "booking = { calendar = \"chair\", date = \"dya\", time = \"ok\" }",
                    "7:40: flows.form.booking.date: no screen has a field \"dya\": did you mean `day`?\n\
                     config.toml:7:54: flows.form.booking.time: field \"ok\" is of type \"boolean\", which names no time: \
                     make it \"time\", \"text\" or \"choice\"",
                ),
                ("booking = { calendar = \"chair\", date = \"day\" }", "7:11: flows.form.booking: `time` is missing"),
            ],
        );
        accepted(&format!("{CHAIR}[flows.form]\nbooking = {{ calendar = \"chair\", date = \"any\", time = \"any\" }}"));
    }

    #[test]
    fn a_broken_calendar_is_not_said_to_be_missing() {
        let text = refused(&format!(
            "{}[flows.form]\nbooking = {{ calendar = \"chair\", date = \"day\", time = \"hour\" }}",
            CHAIR.replace("UTC", "Utopia")
        ));
        assert!(text.lines().count() == 1 && text.contains("Utopia"), "{text}");
    }

    #[test]
    fn a_webhook_rule_says_something_and_no_two_flows_have_the_same() {
        assert_refused(
            "[flows.form]",
            &[
                (
                    "webhook = {}",
                    "2:11: flows.form.webhook: names nothing to tell this flow's messages by: `phone_number_ids`, `token_prefix` or `field`",
                ),
                (
                    "webhook = { phone_number_ids = [] }",
                    "2:32: flows.form.webhook.phone_number_ids: is empty: leave it out, or put something in",
                ),
                (
                    "webhook = { phone_number_ids = [\"+4930\"] }",
                    "2:33: flows.form.webhook.phone_number_ids: \"+4930\" is no phone number id: it has digits only (and is not the phone number)",
                ),
                (
                    "webhook = { phone_number_ids = [4930] }",
                    "2:33: flows.form.webhook.phone_number_ids: must be a text in quotes, and is a whole number",
                ),
                ("webhook = { token_prefix = \"\" }", "2:28: flows.form.webhook.token_prefix: is empty"),
                (
                    "webhook = { field = { kind = 3 } }",
                    "2:30: flows.form.webhook.field.kind: must be a text in quotes, and is a whole number",
                ),
            ],
        );
        assert_refused(
            "[flows.a]\nwebhook = { token_prefix = \"x\" }\n[flows.b]",
            &[(
                "webhook = { token_prefix = \"x\" }",
                "3:8: flows `a` and `b` have the same webhook rule: all forms would go to the first by name",
            )],
        );
    }
}
