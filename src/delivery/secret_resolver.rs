//! Resolves the secrets of one destination from the locations in the config. Collects all errors,
//! so that an operator can correct them together.
//!
//! See [`super::channel`] for the credentials that each kind makes of its secrets.

use hyper::header::HeaderValue;

use crate::config::{Secret, SecretError, SecretRef};
use crate::domain::ids::DestinationName;

/// Errors of a destination's secrets.
#[derive(Debug, thiserror::Error)]
pub enum DestinationError {
    /// A secret can't be read.
    #[error("destination {destination}: {key}: {source}")]
    Secret {
        /// Destination name.
        destination: DestinationName,
        /// Config key of the secret.
        key: String,
        /// Cause of the error.
        #[source]
        source: SecretError,
    },
    /// A secret is not set.
    #[error("destination {destination}: {key}: {location} is not set")]
    NotSet {
        /// Destination name.
        destination: DestinationName,
        /// Config key of the secret.
        key: String,
        /// Location of the secret in the config.
        location: String,
    },
    /// The value of a secret is not valid for its purpose.
    #[error("destination {destination}: {problem}")]
    Invalid {
        /// Destination name.
        destination: DestinationName,
        /// Problem, with the location of the secret. The text does not repeat the value.
        problem: String,
    },
}

/// Resolver for the secrets of one destination.
pub(crate) struct SecretResolver<'d> {
    destination: &'d DestinationName,
    errors: Vec<DestinationError>,
}

impl<'d> SecretResolver<'d> {
    pub(crate) const fn new(destination: &'d DestinationName) -> Self {
        Self {
            destination,
            errors: Vec::new(),
        }
    }

    /// Returns the errors so far.
    pub(crate) fn into_errors(self) -> Vec<DestinationError> {
        self.errors
    }

    /// Returns the secret of the config key `key`. Reports a secret that can't be read or is not
    /// set.
    pub(crate) fn resolve_secret(&mut self, key: &str, location: &SecretRef) -> Option<Secret> {
        let (destination, key) = (self.destination.clone(), key.to_owned());
        let error = match location.resolve() {
            Ok(Some(secret)) => return Some(secret),
            Ok(None) => DestinationError::NotSet {
                destination,
                key,
                location: location.location(),
            },
            Err(source) => DestinationError::Secret {
                destination,
                key,
                source,
            },
        };
        self.errors.push(error);
        None
    }

    /// Returns the secret as the value of an HTTP header, with `prefix` in front. See
    /// [`Secret::to_header`].
    pub(crate) fn resolve_header(
        &mut self,
        key: &str,
        location: &SecretRef,
        prefix: &str,
    ) -> Option<HeaderValue> {
        let header = self.resolve_secret(key, location)?.to_header(prefix);
        if header.is_none() {
            let location = location.location();
            self.report_invalid(format!(
                "{key}: the value of {location} can't be used in an HTTP header: it must be one \
                 line of visible ASCII characters"
            ));
        }
        header
    }

    /// Reports a secret whose value is not valid. `problem` contains its location.
    pub(crate) fn report_invalid(&mut self, problem: String) {
        self.errors.push(DestinationError::Invalid {
            destination: self.destination.clone(),
            problem,
        });
    }
}
