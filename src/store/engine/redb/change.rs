//! Changes of rows as bytes: the content of the change log, of copies and of backups.
//!
//! ```text
//! [table: length u8, name][key length u32][value length + 1, or 0 for a removal: u32][key][value]
//! ```
//! All numbers are little-endian. A change is absolute: applied twice, it has the same result as
//! once. The names of tables are part of the format. See [`super::table`] for the operations that
//! record changes.

use std::cell::Cell;

/// Change of one row. Key and value have their stored form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawChange<'a> {
    /// Table name.
    pub table: &'a str,
    pub key: &'a [u8],
    /// New value. `None` if the row was removed.
    pub value: Option<&'a [u8]>,
}

impl<'a> RawChange<'a> {
    /// Appends the change to `out`.
    pub(super) fn write_to(&self, out: &mut Vec<u8>) {
        // No row comes near 4 GiB, and no name of a table near 255 bytes.
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        out.push(u8::try_from(self.table.len()).unwrap_or(u8::MAX));
        out.extend_from_slice(self.table.as_bytes());
        out.extend_from_slice(&length(self.key).to_le_bytes());
        let value_length = self
            .value
            .map_or(0, |value| length(value).saturating_add(1));
        out.extend_from_slice(&value_length.to_le_bytes());
        out.extend_from_slice(self.key);
        out.extend_from_slice(self.value.unwrap_or_default());
    }

    /// Splits the first change off `bytes`. Returns `None` if the bytes are no changes.
    fn split_first(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (name_length, bytes) = bytes.split_first()?;
        let (table, bytes) = bytes.split_at_checked(usize::from(*name_length))?;
        let (key_length, bytes) = split_length(bytes)?;
        let (value_length, bytes) = split_length(bytes)?;
        let (key, bytes) = bytes.split_at_checked(key_length)?;
        let (value, bytes) = match value_length.checked_sub(1) {
            None => (None, bytes),
            Some(length) => {
                let (value, bytes) = bytes.split_at_checked(length)?;
                (Some(value), bytes)
            }
        };
        let table = std::str::from_utf8(table).ok()?;
        Some((Self { table, key, value }, bytes))
    }
}

fn split_length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    Some((usize::try_from(u32::from_le_bytes(*length)).ok()?, rest))
}

/// Lists the changes in `bytes`. The last item is `None` if the bytes are no changes.
pub fn list_changes(bytes: &[u8]) -> impl Iterator<Item = Option<RawChange<'_>>> {
    let mut rest = Some(bytes);
    std::iter::from_fn(move || {
        let bytes = rest.filter(|bytes| !bytes.is_empty())?;
        let first = RawChange::split_first(bytes);
        rest = first.map(|(_, rest)| rest);
        Some(first.map(|(change, _)| change))
    })
}

/// Recorder of the changes of one write transaction.
#[derive(Default)]
pub(super) struct ChangeRecorder {
    has_changes: Cell<bool>,
    is_recording: Cell<bool>,
    recorded: Cell<Vec<u8>>,
}

impl ChangeRecorder {
    pub(super) const fn has_changes(&self) -> bool {
        self.has_changes.get()
    }

    pub(super) fn mark_changed(&self) {
        self.has_changes.set(true);
    }

    pub(super) fn set_recording(&self, is_recording: bool) {
        self.is_recording.set(is_recording);
    }

    pub(super) const fn is_recording(&self) -> bool {
        self.is_recording.get()
    }

    pub(super) fn record(&self, change: RawChange<'_>) {
        let mut recorded = self.recorded.take();
        change.write_to(&mut recorded);
        self.recorded.set(recorded);
    }

    /// Returns the changes that were recorded so far, and forgets them.
    pub(super) fn take_recorded(&self) -> Vec<u8> {
        self.recorded.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_round_trip_and_truncation_is_detected() {
        let put = RawChange {
            table: "jobs",
            key: &[1, 2],
            value: Some(&[]),
        };
        let removal = RawChange {
            table: "due",
            key: &[],
            value: None,
        };
        let mut bytes = Vec::new();
        put.write_to(&mut bytes);
        let first_length = bytes.len();
        removal.write_to(&mut bytes);
        let all: Vec<_> = list_changes(&bytes).collect();
        assert_eq!(all, [Some(put), Some(removal)]);
        for length in 1..bytes.len() {
            let listed: Vec<_> = list_changes(&bytes[..length]).collect();
            let is_whole = length == first_length;
            assert_eq!(listed.last().unwrap().is_some(), is_whole, "{length}");
        }
    }
}
