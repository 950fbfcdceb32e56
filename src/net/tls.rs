//! Loads the root certificates of this machine, and builds the TLS config of all outgoing
//! connections.

use std::fmt;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};

use super::error::NetError;

/// TLS config with the root certificates of this machine, loaded once.
#[derive(Clone)]
pub struct TlsConfig {
    pub(super) tls: Arc<ClientConfig>,
    pub(super) has_roots: bool,
}

impl fmt::Debug for TlsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsConfig")
            .field("has_roots", &self.has_roots)
            .finish_non_exhaustive()
    }
}

impl TlsConfig {
    /// Loads the root certificates of this machine. `SSL_CERT_FILE` and `SSL_CERT_DIR` override
    /// their location, as for OpenSSL.
    ///
    /// # Errors
    /// [`NetError::Tls`] if TLS can't be set up.
    pub fn load() -> Result<Self, NetError> {
        let mut roots = RootCertStore::empty();
        // Certificates that can't be read or parsed are skipped. One bad file among hundreds must
        // not disable TLS.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let has_roots = !roots.is_empty();
        // The provider is explicit. A second provider in the dependency tree makes no difference.
        let tls = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self {
            tls: Arc::new(tls),
            has_roots,
        })
    }
}
