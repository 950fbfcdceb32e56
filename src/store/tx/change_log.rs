//! Begins, trims and ends the change log.
//!
//! See [`crate::store::rows::change_log`] for its entries. The writer itself appends an entry in
//! each commit.

use std::sync::Arc;

use crate::store::StoreResult;
use crate::store::engine::Rows;
use crate::store::rows::change_log::{
    ChangeLogEntry, ChangeLogHeader, ChangeLogState, HEADER, Lineage, read_header, read_last_entry,
    write_header,
};
use crate::store::state::LogHolds;
use crate::store::writer::write_context::{Transaction, WriteContext};

/// Maximum number of entries that one transaction removes.
const TRIMMED_ROWS_MAX: u64 = 512;

/// Begins the change log, or continues the one that records already.
#[derive(Clone, Debug)]
pub struct BeginChangeLog {
    /// State of the new log.
    pub state: ChangeLogState,
    /// New lineage of the data. `None` if unchanged.
    pub lineage: Option<Lineage>,
}

/// Ends a change log that records only for a copy, if no copy needs it any more.
#[derive(Clone)]
pub struct EndCopyLog {
    pub holds: Arc<LogHolds>,
}

/// Ends the change log.
#[derive(Clone, Copy, Debug)]
pub struct EndChangeLog;

/// Removes the oldest entries, at most [`TRIMMED_ROWS_MAX`].
#[derive(Clone)]
pub struct TrimChangeLog {
    /// Last entry that may be removed.
    pub up_to: u64,
    pub holds: Arc<LogHolds>,
}

impl Transaction for BeginChangeLog {
    /// Number of the last entry before the log.
    type Outcome = u64;

    fn apply(&self, ctx: &mut WriteContext<'_>) -> StoreResult<u64> {
        let log = &mut ctx.tables.change_log;
        let header = read_header(log)?.unwrap_or_default();
        let last = log.last()?.map_or(HEADER, |last| last.key());
        match read_last_entry(log) {
            // The next entry continues the numbers of the last one, so the last one must be
            // readable.
            Err(error) if error.affects_one_row() => {
                log.put_bytes(last, &ChangeLogEntry::empty(last, ctx.now).encode())?;
            }
            read => drop(read?),
        }
        if header.state.is_recording() && self.state == ChangeLogState::Copying {
            return Ok(last);
        }
        let header = ChangeLogHeader {
            state: self.state.clone(),
            // The log before is unbroken, and a copy may need it.
            begins_after: if header.state.is_recording() {
                header.begins_after
            } else {
                last
            },
            lineage: self.lineage.clone().or(header.lineage),
            is_promoted: header.is_promoted,
        };
        write_header(log, &header)?;
        Ok(last)
    }
}

fn end_log(
    ctx: &mut WriteContext<'_>,
    is_ended: impl Fn(&ChangeLogState) -> bool,
) -> StoreResult<()> {
    let log = &mut ctx.tables.change_log;
    match read_header(log)? {
        Some(header) if is_ended(&header.state) => {
            let state = ChangeLogState::Inactive;
            write_header(log, &ChangeLogHeader { state, ..header })
        }
        _ => Ok(()),
    }
}

impl Transaction for EndCopyLog {
    type Outcome = ();

    fn apply(&self, ctx: &mut WriteContext<'_>) -> StoreResult<()> {
        if self.holds.first().is_some() {
            return Ok(());
        }
        end_log(ctx, |state| *state == ChangeLogState::Copying)
    }
}

impl Transaction for EndChangeLog {
    type Outcome = ();

    fn apply(&self, ctx: &mut WriteContext<'_>) -> StoreResult<()> {
        end_log(ctx, |state| *state != ChangeLogState::Inactive)
    }
}

impl Transaction for TrimChangeLog {
    /// `true` if there may be more entries to remove.
    type Outcome = bool;

    fn apply(&self, ctx: &mut WriteContext<'_>) -> StoreResult<bool> {
        let log = &mut ctx.tables.change_log;
        let Some(last) = log.last()?.map(|row| row.key()) else {
            return Ok(false);
        };
        let first = log.range(HEADER + 1..)?.next().transpose()?;
        let Some(first) = first.map(|row| row.key()) else {
            return Ok(false);
        };
        let held = self.holds.first().unwrap_or(u64::MAX);
        let end = self.up_to.min(held).min(last.saturating_sub(1));
        let slice_end = end.min(first.saturating_add(TRIMMED_ROWS_MAX));
        if first > slice_end {
            return Ok(false);
        }
        log.remove_range(first..=slice_end)?;
        Ok(slice_end < end)
    }
}
