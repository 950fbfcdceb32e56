//! Which addresses may be connected to: any, or only those out in the world.
//!
//! What is checked is the address that is then connected to. A name that leads somewhere else the next time it is looked up
//! (DNS rebinding) gains nothing by that.

use std::io;
use std::net::{IpAddr, SocketAddr};

use hyper::Uri;
use tokio::net::lookup_host;

use crate::domain::address::{is_public, literal};

/// What may be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Any address.
    Anywhere,
    /// No machine's own, no private network's, none that is nobody's.
    PublicOnly,
    /// Only those: what goes there has no other protection than that it stays near.
    HomeOnly,
}

impl Reach {
    /// Whether an address may be connected to.
    pub(super) fn allows(self, address: IpAddr) -> bool {
        match self {
            Self::Anywhere => true,
            Self::PublicOnly => is_public(address),
            Self::HomeOnly => !is_public(address),
        }
    }

    /// Why an address that is not allowed is not connected to.
    pub(super) const fn why_not(self) -> &'static str {
        match self {
            Self::HomeOnly => "its address is out in the world, and nothing goes there without TLS",
            Self::Anywhere | Self::PublicOnly => PRIVATE,
        }
    }

    /// Whether a host that is written as an address is out of reach: such a one is connected to without a look-up.
    pub(super) fn forbids_host_of(self, uri: &Uri) -> bool {
        uri.host().and_then(literal).is_some_and(|address| !self.allows(address))
    }
}

/// Looks names up as the system does, and gives the addresses within reach.
#[derive(Clone, Debug)]
pub(super) struct Resolver {
    reach: Reach,
    /// Addresses that every name has.
    #[cfg(test)]
    pub(super) fixed: Vec<IpAddr>,
}

impl Resolver {
    pub(super) const fn new(reach: Reach) -> Self {
        Self {
            reach,
            #[cfg(test)]
            fixed: Vec::new(),
        }
    }

    /// The addresses of `host`, a name or an address itself, at `port`.
    ///
    /// # Errors
    /// Where the name is not known, or all that it leads to is out of reach.
    pub(super) async fn addresses(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let all = self.look_up(host, port).await?;
        let within: Vec<SocketAddr> = all.iter().copied().filter(|address| self.reach.allows(address.ip())).collect();
        if within.is_empty() && !all.is_empty() {
            return Err(io::Error::other(self.reach.why_not()));
        }
        Ok(within)
    }

    async fn look_up(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        #[cfg(test)]
        if !self.fixed.is_empty() {
            return Ok(self.fixed.iter().map(|address| SocketAddr::new(*address, port)).collect());
        }
        if let Some(address) = literal(host) {
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        Ok(lookup_host((host, port)).await?.collect())
    }
}

/// Why an address is not connected to.
pub(super) const PRIVATE: &str =
    "its address is on this machine or in a network of one's own: if that is meant, write `allow_private = true`";

#[cfg(test)]
mod tests {
    use super::*;

    async fn resolved(reach: Reach) -> io::Result<Vec<SocketAddr>> {
        Resolver::new(reach).addresses("localhost", 9).await
    }

    #[tokio::test]
    async fn a_name_that_leads_home_leads_nowhere_unless_that_is_allowed() {
        assert!(resolved(Reach::Anywhere).await.unwrap().iter().all(|address| address.ip().is_loopback()));
        assert_eq!(resolved(Reach::PublicOnly).await.unwrap_err().to_string(), PRIVATE);
        assert!(resolved(Reach::HomeOnly).await.unwrap().iter().all(|address| address.ip().is_loopback()));
        assert!(
            !Reach::HomeOnly.allows("1.1.1.1".parse().unwrap()) && Reach::HomeOnly.allows("10.0.0.1".parse().unwrap())
        );
    }

    #[test]
    fn an_address_in_a_url_is_judged_without_a_look_up() {
        for (url, forbidden) in [
            ("http://127.0.0.1:9/", true),
            ("https://[::1]/", true),
            ("https://[::ffff:192.168.0.1]/", true),
            ("https://1.1.1.1/", false),
            ("https://[2606:4700::1111]/", false),
            ("https://crm.example/", false),
        ] {
            let url: Uri = url.parse().unwrap();
            assert_eq!(Reach::PublicOnly.forbids_host_of(&url), forbidden, "{url}");
            assert!(!Reach::Anywhere.forbids_host_of(&url));
        }
    }
}
