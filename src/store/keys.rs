//! What decides a duplicate: every idempotency key that has not expired.
//!
//! The truth is two append-only tables, `token_log` and `message_log`, in order of acceptance. A map in the writer's
//! memory, rebuilt from them at start, answers; it learns a key only after the commit that holds it. Past a bound on
//! the map the oldest keys go to a table keyed by the hash: slower, never wrong.
//!
//! Which keys an arrival has is decided in `crate::domain::submission`; what follows from a hit, in [`super::accept`].

use std::collections::HashMap;

use redb::ReadableTable;
use serde::{Deserialize, Serialize};

use crate::domain::ids::SubmissionId;
use crate::domain::submission::IdempotencyKey;
use crate::domain::time::{Millis, Timestamp};

use super::StoreError;
use super::batch::LeftOut;
use super::codec;
use super::counters::Counters;
use super::sweep::Swept;
use super::tables::Tables;

/// Which of the two logs a key is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Log {
    /// Keys of forms.
    Token,
    /// Keys of webhook messages.
    Message,
}

/// How long a look-up goes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Span {
    /// As long as a form's key says that it is the same form: `retention.idempotency`.
    Form,
    /// As long as a message may still come: `retention.message_ids`. Forms are remembered for so long, too: the message that
    /// follows one which ended at its flow's path may be late.
    Message,
}

impl Span {
    /// The span of forms of a flow. `for_good`: see [`crate::domain::arrival::Form::for_good`].
    pub(super) const fn of_form(for_good: bool) -> Self {
        if for_good { Self::Message } else { Self::Form }
    }
}

impl Log {
    pub(super) const BOTH: [Self; 2] = [Self::Token, Self::Message];
}

/// One row of a log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct KeyRow {
    pub(super) key: [u8; 16],
    /// When it was accepted, by the expiry clock.
    pub(super) at: Timestamp,
    /// Its submission; 0: none (a message that is no form, a dead letter, the mark of a token that several customers use).
    pub(super) submission: u64,
}

/// What is known of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    /// Its row in the log.
    row: u64,
    at: Timestamp,
    submission: u64,
}

/// A row of `old_keys`.
#[derive(Serialize, Deserialize)]
pub(super) struct OldKey {
    /// Its row in the log.
    pub(super) row: u64,
    at: Timestamp,
    submission: u64,
}

impl codec::Row for OldKey {
    const TABLE: &'static str = "old_keys";
}

/// What a look-up found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hit {
    /// The submission it became.
    Submission(SubmissionId),
    /// No submission: a message that is no form, a dead letter, or the mark of a token that several customers use.
    Message,
}

/// The writer's memory of keys.
#[derive(Debug)]
pub(super) struct Keys {
    /// For [`Span::Form`] and [`Span::Message`].
    spans: [Millis; 2],
    most: usize,
    known: HashMap<IdempotencyKey, Seen>,
    /// Learnt in the batch that is not yet committed.
    fresh: HashMap<IdempotencyKey, Seen>,
    /// To be forgotten once the batch is committed: keys and the row that said so.
    leaving: Vec<(IdempotencyKey, u64)>,
}

impl Keys {
    /// Rebuilds the memory from the logs.
    pub(super) fn load(
        spans: [Millis; 2],
        most: usize,
        counters: &Counters,
        logs: [&impl ReadableTable<u64, &'static [u8]>; 2],
        left_out: &mut LeftOut,
    ) -> Result<Self, StoreError> {
        let mut known = HashMap::new();
        for (log, evicted) in logs.into_iter().zip(counters.evicted) {
            for row in log.range(evicted.saturating_add(1)..)? {
                let (number, bytes) = row?;
                // Its key is in the row alone: a copy of what it stands for may be taken once more.
                let row = left_out.unless(codec::decode::<KeyRow>(number.value(), bytes.value()))?;
                let Some(row) = row else { continue };
                let seen = Seen { row: number.value(), at: row.at, submission: row.submission };
                known.insert(IdempotencyKey::from_bytes(row.key), seen);
            }
        }
        Ok(Self { spans, most, known, fresh: HashMap::new(), leaving: Vec::new() })
    }

    /// How many keys are in memory.
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// What `key` stands for, if it was taken within `span`. A key from the "future" counts as taken: clocks jump, and a
    /// duplicate is worse than a key that lives too long.
    pub(super) fn find(
        &self,
        tables: &Tables<'_>,
        counters: &Counters,
        span: Span,
        key: &IdempotencyKey,
        now: Timestamp,
    ) -> Result<Option<Hit>, StoreError> {
        let seen = self.seen(tables, counters, span, key, now)?;
        Ok(seen.map(|seen| match seen.submission {
            0 => Hit::Message,
            number => Hit::Submission(SubmissionId::new(number)),
        }))
    }

    /// The row in the log of a key that `find` would find.
    pub(super) fn row_of(
        &self,
        tables: &Tables<'_>,
        counters: &Counters,
        span: Span,
        key: &IdempotencyKey,
        now: Timestamp,
    ) -> Result<Option<u64>, StoreError> {
        Ok(self.seen(tables, counters, span, key, now)?.map(|seen| seen.row))
    }

    fn seen(
        &self,
        tables: &Tables<'_>,
        counters: &Counters,
        span: Span,
        key: &IdempotencyKey,
        now: Timestamp,
    ) -> Result<Option<Seen>, StoreError> {
        let seen = match self.fresh.get(key).or_else(|| self.known.get(key)) {
            Some(seen) => Some(*seen),
            None if counters.evicted == [0; 2] => None,
            None => match tables.old_keys.get(key.as_bytes())? {
                Some(row) => {
                    let OldKey { row, at, submission } = codec::decode(key, row.value())?;
                    Some(Seen { row, at, submission })
                }
                None => None,
            },
        };
        Ok(seen.filter(|seen| counters.closings.age(seen.at, now) < self.length_of(span)))
    }

    /// Writes a key down; it is known to later changes of the same batch at once, and for good after the commit. Returns
    /// its row.
    pub(super) fn learn(
        &mut self,
        tables: &mut Tables<'_>,
        counters: &mut Counters,
        log: Log,
        key: IdempotencyKey,
        submission: Option<SubmissionId>,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let submission = submission.map_or(0, SubmissionId::get);
        let [tokens, messages] = &mut counters.log_rows;
        let (table, last) = match log {
            Log::Token => (&mut tables.token_log, tokens),
            Log::Message => (&mut tables.message_log, messages),
        };
        *last = last.saturating_add(1);
        table.insert(*last, codec::encode(&KeyRow { key: *key.as_bytes(), at: now, submission })?.as_slice())?;
        self.fresh.insert(key, Seen { row: *last, at: now, submission });
        Ok(*last)
    }

    /// Takes expired rows off the front of the logs, `most` of them at the most. Returns how many it took. A row that can't be
    /// read goes with the first one behind it that has expired: the rows are in the order of their time.
    pub(super) fn expire(
        &mut self,
        tables: &mut Tables<'_>,
        counters: &Counters,
        now: Timestamp,
        most: usize,
        swept: &mut Swept,
    ) -> Result<usize, StoreError> {
        let mut taken = 0;
        for (log, evicted) in Log::BOTH.into_iter().zip(counters.evicted) {
            let kept = self.kept(log);
            while taken < most {
                let table = match log {
                    Log::Token => &mut tables.token_log,
                    Log::Message => &mut tables.message_log,
                };
                let mut damaged = Vec::new();
                let Some((number, row)) = first_readable(table, 0, |number, error| damaged.push((number, error)))?
                else {
                    break;
                };
                if counters.closings.age(row.at, now) < kept {
                    break;
                }
                for (number, error) in damaged {
                    table.remove(number)?;
                    swept.note_unreadable(&error);
                    taken += 1;
                }
                table.remove(number)?;
                let key = IdempotencyKey::from_bytes(row.key);
                if number <= evicted {
                    forget_old(tables, &key, number)?;
                } else {
                    self.leaving.push((key, number));
                }
                taken += 1;
            }
        }
        Ok(taken)
    }

    /// Keys that the open batch has learnt.
    pub(super) fn learnt(&self) -> usize {
        self.fresh.len()
    }

    /// Moves the oldest keys out of memory, where it holds more than it may; `most` of them at the most. Returns how
    /// many it moved.
    pub(super) fn evict(
        &mut self,
        tables: &mut Tables<'_>,
        counters: &mut Counters,
        most: usize,
    ) -> Result<usize, StoreError> {
        let leaving = self.leaving.len();
        let excess = self.known.len().saturating_sub(leaving).saturating_sub(self.most).min(most);
        for moved in 0..excess {
            let [tokens, messages] = counters.evicted;
            // A row that can't be read stands for no key: it is passed over.
            let token = first_readable(&tables.token_log, tokens, |_, _| {})?;
            let message = first_readable(&tables.message_log, messages, |_, _| {})?;
            let older_token = match (&token, &message) {
                (Some((_, token)), Some((_, message))) => token.at <= message.at,
                (token, _) => token.is_some(),
            };
            let Some((number, row)) = (if older_token { token } else { message }) else { return Ok(moved) };
            let [tokens, messages] = &mut counters.evicted;
            *(if older_token { tokens } else { messages }) = number;
            let key = IdempotencyKey::from_bytes(row.key);
            let old = OldKey { row: number, at: row.at, submission: row.submission };
            tables.old_keys.insert(key.as_bytes(), codec::encode(&old)?.as_slice())?;
            self.leaving.push((key, number));
        }
        Ok(excess)
    }

    /// The batch is on disk: what it learnt is known from now on.
    pub(super) fn publish(&mut self) {
        for (key, row) in self.leaving.drain(..) {
            if self.known.get(&key).is_some_and(|seen| seen.row == row) {
                self.known.remove(&key);
            }
        }
        self.known.extend(self.fresh.drain());
    }

    /// The batch came to nothing: so did what it learnt.
    pub(super) fn discard(&mut self) {
        self.fresh.clear();
        self.leaving.clear();
    }

    pub(super) const fn length_of(&self, span: Span) -> Millis {
        let [form, message] = self.spans;
        match span {
            Span::Form => form,
            Span::Message => message,
        }
    }

    /// How long the rows of a log stay.
    fn kept(&self, log: Log) -> Millis {
        let [form, message] = self.spans;
        match log {
            Log::Token => form.max(message),
            Log::Message => message,
        }
    }
}

/// The first row of a log behind `after` that can be read; the others before it go to `damaged`.
fn first_readable(
    table: &redb::Table<'_, u64, &'static [u8]>,
    after: u64,
    mut damaged: impl FnMut(u64, StoreError),
) -> Result<Option<(u64, KeyRow)>, StoreError> {
    for row in table.range(after.saturating_add(1)..)? {
        let (number, bytes) = row?;
        match codec::decode(number.value(), bytes.value()) {
            Ok(row) => return Ok(Some((number.value(), row))),
            Err(error) => damaged(number.value(), error),
        }
    }
    Ok(None)
}

/// Takes a key out of `old_keys`, unless a later row has taken its place. One that can't be read is of use to nobody.
fn forget_old(tables: &mut Tables<'_>, key: &IdempotencyKey, number: u64) -> Result<(), StoreError> {
    let is_this = match tables.old_keys.get(key.as_bytes())? {
        Some(row) => codec::decode::<OldKey>(key, row.value()).map_or(true, |old| old.row == number),
        None => false,
    };
    if is_this {
        tables.old_keys.remove(key.as_bytes())?;
    }
    Ok(())
}
