//! Bytes to arrivals: is this from the sender we trust, and what does it say?
//!
//! Between `crate::http`, which has read a body within its bounds, and `crate::store`, which decides on what arrived. No
//! sockets and no store in here; what is sent is never changed: fields are kept as the text that came.

pub mod cloud_api;
pub mod encryption;
pub mod flow_endpoint;
pub mod flow_json;
pub mod gateway;
mod json;
mod pem;
mod private_key;
pub mod signature;
pub mod token_signature;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::Config;
use crate::domain::arrival::Asks;
use crate::domain::calendar::Calendar;
use crate::domain::field::FieldProblem;
use crate::domain::flow::{Flow, UnknownScreen};
use crate::domain::ids::{CalendarName, DestinationName, FlowName};
use crate::domain::time::Millis;

pub use gateway::{BadProof, Brought, Door};
pub use private_key::{InvalidKey, PrivateKey, PublicKey};
pub use signature::{BadSignature, Claim, Signers};

/// What arrivals are read by: the flows and calendars of the config.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    /// The flows.
    pub flows: BTreeMap<FlowName, Arc<Flow>>,
    /// The calendars.
    pub calendars: BTreeMap<CalendarName, Arc<Calendar>>,
    /// The hosts of the destinations: no other part of a URL is for everybody's eyes.
    pub destinations: BTreeMap<DestinationName, String>,
    /// Age at which a message is no longer sent, for each destination that writes to people.
    pub expires: BTreeMap<DestinationName, Millis>,
}

impl Catalog {
    /// How a form of `flow` asks for a slot, if it does. The config saw to it that the calendar is there.
    #[must_use]
    pub fn asks(&self, flow: &Flow) -> Option<Asks> {
        let rule = flow.booking.as_ref()?;
        Some(Asks { rule: rule.clone(), calendar: Arc::clone(self.calendars.get(&rule.calendar)?) })
    }
}

impl From<&Config> for Catalog {
    fn from(config: &Config) -> Self {
        let destinations = config.destinations.iter();
        Self {
            flows: config.flows.clone(),
            calendars: config.calendars.clone(),
            destinations: destinations.clone().map(|(name, to)| (name.clone(), to.host())).collect(),
            expires: destinations
                .filter(|(_, to)| to.means.addressee().is_some())
                .filter_map(|(name, to)| Some((name.clone(), to.expires?)))
                .collect(),
        }
    }
}

/// Why a body is not what it should be. `Display` is for the sender.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IntakeError {
    /// No JSON at all.
    #[error("the body is no JSON: {0}")]
    NotJson(String),
    /// JSON, but no object.
    #[error("the body is no JSON object")]
    NotAnObject,
    /// A field that makes no sense.
    #[error("{field}: {why}")]
    Field {
        /// Its name, with dots where it lies deeper.
        field: String,
        /// What is wrong with it.
        why: String,
    },
    /// An answer that does not fit its field.
    #[error("{problem}")]
    Unfit {
        /// The screen that it was given on.
        screen: String,
        /// What is wrong with it.
        problem: FieldProblem,
    },
    /// An action that no flow has.
    #[error("action: {0:?} is not one of data_exchange, INIT, BACK, ping")]
    UnknownAction(String),
    /// A screen that the flow does not have.
    #[error("{0}")]
    UnknownScreen(#[from] UnknownScreen),
}

impl IntakeError {
    fn field(field: &str, why: impl Into<String>) -> Self {
        Self::Field { field: field.to_owned(), why: why.into() }
    }
}
