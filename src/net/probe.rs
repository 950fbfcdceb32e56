//! Connects to a host and closes the connection again, to find out whether the host can be reached
//! and when its certificate expires. Sends no request.

use std::sync::Arc;
use std::time::Duration;

use hyper::Uri;
use rustls::pki_types::ServerName;
use tokio::time::timeout_at;
use tokio_rustls::TlsConnector;
use tower_service::Service;
use x509_cert::Certificate;
use x509_cert::der::Decode;

use super::address_policy::AddressPolicy;
use super::clients::Proxy;
use super::connector::Connector;
use super::error::NetError;
use super::tls::TlsConfig;
use crate::clock::timer_now;
use crate::domain::time::Timestamp;

/// Connects to the host of `url`, through `proxy` if there is one. Returns the time at which the
/// certificate of an `https` host expires.
///
/// # Errors
/// [`NetError::Unreachable`] with the cause, also for an invalid certificate.
/// [`NetError::NoRootCertificates`] if this machine has none.
pub async fn probe_host(
    url: &Uri,
    proxy: Option<&Proxy>,
    tls: &TlsConfig,
    address_policy: AddressPolicy,
    deadline: Duration,
) -> Result<Option<Timestamp>, NetError> {
    let host = url.host().unwrap_or_default();
    let authority = url.authority().map(ToString::to_string);
    let unreachable = |why: String| NetError::Unreachable {
        host: authority.clone().unwrap_or_default(),
        why,
    };
    let late = || unreachable(format!("no connection within {} s", deadline.as_secs_f64()));
    let is_https = url.scheme_str() == Some("https");
    if is_https && !tls.has_roots {
        return Err(NetError::NoRootCertificates);
    }
    let cutoff = timer_now() + deadline;
    let mut connector = Connector::new(address_policy, proxy.map(Proxy::server));
    let socket = timeout_at(cutoff, connector.call(url.clone()))
        .await
        .map_err(|_| late())?
        .map_err(|error| unreachable(error.to_string()))?;
    if !is_https {
        return Ok(None);
    }
    let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned())
        .map_err(|error| unreachable(error.to_string()))?;
    let connector = TlsConnector::from(Arc::clone(&tls.tls));
    let stream = timeout_at(cutoff, connector.connect(name, socket.into_inner()))
        .await
        .map_err(|_| late())?
        .map_err(|error| unreachable(error.to_string()))?;
    let (_, session) = stream.get_ref();
    let certificate = session.peer_certificates().and_then(<[_]>::first);
    Ok(certificate.and_then(|der| expiry(der)))
}

/// Returns the time at which a certificate expires.
fn expiry(der: &[u8]) -> Option<Timestamp> {
    let certificate = Certificate::from_der(der).ok()?;
    let not_after = certificate.tbs_certificate().validity().not_after;
    let ms = not_after.to_unix_duration().as_millis();
    u64::try_from(ms).ok().map(Timestamp::from_millis)
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;

    use super::*;

    #[test]
    fn expiry_is_read_from_certificate() {
        let file = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/fixtures/tls/localhost_certificate.pem"
        );
        let certificate = CertificateDer::from_pem_file(file).unwrap();
        let expires = expiry(&certificate).unwrap().to_string();
        assert!(expires.starts_with("2120-"), "{expires}");
        assert_eq!(expiry(b"no certificate"), None);
    }
}
