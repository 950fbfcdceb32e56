//! Reads `lead` of a flow: the team that gets the lead, and the field or shown name that selects an
//! agent.
//!
//! See [`crate::domain::lead::agent_pool`] for the choice of the agent.

use crate::config::reader::TableReader;
use crate::config::suggest::suggestion;
use crate::domain::flow::{LeadSettings, Screen};
use crate::domain::ids::TeamName;

/// Reads the table. `screens` are the screens of the flow.
pub fn read(table: &TableReader<'_>, screens: &[Screen]) -> Option<LeadSettings> {
    let team = table.require_parsed("team", TeamName::new);
    let is_sticky = table.boolean("sticky", false);
    let agent_field = table.get("agent").and_then(|item| {
        let name = item.non_empty_text()?;
        let fields = screens
            .iter()
            .flat_map(|screen| &screen.fields)
            .map(|field| field.name.as_str());
        let shown = screens.iter().flat_map(Screen::shown_agent_names);
        let known: Vec<&str> = fields.chain(shown).collect();
        if !screens.is_empty() && !known.contains(&name) {
            item.error(format!(
                "no screen has a field {name:?}, and no screen has `agent` data of that name{}",
                suggestion(name, known)
            ));
        }
        Some(name.to_owned())
    });
    Some(LeadSettings {
        team: team?,
        is_sticky,
        agent_field,
    })
}

#[cfg(test)]
mod tests {
    use crate::config::tests::{assert_errors, assert_refused, parse_valid};

    #[test]
    fn lead_requires_team_and_known_agent_field() {
        assert_errors(
            "[flows.form]",
            r#"
            lead = {}
            => 2:8: flows.form.lead: `team` is missing
            lead = { team = "" }
            => 2:17: flows.form.lead.team: team name is empty
            lead = { team = "a", sticky = "yes" }
            => 2:31: flows.form.lead.sticky: must be true or false, and is a text
            "#,
        );
        let screens = "screens = [{ name = \"A\", final = true, fields = { day = {} }, data = { adviser = { agent = \"a\" } } }]";
        let agent = |name: &str| format!("lead = {{ team = \"a\", agent = \"{name}\" }}");
        for (typed, meant) in [("advisor", "adviser"), ("dya", "day")] {
            let error = format!(
                "3:30: flows.form.lead.agent: no screen has a field \"{typed}\", and no screen has `agent` data of that name: did you mean `{meant}`?"
            );
            let flow = format!("[flows.form]\n{screens}");
            assert_refused(&flow, &agent(typed), &error);
            parse_valid(&format!("{flow}\n{}", agent(meant)));
        }
    }
}
