//! How flows do: the endpoints' own figures, what Meta's monitoring said last, and the hints that follow from both.
//!
//! Meta numbers its flows and no config knows the numbers: the two stand beside each other, untied.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::domain::flow::{Encryption, Flow};
use crate::domain::gauge::{Reading, SPAN_MINUTES};
use crate::domain::health_event::{Standing, standing};
use crate::domain::ids::FlowName;
use crate::domain::time::{Millis, Timestamp};
use crate::domain::verdict::{Verdict, judge};
use crate::store::{Snapshot, StoreError};

use super::desk::{Desk, Out, row};
use super::protocol::AdminError;
use super::views::{EndpointView, MetaView, RowKey, Seen, Unreadable};

/// How far back complaints are counted: as Meta does it for its own rate of client errors.
const COMPLAINTS_SPAN: Millis = Millis::from_secs(60 * 60);
/// Complaints looked at for a count.
const COMPLAINTS_MOST: usize = 1000;
/// After so long an alert that was never taken back is shown, but no longer pointed at: Meta sends what was missed again
/// for seven days, and then no more.
const ALERT_POINTED_AT: Millis = Millis::from_secs(7 * 24 * 60 * 60);

/// A row for each encrypted flow, or for the one that is named, then one for each thing that Meta said and that still
/// stands, then one for each row of the file that can't be read.
pub(super) fn health(desk: &Desk, only: Option<&FlowName>, out: &mut Out<'_>) -> Result<(), AdminError> {
    let catalog = desk.catalog();
    let is_watched = |flow: &Flow| flow.encryption == Encryption::Required;
    if let Some(name) = only
        && !catalog.flows.get(name).is_some_and(|flow| is_watched(flow))
    {
        return Err(AdminError::not_found(format!(
            "there is no encrypted flow {name} in the config: `flowgate flows list` lists all, Meta watches the \
             encrypted ones only"
        )));
    }
    let Said { complaints, standings, unreadable } = Said::read(&desk.read()?, desk.now())?;
    let readings = desk.endpoints();
    let wanted = |flow: &&Arc<Flow>| is_watched(flow) && only.is_none_or(|name| *name == flow.name);
    for flow in catalog.flows.values().filter(wanted) {
        let complaints = complaints.get(&flow.name).copied().unwrap_or_default();
        let reading = readings.as_ref().map(|readings| readings.get(&flow.name).cloned().unwrap_or_default());
        row(out, EndpointView::new(flow.name.clone(), reading.as_ref(), SPAN_MINUTES, complaints))?;
    }
    standings.into_iter().try_for_each(|standing| row(out, MetaView::from(standing)))?;
    unreadable.into_iter().try_for_each(|unreadable| row(out, unreadable))
}

/// Rows of the file about the health of flows.
#[derive(Default)]
struct Said {
    /// Complaints within the last hour, by flow: of the newest thousand.
    complaints: BTreeMap<FlowName, u64>,
    /// Events of Meta that no later event has ended.
    standings: Vec<Standing>,
    /// Complaints and events of Meta that can't be read.
    unreadable: Vec<Unreadable>,
}

impl Said {
    fn read(read: &Snapshot, now: Timestamp) -> Result<Self, StoreError> {
        let (mut said, mut events) = (Self::default(), Vec::new());
        for (number, complaint) in read.complaints_since(now.minus(COMPLAINTS_SPAN), COMPLAINTS_MOST)? {
            match Seen::of(RowKey::Id(number), complaint)? {
                Seen::Row(complaint) => *said.complaints.entry(complaint.flow).or_default() += 1,
                Seen::Unreadable(row) => said.unreadable.push(row),
            }
        }
        for (number, event) in read.health_events()? {
            match Seen::of(RowKey::Id(number), event)? {
                Seen::Row(event) => events.push(event),
                Seen::Unreadable(row) => said.unreadable.push(row),
            }
        }
        said.standings = standing(events);
        Ok(said)
    }
}

/// What an operator should look at, one text each.
pub(super) fn hints(desk: &Desk, read: &Snapshot) -> Result<Vec<String>, StoreError> {
    let (readings, catalog) = (desk.endpoints().unwrap_or_default(), desk.catalog());
    let known = readings.iter().filter(|(flow, _)| catalog.flows.contains_key(*flow));
    let mut hints: Vec<String> = known.filter_map(|(flow, reading)| endpoint_hint(flow, reading)).collect();
    let pointed_at = |stand: &Standing| {
        let is_recent = desk.now().since(stand.event.at()) < ALERT_POINTED_AT;
        stand.is_held_back() || (stand.is_alert() && is_recent)
    };
    let said = Said::read(read, desk.now())?;
    hints.extend(said.standings.iter().filter(|standing| pointed_at(standing)).map(meta_hint));
    // `flowgate check`, which the error names, lists the others.
    hints.extend(said.unreadable.into_iter().map(|row| row.error).next());
    let complaints: u64 = said.complaints.values().sum();
    if complaints > 0 {
        let many = if complaints == 1 { "error" } else { "errors" };
        hints.push(format!("{complaints} {many} between phones and flows in the last hour: `flowgate flows errors`"));
    }
    Ok(hints)
}

fn endpoint_hint(flow: &FlowName, reading: &Reading) -> Option<String> {
    let judgement = judge(reading);
    let findings = judgement.findings.join(", ");
    (judgement.verdict == Verdict::Alert)
        .then(|| format!("flow {flow}: {findings}; Meta may throttle it: `flowgate flows health` says what to do"))
}

fn meta_hint(stand: &Standing) -> String {
    let (event, at) = (&stand.event.event, stand.event.at());
    let flow = &stand.event.flow_id;
    if stand.is_held_back() {
        let status = stand.said.new_status.as_deref().unwrap_or_default();
        format!("Meta has {status} its flow {flow} (since {at}): `flowgate flows health` says why")
    } else {
        format!("Meta's alert {event} of its flow {flow} stands since {at}: `flowgate flows health`")
    }
}
