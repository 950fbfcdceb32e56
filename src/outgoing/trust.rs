//! Whom this machine trusts, and TLS that goes by it: the same for all that leaves.

use std::fmt;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};

use super::OutgoingError;

/// The authorities of this machine, read once.
#[derive(Clone)]
pub struct Trust {
    pub(super) tls: Arc<ClientConfig>,
    pub(super) has_roots: bool,
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust").field("has_roots", &self.has_roots).finish_non_exhaustive()
    }
}

impl Trust {
    /// Reads whom this machine trusts (`SSL_CERT_FILE` and `SSL_CERT_DIR` say otherwise, as for OpenSSL).
    ///
    /// # Errors
    /// [`OutgoingError::Tls`].
    pub fn load() -> Result<Self, OutgoingError> {
        let mut roots = RootCertStore::empty();
        // What can't be read or parsed is left out: one bad file among hundreds must not stop everything.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let has_roots = !roots.is_empty();
        // Named, so that a second provider somewhere in the tree leaves nothing to guess.
        let tls = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { tls: Arc::new(tls), has_roots })
    }
}
