//! A destination with its secrets at hand.

use std::collections::BTreeMap;
use std::sync::Arc;

use hyper::header::{HeaderName, HeaderValue};

use crate::config::Destination;
use crate::domain::ids::DestinationName;
use crate::signing::SigningKey;

/// Who is told, and as whom. Its secrets are not shown.
#[derive(Clone, Debug)]
pub struct Recipient {
    /// As the config has it.
    pub rule: Destination,
    /// What messages are signed with, newest first.
    pub keys: Vec<SigningKey>,
    /// Headers that it asks for. Sensitive ones are marked as such.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

/// All of them.
pub type Recipients = BTreeMap<DestinationName, Arc<Recipient>>;
