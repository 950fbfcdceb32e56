//! Messages to people that are never sent as the config stands: no flow that leads there causes their event, or nobody would know
//! whom to write to.

use super::Config;
use super::destinations::Destination;
use crate::domain::event::EventKind;
use crate::domain::flow::{Encryption, Flow};
use crate::domain::ids::DestinationName;
use crate::domain::message::Addressee;

/// A note for each of them.
pub(super) fn notes(config: &Config) -> Vec<String> {
    let all = config.destinations.iter();
    all.flat_map(|(name, destination)| of_destination(config, name, destination)).collect()
}

fn of_destination(config: &Config, name: &DestinationName, destination: &Destination) -> Vec<String> {
    let Some(to) = destination.means.addressee() else { return Vec::new() };
    let is_told = |flow: &Flow, kind: Option<EventKind>| {
        let routes = config.routes.flows.get(&flow.name).into_iter().flatten();
        routes.filter(|route| route.to == *name).any(|route| kind.is_none_or(|kind| route.events.contains(&kind)))
    };
    // That nothing goes there is told of the destination.
    if !config.flows.values().any(|flow| is_told(flow, None)) {
        return Vec::new();
    }
    let kinds = EventKind::ALL.into_iter().filter(|kind| destination.means.tells_of(*kind));
    let note = |kind: EventKind| {
        let flows: Vec<&Flow> =
            config.flows.values().map(|flow| &**flow).filter(|flow| is_told(flow, Some(kind))).collect();
        why_never(&flows, kind, to)
            .map(|why| format!("destination {name}: its message for {kind} is never sent: {why}"))
    };
    kinds.filter_map(note).collect()
}

/// Why nothing is sent of an event of this kind; `None`: it may be.
fn why_never(flows: &[&Flow], kind: EventKind, to: &Addressee) -> Option<String> {
    if flows.is_empty() {
        return Some("no flow tells it of that".to_owned());
    }
    let names: Vec<&str> = flows.iter().map(|flow| flow.name.as_str()).collect();
    let names = names.join(", ");
    let needs = |key: &str| Some(format!("no flow that tells it of that has `{key}` ({names})"));
    match kind {
        EventKind::LeadAssigned | EventKind::LeadWaiting if flows.iter().all(|flow| flow.lead.is_none()) => {
            needs("lead")
        }
        EventKind::BookingConfirmed | EventKind::BookingCancelled | EventKind::BookingConflict
            if flows.iter().all(|flow| flow.booking.is_none()) =>
        {
            needs("booking")
        }
        EventKind::DraftAbandoned
            if *to == Addressee::Customer && flows.iter().all(|flow| flow.encryption == Encryption::Required) =>
        {
            Some(format!("encrypted forms do not say who fills them in until they are sent ({names})"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::accepted;
    use crate::domain::time::Timestamp;

    fn notes(flow: &str, kind: &str, to: &str) -> Vec<String> {
        let text = format!(
            "[flows.form]\n{flow}\n[destinations.thanks]\nkind = \"whatsapp\"\nphone_number_id = \"106540352242922\"\n\
             access_token = \"env:T\"\nto = {to}\nmessages = {{ \"{kind}\" = {{ text = \"Hello\" }} }}"
        );
        let notes = accepted(&text).summary(Timestamp::ZERO).notes;
        notes.into_iter().filter(|note| note.starts_with("destination thanks: its message")).collect()
    }

    #[test]
    fn a_message_that_is_never_sent_is_noted_with_the_reason() {
        const TOLD: &str = "deliver = [\"thanks\"]";
        let agent = "\"agent\"\nagents = { Ann = \"+491511234567\" }";
        let encrypted = format!("{TOLD}\nencryption = \"required\"\nprivate_keys = [\"file:key\"]");
        let lead = format!("{TOLD}\nlead = {{ team = \"sales\" }}");
        for (flow, kind, to, why) in [
            (TOLD, "lead.assigned", agent, Some("no flow that tells it of that has `lead` (form)")),
            (&lead, "lead.assigned", agent, None),
            (TOLD, "booking.confirmed", "\"customer\"", Some("no flow that tells it of that has `booking` (form)")),
            (&encrypted, "draft.abandoned", "\"customer\"", Some("encrypted forms do not say who fills them in")),
            (TOLD, "draft.abandoned", "\"customer\"", None),
            (&encrypted, "submission.accepted", "\"customer\"", None),
            // That nothing goes there is told of the destination.
            (
                "deliver = [{ to = \"thanks\", events = [\"submission.accepted\"] }]",
                "draft.abandoned",
                "\"customer\"",
                None,
            ),
            ("", "booking.confirmed", "\"customer\"", None),
        ] {
            let notes = notes(flow, kind, to);
            match why {
                Some(why) => assert!(notes.len() == 1 && notes[0].contains(why), "{kind}: {notes:?}"),
                None => assert!(notes.is_empty(), "{kind}: {notes:?}"),
            }
        }
    }
}
