//! Holds the HTTP clients that the config needs: direct ones, and one for each proxy. All share the
//! TLS config of this machine.

use std::fmt;
use std::sync::{Arc, OnceLock};

use hyper::Uri;

use super::address_policy::AddressPolicy;
use super::client::HttpClient;
use super::error::NetError;
use super::proxy::{InvalidProxyAuth, ProxyServer};
use super::tls::TlsConfig;

/// Proxy, with the client that uses it after the first request. `Debug` hides user and password.
#[derive(Clone)]
pub struct Proxy {
    server: Arc<ProxyServer>,
    client: OnceLock<HttpClient>,
}

impl Proxy {
    /// Creates the proxy at `url`: `http://HOST:PORT` or `socks5://HOST:PORT`. `auth` is a user and
    /// a password with a colon between them.
    ///
    /// # Errors
    /// [`InvalidProxyAuth`] if `auth` has another format.
    pub fn new(url: Uri, auth: Option<&str>) -> Result<Self, InvalidProxyAuth> {
        Ok(Self {
            server: Arc::new(ProxyServer::new(url, auth)?),
            client: OnceLock::new(),
        })
    }

    /// Returns the proxy for a single connection.
    pub(super) fn server(&self) -> Arc<ProxyServer> {
        Arc::clone(&self.server)
    }

    /// Returns the client that uses this proxy. `address_policy` limits destinations that are
    /// literal IP addresses.
    pub(super) fn client(&self, tls: &TlsConfig, address_policy: AddressPolicy) -> &HttpClient {
        self.client.get_or_init(|| {
            HttpClient::with_tls(tls, address_policy, Some(Arc::clone(&self.server)))
        })
    }
}

impl PartialEq for Proxy {
    fn eq(&self, other: &Self) -> bool {
        self.server == other.server
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.server.fmt(f)
    }
}

/// HTTP clients of one process. They share the TLS config of this machine.
#[derive(Clone, Debug)]
pub struct HttpClients {
    /// Client for receivers at any address.
    any_client: HttpClient,
    /// Client for all other receivers, which must have public addresses.
    public_client: HttpClient,
    tls_config: TlsConfig,
}

impl HttpClients {
    /// Loads the root certificates that this machine trusts.
    ///
    /// # Errors
    /// [`NetError::Tls`] if TLS can't be set up.
    pub fn load() -> Result<Self, NetError> {
        let tls_config = TlsConfig::load()?;
        let [any_client, public_client] = [AddressPolicy::Any, AddressPolicy::PublicOnly]
            .map(|address_policy| HttpClient::with_tls(&tls_config, address_policy, None));
        Ok(Self {
            any_client,
            public_client,
            tls_config,
        })
    }

    /// Returns the client for a receiver. The address of the receiver may be private if
    /// `allow_private` is `true`. Connections use `proxy` if there is one.
    #[must_use]
    pub fn client<'c>(&'c self, allow_private: bool, proxy: Option<&'c Proxy>) -> &'c HttpClient {
        match (proxy, allow_private) {
            (Some(proxy), true) => proxy.client(&self.tls_config, AddressPolicy::Any),
            (Some(proxy), false) => proxy.client(&self.tls_config, AddressPolicy::PublicOnly),
            (None, true) => &self.any_client,
            (None, false) => &self.public_client,
        }
    }

    /// Returns the TLS config with the root certificates that this machine trusts.
    #[must_use]
    pub const fn trust(&self) -> &TlsConfig {
        &self.tls_config
    }
}
