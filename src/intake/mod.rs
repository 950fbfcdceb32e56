//! Authenticates requests and parses their bytes into inbound items: submissions, and messages that
//! can't be parsed.
//!
//! The modules here use no sockets and no store. They never change the values that a sender sent:
//! each field stays the received text.
//!
//! See [`crate::http`], which reads a body within its limits, and [`crate::store`], which decides
//! on inbound items.

pub mod cloud_api;
pub mod encryption;
pub mod flow_endpoint;
pub mod flow_json;
pub mod gateway;
mod json;
mod key_format;
mod pem;
mod private_key;
pub mod signature;
pub mod token_signature;

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::tz::TimeZone;

use crate::config::Config;
use crate::domain::booking::calendar::Calendar;
use crate::domain::flow::field::FieldError;
use crate::domain::flow::{Flow, UnknownScreen};
use crate::domain::ids::{CalendarName, DestinationName, FlowName};
use crate::domain::submission::inbound::SlotSelector;
use crate::domain::time::Millis;

pub use gateway::{GatewayEvents, GatewayWebhook, WebhookAuthError};
pub use key_format::InvalidKey;
pub use private_key::{PrivateKey, PublicKey};
pub use signature::{BadSignature, SignatureHeader, SignatureVerifier};

/// Settings that parsing needs: the flows and calendars of the config.
#[derive(Clone, Debug)]
pub struct Catalog {
    /// Flows by name.
    pub flows: BTreeMap<FlowName, Arc<Flow>>,
    /// Calendars by name.
    pub calendars: BTreeMap<CalendarName, Arc<Calendar>>,
    /// Time zone of the business.
    pub time_zone: Arc<TimeZone>,
    /// Hosts of the destinations by destination name. No other part of a URL may be public.
    pub destination_hosts: BTreeMap<DestinationName, String>,
    /// Maximum age of a message by destination name, in milliseconds. An older message is not sent.
    /// Only destinations that write to people have an entry.
    pub max_ages: BTreeMap<DestinationName, Millis>,
}

impl Catalog {
    /// Returns the slot selector for the forms of `flow`. Returns `None` if the flow books nothing.
    /// The config check guarantees that the calendar exists.
    #[must_use]
    pub fn slot_selector(&self, flow: &Flow) -> Option<SlotSelector> {
        let booking = flow.booking.as_ref()?;
        Some(SlotSelector {
            settings: booking.clone(),
            calendar: Arc::clone(self.calendars.get(&booking.calendar)?),
        })
    }
}

impl Default for Catalog {
    fn default() -> Self {
        Self {
            flows: BTreeMap::new(),
            calendars: BTreeMap::new(),
            time_zone: Arc::new(TimeZone::UTC),
            destination_hosts: BTreeMap::new(),
            max_ages: BTreeMap::new(),
        }
    }
}

impl From<&Config> for Catalog {
    fn from(config: &Config) -> Self {
        let destinations = config.destinations.iter();
        Self {
            flows: config.flows.clone(),
            calendars: config.calendars.clone(),
            time_zone: Arc::new(config.business_zone()),
            destination_hosts: destinations
                .clone()
                .map(|(name, destination)| (name.clone(), destination.kind.settings().host()))
                .collect(),
            max_ages: destinations
                .filter(|(_, to)| to.kind.settings().recipients().is_some())
                .filter_map(|(name, to)| Some((name.clone(), to.policy.max_age?)))
                .collect(),
        }
    }
}

/// Reason why a body can't be parsed. The sender reads the `Display` text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IntakeError {
    /// The body is not JSON. The text describes the syntax error.
    #[error("the body is not valid JSON: {0}")]
    NotJson(String),
    /// The body is JSON, but not an object.
    #[error("the body is not a JSON object")]
    NotAnObject,
    /// A field has an invalid value.
    #[error("{field}: {reason}")]
    InvalidField {
        /// Name of the field, with dots for nested fields.
        field: String,
        /// Reason why the value is invalid.
        reason: String,
    },
    /// An answer does not pass the validation of its field.
    #[error("{error}")]
    ValidationFailed {
        /// Screen of the answer.
        screen: String,
        /// Validation error of the answer.
        error: FieldError,
    },
    /// The action is unknown.
    #[error("action: {0:?} is not one of data_exchange, INIT, BACK, ping")]
    UnknownAction(String),
    /// The flow has no screen with this name.
    #[error("{0}")]
    UnknownScreen(#[from] UnknownScreen),
}

impl IntakeError {
    fn invalid_field(field: &str, why: impl Into<String>) -> Self {
        Self::InvalidField {
            field: field.to_owned(),
            reason: why.into(),
        }
    }
}
