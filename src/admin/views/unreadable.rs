//! Stored rows that can't be read: an answer shows them as such, so that one of them hides no other row.

use std::fmt;

use serde::Serialize;

use crate::domain::ids::GatewayName;
use crate::store::StoreError;

/// A stored row as an answer shows it.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(in crate::admin) enum Seen<T> {
    /// The view of the row.
    Row(T),
    /// The row, or a row that belongs to it, can't be read.
    Unreadable(Unreadable),
}

/// A row that can't be read.
#[derive(Debug, Serialize)]
pub(in crate::admin) struct Unreadable {
    #[serde(flatten)]
    pub(in crate::admin) key: RowKey,
    /// `unreadable`.
    state: &'static str,
    /// Why it can't be read, and what to type.
    pub(in crate::admin) error: String,
}

/// The key of a row, under the name that it has in readable rows of the same answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::admin) enum RowKey {
    /// `id`.
    Id(u64),
    /// `number`, of an attempt or of a line of a history.
    Number(u64),
    /// `name`.
    Name(GatewayName),
}

impl Unreadable {
    pub(in crate::admin) fn new(key: RowKey, error: &StoreError) -> Self {
        Self { key, state: "unreadable", error: error.to_string() }
    }
}

impl<T> Seen<T> {
    /// The view of a row, or that the row can't be read.
    ///
    /// # Errors
    /// Any other [`StoreError`].
    pub(in crate::admin) fn of(key: RowKey, view: Result<T, StoreError>) -> Result<Self, StoreError> {
        match view {
            Ok(view) => Ok(Self::Row(view)),
            Err(error) if error.is_of_one_change() => Ok(Self::Unreadable(Unreadable::new(key, &error))),
            Err(error) => Err(error),
        }
    }
}

impl fmt::Display for RowKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(number) | Self::Number(number) => number.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}
