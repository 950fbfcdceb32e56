//! Converts the keys and values of the tables to the types that redb stores.
//!
//! redb stores the names of its types in the file and refuses to open a table with a changed type.
//! So the stored types are primitive. See [`super::table`] for the operations on tables.

use redb::Value;

use crate::domain::ids::{AgentId, BookingId, JobId, LeadId, SubmissionId};
use crate::domain::time::{Millis, Timestamp};
use crate::store::RowProblem;

/// Form in which redb reads and writes a stored type.
pub type Raw<'a, T> = <T as Value>::SelfType<'a>;

/// Type of the keys of a table. Tables are ordered by their keys.
pub trait TableKey {
    /// A key as the callers use it.
    type Ref<'a>: Copy;
    /// Type that redb stores.
    type Stored: redb::Key + 'static;

    /// Converts a key to the stored form.
    fn to_raw(key: Self::Ref<'_>) -> Raw<'_, Self::Stored>;
    /// Converts the stored form to a key.
    fn from_raw(raw: Raw<'_, Self::Stored>) -> Self::Ref<'_>;
}

/// Type of the values of a table.
pub trait TableValue: Sized {
    /// Type that redb stores.
    type Stored: Value + 'static;

    /// Calls `write` with the stored form.
    ///
    /// # Errors
    /// [`RowProblem::InvalidFields`] if the value can't be encoded.
    fn with_raw<T>(&self, write: impl FnOnce(Raw<'_, Self::Stored>) -> T) -> Result<T, RowProblem>;
    /// Converts the stored form to a value.
    ///
    /// # Errors
    /// [`RowProblem`] if the stored row is unreadable.
    fn from_raw(raw: Raw<'_, Self::Stored>) -> Result<Self, RowProblem>;
}

/// Key that is a text.
pub struct Text;

impl TableKey for Text {
    type Ref<'a> = &'a str;
    type Stored = &'static str;

    fn to_raw(key: Self::Ref<'_>) -> Raw<'_, <Self as TableKey>::Stored> {
        key
    }

    fn from_raw(raw: Raw<'_, <Self as TableKey>::Stored>) -> Self::Ref<'_> {
        raw
    }
}

/// Key or value of 16 bytes: the hash of a text.
pub type Hash = [u8; 16];

impl TableKey for Hash {
    type Ref<'a> = &'a Self;
    type Stored = &'static Self;

    fn to_raw(key: Self::Ref<'_>) -> Raw<'_, <Self as TableKey>::Stored> {
        key
    }

    fn from_raw(raw: Raw<'_, <Self as TableKey>::Stored>) -> Self::Ref<'_> {
        raw
    }
}

impl TableValue for Hash {
    type Stored = &'static Self;

    fn with_raw<T>(&self, write: impl FnOnce(&Self) -> T) -> Result<T, RowProblem> {
        Ok(write(self))
    }

    fn from_raw(raw: &Self) -> Result<Self, RowProblem> {
        Ok(*raw)
    }
}

/// Value that callers read as bytes.
pub struct Bytes(pub Box<[u8]>);

impl TableValue for Bytes {
    type Stored = &'static [u8];

    fn with_raw<T>(&self, write: impl FnOnce(&[u8]) -> T) -> Result<T, RowProblem> {
        Ok(write(&self.0))
    }

    fn from_raw(raw: &[u8]) -> Result<Self, RowProblem> {
        Ok(Self(raw.into()))
    }
}

/// Implements key and value for types that are stored as a number.
macro_rules! stored_as_number {
    ($($name:ty: $stored:ty, $to_raw:expr, $from_raw:expr;)*) => {$(
        impl TableKey for $name {
            type Ref<'a> = Self;
            type Stored = $stored;

            fn to_raw(key: Self::Ref<'_>) -> Raw<'_, <Self as TableKey>::Stored> {
                $to_raw(key)
            }

            fn from_raw(raw: Raw<'_, <Self as TableKey>::Stored>) -> Self::Ref<'_> {
                $from_raw(raw)
            }
        }

        impl TableValue for $name {
            type Stored = $stored;

            fn with_raw<T>(&self, write: impl FnOnce($stored) -> T) -> Result<T, RowProblem> {
                Ok(write($to_raw(*self)))
            }

            fn from_raw(raw: $stored) -> Result<Self, RowProblem> {
                Ok($from_raw(raw))
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

/// Value of a table whose rows consist of a key only.
impl TableValue for () {
    type Stored = ();

    fn with_raw<T>(&self, write: impl FnOnce(()) -> T) -> Result<T, RowProblem> {
        Ok(write(()))
    }

    fn from_raw((): ()) -> Result<Self, RowProblem> {
        Ok(())
    }
}

impl TableValue for (AgentId, LeadId, Timestamp) {
    type Stored = (u64, u64, u64);

    fn with_raw<T>(&self, write: impl FnOnce((u64, u64, u64)) -> T) -> Result<T, RowProblem> {
        Ok(write((self.0.get(), self.1.get(), self.2.as_millis())))
    }

    fn from_raw((agent, lead, at): (u64, u64, u64)) -> Result<Self, RowProblem> {
        Ok((
            AgentId::new(agent),
            LeadId::new(lead),
            Timestamp::from_millis(at),
        ))
    }
}

impl<A: TableKey, B: TableKey> TableKey for (A, B) {
    type Ref<'a> = (A::Ref<'a>, B::Ref<'a>);
    type Stored = (A::Stored, B::Stored);

    fn to_raw((a, b): Self::Ref<'_>) -> Raw<'_, Self::Stored> {
        (A::to_raw(a), B::to_raw(b))
    }

    fn from_raw((a, b): Raw<'_, Self::Stored>) -> Self::Ref<'_> {
        (A::from_raw(a), B::from_raw(b))
    }
}

impl<A: TableKey, B: TableKey, C: TableKey> TableKey for (A, B, C) {
    type Ref<'a> = (A::Ref<'a>, B::Ref<'a>, C::Ref<'a>);
    type Stored = (A::Stored, B::Stored, C::Stored);

    fn to_raw((a, b, c): Self::Ref<'_>) -> Raw<'_, Self::Stored> {
        (A::to_raw(a), B::to_raw(b), C::to_raw(c))
    }

    fn from_raw((a, b, c): Raw<'_, Self::Stored>) -> Self::Ref<'_> {
        (A::from_raw(a), B::from_raw(b), C::from_raw(c))
    }
}
