//! Defines the workload of the demo: forms and their due times. The same numbers give the same
//! workload.

use std::time::Duration;

use serde_json::json;

use crate::domain::time::Millis;

/// Number of customers who request the last place of a slot at the same moment.
pub const CONCURRENT_FORMS: u32 = 200;

/// Number of places of the slot that the concurrent forms request.
pub const SLOT_CAPACITY: u32 = 3;

/// Workload with a constant rate of forms. One form in ten is a duplicate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Workload {
    /// Forms per second, duplicates included. At least 1.
    pub rate: u32,
    /// Duration in whole seconds. At least 1.
    pub seconds: u32,
}

/// A form to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkloadForm {
    /// Flow token.
    pub token: String,
    /// Path of the flow.
    pub path: &'static str,
    /// Body to sign and post.
    pub body: Vec<u8>,
}

impl Workload {
    /// Returns the number of forms, duplicates included.
    #[must_use]
    pub const fn form_count(self) -> u32 {
        self.rate.saturating_mul(self.seconds)
    }

    /// Returns the number of different forms.
    #[must_use]
    pub const fn unique_forms(self) -> u32 {
        self.form_count() - self.form_count() / 10
    }

    /// Returns the due time of the form with this number, counted from the start of the load.
    #[must_use]
    pub fn due_at(self, number: u32) -> Duration {
        Millis::from_secs(1).to_duration() * number / self.rate.max(1)
    }
}

impl WorkloadForm {
    /// Creates the form of a workload with this number, counted from 0. The form requests no slot.
    ///
    /// Each tenth form repeats one of the nine forms before it. The distance varies: some
    /// duplicates follow their form at once, others come after its response.
    #[must_use]
    pub fn enquiry(number: u32) -> Self {
        let of = if number % 10 == 9 {
            number - 9 + (number / 10) % 9
        } else {
            number
        };
        let data = json!({ "name": "Ann", "message": "Please call me back." });
        Self::new(&format!("form-{of}"), "/enquiry", &data)
    }

    /// Creates a form that requests this slot.
    #[must_use]
    pub fn visit(token: &str, date: &str, time: &str) -> Self {
        let fields = json!({ "name": "Ann", "date": date, "time": time });
        Self::new(token, "/visit", &fields)
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
        Self {
            token: token.to_owned(),
            path,
            body: body.to_string().into_bytes(),
        }
    }
}

/// Agent of the demo: name, weight, and maximum number of open leads.
pub type DemoAgent = (&'static str, u32, Option<u32>);

/// Returns the agents of the demo. Their weights differ, and two of them reach their limit soon.
#[must_use]
pub fn demo_agents(forms: u32) -> [DemoAgent; 4] {
    [
        ("Ann", 1, None),
        ("Ben", 2, None),
        ("Cleo", 1, Some((forms / 10).max(1))),
        ("Dora", 3, Some((forms / 20).max(1))),
    ]
}

/// Config of the demo's server. Its calendar is open every day, so that a slot exists whenever the
/// demo runs.
pub const CONFIG: &str = r#"# Made by `flowgate demo`.
listen = "127.0.0.1:0"
admin_listen = "127.0.0.1:0"
data = "flowgate.redb"

[meta]
app_secrets = ["file:secret"]

[limits]
min_free_space = "16MiB"

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
hours = { mon = ["09:00-17:00"], tue = ["09:00-17:00"], wed = ["09:00-17:00"], thu = ["09:00-17:00"], fri = ["09:00-17:00"], sat = ["09:00-17:00"], sun = ["09:00-17:00"] }
slot_length = "1h"
capacity = 3
max_advance = "30d"
"#;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn one_form_in_ten_is_a_duplicate() {
        let workload = Workload {
            rate: 100,
            seconds: 10,
        };
        let mut seen = BTreeSet::new();
        let duplicates = (0..workload.form_count())
            .filter(|&number| !seen.insert(WorkloadForm::enquiry(number).token))
            .count();
        assert_eq!((workload.form_count(), duplicates), (1000, 100));
        assert_eq!(u32::try_from(seen.len()).unwrap(), workload.unique_forms());
    }

    #[test]
    fn forms_are_due_evenly() {
        let workload = Workload {
            rate: 500,
            seconds: 10,
        };
        assert_eq!(workload.due_at(0), Duration::ZERO);
        assert_eq!(workload.due_at(500), Duration::from_secs(1));
        assert!(workload.due_at(workload.form_count()) == Duration::from_secs(10));
    }

    #[test]
    fn config_has_slot_capacity() {
        assert!(CONFIG.contains(&format!("capacity = {SLOT_CAPACITY}\n")));
    }
}
