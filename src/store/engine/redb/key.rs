//! Encodes the keys of the tables as bytes that sort like the keys, and defines the values.
//!
//! ```text
//! number: big-endian, fixed width    hash: 16 bytes    text: UTF-8, then a zero byte if not last
//! ```
//! A tuple is its parts, one after the other. All tables have one type for the engine, so its code
//! is compiled once. See [`super::table`] for the operations on tables.

use crate::domain::ids::{AgentId, BookingId, JobId, LeadId, SubmissionId};
use crate::domain::time::{Millis, Timestamp};
use crate::store::RowProblem;

/// Type of the keys of a table. Tables are ordered by their keys.
pub trait TableKey {
    /// A key as the callers use it.
    type Ref<'a>: Copy;

    /// Appends the key to `out`. `is_last` is `false` if other parts of a tuple follow.
    fn write_to(key: Self::Ref<'_>, is_last: bool, out: &mut Vec<u8>);
    /// Splits a key off `bytes`. What the bytes lack is zero or empty.
    fn split_off<'a>(bytes: &mut &'a [u8], is_last: bool) -> Self::Ref<'a>;
    /// Returns the key for an error message.
    fn describe(key: Self::Ref<'_>) -> String;

    /// Returns the stored form of a key.
    fn to_bytes(key: Self::Ref<'_>) -> Vec<u8> {
        // Longer than most keys: one allocation.
        let mut bytes = Vec::with_capacity(48);
        Self::write_to(key, true, &mut bytes);
        bytes
    }

    /// Reads a stored key. See [`TableKey::is_valid`] for damaged keys.
    fn from_bytes(mut bytes: &[u8]) -> Self::Ref<'_> {
        Self::split_off(&mut bytes, true)
    }

    /// Returns `true` if the bytes are the stored form of a key.
    fn is_valid(bytes: &[u8]) -> bool {
        Self::to_bytes(Self::from_bytes(bytes)) == bytes
    }
}

/// Key that is a number.
pub trait NumberKey: TableKey {}

/// Type of the values of a table.
pub trait TableValue: Sized {
    /// Calls `write` with the stored form.
    ///
    /// # Errors
    /// [`RowProblem::InvalidFields`] if the value can't be encoded.
    fn with_bytes<T>(&self, write: impl FnOnce(&[u8]) -> T) -> Result<T, RowProblem>;
    /// Converts the stored form to a value.
    ///
    /// # Errors
    /// [`RowProblem`] if the stored row is unreadable.
    fn from_bytes(bytes: &[u8]) -> Result<Self, RowProblem>;
}

/// Key that is a text. A text before another part of a tuple contains no zero byte: such texts are
/// names from the config.
pub struct Text;

impl TableKey for Text {
    type Ref<'a> = &'a str;

    fn write_to(key: &str, is_last: bool, out: &mut Vec<u8>) {
        out.extend_from_slice(key.as_bytes());
        if !is_last {
            out.push(0);
        }
    }

    fn split_off<'a>(bytes: &mut &'a [u8], is_last: bool) -> &'a str {
        let whole = *bytes;
        let is_end = |byte: &u8| !is_last && *byte == 0;
        let mut parts = whole.splitn(2, is_end);
        let text = parts.next().unwrap_or_default();
        *bytes = parts.next().unwrap_or_default();
        str::from_utf8(text).unwrap_or_default()
    }

    fn describe(key: &str) -> String {
        format!("{key:?}")
    }
}

/// Key or value of 16 bytes: the hash of a text.
pub type Hash = [u8; 16];

impl TableKey for Hash {
    type Ref<'a> = &'a Self;

    fn write_to(key: &Self, _is_last: bool, out: &mut Vec<u8>) {
        out.extend_from_slice(key);
    }

    fn split_off<'a>(bytes: &mut &'a [u8], _is_last: bool) -> &'a Self {
        let (hash, rest) = bytes.split_first_chunk().unwrap_or((&[0; 16], &[]));
        *bytes = rest;
        hash
    }

    fn describe(key: &Self) -> String {
        format!("{key:?}")
    }
}

impl TableValue for Hash {
    fn with_bytes<T>(&self, write: impl FnOnce(&[u8]) -> T) -> Result<T, RowProblem> {
        Ok(write(self))
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, RowProblem> {
        bytes.try_into().map_err(|_| RowProblem::InvalidFields)
    }
}

/// Value that callers read as bytes.
pub struct Bytes(pub Box<[u8]>);

impl TableValue for Bytes {
    fn with_bytes<T>(&self, write: impl FnOnce(&[u8]) -> T) -> Result<T, RowProblem> {
        Ok(write(&self.0))
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, RowProblem> {
        Ok(Self(bytes.into()))
    }
}

/// Implements key and value for types that are stored as a number.
macro_rules! stored_as_number {
    ($($name:ty: $stored:ty, $to_number:expr, $from_number:expr;)*) => {$(
        impl TableKey for $name {
            type Ref<'a> = Self;

            fn write_to(key: Self, _is_last: bool, out: &mut Vec<u8>) {
                out.extend_from_slice(&$to_number(key).to_be_bytes());
            }

            fn split_off(bytes: &mut &[u8], _is_last: bool) -> Self {
                let (number, rest) = bytes.split_first_chunk().unwrap_or((&[0; _], &[]));
                *bytes = rest;
                $from_number(<$stored>::from_be_bytes(*number))
            }

            fn describe(key: Self) -> String {
                $to_number(key).to_string()
            }
        }

        impl NumberKey for $name {}

        impl TableValue for $name {
            fn with_bytes<T>(&self, write: impl FnOnce(&[u8]) -> T) -> Result<T, RowProblem> {
                Ok(write(&$to_number(*self).to_be_bytes()))
            }

            fn from_bytes(bytes: &[u8]) -> Result<Self, RowProblem> {
                decode_key::<Self>(bytes)
            }
        }
    )*};
}

stored_as_number! {
    u8: u8, std::convert::identity, std::convert::identity;
    u32: u32, std::convert::identity, std::convert::identity;
    u64: u64, std::convert::identity, std::convert::identity;
    u128: u128, std::convert::identity, std::convert::identity;
    SubmissionId: u64, Self::get, Self::new;
    JobId: u64, Self::get, Self::new;
    LeadId: u64, Self::get, Self::new;
    BookingId: u64, Self::get, Self::new;
    AgentId: u64, Self::get, Self::new;
    Timestamp: u64, Self::as_millis, Self::from_millis;
    Millis: u64, Self::get, Self::new;
}

/// Decodes a value that has the stored form of a key.
fn decode_key<K: TableKey>(bytes: &[u8]) -> Result<K::Ref<'_>, RowProblem> {
    if K::is_valid(bytes) {
        Ok(K::from_bytes(bytes))
    } else {
        Err(RowProblem::InvalidFields)
    }
}

/// Value of a table whose rows consist of a key only.
impl TableValue for () {
    fn with_bytes<T>(&self, write: impl FnOnce(&[u8]) -> T) -> Result<T, RowProblem> {
        Ok(write(&[]))
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, RowProblem> {
        let empty = bytes.is_empty().then_some(());
        empty.ok_or(RowProblem::InvalidFields)
    }
}

impl TableValue for (AgentId, LeadId, Timestamp) {
    fn with_bytes<T>(&self, write: impl FnOnce(&[u8]) -> T) -> Result<T, RowProblem> {
        Ok(write(&<Self as TableKey>::to_bytes(*self)))
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, RowProblem> {
        decode_key::<Self>(bytes)
    }
}

impl<A: TableKey, B: TableKey> TableKey for (A, B) {
    type Ref<'a> = (A::Ref<'a>, B::Ref<'a>);

    fn write_to((a, b): Self::Ref<'_>, is_last: bool, out: &mut Vec<u8>) {
        A::write_to(a, false, out);
        B::write_to(b, is_last, out);
    }

    fn split_off<'a>(bytes: &mut &'a [u8], is_last: bool) -> Self::Ref<'a> {
        (A::split_off(bytes, false), B::split_off(bytes, is_last))
    }

    fn describe((a, b): Self::Ref<'_>) -> String {
        format!("({}, {})", A::describe(a), B::describe(b))
    }
}

impl<A: TableKey, B: TableKey, C: TableKey> TableKey for (A, B, C) {
    type Ref<'a> = (A::Ref<'a>, B::Ref<'a>, C::Ref<'a>);

    fn write_to((a, b, c): Self::Ref<'_>, is_last: bool, out: &mut Vec<u8>) {
        A::write_to(a, false, out);
        <(B, C)>::write_to((b, c), is_last, out);
    }

    fn split_off<'a>(bytes: &mut &'a [u8], is_last: bool) -> Self::Ref<'a> {
        let a = A::split_off(bytes, false);
        let (b, c) = <(B, C)>::split_off(bytes, is_last);
        (a, b, c)
    }

    fn describe((a, b, c): Self::Ref<'_>) -> String {
        format!(
            "({}, {}, {})",
            A::describe(a),
            B::describe(b),
            C::describe(c)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type SlotKey = (Text, Millis, Timestamp);

    fn slot(calendar: &str, length: u64, start: u64) -> Vec<u8> {
        SlotKey::to_bytes((calendar, Millis::new(length), Timestamp::from_millis(start)))
    }

    #[test]
    fn stored_keys_sort_like_the_keys() {
        let sorted = [
            ("", 9, 9),
            ("a", 2, 5),
            ("a", 2, 300),
            ("a", 1000, 2),
            ("ab", 1, 4),
            ("b", 1, 1),
            ("ü", 0, 0),
        ];
        let stored = sorted.map(|(calendar, length, start)| slot(calendar, length, start));
        assert!(stored.is_sorted(), "{stored:?}");
        for (key, bytes) in sorted.iter().zip(&stored) {
            let (calendar, length, start) = SlotKey::from_bytes(bytes);
            assert_eq!(*key, (calendar, length.get(), start.as_millis()));
            assert!(SlotKey::is_valid(bytes));
        }
    }

    #[test]
    fn damaged_keys_are_read_and_not_valid() {
        let key = slot("salon", 7, 8);
        for length in 0..key.len() {
            let part = &key[..length];
            let _ = SlotKey::from_bytes(part);
            assert!(!SlotKey::is_valid(part), "{length}");
        }
        assert!(!SlotKey::is_valid(&[key.as_slice(), &[0]].concat()));
        assert!(!Text::is_valid(&[0xff]));
        assert!(!<Hash as TableKey>::is_valid(&[1; 17]));
        assert!(<(Text, Text)>::is_valid(b"kind\0name"));
    }

    #[test]
    fn an_error_shows_the_parts_of_a_key() {
        let key = (JobId::new(7), 2);
        assert_eq!(<(JobId, u32)>::describe(key), "(7, 2)");
        assert_eq!(Text::describe("a"), "\"a\"");
    }
}
