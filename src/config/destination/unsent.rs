//! Warns about messages to people that are never sent: no subscribed flow causes their event, or
//! their recipient is unknown.

use super::Destination;
use crate::config::Config;
use crate::domain::delivery::message::RecipientKind;
use crate::domain::event::EventKind;
use crate::domain::flow::{EncryptionMode, Flow};
use crate::domain::ids::DestinationName;

/// Returns a warning for each message that is never sent.
pub(in crate::config) fn warnings(config: &Config) -> Vec<String> {
    let all = config.destinations.iter();
    all.flat_map(|(name, destination)| destination_warnings(config, name, destination))
        .collect()
}

fn destination_warnings(
    config: &Config,
    name: &DestinationName,
    destination: &Destination,
) -> Vec<String> {
    let settings = destination.kind.settings();
    let Some(recipients) = settings.recipients() else {
        return Vec::new();
    };
    let is_subscribed = |flow: &Flow, kind: Option<EventKind>| {
        let routes = config.subscriptions.flows.get(&flow.name);
        let mut routes = routes.into_iter().flatten();
        routes.any(|route| {
            let has_kind = kind.is_none_or(|kind| route.events.contains(&kind));
            route.destination == *name && has_kind
        })
    };
    // A destination without subscriptions has its own warning.
    if !config.flows.values().any(|flow| is_subscribed(flow, None)) {
        return Vec::new();
    }
    let kinds = EventKind::ALL
        .into_iter()
        .filter(|kind| settings.supports(*kind));
    let warning_for = |kind: EventKind| {
        let flows = config.flows.values().map(|flow| &**flow);
        let flows: Vec<&Flow> = flows
            .filter(|flow| is_subscribed(flow, Some(kind)))
            .collect();
        never_sent_reason(&flows, kind, &recipients.kind)
            .map(|why| format!("destination {name}: its message for {kind} is never sent: {why}"))
    };
    kinds.filter_map(warning_for).collect()
}

/// Returns the reason why no message is sent for events of this kind. `None`: a message is
/// possible.
fn never_sent_reason(flows: &[&Flow], kind: EventKind, to: &RecipientKind) -> Option<String> {
    if flows.is_empty() {
        return Some("no flow delivers this event to it".to_owned());
    }
    let names: Vec<&str> = flows.iter().map(|flow| flow.name.as_str()).collect();
    let names = names.join(", ");
    let needs = |key: &str| {
        Some(format!(
            "no flow that delivers this event to it has `{key}` ({names})"
        ))
    };
    let all = |is_missing: fn(&Flow) -> bool| flows.iter().all(|flow| is_missing(flow));
    let all_encrypted = || all(|flow| flow.encryption == EncryptionMode::Required);
    match kind {
        EventKind::LeadAssigned | EventKind::LeadWaiting if all(|flow| flow.lead.is_none()) => {
            needs("lead")
        }
        EventKind::BookingConfirmed | EventKind::BookingCancelled | EventKind::BookingConflict
            if all(|flow| flow.booking.is_none()) =>
        {
            needs("booking")
        }
        EventKind::DraftAbandoned if *to == RecipientKind::Customer && all_encrypted() => Some(
            format!("the customer of an encrypted form is unknown until it is submitted ({names})"),
        ),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use crate::config::tests::parse_valid;
    use crate::domain::time::Timestamp;

    fn message_warnings(flow: &str, kind: &str, to: &str) -> Vec<String> {
        let text = format!(
            "[flows.form]\n{flow}\n[destinations.thanks]\nkind = \"whatsapp\"\nphone_number_id = \"106540352242922\"\n\
             access_token = \"env:T\"\nto = {to}\nmessages = {{ \"{kind}\" = {{ text = \"Hello\" }} }}"
        );
        let warnings = parse_valid(&text).summary(Timestamp::ZERO).warnings;
        warnings
            .into_iter()
            .filter(|warning| warning.starts_with("destination thanks: its message"))
            .collect()
    }

    #[test]
    fn message_never_sent_gets_warning() {
        const DELIVER: &str = "deliver = [\"thanks\"]";
        let (agent, customer) = (
            "\"agent\"\nagents = { Ann = \"+491511234567\" }",
            "\"customer\"",
        );
        let encrypted =
            format!("{DELIVER}\nencryption = \"required\"\nprivate_keys = [\"file:key\"]");
        let lead = format!("{DELIVER}\nlead = {{ team = \"sales\" }}");
        // A destination without a matching subscription has its own warning.
        let other = "deliver = [{ to = \"thanks\", events = [\"submission.accepted\"] }]";
        let no_lead = "no flow that delivers this event to it has `lead` (form)";
        let no_booking = "no flow that delivers this event to it has `booking` (form)";
        let unknown = "the customer of an encrypted form is unknown";
        for (flow, kind, to, why) in [
            (DELIVER, "lead.assigned", agent, Some(no_lead)),
            (&lead, "lead.assigned", agent, None),
            (DELIVER, "booking.confirmed", customer, Some(no_booking)),
            (&encrypted, "draft.abandoned", customer, Some(unknown)),
            (DELIVER, "draft.abandoned", customer, None),
            (&encrypted, "submission.accepted", customer, None),
            (other, "draft.abandoned", customer, None),
            ("", "booking.confirmed", customer, None),
        ] {
            let warnings = message_warnings(flow, kind, to);
            match why {
                Some(why) => assert!(
                    warnings.len() == 1 && warnings[0].contains(why),
                    "{kind}: {warnings:?}"
                ),
                None => assert!(warnings.is_empty(), "{kind}: {warnings:?}"),
            }
        }
    }
}
