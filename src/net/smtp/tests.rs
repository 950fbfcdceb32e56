//! Tests that an e-mail is only sent to an allowed address, and over TLS only with root
//! certificates.

use std::net::TcpListener;
use std::time::Duration;

use lettre::address::Envelope;

use super::{SmtpClient, SmtpOutcome, SmtpServer};
use crate::domain::delivery::email::SmtpTls;
use crate::domain::delivery::smtp_reply::{SmtpEnd, SmtpStage};
use crate::net::{AddressPolicy, TlsConfig};

async fn send_test_mail(
    host: &str,
    port: u16,
    tls: SmtpTls,
    address_policy: AddressPolicy,
) -> SmtpOutcome {
    let server = SmtpServer {
        host,
        port,
        tls,
        login: None,
        address_policy,
    };
    let (from, to) = (
        "a@shop.example".parse().unwrap(),
        "b@shop.example".parse().unwrap(),
    );
    let envelope = Envelope::new(Some(from), vec![to]).unwrap();
    SmtpClient::new(TlsConfig::load().unwrap())
        .send(server, &envelope, b"a mail", Duration::from_secs(15))
        .await
}

#[tokio::test]
async fn denied_address_is_not_connected() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    for (host, tls, address_policy, why) in [
        (
            "127.0.0.1",
            SmtpTls::Starttls,
            AddressPolicy::PublicOnly,
            "allow_private",
        ),
        (
            "localhost",
            SmtpTls::Implicit,
            AddressPolicy::PublicOnly,
            "allow_private",
        ),
        (
            "::ffff:127.0.0.1",
            SmtpTls::Implicit,
            AddressPolicy::PublicOnly,
            "allow_private",
        ),
        // No host has this address, so a connection attempt would last until the deadline.
        (
            "192.0.0.0",
            SmtpTls::Implicit,
            AddressPolicy::PublicOnly,
            "allow_private",
        ),
        (
            "1.1.1.1",
            SmtpTls::None,
            AddressPolicy::PrivateOnly,
            "requires TLS",
        ),
    ] {
        let outcome = send_test_mail(host, port, tls, address_policy).await;
        assert_eq!(
            outcome.result,
            SmtpEnd::NoReply(SmtpStage::Connect),
            "{host}"
        );
        let error = outcome.error.unwrap();
        assert!(
            error.starts_with(&format!("can't reach {host}:{port}: ")) && error.contains(why),
            "{error}"
        );
    }
    assert!(listener.accept().is_err(), "nobody came");
}

#[tokio::test]
async fn smtp_tls_requires_root_certificates() {
    let tls = TlsConfig {
        has_roots: false,
        ..TlsConfig::load().unwrap()
    };
    let envelope = Envelope::new(None, vec!["b@shop.example".parse().unwrap()]).unwrap();
    let server = SmtpServer {
        host: "::1",
        port: 1,
        tls: SmtpTls::Implicit,
        login: None,
        address_policy: AddressPolicy::Any,
    };
    let sent = SmtpClient::new(tls)
        .send(server, &envelope, b"a mail", Duration::from_secs(15))
        .await;
    assert!(sent.error.unwrap().contains("ca-certificates"));
}
