//! What the end of a form needs of its earlier screens: the slot that it books, the agent whom it is to go to.
//!
//! Forms in the making are told apart by their `flow_token`. Where senders set none (`unused`), nothing is kept of the
//! screens before the last, and a form has only what its last screen sends. Pure; who is told of it is left to
//! `crate::config` (`config check`) and `crate::intake::flow_json` (`flows check`).

use super::flow::Flow;
use super::screen::Screen;
use super::screen_data::Given;

/// Something that the last screen has to send along.
#[derive(Clone, Copy, Debug)]
pub struct Carried<'a> {
    /// Its name in the answers.
    pub name: &'a str,
    /// The screen that has it.
    pub on: &'a Screen,
    /// Whether it is an agent who is shown there, and nothing that is answered.
    pub is_agent: bool,
}

/// What a form that ends on `last` needs of what is asked on other screens, or shown on any.
#[must_use]
pub fn carried<'a>(flow: &'a Flow, last: &'a Screen) -> Vec<Carried<'a>> {
    let asks = |screen: &Screen, name: &str| screen.fields.iter().any(|field| field.name == name);
    let asked = |name: &'a str| {
        let on = flow.screens.iter().find(|screen| asks(screen, name)).filter(|_| !asks(last, name))?;
        Some(Carried { name, on, is_agent: false })
    };
    let shown = |name: &'a str| {
        let shows = |screen: &&Screen| screen.agents_shown().any(|shown| shown == name);
        let on = Some(last).filter(shows).or_else(|| flow.screens.iter().rfind(shows)).filter(|_| !asks(last, name))?;
        Some(Carried { name, on, is_agent: true })
    };
    let agent = flow.lead.as_ref().and_then(|lead| lead.agent.as_deref());
    let agent = agent.and_then(|name| shown(name).or_else(|| asked(name)));
    slot(flow).into_iter().filter_map(asked).chain(agent).collect()
}

/// The fields that say which slot is booked. The id of one that was offered says its day, too.
fn slot(flow: &Flow) -> Vec<&str> {
    let Some(rule) = &flow.booking else { return Vec::new() };
    let offers = |given: &Given| matches!(given, Given::Slots { calendar, .. } if *calendar == rule.calendar);
    let has_ids = flow.screens.iter().flat_map(|screen| &screen.data).any(|(_, given)| offers(given));
    let date = Some(rule.date.as_str()).filter(|date| *date != rule.time && !has_ids);
    date.into_iter().chain([rule.time.as_str()]).collect()
}

#[cfg(test)]
mod tests {
    use super::super::booking_rule::BookingRule;
    use super::super::field::{Field, FieldKind};
    use super::super::flow::LeadRule;
    use super::super::ids::{CalendarName, FlowName, TeamName};
    use super::super::screen_data::Choices;
    use super::*;

    fn flow() -> Flow {
        let calendar = CalendarName::new("chair").unwrap();
        let team = TeamName::new("sales").unwrap();
        let field = |name| Field::new(name, FieldKind::Text { min: None, max: None });
        let agent = ("adviser".to_owned(), Given::Agent { team: team.clone() });
        let pick = Screen { fields: vec![field("day"), field("time")], data: vec![agent], ..Screen::new("PICK") };
        Flow {
            screens: vec![pick, Screen { is_final: true, ..Screen::new("LAST") }],
            booking: Some(BookingRule { calendar, date: "day".to_owned(), time: "time".to_owned() }),
            lead: Some(LeadRule { team, sticky: false, agent: Some("adviser".to_owned()) }),
            ..Flow::new(FlowName::new("form").unwrap(), "/form".to_owned())
        }
    }

    fn names(flow: &Flow) -> Vec<String> {
        let carried = carried(flow, flow.screens.last().unwrap());
        carried.iter().map(|one| format!("{} of {}", one.name, one.on.name)).collect()
    }

    #[test]
    fn the_last_screen_carries_the_slot_and_the_agent_of_earlier_ones() {
        let mut flow = flow();
        assert_eq!(names(&flow), ["day of PICK", "time of PICK", "adviser of PICK"]);
        let calendar = flow.booking.as_ref().unwrap().calendar.clone();
        let slots = Given::Slots { calendar, day: None, choices: Choices::default() };
        flow.screens[0].data.push(("slots".to_owned(), slots));
        assert_eq!(names(&flow), ["time of PICK", "adviser of PICK"], "the id of a slot says its day");
        let (fields, data) = (flow.screens[0].fields.clone(), flow.screens[0].data.clone());
        (flow.screens[1].fields, flow.screens[1].data) = (fields, data);
        assert_eq!(names(&flow), ["adviser of LAST"], "what is shown there comes back only if it is sent");
        flow.screens[1].fields.push(Field::new("adviser", FieldKind::Text { min: None, max: None }));
        assert!(names(&flow).is_empty());
        flow.screens.truncate(1);
        flow.screens[0].data.clear();
        assert!(names(&flow).is_empty(), "one screen has it all");
    }
}
