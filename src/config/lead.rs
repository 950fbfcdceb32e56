//! `lead` of a flow: the team that takes it, and the field or the screen's name that says which agent.
//!
//! Who then gets it is `crate::domain::roster`'s.

use super::nearest::hint;
use super::raw::Table;
use crate::domain::flow::{LeadRule, Screen};
use crate::domain::ids::TeamName;

/// Reads the table.
pub(super) fn read(table: &Table<'_>, screens: &[Screen]) -> Option<LeadRule> {
    let team = table.need("team").and_then(|item| item.parsed(TeamName::new));
    let sticky = table.boolean("sticky", false);
    let agent = table.get("agent").and_then(|item| {
        let name = item.some_text()?;
        let fields = screens.iter().flat_map(|screen| &screen.fields).map(|field| field.name.as_str());
        let shown = screens.iter().flat_map(Screen::agents_shown);
        let known: Vec<&str> = fields.chain(shown).collect();
        if !screens.is_empty() && !known.contains(&name) {
            item.refuse(format!("no screen has a field {name:?}, nor shows an agent as that{}", hint(name, known)));
        }
        Some(name.to_owned())
    });
    Some(LeadRule { team: team?, sticky, agent })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{accepted, assert_refused};

    #[test]
    fn a_lead_has_a_team_and_its_agent_is_named_by_a_field_or_shown() {
        assert_refused(
            "[flows.form]",
            &[
                ("lead = {}", "2:8: flows.form.lead: `team` is missing"),
                ("lead = { team = \"\" }", "2:17: flows.form.lead.team: team name is empty"),
                (
                    "lead = { team = \"a\", sticky = \"yes\" }",
                    "2:31: flows.form.lead.sticky: must be true or false, and is a text",
                ),
            ],
        );
        let screens =
            "screens = [{ name = \"A\", final = true, fields = { day = {} }, data = { adviser = { agent = \"a\" } } }]";
        let agent = |name: &str| format!("lead = {{ team = \"a\", agent = \"{name}\" }}");
        for (typed, meant) in [("advisor", "adviser"), ("dya", "day")] {
            let said = format!(
                "3:30: flows.form.lead.agent: no screen has a field \"{typed}\", nor shows an agent as that: did you mean `{meant}`?"
            );
            assert_refused(&format!("[flows.form]\n{screens}"), &[(&agent(typed), &said)]);
            accepted(&format!("[flows.form]\n{screens}\n{}", agent(meant)));
        }
    }
}
