//! Destinations behind a proxy: what the config names is gone through, what the environment names never is, and a proxy that
//! leads nowhere is told from a destination that does not answer.

use serde_json::Value;

use crate::support::form::Form;
use crate::support::graph::{CERTIFICATE, Graph};
use crate::support::proxy::Proxy;
use crate::support::world::{World, flow};
use crate::support::{Server, eventually, run};

const HASTE: &str = "retry = { first = \"20ms\", ceiling = \"50ms\", attempts = 200 }\nbreaker = { failures = 1000, pause = \"100ms\" }";

fn table(name: &str, url: &str, more: &str) -> String {
    format!("\n[destinations.{name}]\nurl = \"{url}\"\n{HASTE}\n{more}\n")
}

fn send(server: &Server, token: &str) {
    assert!(server.post("/form", &Form::new(token)).is_accepted());
}

fn address_of(world: &World) -> std::net::SocketAddr {
    world.url().trim_start_matches("http://").trim_end_matches('/').parse().unwrap()
}

fn deliveries(server: &Server) -> Vec<Value> {
    server.rows(&["deliveries", "--limit", "0"])
}

#[test]
fn a_proxy_is_gone_through_where_the_config_names_one_and_never_because_the_environment_does() {
    let (crm, near) = (World::well(), World::well());
    let (proxy, trap) = (Proxy::leading_to(address_of(&crm)), Proxy::leading_to(address_of(&crm)));
    let way = format!("proxy = \"http://{}\"\nproxy_auth = \"text:ann:hush\"", proxy.address());
    // Nobody but the proxy knows this name.
    let tables = table("crm", "http://crm.test/hook", &way) + &table("near", &near.url(), "allow_private = true");
    let mut server = Server::stopped(&format!("{}{tables}", flow(&["crm", "near"])));
    let trap_url = format!("http://{}", trap.address());
    let variables = ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
    server.start_with(&variables.map(|name| (name, trap_url.as_str())));
    send(&server, "carried");
    server.settled();

    assert_eq!((crm.times_asked(), near.times_asked()), (1, 1));
    assert_eq!(crm.asked()[0].header("host"), "crm.test");
    assert_eq!(crm.asked()[0].path, "/hook");
    let asked = proxy.asked();
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert_eq!(asked[0].line, "CONNECT crm.test:80 HTTP/1.1");
    let basic = |line: &String| line.eq_ignore_ascii_case("proxy-authorization: Basic YW5uOmh1c2g=");
    assert!(asked[0].head.iter().any(basic), "{asked:?}");
    assert!(crm.asked()[0].headers.iter().all(|(name, _)| name != "proxy-authorization"), "it is the proxy's");
    assert!(trap.asked().is_empty(), "{:?}", trap.asked());

    // After a reload that changes something else it is still gone through, and no more once it is not named.
    let tables = table("crm", "http://crm.test/hook", &format!("{way}\ntimeout = \"20s\""));
    server.configure(&format!("{}{tables}", flow(&["crm"])));
    assert_eq!(server.cli(&["reload"]).code, 0);
    send(&server, "carried-again");
    server.settled();
    assert_eq!((crm.times_asked(), proxy.asked().len()), (2, 2));
    server.configure(&format!("{}{}", flow(&["crm"]), table("crm", &crm.url(), "allow_private = true")));
    assert_eq!(server.cli(&["reload"]).code, 0);
    send(&server, "straight");
    server.settled();
    assert_eq!((crm.times_asked(), proxy.asked().len()), (3, 2));
}

#[test]
fn over_https_the_proxy_carries_what_it_cannot_read() {
    let crm = Graph::answering_over_tls(|_| b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n".to_vec());
    let proxy = Proxy::leading_to(crm.address());
    let way = format!("proxy = \"http://{}\"\nallow_private = true", proxy.address());
    // The certificate's name. The port goes without saying, as the proxy leads elsewhere anyway.
    let mut server = Server::stopped(&format!("{}{}", flow(&["crm"]), table("crm", "https://localhost/hook", &way)));
    server.start_with(&[("SSL_CERT_FILE", CERTIFICATE)]);
    send(&server, "sealed");
    server.settled();
    assert_eq!(crm.asked()[0].line, "POST /hook HTTP/1.1");
    assert_eq!(proxy.asked()[0].line, "CONNECT localhost:443 HTTP/1.1");
}

#[test]
fn a_proxy_that_says_no_is_named_with_what_it_said_and_the_delivery_goes_once_it_says_yes() {
    for (refusal, why) in [
        ("502 Bad Gateway", "answered 502 Bad Gateway when asked for crm.test:80"),
        ("407 Proxy Authentication Required", "asks for a user and a password (407): write `proxy_auth`"),
    ] {
        let crm = World::well();
        let proxy = Proxy::leading_to(address_of(&crm));
        proxy.refuses(Some(refusal));
        let way = format!("proxy = \"http://{}\"", proxy.address());
        let server = Server::start(&format!("{}{}", flow(&["crm"]), table("crm", "http://crm.test/hook", &way)));
        send(&server, "waits");
        let shown = eventually("the delivery shows why", || {
            let id = deliveries(&server).first()?["id"].to_string();
            let shown = server.row(&["deliveries", "show", &id]);
            shown["history"][1]["error"].is_string().then_some(shown)
        });
        let expected = format!("can't reach crm.test: the proxy {} {why}", proxy.address());
        assert_eq!(shown["history"][0]["error"], expected, "{shown}");
        assert!(shown["state"] != "dead" && shown["history"][0]["status"].is_null(), "{shown}");
        assert_eq!(crm.times_asked(), 0);
        proxy.refuses(None);
        server.settled();
        assert_eq!(crm.until_taken(1).len(), 1);
    }
}

#[test]
fn the_config_says_through_whom_and_a_password_that_is_none_is_refused() {
    let config = |auth: &str| {
        let way = format!("proxy = \"http://127.0.0.1:3128\"\nproxy_auth = \"text:{auth}\"");
        format!("{}{}", flow(&["crm"]), table("crm", "https://crm.example/hook", &way))
    };
    let server = Server::stopped(&config("no colon"));
    for args in [&["serve"][..], &["config", "check"]] {
        let said = run(server.folder(), args);
        assert!(said.code != 0, "{said:?}");
        let why = "destination crm: proxy_auth: what is in text:… is to be \"user:password\"";
        assert!(said.err.contains(why) && !said.err.contains("no colon"), "{said:?}");
    }
    server.configure(&config("ann:hush"));
    let said = run(server.folder(), &["config", "check"]);
    assert!(said.out.contains("  through       127.0.0.1:3128\n") && !said.out.contains("hush"), "{said:?}");
}
