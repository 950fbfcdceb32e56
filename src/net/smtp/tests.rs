//! Tests that an e-mail is only sent to an allowed address, and over TLS only with root
//! certificates.

use std::net::TcpListener;
use std::time::Duration;

use lettre::address::Envelope;

use super::{SmtpClient, SmtpServer};
use crate::domain::delivery::email::SmtpTls;
use crate::domain::delivery::smtp_reply::{SmtpEnd, SmtpStage};
use crate::net::{AddressPolicy, TlsConfig};

/// Sends an e-mail to `host` and returns the stage that the exchange reached, with the error.
async fn send_test_mail(
    client: &SmtpClient,
    host: &str,
    port: u16,
    tls: SmtpTls,
    address_policy: AddressPolicy,
) -> (SmtpEnd, String) {
    let server = SmtpServer {
        host,
        port,
        tls,
        login: None,
        address_policy,
    };
    let [from, to] = ["a@shop.example", "b@shop.example"].map(|text| text.parse().unwrap());
    let envelope = Envelope::new(Some(from), vec![to]).unwrap();
    let time_limit = Duration::from_secs(15);
    let outcome = client.send(server, &envelope, b"a mail", time_limit).await;
    (outcome.result, outcome.error.unwrap())
}

#[tokio::test]
async fn denied_address_is_not_connected() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let (public, private) = (AddressPolicy::PublicOnly, AddressPolicy::PrivateOnly);
    let client = SmtpClient::new(TlsConfig::load().unwrap());
    for (host, tls, policy, why) in [
        ("127.0.0.1", SmtpTls::Starttls, public, "allow_private"),
        ("localhost", SmtpTls::Implicit, public, "allow_private"),
        (
            "::ffff:127.0.0.1",
            SmtpTls::Implicit,
            public,
            "allow_private",
        ),
        // No host has this address, so a connection attempt would last until the deadline.
        ("192.0.0.0", SmtpTls::Implicit, public, "allow_private"),
        ("1.1.1.1", SmtpTls::None, private, "requires TLS"),
    ] {
        let (end, error) = send_test_mail(&client, host, port, tls, policy).await;
        assert_eq!(end, SmtpEnd::NoReply(SmtpStage::Connect), "{host}");
        let start = format!("can't reach {host}:{port}: ");
        assert!(error.starts_with(&start) && error.contains(why), "{error}");
    }
    assert!(listener.accept().is_err(), "nobody came");
}

#[tokio::test]
async fn smtp_tls_requires_root_certificates() {
    let client = SmtpClient::new(TlsConfig {
        has_roots: false,
        ..TlsConfig::load().unwrap()
    });
    let (tls, policy) = (SmtpTls::Implicit, AddressPolicy::Any);
    let (_, error) = send_test_mail(&client, "::1", 1, tls, policy).await;
    assert!(error.contains("ca-certificates"), "{error}");
}
