//! Renders the config of `flowgate init`: the chosen keys, each with a comment.

use std::fmt::Write;

use toml::Value;

use super::answers::{Answers, CalendarAnswers};
use super::paths::DATA_FILE;

/// Names of the weekdays in the config, in order.
const WEEKDAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// Returns the text of the config.
///
/// # Errors
/// Returns a text if the opening hours have another format.
pub(super) fn render(answers: &Answers) -> Result<String, String> {
    let text = |value: &str| Value::String(value.to_owned()).to_string();
    let mut config = format!(
        "# Configuration of flowgate, made by `flowgate init`. A key that is missing here has its default.\n\
         # `flowgate config check` prints a summary and lists every problem with its line.\n\
         # After a change: `systemctl reload flowgate`. `flowgate doctor` checks the whole setup.\n\
         \n\
         public_url = {url}  # Meta sends its requests to this address\n\
         listen = {listen}  # the reverse proxy sends them on to this address\n\
         admin_listen = {admin}  # metrics, for this machine only\n\
         data = {data}\n\
         \n\
         # The secrets are files in the folder credentials beside this file. systemd passes them to the\n\
         # service (LoadCredential= in flowgate.service). After a change: `systemctl restart flowgate`.\n\
         [meta]\n\
         app_secrets = [\"credential:app-secret\"]  # Meta's app dashboard: App settings, Basic\n\
         verify_token = \"credential:verify-token\"  # enter the same text in Meta's dashboard\n\
         access_token = \"credential:access-token\"  # for keys and WhatsApp messages; may be empty\n",
        url = text(&format!("https://{}", answers.domain)),
        listen = text(&answers.listen),
        admin = text(&answers.admin_listen),
        data = text(DATA_FILE),
    );
    render_flow(&mut config, answers, &text);
    if let Some(calendar) = &answers.calendar {
        render_calendar(&mut config, calendar, &text)?;
    }
    config.push_str(
        "\n# Events for your own systems, e-mails and messages: see docs/destinations.md. For example:\n\
         # [destinations.crm]\n\
         # url = \"https://crm.example/hooks/flowgate\"\n\
         # secrets = [\"credential:crm-secret\"]\n",
    );
    Ok(config)
}

fn render_flow(config: &mut String, answers: &Answers, text: &impl Fn(&str) -> String) {
    let name = key(&answers.flow);
    let (language, team) = (text(&answers.language), text(&answers.team));
    let endpoint = if answers.is_encrypted {
        format!(
            "encryption = \"required\"  # endpoint of the Flow: https://{}/flows/{}\n\
             private_keys = [\"credential:flow-key\"]  # newest first\n",
            answers.domain, answers.flow
        )
    } else {
        "encryption = \"none\"  # the Flow has no endpoint: its answers arrive at /webhook\n"
            .to_owned()
    };
    // Writing to a String never fails.
    let _ = write!(
        config,
        "\n# The first flow. Its completed forms become leads{}.\n\
         [flows.{name}]\n\
         {endpoint}\
         webhook = \"default\"  # forms that match no other flow\n\
         lead = {{ team = {team} }}  # `flowgate agents add NAME --team {}`\n\
         language = {language}  # of texts for customers\n",
        if answers.calendar.is_some() {
            " and bookings"
        } else {
            ""
        },
        answers.team,
    );
    if let Some(calendar) = &answers.calendar {
        let _ = writeln!(
            config,
            "# Names of the fields of the form that hold the day and the time.\n\
             booking = {{ calendar = {}, date = \"date\", time = \"time\" }}",
            text(&calendar.name)
        );
    }
    if answers.is_encrypted {
        render_screen(config, answers, &name, text);
    }
}

fn render_screen(
    config: &mut String,
    answers: &Answers,
    flow: &str,
    text: &impl Fn(&str) -> String,
) {
    let _ = writeln!(
        config,
        "\n# The screens have the names of the Flow JSON. `flowgate flows check FLOW.json` compares both.\n\
         [[flows.{flow}.screens]]\n\
         name = \"FORM\"\n\
         final = true  # sending this screen completes the form"
    );
    let mut fields = "name = { type = \"text\", required = true }\n".to_owned();
    if let Some(calendar) = &answers.calendar {
        let name = text(&calendar.name);
        let _ = writeln!(
            config,
            "refresh_on = [\"date\"]  # a chosen day shows its free times\n\
             data = {{ dates = {{ dates = {name} }}, times = {{ slots = {name}, day = \"date\" }} }}"
        );
        fields.push_str(
            "date = { type = \"date\", required = true }\ntime = { type = \"time\", required = true }\n",
        );
    }
    let _ = write!(config, "\n[flows.{flow}.screens.fields]\n{fields}");
}

fn render_calendar(
    config: &mut String,
    calendar: &CalendarAnswers,
    text: &impl Fn(&str) -> String,
) -> Result<(), String> {
    let name = key(&calendar.name);
    let _ = write!(
        config,
        "\n# The slots that can be booked.\n\
         [calendars.{name}]\n\
         timezone = {}\n\
         slot_length = {}\n\
         capacity = 1  # bookings at the same time\n\
         max_advance = \"60d\"  # bookings at most 60 days in advance\n\
         closed_dates = []  # for example \"2026-12-25\"\n\
         \n[calendars.{name}.hours]  # breaks are the gaps between the ranges\n",
        text(&calendar.time_zone),
        text(&calendar.slot_length),
    );
    for (day, ranges) in parse_hours(&calendar.hours)? {
        let ranges: Vec<String> = ranges.iter().map(|range| text(range)).collect();
        let _ = writeln!(config, "{day} = [{}]", ranges.join(", "));
    }
    Ok(())
}

/// Returns a name as a key of TOML, quoted if necessary.
fn key(name: &str) -> String {
    let is_bare = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    if !name.is_empty() && name.bytes().all(is_bare) {
        name.to_owned()
    } else {
        Value::String(name.to_owned()).to_string()
    }
}

/// Parses opening hours: `mon-fri 09:00-12:00 13:00-17:00, sat 10:00-14:00`. The config checks the
/// ranges.
fn parse_hours(text: &str) -> Result<Vec<(&'static str, Vec<&str>)>, String> {
    let mut hours: Vec<(&'static str, Vec<&str>)> = Vec::new();
    for part in text.split(',') {
        let mut words = part.split_whitespace();
        let days = words.next().unwrap_or_default();
        let ranges: Vec<&str> = words.collect();
        let days = day_range(days).filter(|_| !ranges.is_empty());
        let days = days.ok_or_else(|| {
            format!(
                "{:?} are no opening hours: write days and ranges, like \"mon-fri 09:00-12:00 13:00-17:00, sat 10:00-14:00\"",
                part.trim()
            )
        })?;
        for day in days {
            if hours.iter().any(|(other, _)| *other == day) {
                return Err(format!("the opening hours have {day} twice"));
            }
            hours.push((day, ranges.clone()));
        }
    }
    Ok(hours)
}

/// Returns the days of `mon` or `mon-fri`.
fn day_range(text: &str) -> Option<Vec<&'static str>> {
    let text = text.to_ascii_lowercase();
    let (first, last) = text.split_once('-').unwrap_or((&text, &text));
    let position = |day: &str| WEEKDAYS.iter().position(|name| *name == day);
    let (first, last) = (position(first)?, position(last)?);
    WEEKDAYS.get(first..=last).map(<[_]>::to_vec)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opening_hours_are_days_with_ranges() {
        let hours = parse_hours("mon-wed 09:00-12:00 13:00-17:00, Sat 10:00-14:00").unwrap();
        let days: Vec<&str> = hours.iter().map(|(day, _)| *day).collect();
        assert_eq!(days, ["mon", "tue", "wed", "sat"]);
        assert_eq!(hours[0].1, ["09:00-12:00", "13:00-17:00"]);
        for wrong in [
            "",
            "09:00-17:00",
            "mon",
            "fri-mon 09:00-17:00",
            "mo 09:00-17:00",
            "mon 09:00-17:00,",
        ] {
            assert!(parse_hours(wrong).is_err(), "{wrong:?}");
        }
        assert!(
            parse_hours("mon-fri 09:00-17:00, fri 10:00-12:00")
                .unwrap_err()
                .contains("twice")
        );
    }
}
