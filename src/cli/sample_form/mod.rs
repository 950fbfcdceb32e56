//! Generates forms with valid sample values. `try` sends them, with the given fields in place of
//! samples. The functions are pure.

mod plain;
mod screen;
mod value;

pub use plain::{SlotChoice, first_unfillable_field, sample_form};
pub use screen::{choice_request, screen_answers};

#[cfg(test)]
pub(super) mod tests {
    use std::path::Path;

    use crate::config::Config;
    use crate::domain::flow::Flow;

    /// Returns a flow with the calendar `chair` and the given settings.
    pub fn parse_flow(settings: &str) -> Flow {
        let calendar = "[calendars.chair]\ntimezone = \"UTC\"\nslot_length = \"1h\"\nhours = { mon = [\"09:00-17:00\"] }";
        let text = format!("{calendar}\n[flows.visit]\n{settings}");
        let config = Config::parse(Path::new("config.toml"), &text);
        let flows = config.unwrap_or_else(|error| panic!("{error}")).flows;
        Flow::clone(flows.values().next().unwrap())
    }
}
