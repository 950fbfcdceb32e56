//! `gateways`: how unofficial gateways stand, what became of them, and a call on demand.
//!
//! A stopped server's file shows those that were ever looked at; a running one those of its config.

use std::collections::BTreeMap;

use crate::domain::gateway::Standing;
use crate::domain::ids::GatewayName;
use crate::domain::time::Timestamp;
use crate::gateways::NotDone;
use crate::store::{Snapshot, StoreError};

use super::desk::{Desk, Out, row};
use super::lists;
use super::protocol::AdminError;
use super::views::{CalledView, EntryView, GatewayView, RowKey, Seen, advice};

/// Lines of history that are shown.
const SHOWN: usize = 50;

pub(super) fn list(desk: &Desk, out: &mut Out<'_>) -> Result<(), AdminError> {
    let views = views(desk, &desk.read()?)?;
    views.into_values().try_for_each(|view| row(out, view))
}

pub(super) fn show(desk: &Desk, name: &GatewayName, out: &mut Out<'_>) -> Result<(), AdminError> {
    let read = desk.read()?;
    let view = views(desk, &read)?.remove(name).ok_or_else(|| unknown(name))?;
    let history = read.gateway_history(name, SHOWN)?.into_iter().map(|(number, entry)| {
        let view = entry.map(EntryView::from);
        Seen::of(RowKey::Number(number), view)
    });
    let history = history.collect::<Result<Vec<_>, StoreError>>()?;
    let whole = lists::whole(view, [("history", lists::value(history)?)])?;
    drop(read);
    row(out, whole)
}

pub(super) fn restart(desk: &Desk, name: &GatewayName, out: &mut Out<'_>) -> Result<(), AdminError> {
    let live = desk.live.as_ref().ok_or_else(AdminError::no_server)?;
    let done = live.gateways.order(name).map_err(|why| match why {
        NotDone::Unknown => unknown(name),
        NotDone::Busy => AdminError::failed(format!("somebody else asks the same of gateway {name}: wait a moment")),
        NotDone::Late => {
            AdminError::failed(format!("gateway {name} did not answer in time: `flowgate gateways show {name}`"))
        }
    })?;
    let why = done.note.clone();
    let Some(view) = CalledView::new(name.clone(), done) else {
        return Err(AdminError::failed(format!(
            "gateway {name} could not be asked for its state, so nothing was called: {why}"
        )));
    };
    row(out, view)
}

/// What an operator should look at, one text each.
pub(super) fn hints(desk: &Desk, read: &Snapshot) -> Result<Vec<String>, StoreError> {
    let Some(live) = &desk.live else { return Ok(Vec::new()) };
    let looked_after = live.gateways.read();
    let gateways = read.gateways()?.into_iter().filter(|(name, _)| looked_after.contains_key(name));
    let hint = |(name, standing): (GatewayName, Result<Standing, StoreError>)| match standing {
        Ok(standing) => standing.alert.is_some().then(|| {
            let advice = advice(&name, &standing);
            format!("gateway {name} is {} since {}: {advice}", standing.state, standing.since)
        }),
        Err(error) => Some(error.to_string()),
    };
    Ok(gateways.filter_map(hint).collect())
}

fn views(desk: &Desk, read: &Snapshot) -> Result<BTreeMap<GatewayName, Seen<GatewayView>>, StoreError> {
    let looked_after = desk.live.as_ref().map(|live| live.gateways.read());
    let mut views = BTreeMap::new();
    for (name, standing) in read.gateways()? {
        let looked_at: Option<Timestamp> = match &looked_after {
            Some(known) => match known.get(&name) {
                Some(looked_at) => *looked_at,
                None => continue,
            },
            None => None,
        };
        let heard = read.gateway_heard(&name)?;
        let view = standing.map(|standing| GatewayView::new(name.clone(), standing, heard, looked_at));
        views.insert(name.clone(), Seen::of(RowKey::Name(name), view)?);
    }
    Ok(views)
}

fn unknown(name: &GatewayName) -> AdminError {
    AdminError::not_found(format!(
        "there is no gateway {name}, or it was not asked yet: `flowgate gateways` lists them"
    ))
}
