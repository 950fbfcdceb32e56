//! Decides which IP addresses may be connected to: any, or only public, private or loopback ones.
//!
//! The process connects to the very address that was checked. A DNS rebinding attack (another
//! address at the next lookup) therefore has no effect.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use hyper::Uri;
use tokio::net::lookup_host;

use crate::domain::ip_range::{is_public, literal_ip};

/// Policy for the IP addresses that may be connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressPolicy {
    /// Any address is allowed.
    Any,
    /// Only public addresses are allowed: no loopback, private or reserved addresses.
    PublicOnly,
    /// Only addresses that are not public are allowed, because the traffic is not encrypted and
    /// must stay local.
    PrivateOnly,
    /// Only loopback addresses are allowed, because the data must not leave this machine. A name
    /// is this machine (RFC 6761, 6.3) and is never looked up.
    LoopbackOnly,
}

/// Error text for a private address that the policy denies.
pub(super) const PRIVATE_ADDRESS_ERROR: &str =
    "its address is local or private: if that is intended, set `allow_private = true`";

impl AddressPolicy {
    /// Returns `true` if `address` may be connected to.
    pub(super) fn allows(self, address: IpAddr) -> bool {
        match self {
            Self::Any => true,
            Self::PublicOnly => is_public(address),
            Self::PrivateOnly => !is_public(address),
            Self::LoopbackOnly => address.is_loopback(),
        }
    }

    /// Returns the error text for a denied address.
    pub(super) const fn denial_reason(self) -> &'static str {
        match self {
            Self::PrivateOnly => "its address is public, which requires TLS",
            Self::LoopbackOnly => "its address is not on this machine",
            Self::Any | Self::PublicOnly => PRIVATE_ADDRESS_ERROR,
        }
    }

    /// Returns `true` if the host is a literal address that is denied. Literal addresses are
    /// connected to without a lookup.
    pub(super) fn denies_literal_host(self, uri: &Uri) -> bool {
        uri.host()
            .and_then(literal_ip)
            .is_some_and(|address| !self.allows(address))
    }
}

/// Resolves names as the system does, and returns the allowed addresses.
#[derive(Clone, Debug)]
pub(super) struct PolicyResolver {
    policy: AddressPolicy,
    /// Addresses that every lookup returns. Empty: normal lookups.
    #[cfg(test)]
    pub(super) fixed_addresses: Vec<IpAddr>,
}

impl PolicyResolver {
    pub(super) const fn new(policy: AddressPolicy) -> Self {
        Self {
            policy,
            #[cfg(test)]
            fixed_addresses: Vec::new(),
        }
    }

    /// Resolves `host`, a name or a literal address, with `port`.
    ///
    /// # Errors
    /// Returns an error if the name is unknown or all its addresses are denied.
    pub(super) async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let all = self.lookup(host, port).await?;
        let allowed: Vec<SocketAddr> = all
            .iter()
            .copied()
            .filter(|address| self.policy.allows(address.ip()))
            .collect();
        if allowed.is_empty() && !all.is_empty() {
            return Err(io::Error::other(self.policy.denial_reason()));
        }
        Ok(allowed)
    }

    async fn lookup(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        #[cfg(test)]
        if !self.fixed_addresses.is_empty() {
            let addresses = self.fixed_addresses.iter();
            return Ok(addresses.map(|ip| SocketAddr::new(*ip, port)).collect());
        }
        if let Some(address) = literal_ip(host) {
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        if self.policy == AddressPolicy::LoopbackOnly {
            let local = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
            return Ok(local.map(|address| SocketAddr::new(address, port)).to_vec());
        }
        Ok(lookup_host((host, port)).await?.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn local_name_is_resolved_only_if_allowed() {
        for policy in [AddressPolicy::Any, AddressPolicy::PrivateOnly] {
            let resolver = PolicyResolver::new(policy);
            let addresses = resolver.resolve("localhost", 9).await.unwrap();
            let is_local = addresses.iter().all(|address| address.ip().is_loopback());
            assert!(is_local, "{policy:?}: {addresses:?}");
        }
        let public_only = PolicyResolver::new(AddressPolicy::PublicOnly);
        let error = public_only.resolve("localhost", 9).await.unwrap_err();
        assert_eq!(error.to_string(), PRIVATE_ADDRESS_ERROR);
        let on_this_machine = PolicyResolver::new(AddressPolicy::LoopbackOnly);
        for (host, is_allowed) in [
            ("a-name-that-is-never-looked-up", true),
            ("[::1]", true),
            ("10.0.0.1", false),
        ] {
            let resolved = on_this_machine.resolve(host, 9).await;
            assert_eq!(resolved.is_ok(), is_allowed, "{host}: {resolved:?}");
        }
        assert!(
            !AddressPolicy::PrivateOnly.allows("1.1.1.1".parse().unwrap())
                && AddressPolicy::PrivateOnly.allows("10.0.0.1".parse().unwrap())
        );
    }

    #[test]
    fn literal_address_is_checked_without_lookup() {
        for (url, forbidden) in [
            ("http://127.0.0.1:9/", true),
            ("https://[::1]/", true),
            ("https://[::ffff:192.168.0.1]/", true),
            ("https://1.1.1.1/", false),
            ("https://[2606:4700::1111]/", false),
            ("https://crm.example/", false),
        ] {
            let url: Uri = url.parse().unwrap();
            let is_denied = AddressPolicy::PublicOnly.denies_literal_host(&url);
            assert_eq!(is_denied, forbidden, "{url}");
            assert!(!AddressPolicy::Any.denies_literal_host(&url));
        }
    }
}
