//! Tests destinations behind a proxy. Only the proxy of the config is used, never a proxy of the
//! environment. The failure of a proxy is distinguished from a destination that does not respond.

use serde_json::Value;

use crate::support::fake_services::{FakeReceiver, flow};
use crate::support::form::Form;
use crate::support::graph::{CERTIFICATE, Graph};
use crate::support::proxy::Proxy;
use crate::support::{Server, eventually, run};

const FAST_RETRY: &str = "retry = { initial_delay = \"20ms\", max_delay = \"50ms\", max_attempts = 200 }\nbreaker = { failure_threshold = 1000, open_for = \"100ms\" }";

fn table(name: &str, url: &str, more: &str) -> String {
    format!("\n[destinations.{name}]\nurl = \"{url}\"\n{FAST_RETRY}\n{more}\n")
}

fn send(server: &Server, token: &str) {
    assert!(server.post("/form", &Form::new(token)).is_accepted());
}

fn address_of(world: &FakeReceiver) -> std::net::SocketAddr {
    world
        .url()
        .trim_start_matches("http://")
        .trim_end_matches('/')
        .parse()
        .unwrap()
}

fn deliveries(server: &Server) -> Vec<Value> {
    server.rows(&["deliveries", "--limit", "0"])
}

#[test]
fn only_configured_proxy_is_used() {
    let (crm, near) = (FakeReceiver::well(), FakeReceiver::well());
    let (proxy, trap) = (
        Proxy::connecting_to(address_of(&crm)),
        Proxy::connecting_to(address_of(&crm)),
    );
    let proxy_keys = format!(
        "proxy = \"http://{}\"\nproxy_auth = \"text:ann:hush\"",
        proxy.address()
    );
    // Only the proxy knows this host name.
    let tables = table("crm", "http://crm.test/hook", &proxy_keys)
        + &table("near", &near.url(), "allow_private = true");
    let mut server = Server::stopped(&format!("{}{tables}", flow(&["crm", "near"])));
    let trap_url = format!("http://{}", trap.address());
    let variables = [
        "HTTP_PROXY",
        "http_proxy",
        "HTTPS_PROXY",
        "https_proxy",
        "ALL_PROXY",
        "all_proxy",
    ];
    server.start_with(&variables.map(|name| (name, trap_url.as_str())));
    send(&server, "carried");
    server.settled();

    assert_eq!((crm.request_count(), near.request_count()), (1, 1));
    assert_eq!(crm.asked()[0].header("host"), "crm.test");
    assert_eq!(crm.asked()[0].path, "/hook");
    let asked = proxy.asked();
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert_eq!(asked[0].line, "CONNECT crm.test:80 HTTP/1.1");
    let basic =
        |line: &String| line.eq_ignore_ascii_case("proxy-authorization: Basic YW5uOmh1c2g=");
    assert!(asked[0].head.iter().any(basic), "{asked:?}");
    assert!(
        crm.asked()[0]
            .headers
            .iter()
            .all(|(name, _)| name != "proxy-authorization"),
        "it is the proxy's"
    );
    assert!(trap.asked().is_empty(), "{:?}", trap.asked());

    // The proxy is still used after a reload that changes other settings, and no longer used when
    // the config does not name it.
    let tables = table(
        "crm",
        "http://crm.test/hook",
        &format!("{proxy_keys}\ntimeout = \"20s\""),
    );
    server.configure(&format!("{}{tables}", flow(&["crm"])));
    assert_eq!(server.cli(&["reload"]).code, 0);
    send(&server, "carried-again");
    server.settled();
    assert_eq!((crm.request_count(), proxy.asked().len()), (2, 2));
    server.configure(&format!(
        "{}{}",
        flow(&["crm"]),
        table("crm", &crm.url(), "allow_private = true")
    ));
    assert_eq!(server.cli(&["reload"]).code, 0);
    send(&server, "straight");
    server.settled();
    assert_eq!((crm.request_count(), proxy.asked().len()), (3, 2));
}

#[test]
fn https_through_proxy_stays_encrypted() {
    let crm = Graph::answering_over_tls(|_| {
        b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n".to_vec()
    });
    let proxy = Proxy::connecting_to(crm.address());
    let proxy_keys = format!(
        "proxy = \"http://{}\"\nallow_private = true",
        proxy.address()
    );
    // The host is the name in the certificate. The port is irrelevant, because the proxy connects
    // to a fixed address.
    let mut server = Server::stopped(&format!(
        "{}{}",
        flow(&["crm"]),
        table("crm", "https://localhost/hook", &proxy_keys)
    ));
    server.start_with(&[("SSL_CERT_FILE", CERTIFICATE)]);
    send(&server, "sealed");
    server.settled();
    assert_eq!(crm.asked()[0].line, "POST /hook HTTP/1.1");
    assert_eq!(proxy.asked()[0].line, "CONNECT localhost:443 HTTP/1.1");
}

#[test]
fn proxy_refusal_is_reported_and_delivery_retried() {
    for (refusal, why) in [
        (
            "502 Bad Gateway",
            "responded with 502 Bad Gateway to CONNECT crm.test:80",
        ),
        (
            "407 Proxy Authentication Required",
            "requires user and password (407): set `proxy_auth`",
        ),
    ] {
        let crm = FakeReceiver::well();
        let proxy = Proxy::connecting_to(address_of(&crm));
        proxy.refuses(Some(refusal));
        let proxy_keys = format!("proxy = \"http://{}\"", proxy.address());
        let server = Server::start(&format!(
            "{}{}",
            flow(&["crm"]),
            table("crm", "http://crm.test/hook", &proxy_keys)
        ));
        send(&server, "waits");
        let shown = eventually("the delivery shows why", || {
            let id = deliveries(&server).first()?["id"].to_string();
            let shown = server.row(&["deliveries", "show", &id]);
            shown["attempt_history"][1]["error"]
                .is_string()
                .then_some(shown)
        });
        let expected = format!("can't reach crm.test: the proxy {} {why}", proxy.address());
        assert_eq!(shown["attempt_history"][0]["error"], expected, "{shown}");
        assert!(
            shown["state"] != "dead" && shown["attempt_history"][0]["status"].is_null(),
            "{shown}"
        );
        assert_eq!(crm.request_count(), 0);
        proxy.refuses(None);
        server.settled();
        assert_eq!(crm.wait_for_accepted(1).len(), 1);
    }
}

#[test]
fn config_check_shows_proxy_and_validates_password() {
    let config = |auth: &str| {
        let proxy_keys = format!("proxy = \"http://127.0.0.1:3128\"\nproxy_auth = \"text:{auth}\"");
        format!(
            "{}{}",
            flow(&["crm"]),
            table("crm", "https://crm.example/hook", &proxy_keys)
        )
    };
    let server = Server::stopped(&config("no colon"));
    for args in [&["serve"][..], &["config", "check"]] {
        let output = run(server.folder(), args);
        assert!(output.code != 0, "{output:?}");
        let why = "destination crm: proxy_auth: the value of text:… must be \"user:password\"";
        assert!(
            output.err.contains(why) && !output.err.contains("no colon"),
            "{output:?}"
        );
    }
    server.configure(&config("ann:hush"));
    let output = run(server.folder(), &["config", "check"]);
    assert!(
        output.out.contains("  proxy         127.0.0.1:3128\n") && !output.out.contains("hush"),
        "{output:?}"
    );
}
