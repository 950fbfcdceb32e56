//! Destinations: how they do, the hints that follow from it, pausing and resuming them, and testing one.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::delivery::Standstill;
use crate::domain::event::EventKind;
use crate::domain::ids::DestinationName;
use crate::domain::phone_number::PhoneNumber;
use crate::domain::time::{Millis, Timestamp};
use crate::store::{PauseDestination, Snapshot, StoreError, Waiting};

use super::desk::{Desk, Out, many, row};
use super::protocol::AdminError;
use super::views::{DestinationView, LaneView, TestView};

/// Deliveries that are due for so long are pointed at.
const WAITS_LONG: Millis = Millis::from_secs(5 * 60);

/// Deliveries that expired are spoken of for so long.
const EXPIRED_SHOWN: Millis = Millis::from_secs(24 * 3600);

/// A row for each, by name.
pub(super) fn list(desk: &Desk, out: &mut Out<'_>) -> Result<(), AdminError> {
    let all = all(desk, &desk.read()?)?;
    all.into_iter().try_for_each(|view| row(out, view))
}

/// Every destination of the config, and every other that something waits for or that something stands against.
pub(super) fn all(desk: &Desk, read: &Snapshot) -> Result<Vec<DestinationView>, StoreError> {
    let catalog = desk.catalog();
    let waiting: BTreeMap<_, _> = read.lanes()?.into_iter().collect();
    let standstills: BTreeMap<_, _> = read.standstills()?.into_iter().collect();
    let lanes = desk.lanes();
    let names: BTreeSet<_> = catalog.destinations.keys().chain(waiting.keys()).chain(standstills.keys()).collect();
    let views = names.into_iter().map(|name| {
        let host = catalog.destinations.get(name).cloned();
        let waiting = waiting.get(name).copied().unwrap_or_default();
        let standstill = standstills.get(name).cloned().unwrap_or_default();
        view(name, host, waiting, standstill, lanes.get(name).cloned().unwrap_or_default())
    });
    Ok(views.collect())
}

fn view(
    name: &DestinationName,
    host: Option<String>,
    waiting: Waiting,
    standstill: Standstill,
    lane: LaneView,
) -> DestinationView {
    let Standstill { paused_at, disabled } = standstill;
    let state = match (&host, &disabled, paused_at) {
        (None, ..) => "unknown",
        (_, Some(_), _) => "disabled",
        (_, _, Some(_)) => "paused",
        _ if lane.open_until.is_some() => "failing",
        _ if lane.held_until.is_some() => "held",
        _ => "ok",
    };
    let (disabled_at, disabled_reason) = disabled.map(|(at, why)| (at, why.into())).unzip();
    DestinationView {
        name: name.clone(),
        state: state.to_owned(),
        host,
        waiting: waiting.count,
        next_due: waiting.first_due,
        paused_at,
        disabled_at,
        disabled_reason,
        lane,
    }
}

/// What an operator should look at, one text each.
pub(super) fn hints(desk: &Desk, read: &Snapshot) -> Result<Vec<String>, StoreError> {
    let now = desk.now();
    Ok(all(desk, read)?.iter().filter_map(|view| hint(view, now)).collect())
}

fn hint(view: &DestinationView, now: Timestamp) -> Option<String> {
    let name = &view.name;
    let waiting = many(view.waiting, "delivery waits", "deliveries wait");
    let overdue = view.next_due.map(|due| now.since(due)).filter(|overdue| *overdue >= WAITS_LONG);
    Some(match view.state.as_str() {
        "unknown" if view.waiting > 0 => format!(
            "{waiting} for destination {name}, which is not in the config: put it back, or give them up: \
             `flowgate deliveries discard --all --destination {name}`"
        ),
        "disabled" => format!(
            "destination {name} is left alone, {waiting}: {}; once that is mended (after a new secret or config: \
             `flowgate reload`): `flowgate destinations resume {name}`",
            view.disabled_reason.as_deref().unwrap_or_default()
        ),
        "paused" if view.waiting > 0 => {
            format!("destination {name} is paused, {waiting}: `flowgate destinations resume {name}`")
        }
        "failing" => format!(
            "destination {name} fails ({}), {waiting}: `flowgate destinations test {name}` shows what it answers",
            view.lane.last_failure.as_deref().unwrap_or("no answer")
        ),
        "ok" | "held"
            if view.lane.in_flight.is_some()
                && let Some(overdue) = overdue =>
        {
            format!(
                "{waiting} for destination {name}, the first for {} min: \
             `flowgate deliveries --destination {name} --state scheduled`",
                overdue.get() / 60_000
            )
        }
        _ => return expired(view, now),
    })
}

/// Somebody was not told of something, and never will be.
fn expired(view: &DestinationView, now: Timestamp) -> Option<String> {
    let (name, at) = (&view.name, view.lane.last_expired_at?);
    (now.since(at) < EXPIRED_SHOWN).then(|| {
        format!(
            "{} to {name} expired unsent since the start: `flowgate deliveries --destination {name} --state expired`; \
             `flowgate dead retry ID` sends one all the same",
            many(view.lane.expired.unwrap_or_default(), "delivery", "deliveries")
        )
    })
}

/// Pauses one, or ends whatever stands against it, and tells how it is now.
pub(super) fn pause(desk: &Desk, name: &DestinationName, paused: bool, out: &mut Out<'_>) -> Result<(), AdminError> {
    let find = |all: Vec<DestinationView>| all.into_iter().find(|view| view.name == *name);
    let Some(before) = find(all(desk, &desk.read()?)?) else { return Err(AdminError::no_destination(name)) };
    desk.store.ask(PauseDestination { destination: name.clone(), paused })?;
    if let Some(live) = desk.live.as_ref().filter(|_| !paused) {
        (live.resume)(name);
    }
    // One that the config does not know and nothing waits for is gone from the list with what stood against it.
    let now = find(all(desk, &desk.read()?)?);
    row(out, now.unwrap_or(DestinationView { paused_at: None, disabled_at: None, disabled_reason: None, ..before }))
}

/// Sends a test, and shows what came of it; an error follows where it was not taken.
pub(super) fn test(
    desk: &Desk,
    name: &DestinationName,
    to: Option<&PhoneNumber>,
    event: Option<EventKind>,
    out: &mut Out<'_>,
) -> Result<(), AdminError> {
    tell_test(desk.test(name, to, event)?, out)
}

/// Shows a test that was made in whatever process.
///
/// # Errors
/// Where it was not taken, after the row that shows it.
pub fn tell_test(test: TestView, out: &mut Out<'_>) -> Result<(), AdminError> {
    let what = if test.delivered.is_some() { "did not take it" } else { "can't be told anything" };
    let failed = test.error.as_ref().map(|why| AdminError::failed(format!("{} {what}: {why}", test.destination)));
    row(out, test)?;
    failed.map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_000_000_000);

    fn hint_of(
        change: impl FnOnce(&mut Option<String>, &mut Waiting, &mut Standstill, &mut LaneView),
    ) -> Option<String> {
        let (mut host, mut waiting) = (Some("crm.example".to_owned()), Waiting::default());
        let (mut standstill, mut lane) =
            (Standstill::default(), LaneView { in_flight: Some(0), ..LaneView::default() });
        change(&mut host, &mut waiting, &mut standstill, &mut lane);
        hint(&view(&DestinationName::new("crm").unwrap(), host, waiting, standstill, lane), NOW)
    }

    fn two(since: Millis) -> Waiting {
        Waiting { count: 2, first_due: Some(NOW.minus(since)) }
    }

    #[test]
    fn a_destination_that_is_well_is_not_spoken_of() {
        assert_eq!(hint_of(|_, _, _, _| {}), None);
        assert_eq!(hint_of(|_, waiting, _, _| *waiting = two(Millis::from_secs(60))), None, "not for long");
        assert_eq!(hint_of(|_, _, standstill, _| standstill.paused_at = Some(NOW)), None, "nothing waits");
        assert_eq!(hint_of(|host, _, _, _| *host = None), None, "nothing waits");
    }

    #[test]
    fn what_is_wrong_with_a_destination_is_said_with_what_to_type() {
        let told = [
            hint_of(|_, waiting, _, _| *waiting = two(Millis::from_secs(600))),
            hint_of(|host, waiting, _, _| (*host, *waiting) = (None, two(Millis::ZERO))),
            hint_of(|_, waiting, standstill, _| {
                (*waiting, standstill.paused_at) = (two(Millis::ZERO), Some(NOW));
            }),
            hint_of(|_, _, standstill, _| standstill.disabled = Some((NOW, "it answered 410 Gone".into()))),
            hint_of(|_, waiting, _, lane| {
                *waiting = Waiting { count: 1, first_due: Some(NOW) };
                (lane.open_until, lane.last_failure) = (Some(NOW), Some("answered 500".to_owned()));
            }),
            hint_of(|_, _, _, lane| {
                (lane.expired, lane.last_expired_at) = (Some(2), Some(NOW.minus(Millis::from_secs(60))));
            }),
            hint_of(|_, _, _, lane| (lane.expired, lane.last_expired_at) = (Some(2), Some(NOW.minus(EXPIRED_SHOWN)))),
        ];
        let told: Vec<String> = told.into_iter().flatten().collect();
        insta::assert_snapshot!(told.join("\n"), @r"
        2 deliveries wait for destination crm, the first for 10 min: `flowgate deliveries --destination crm --state scheduled`
        2 deliveries wait for destination crm, which is not in the config: put it back, or give them up: `flowgate deliveries discard --all --destination crm`
        destination crm is paused, 2 deliveries wait: `flowgate destinations resume crm`
        destination crm is left alone, 0 deliveries wait: it answered 410 Gone; once that is mended (after a new secret or config: `flowgate reload`): `flowgate destinations resume crm`
        destination crm fails (answered 500), 1 delivery waits: `flowgate destinations test crm` shows what it answers
        2 deliveries to crm expired unsent since the start: `flowgate deliveries --destination crm --state expired`; `flowgate dead retry ID` sends one all the same
        ");
    }
}
