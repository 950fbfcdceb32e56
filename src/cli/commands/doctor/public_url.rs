//! Checks the way from Meta to the server: the certificate of the public URL, and whether the proxy
//! passes headers and bodies on unchanged.
//!
//! The signed tests are webhooks without messages. The server verifies them like any webhook, and
//! stores nothing.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, USER_AGENT};
use hyper::{Request, Uri};

use super::context::Context;
use super::report::Report;
use super::service;
use crate::domain::time::Millis;
use crate::net::{
    AddressPolicy, FullResponse, HttpClient, NetError, PRODUCT_TOKEN, TlsConfig, probe_host,
};

/// Maximum time of one request. Meta waits for 10 s.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);
/// Maximum time of the connection to the public URL.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum size of a response, in bytes.
const RESPONSE_BYTES_MAX: usize = 64 * 1024;
/// Size of the largest webhook that Meta sends, in bytes.
const LARGEST_WEBHOOK: usize = 3 * 1000 * 1000;
/// Remaining validity of a certificate below which its renewal has failed.
const RENEWAL_DUE: Millis = Millis::from_secs(14 * 24 * 60 * 60);

/// Checks the public URL, if the config names one.
pub(super) async fn check(context: &Context, report: &mut Report<'_>) {
    let Some(url) = &context.config.public_url else {
        let advice =
            "set public_url = \"https://YOUR.DOMAIN\": doctor then tests the way from outside";
        report.warning("public url", "public_url is not set", advice);
        return;
    };
    let (Ok(tls), Ok(client)) = (TlsConfig::load(), HttpClient::new(AddressPolicy::Any)) else {
        report.wrong("public url", "TLS can't be set up on this machine", "");
        return;
    };
    if !check_certificate(context, url, &tls, report).await {
        return;
    }
    match get(&client, &format!("{url}/healthz")).await {
        Ok(response) if response.status.is_success() => {
            report.right(
                "proxy",
                format!("{url}/healthz answers {}", response.status.as_u16()),
            );
        }
        Ok(response) => {
            let message = format!("{url}/healthz answers {}", response.status.as_u16());
            let advice = "the proxy does not pass requests on to `listen`: see docs/setup.md";
            report.wrong("proxy", message, advice);
            return;
        }
        Err(error) => {
            report.wrong(
                "proxy",
                error.to_string(),
                "start the proxy, and see docs/setup.md",
            );
            return;
        }
    }
    check_metrics_are_private(&client, url, report).await;
    if context.status.is_none() {
        report.warning(
            "proxy",
            "signed requests were not tested",
            "start the server first",
        );
        return;
    }
    check_signed(context, &client, url, 0, report).await;
    check_signed(context, &client, url, LARGEST_WEBHOOK, report).await;
}

/// Checks that the proxy does not pass requests on to the admin listener, which requires no
/// authentication.
async fn check_metrics_are_private(client: &HttpClient, url: &str, report: &mut Report<'_>) {
    let response = get(client, &format!("{url}/metrics")).await;
    if response.is_ok_and(|response| response.status.is_success()) {
        let message = format!("everybody can read {url}/metrics");
        let advice = "the proxy must pass requests on to `listen`, not to `admin_listen`";
        report.wrong("proxy", message, advice);
    }
}

/// Checks the connection and the certificate. Returns `false` if nobody can connect.
async fn check_certificate(
    context: &Context,
    url: &str,
    tls: &TlsConfig,
    report: &mut Report<'_>,
) -> bool {
    let Ok(uri) = url.parse::<Uri>() else {
        return false;
    };
    let probed = probe_host(&uri, None, tls, AddressPolicy::Any, CONNECT_TIMEOUT).await;
    let expires = match probed {
        Ok(Some(expires)) => expires,
        Ok(None) => {
            report.warning(
                "certificate",
                format!("{url} has none"),
                "Meta needs https://",
            );
            return true;
        }
        Err(error) => {
            let advice = "check the DNS entry, ports 80 and 443 of the firewall, and the proxy";
            report.wrong("certificate", error.to_string(), advice);
            return false;
        }
    };
    let left = expires.since(context.clock.now());
    let message = format!("valid until {expires}");
    if left < RENEWAL_DUE {
        let advice = "its renewal has failed: see the log of the proxy (Caddy), or `certbot renew`";
        report.warning("certificate", message, advice);
    } else {
        report.right("certificate", message);
    }
    true
}

/// Sends a signed webhook without messages, with `padding` bytes that mean nothing.
async fn check_signed(
    context: &Context,
    client: &HttpClient,
    url: &str,
    padding: usize,
    report: &mut Report<'_>,
) {
    let body = format!(
        r#"{{"object":"whatsapp_business_account","entry":[],"padding":"{}"}}"#,
        "x".repeat(padding)
    );
    let what = if padding == 0 {
        "a signed webhook".to_owned()
    } else {
        format!("a signed webhook of {} MB", LARGEST_WEBHOOK / 1_000_000)
    };
    let Some(signature) = service::sign(&context.config, body.clone()) else {
        report.warning(
            "proxy",
            "the server can't sign a test",
            "see `flowgate status`",
        );
        return;
    };
    let request = Request::post(format!("{url}/webhook"))
        .header(CONTENT_TYPE, "application/json")
        .header(USER_AGENT, PRODUCT_TOKEN)
        .header("x-hub-signature-256", signature)
        .body(Full::new(Bytes::from(body)));
    let Ok(request) = request else { return };
    let response = match client.send(request, REQUEST_TIMEOUT).await {
        Ok(response) => response.read_full(RESPONSE_BYTES_MAX).await,
        Err(error) => Err(error),
    };
    match response.map(|response| response.status.as_u16()) {
        Ok(200) => report.right("proxy", format!("{what} arrives unchanged")),
        Ok(status) => {
            let advice = match status {
                404 => "the proxy must pass requests on to `listen` of the config",
                401 => "the proxy changes the body or removes X-Hub-Signature-256",
                413 => {
                    "raise the body limit of the proxy to 4 MB (client_max_body_size, max_size), and limits.max_webhook_body"
                }
                415 => "the proxy compresses the body or changes its type",
                502 | 504 => {
                    "the proxy does not reach flowgate, or its timeout is shorter than limits.request_timeout"
                }
                _ => "see the log of the proxy and of flowgate",
            };
            report.wrong("proxy", format!("{what} gets {status}"), advice);
        }
        Err(error) => {
            let message = format!("{what} fails: {error}");
            report.wrong("proxy", message, "see the log of the proxy");
        }
    }
}

async fn get(client: &HttpClient, url: &str) -> Result<FullResponse, NetError> {
    let request = Request::get(url)
        .header(USER_AGENT, PRODUCT_TOKEN)
        .body(Full::new(Bytes::new()))
        .map_err(|error| NetError::Unreachable {
            host: url.to_owned(),
            why: error.to_string(),
        })?;
    let response = client.send(request, REQUEST_TIMEOUT).await?;
    response.read_full(RESPONSE_BYTES_MAX).await
}
