//! What the storm sends, and when: the same numbers give the same storm.

use std::time::Duration;

use serde_json::json;

use crate::domain::time::Millis;

/// Customers who want the last place at the same moment.
pub const RIVALS: u32 = 200;

/// Places of the slot that they race for.
pub const CAPACITY: u32 = 3;

/// A storm: so many forms a second for so long, one in ten of them a duplicate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// Forms a second, duplicates included. At least 1.
    pub rate: u32,
    /// How long, in whole seconds. At least 1.
    pub seconds: u32,
}

/// One form to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Form {
    /// Its flow token.
    pub token: String,
    /// The path of its flow.
    pub path: &'static str,
    /// The body to sign and post.
    pub body: Vec<u8>,
}

impl Plan {
    /// How many forms are sent, duplicates included.
    #[must_use]
    pub const fn sends(self) -> u32 {
        self.rate.saturating_mul(self.seconds)
    }

    /// How many different forms there are among them.
    #[must_use]
    pub const fn forms(self) -> u32 {
        self.sends() - self.sends() / 10
    }

    /// When the form with this number is due, from the start of the storm.
    #[must_use]
    pub fn due(self, number: u32) -> Duration {
        Millis::from_secs(1).to_duration() * number / self.rate.max(1)
    }

    /// The form with this number, counted from 0. Each tenth repeats one of the nine before it: which, wanders, so that
    /// some are hard on the heels of the first and others come after its answer.
    #[must_use]
    pub fn form(self, number: u32) -> Form {
        let of = if number % 10 == 9 { number - 9 + (number / 10) % 9 } else { number };
        Form::enquiry(&format!("storm-{of}"))
    }
}

impl Form {
    /// A form that wants no slot.
    #[must_use]
    pub fn enquiry(token: &str) -> Self {
        Self::new(token, "/enquiry", &json!({ "name": "Ann", "message": "Please call me back." }))
    }

    /// A form that wants this slot.
    #[must_use]
    pub fn visit(token: &str, date: &str, time: &str) -> Self {
        Self::new(token, "/visit", &json!({ "name": "Ann", "date": date, "time": time }))
    }

    fn new(token: &str, path: &'static str, data: &serde_json::Value) -> Self {
        let body = json!({
            "version": "3.0",
            "action": "data_exchange",
            "screen": "FORM",
            "data": data,
            "flow_token": token,
            "context": { "user_id": format!("user-of-{token}") },
        });
        Self { token: token.to_owned(), path, body: body.to_string().into_bytes() }
    }
}

/// An agent of the demo: name, weight, most leads at once.
pub type Seat = (&'static str, u32, Option<u32>);

/// The team: unequal on purpose, two of them soon at their limit.
#[must_use]
pub fn team(forms: u32) -> [Seat; 4] {
    [("Ann", 1, None), ("Ben", 2, None), ("Cleo", 1, Some((forms / 10).max(1))), ("Dora", 3, Some((forms / 20).max(1)))]
}

/// The config of the demo's server. Its calendar is open on every day, so that there is a slot whenever the demo runs.
pub const CONFIG: &str = r#"# Made by `flowgate demo`.
listen = "127.0.0.1:0"
admin_listen = "127.0.0.1:0"
data = "flowgate.redb"

[meta]
app_secrets = ["file:secret"]

[limits]
free_space = "16MiB"

[flows.enquiry]
path = "/enquiry"
encryption = "none"
lead = { team = "sales" }

[flows.visit]
path = "/visit"
encryption = "none"
booking = { calendar = "chair", date = "date", time = "time" }
lead = { team = "sales" }

[calendars.chair]
timezone = "UTC"
open = { mon = ["09:00-17:00"], tue = ["09:00-17:00"], wed = ["09:00-17:00"], thu = ["09:00-17:00"], fri = ["09:00-17:00"], sat = ["09:00-17:00"], sun = ["09:00-17:00"] }
slot = "1h"
capacity = 3
ahead = "30d"
"#;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn one_form_in_ten_is_a_duplicate_of_one_sent_before() {
        let plan = Plan { rate: 100, seconds: 10 };
        let mut seen = BTreeSet::new();
        let duplicates = (0..plan.sends()).filter(|&number| !seen.insert(plan.form(number).token)).count();
        assert_eq!((plan.sends(), duplicates), (1000, 100));
        assert_eq!(u32::try_from(seen.len()).unwrap(), plan.forms());
    }

    #[test]
    fn forms_are_due_evenly_over_the_whole_time() {
        let plan = Plan { rate: 500, seconds: 10 };
        assert_eq!(plan.due(0), Duration::ZERO);
        assert_eq!(plan.due(500), Duration::from_secs(1));
        assert!(plan.due(plan.sends()) == Duration::from_secs(10));
    }

    #[test]
    fn the_config_has_the_capacity_that_the_race_is_for() {
        assert!(CONFIG.contains(&format!("capacity = {CAPACITY}\n")));
    }
}
