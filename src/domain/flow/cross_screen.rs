//! Finds cross-screen fields: values of earlier screens that the final screen of a form must send
//! again.
//!
//! Drafts are identified by their `flow_token`. If the sender sets no token (`unused`), no draft is
//! stored, and a form has only the fields of its final screen. Such a form still needs its slot and
//! its agent. The check is pure.
//!
//! See [`crate::config`] (`config check`) and [`crate::intake::flow_json`] (`flows check`) for the
//! warnings to the admin.

use super::Flow;
use super::data_source::DataSource;
use super::screen::Screen;

/// Field that the final screen must send again.
#[derive(Clone, Copy, Debug)]
pub struct CrossScreenField<'a> {
    /// Name of the field in the answers.
    pub name: &'a str,
    /// Screen that has the field.
    pub screen: &'a Screen,
    /// `true` if the value is an agent who is shown on the screen, not an answer of the customer.
    pub is_agent: bool,
}

/// Returns the values that a form completed on `final_screen` needs: fields that only other screens
/// contain, and the agent that any screen shows.
#[must_use]
pub fn required_by_final_screen<'a>(
    flow: &'a Flow,
    final_screen: &'a Screen,
) -> Vec<CrossScreenField<'a>> {
    let has_field = |screen: &Screen, name: &str| screen.find_field(name).is_some();
    let required = |name: &'a str, screen: Option<&'a Screen>, is_agent| {
        let screen = screen.filter(|_| !has_field(final_screen, name))?;
        Some(CrossScreenField {
            name,
            screen,
            is_agent,
        })
    };
    let from_field = |name: &'a str| {
        let screen = flow.screens.iter().find(|screen| has_field(screen, name));
        required(name, screen, false)
    };
    let from_agent_data = |name: &'a str| {
        let shows = |screen: &&Screen| screen.shown_agent_names().any(|shown| shown == name);
        let screen = Some(final_screen).filter(shows);
        let screen = screen.or_else(|| flow.screens.iter().rfind(shows));
        required(name, screen, true)
    };
    let agent = flow.lead.as_ref();
    let agent = agent.and_then(|lead| lead.agent_field.as_deref());
    let agent = agent.and_then(|name| from_agent_data(name).or_else(|| from_field(name)));
    slot_fields(flow)
        .into_iter()
        .filter_map(from_field)
        .chain(agent)
        .collect()
}

/// Returns the fields that contain the requested slot. The date field is not necessary if a screen
/// offers slots of this calendar, because the ID of a slot contains its date.
fn slot_fields(flow: &Flow) -> Vec<&str> {
    let Some(booking) = &flow.booking else {
        return Vec::new();
    };
    let offers_slots = |source: &DataSource| match source {
        DataSource::Slots { calendar, .. } => *calendar == booking.calendar,
        _ => false,
    };
    let mut sources = flow.screens.iter().flat_map(|screen| &screen.data_sources);
    let has_ids = sources.any(|(_, source)| offers_slots(source));
    let (date, time) = (&*booking.date_field, &*booking.time_field);
    if has_ids || date == time {
        vec![time]
    } else {
        vec![date, time]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::booking::slot_request::BookingSettings;
    use crate::domain::flow::LeadSettings;
    use crate::domain::flow::choice_list::ChoiceListOptions;
    use crate::domain::flow::field::{Field, FieldKind};
    use crate::domain::ids::{CalendarName, FlowName, TeamName};

    fn text_field(name: &str) -> Field {
        Field::new(name, FieldKind::ANY_TEXT)
    }

    fn flow() -> Flow {
        let calendar = CalendarName::new("chair").unwrap();
        let team = TeamName::new("sales").unwrap();
        let agent = DataSource::Agent { team: team.clone() };
        let pick = Screen {
            fields: ["day", "time"].map(text_field).to_vec(),
            data_sources: vec![("adviser".to_owned(), agent)],
            ..Screen::new("PICK")
        };
        let last = Screen {
            is_final: true,
            ..Screen::new("LAST")
        };
        Flow {
            screens: vec![pick, last],
            booking: Some(BookingSettings {
                calendar,
                date_field: "day".to_owned(),
                time_field: "time".to_owned(),
            }),
            lead: Some(LeadSettings {
                team,
                is_sticky: false,
                agent_field: Some("adviser".to_owned()),
            }),
            ..Flow::new(FlowName::new("form").unwrap(), "/form".to_owned())
        }
    }

    fn required_names(flow: &Flow) -> Vec<String> {
        let required = required_by_final_screen(flow, flow.screens.last().unwrap());
        let names = required
            .iter()
            .map(|one| format!("{} of {}", one.name, one.screen.name));
        names.collect()
    }

    #[test]
    fn final_screen_requires_slot_and_agent_of_earlier_screens() {
        let mut flow = flow();
        let all = ["day of PICK", "time of PICK", "adviser of PICK"];
        assert_eq!(required_names(&flow), all);
        let calendar = flow.booking.as_ref().unwrap().calendar.clone();
        let slots = DataSource::Slots {
            calendar,
            day_field: None,
            options: ChoiceListOptions::default(),
        };
        let sources = &mut flow.screens[0].data_sources;
        sources.push(("slots".to_owned(), slots));
        // The ID of a slot contains its date.
        assert_eq!(required_names(&flow), ["time of PICK", "adviser of PICK"]);
        flow.screens[1] = Screen {
            name: "LAST".to_owned(),
            is_final: true,
            ..flow.screens[0].clone()
        };
        // The shown agent arrives only if the screen sends it.
        assert_eq!(required_names(&flow), ["adviser of LAST"]);
        flow.screens[1].fields.push(text_field("adviser"));
        assert!(required_names(&flow).is_empty());
        flow.screens.truncate(1);
        flow.screens[0].data_sources.clear();
        assert!(required_names(&flow).is_empty(), "one screen has it all");
    }
}
