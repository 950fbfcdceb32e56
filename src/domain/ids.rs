//! Defines a separate type for each kind of ID and name, so that the compiler refuses to mix them.
//!
//! The store assigns numeric IDs in ascending order and never reuses them. Names come from the
//! config, from Meta or from an admin, and are checked when the program receives them.

use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use super::customer::{Customer, CustomerMatch, is_business_scoped};

/// Error for a name or text that is not a valid ID.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {problem}")]
pub struct InvalidId {
    what: &'static str,
    problem: &'static str,
}

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(u64);

        impl $name {
            /// Smallest ID, as a bound of ranges. No row has this ID.
            pub const MIN: Self = Self(0);
            /// Largest ID, as a bound of ranges.
            pub const MAX: Self = Self(u64::MAX);

            /// Creates the ID with this number.
            #[must_use]
            pub const fn new(number: u64) -> Self {
                Self(number)
            }

            /// Returns the number, for keys and for display.
            #[must_use]
            pub const fn get(self) -> u64 {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = ParseIntError;

            fn from_str(text: &str) -> Result<Self, ParseIntError> {
                text.parse().map(Self)
            }
        }
    };
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $check:path) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(Box<str>);

        impl $name {
            /// Checks `text` and creates the name.
            ///
            /// # Errors
            /// [`InvalidId`] with the reason, if `text` is not a valid name.
            pub fn new(text: &str) -> Result<Self, InvalidId> {
                match $check(text) {
                    Ok(()) => Ok(Self(text.into())),
                    Err(problem) => Err(InvalidId { what: $what, problem }),
                }
            }

            /// Returns the name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Self::new(text)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                Self::new(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}

/// Validates a name that people type: 1 to 64 letters, digits, `-`, `_` and `.`. Such a name needs
/// no quoting in a shell or URL.
fn validate_typed_name(text: &str) -> Result<(), &'static str> {
    let is_allowed = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
    match text.chars().count() {
        0 => Err("is empty"),
        1..=64 if text.chars().all(is_allowed) => Ok(()),
        1..=64 => Err("may have letters, digits, '-', '_' and '.' only"),
        _ => Err("is longer than 64 characters"),
    }
}

/// Validates a text from outside that identifies something: 1 byte to 4 KiB. Meta documents no
/// limit.
fn validate_foreign_text(text: &str) -> Result<(), &'static str> {
    match text.len() {
        0 => Err("is empty"),
        1..=4096 => Ok(()),
        _ => Err("is longer than 4096 bytes"),
    }
}

number!(/** A submission. */ SubmissionId);
number!(/** A job, alive or dead. */ JobId);
number!(/** A lead. */ LeadId);
number!(/** A booking. */ BookingId);
number!(/** An agent. */ AgentId);

name!(/** A flow, as the config names it. */ FlowName, "flow name", validate_typed_name);
name!(/** A calendar, as the config names it. */ CalendarName, "calendar name", validate_typed_name);
name!(/** A destination, as the config names it. */ DestinationName, "destination name", validate_typed_name);
name!(/** An unofficial gateway, as the config names it. */ GatewayName, "gateway name", validate_typed_name);
name!(/** A team of agents. */ TeamName, "team name", validate_typed_name);
name!(/** An account of the dashboard. */ AccountName, "account name", validate_typed_name);
name!(/** An agent, as an admin named it. */ AgentName, "agent name", validate_typed_name);
name!(
    /// Flow token that identifies one flow message. The literal `unused` and the empty text
    /// identify none. See [`FlowToken::is_usable`].
    FlowToken, "flow_token", validate_foreign_text
);
name!(/** A WhatsApp message, `wamid.…`. Opaque. */ MessageId, "message id", validate_foreign_text);

impl FlowToken {
    /// Returns `true` if the token identifies a form. `unused` is Meta's default if the business
    /// sets no token, and thousands of customers share it (*Sending a Flow*, `flow_token`).
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.as_str() != "unused"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typed_names_are_shell_safe() {
        assert!(FlowName::new("appointment").is_ok());
        assert!(AgentName::new("Zoë-2").is_ok());
        for bad in ["", "a b", "a/b", "a\n", &"x".repeat(65)] {
            assert!(FlowName::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn literal_unused_is_unusable_token() {
        assert!(!FlowToken::new("unused").unwrap().is_usable());
        assert!(FlowToken::new("Unused").unwrap().is_usable());
        assert!(FlowToken::new("").is_err());
    }
}
