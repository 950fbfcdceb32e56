//! Answers the requests about accounts and the audit log.

use std::ops::ControlFlow::{Break, Continue};

use super::list::{LimitedSink, for_each_page_before};
use crate::admin::account_requests::AuditFilter;
use crate::admin::context::{AdminContext, AgentNames, RowSink, send_rows};
use crate::admin::error::AdminError;
use crate::admin::responses::{AccountRow, AuditRow};
use crate::domain::access::audit::AuditEntry;
use crate::domain::time::Timestamp;
use crate::store::Snapshot;

pub(super) fn list_accounts(
    context: &AdminContext,
    sink: &mut RowSink<'_>,
) -> Result<(), AdminError> {
    let snapshot = context.snapshot()?;
    let (accounts, sign_ins) = (snapshot.accounts()?, snapshot.sign_ins()?);
    let now = context.now();
    let rows = accounts.iter().map(|account| {
        let own = sign_ins
            .iter()
            .filter(|(_, one)| one.account == account.name);
        let seen: Vec<Timestamp> = own.map(|(_, one)| one.last_seen_at).collect();
        AccountRow::new(account, &seen, now)
    });
    send_rows(sink, rows)
}

pub(super) fn list_audit_log(
    context: &AdminContext,
    filter: &AuditFilter,
    sink: &mut RowSink<'_>,
) -> Result<(), AdminError> {
    let filter_row = |_: &Snapshot, _: &AgentNames, id, entry: AuditEntry| {
        if filter.since.is_some_and(|since| entry.at < since) {
            return Ok(Break(()));
        }
        let is_in_time = filter.until.is_none_or(|until| entry.at <= until);
        let row = AuditRow::new(id, entry);
        let is_by = filter.by.as_ref().is_none_or(|by| *by == row.by);
        Ok(Continue((is_in_time && is_by).then_some(row)))
    };
    let mut sink = LimitedSink::new(filter.limit, sink);
    for_each_page_before(context, filter.before, filter_row, |row| sink.send(row))
}
