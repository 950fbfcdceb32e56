//! Stores every idempotency key that has not expired, to find duplicates.
//!
//! Two append-only tables, `token_log` and `message_log`, store the keys in order of acceptance. A
//! map in the writer's memory answers look-ups. The writer rebuilds the map from the tables at
//! start. A key enters the map only after the commit that stores the key. If the map exceeds its
//! limit, the oldest keys move to the table `evicted_keys`. Look-ups in this table are slower but
//! exact.
//!
//! See `crate::domain::submission` for the keys of an arrival, and [`crate::store::tx::accept`] for
//! the handling of a duplicate.

use std::collections::HashMap;

use crate::domain::ids::SubmissionId;
use crate::domain::submission::IdempotencyKey;
use crate::domain::time::{Millis, Timestamp};

use super::skipped_rows::SkippedRows;
use crate::store::engine::Rows;
use crate::store::rows::counters::Counters;
use crate::store::rows::keys::{EvictedKey, KeyLogRow};
use crate::store::rows::schema::Tables;
use crate::store::{StoreError, StoreResult};

/// Key log that contains a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyLog {
    /// Log of the keys of forms.
    Token,
    /// Log of the keys of messages.
    Message,
}

/// Period in which a look-up finds a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DedupWindow {
    /// Period in which the key of a form identifies the same form: `retention.idempotency_ttl`.
    Form,
    /// Period in which a message may still arrive: `retention.message_id_ttl`.
    ///
    /// Keys of forms are stored for this period, too, because the message that follows a form from
    /// the flow's endpoint may be late.
    Message,
}

impl DedupWindow {
    /// Returns the dedup window for the forms of a flow.
    ///
    /// See `InboundSubmission::reject_resubmission` for the parameter.
    pub const fn for_submission(reject_resubmission: bool) -> Self {
        if reject_resubmission {
            Self::Message
        } else {
            Self::Form
        }
    }
}

impl EvictedKey {
    /// Returns the match that the entry stands for.
    pub const fn dedup_match(self) -> DedupMatch {
        match self.submission {
            0 => DedupMatch::NoSubmission,
            number => DedupMatch::Submission(SubmissionId::new(number)),
        }
    }
}

impl KeyLog {
    pub const BOTH: [Self; 2] = [Self::Token, Self::Message];
}

/// Result of a look-up that found the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DedupMatch {
    /// The key belongs to this submission.
    Submission(SubmissionId),
    /// The key has no submission: a message without a form, a dead letter, or the mark of a shared
    /// token.
    NoSubmission,
}

/// Dedup index: the idempotency keys in the writer's memory.
#[derive(Debug)]
pub struct DedupIndex {
    /// Lengths of [`DedupWindow::Form`] and [`DedupWindow::Message`], in this order.
    windows: [Millis; 2],
    max_entries: usize,
    committed: HashMap<IdempotencyKey, EvictedKey>,
    /// Keys inserted by the open batch.
    uncommitted: HashMap<IdempotencyKey, EvictedKey>,
    /// Keys to remove from memory after the commit of the open batch, with their row numbers.
    evicting: Vec<(IdempotencyKey, u64)>,
}

impl DedupIndex {
    /// Rebuilds the index from the key logs.
    pub fn load(
        windows: [Millis; 2],
        max_entries: usize,
        counters: &Counters,
        logs: [&impl Rows<Key = u64, Value = KeyLogRow>; 2],
        skipped: &mut SkippedRows,
    ) -> StoreResult<Self> {
        let mut committed = HashMap::new();
        for (log, evicted) in logs.into_iter().zip(counters.evicted_up_to) {
            for row in log.range(evicted.saturating_add(1)..)? {
                let row = row?;
                // The key exists only in this row. So a copy of its submission or message may be
                // accepted once more.
                let logged = skipped.skip_unreadable(row.value())?;
                committed.extend(logged.map(|logged| {
                    let key = IdempotencyKey::from_bytes(logged.key);
                    (key, logged.entry(row.key()))
                }));
            }
        }
        Ok(Self {
            windows,
            max_entries,
            committed,
            uncommitted: HashMap::new(),
            evicting: Vec::new(),
        })
    }

    /// Returns the number of keys in memory.
    pub fn len(&self) -> usize {
        self.committed.len()
    }

    /// Returns the entry of `key` if the key was accepted within `window`.
    ///
    /// A key with a time in the future counts as accepted. Clocks can jump, and a duplicate is
    /// worse than a key that is stored too long.
    pub fn find_entry(
        &self,
        tables: &Tables<'_>,
        counters: &Counters,
        window: DedupWindow,
        key: &IdempotencyKey,
        now: Timestamp,
    ) -> StoreResult<Option<EvictedKey>> {
        let in_memory = self
            .uncommitted
            .get(key)
            .or_else(|| self.committed.get(key));
        let entry = match in_memory {
            Some(entry) => Some(*entry),
            None if counters.evicted_up_to == [0; 2] => None,
            None => tables.evicted_keys.get(key.as_bytes())?,
        };
        let age = |at| counters.clock.downtime.age(at, now);
        Ok(entry.filter(|entry| age(entry.at) < self.window_length(window)))
    }

    /// Writes a key to its log and returns the row number.
    ///
    /// Later transactions of the same batch find the key at once. The key becomes permanent with
    /// the commit.
    pub fn insert(
        &mut self,
        tables: &mut Tables<'_>,
        counters: &mut Counters,
        log: KeyLog,
        key: IdempotencyKey,
        submission: Option<SubmissionId>,
        now: Timestamp,
    ) -> StoreResult<u64> {
        let submission = submission.map_or(0, SubmissionId::get);
        let [tokens, messages] = &mut counters.log_rows;
        let (table, last) = match log {
            KeyLog::Token => (&mut tables.token_log, tokens),
            KeyLog::Message => (&mut tables.message_log, messages),
        };
        *last = last.saturating_add(1);
        let row = KeyLogRow {
            key: *key.as_bytes(),
            at: now,
            submission,
        };
        table.put(*last, &row)?;
        self.uncommitted.insert(key, row.entry(*last));
        Ok(*last)
    }

    /// Removes at most `max_rows` expired rows from the front of the logs. Returns the number of
    /// rows removed.
    ///
    /// An unreadable row is removed together with the first expired row behind it, because rows are
    /// ordered by time.
    pub fn remove_expired(
        &mut self,
        tables: &mut Tables<'_>,
        counters: &Counters,
        now: Timestamp,
        max_rows: usize,
        mut on_unreadable: impl FnMut(&StoreError),
    ) -> StoreResult<usize> {
        let mut removed = 0;
        for (log, evicted) in KeyLog::BOTH.into_iter().zip(counters.evicted_up_to) {
            let retention = self.log_retention(log);
            while removed < max_rows {
                let table = match log {
                    KeyLog::Token => &mut tables.token_log,
                    KeyLog::Message => &mut tables.message_log,
                };
                let mut damaged = Vec::new();
                let Some((number, row)) =
                    find_first_readable(table, 0, |number, error| damaged.push((number, error)))?
                else {
                    break;
                };
                if counters.clock.downtime.age(row.at, now) < retention {
                    break;
                }
                for (number, error) in damaged {
                    table.remove(number)?;
                    on_unreadable(&error);
                    removed += 1;
                }
                table.remove(number)?;
                let key = IdempotencyKey::from_bytes(row.key);
                if number <= evicted {
                    remove_evicted_key(tables, &key, number)?;
                } else {
                    self.evicting.push((key, number));
                }
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// Returns the number of keys that the open batch has inserted.
    pub fn uncommitted_len(&self) -> usize {
        self.uncommitted.len()
    }

    /// Moves the oldest keys out of memory if the index exceeds its limit. Moves at most
    /// `max_moved` keys and returns the number of keys moved.
    pub fn evict_oldest(
        &mut self,
        tables: &mut Tables<'_>,
        counters: &mut Counters,
        max_moved: usize,
    ) -> StoreResult<usize> {
        let evicting = self.evicting.len();
        let excess = self
            .committed
            .len()
            .saturating_sub(evicting)
            .saturating_sub(self.max_entries)
            .min(max_moved);
        for moved in 0..excess {
            let [tokens, messages] = counters.evicted_up_to;
            // An unreadable row contains no usable key and is skipped.
            let token = find_first_readable(&tables.token_log, tokens, |_, _| {})?;
            let message = find_first_readable(&tables.message_log, messages, |_, _| {})?;
            let older_token = match (&token, &message) {
                (Some((_, token)), Some((_, message))) => token.at <= message.at,
                (token, _) => token.is_some(),
            };
            let Some((number, row)) = (if older_token { token } else { message }) else {
                return Ok(moved);
            };
            let [tokens, messages] = &mut counters.evicted_up_to;
            *(if older_token { tokens } else { messages }) = number;
            let key = IdempotencyKey::from_bytes(row.key);
            tables
                .evicted_keys
                .put(key.as_bytes(), &row.entry(number))?;
            self.evicting.push((key, number));
        }
        Ok(excess)
    }

    /// Makes the keys of the committed batch permanent in the index.
    pub fn apply_commit(&mut self) {
        for (key, row) in self.evicting.drain(..) {
            let entry = self.committed.get(&key);
            if entry.is_some_and(|entry| entry.row == row) {
                self.committed.remove(&key);
            }
        }
        self.committed.extend(self.uncommitted.drain());
    }

    /// Discards the keys of the aborted batch.
    pub fn roll_back(&mut self) {
        self.uncommitted.clear();
        self.evicting.clear();
    }

    pub const fn window_length(&self, window: DedupWindow) -> Millis {
        let [form, message] = self.windows;
        match window {
            DedupWindow::Form => form,
            DedupWindow::Message => message,
        }
    }

    /// Returns the retention of the rows of a log.
    fn log_retention(&self, log: KeyLog) -> Millis {
        let [form, message] = self.windows;
        match log {
            KeyLog::Token => form.max(message),
            KeyLog::Message => message,
        }
    }
}

/// Returns the first readable row of a log behind `after`. Passes each unreadable row before it to
/// `damaged`.
fn find_first_readable(
    table: &impl Rows<Key = u64, Value = KeyLogRow>,
    after: u64,
    mut damaged: impl FnMut(u64, StoreError),
) -> StoreResult<Option<(u64, KeyLogRow)>> {
    for row in table.range(after.saturating_add(1)..)? {
        let row = row?;
        match row.value() {
            Ok(value) => return Ok(Some((row.key(), value))),
            Err(error) => damaged(row.key(), error),
        }
    }
    Ok(None)
}

/// Removes a key from `evicted_keys`, unless a later row has replaced the entry. Also removes an
/// unreadable entry, because no look-up can use it.
fn remove_evicted_key(
    tables: &mut Tables<'_>,
    key: &IdempotencyKey,
    number: u64,
) -> StoreResult<()> {
    let is_same_row = match tables.evicted_keys.get(key.as_bytes()) {
        Ok(old) => old.is_some_and(|old| old.row == number),
        Err(error) if error.affects_one_row() => true,
        Err(error) => return Err(error),
    };
    if is_same_row {
        tables.evicted_keys.remove(key.as_bytes())?;
    }
    Ok(())
}
