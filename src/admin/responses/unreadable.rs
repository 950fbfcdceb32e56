//! Defines the response row that replaces an unreadable stored row. Without it, one unreadable row
//! would hide the other rows of the response.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::domain::ids::GatewayName;
use crate::store::StoreError;

/// Stored row in a response.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum QueryRow<T> {
    /// Response row of a readable stored row.
    Row(T),
    /// The row, or another row that belongs to it, is unreadable.
    Unreadable(UnreadableRow),
}

/// Response row for an unreadable stored row.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct UnreadableRow {
    #[serde(flatten)]
    pub(crate) key: RowKey,
    /// Always `unreadable`.
    state: String,
    /// Reason why the row is unreadable, with a command to type.
    pub(crate) error: String,
}

/// Key of a row. Its name is the same as in readable rows of the response.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RowKey {
    /// Key with the name `id`.
    Id(u64),
    /// Key with the name `number`, of an attempt or of a history entry.
    Number(u64),
    /// Key with the name `name`.
    Name(GatewayName),
}

impl UnreadableRow {
    pub(crate) fn new(key: RowKey, error: &StoreError) -> Self {
        Self {
            key,
            state: "unreadable".to_owned(),
            error: error.to_string(),
        }
    }
}

impl<T> QueryRow<T> {
    /// Converts the result of reading a row. An error that affects only this row becomes
    /// [`Self::Unreadable`].
    ///
    /// # Errors
    /// Any other [`StoreError`].
    pub(crate) fn from_stored(key: RowKey, row: Result<T, StoreError>) -> Result<Self, StoreError> {
        match row {
            Ok(row) => Ok(Self::Row(row)),
            Err(error) if error.affects_one_row() => {
                Ok(Self::Unreadable(UnreadableRow::new(key, &error)))
            }
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
