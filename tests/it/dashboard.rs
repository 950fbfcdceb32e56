//! A person opens an invite in a browser, signs in, sees the page of the day, and signs out. Each
//! request that another site could send is refused.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use serde_json::json;

use crate::support::form::Form;
use crate::support::http::{Answer, Connection};
use crate::support::{BOOKING_FLOW, Server, in_days};

const PASSWORD: &str = "correct horse battery";

/// Browser with its cookies.
struct Browser {
    address: SocketAddr,
    cookies: Vec<(String, String)>,
}

impl Browser {
    fn new(server: &Server) -> Self {
        Self {
            address: server.admin_address(),
            cookies: Vec::new(),
        }
    }

    fn send(&mut self, method: &str, path: &str, headers: &str, body: &str) -> Answer {
        let (host, cookies, length) = (self.address, self.cookie_header(), body.len());
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: {host}\r\n{cookies}content-length: {length}\r\n\
             {headers}\r\n{body}"
        );
        let mut connection = Connection::open(self.address).unwrap();
        let answer = connection.exchange(request.as_bytes()).unwrap();
        for cookie in answer.headers("set-cookie") {
            let (name, value) = cookie.split_once('=').unwrap();
            let value = value.split(';').next().unwrap();
            self.cookies.retain(|(known, _)| known != name);
            self.cookies.push((name.to_owned(), value.to_owned()));
        }
        answer
    }

    fn get(&mut self, path: &str) -> Answer {
        self.send("GET", path, "", "")
    }

    /// Reads rows, which have no length. Returns the response with its head.
    fn read_api(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(self.address).unwrap();
        let (host, cookies) = (self.address, self.cookie_header());
        let head =
            format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n{cookies}connection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        response
    }

    fn cookie_header(&self) -> String {
        let cookies = self.cookies.iter();
        let pairs: Vec<String> = cookies
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        format!("cookie: {}\r\n", pairs.join("; "))
    }

    /// Sends the form of a page with its token.
    fn submit(&mut self, path: &str, fields: &str) -> Answer {
        let page = self.get(path);
        let token = csrf_token(page.text());
        self.post(path, &format!("csrf={token}&{fields}"), "same-origin")
    }

    fn post(&mut self, path: &str, form: &str, site: &str) -> Answer {
        let headers = format!(
            "content-type: application/x-www-form-urlencoded\r\nsec-fetch-site: {site}\r\n"
        );
        self.send("POST", path, &headers, form)
    }
}

fn csrf_token(page: &str) -> String {
    let (_, behind) = page.split_once("name=\"csrf\" value=\"").unwrap();
    behind.split('"').next().unwrap().to_owned()
}

/// Returns the path of a new invite.
fn invite(server: &Server, arguments: &[&str]) -> String {
    let row = server.row(&[&["admin", "invite"], arguments].concat());
    let link = row["link"].as_str().unwrap();
    let at = link.find("/invite/").unwrap();
    link[at..].to_owned()
}

/// Returns a browser that has accepted an invite.
fn signed_in(server: &Server, arguments: &[&str]) -> Browser {
    let path = invite(server, arguments);
    let mut browser = Browser::new(server);
    let form = format!("password={PASSWORD}&repeated={PASSWORD}").replace(' ', "+");
    let accepted = browser.submit(&path, &form);
    assert_eq!(accepted.status, 303, "{}", accepted.text());
    browser
}

#[test]
fn invited_person_sees_the_day_until_sign_out() {
    let server = Server::start(BOOKING_FLOW);
    server.add_agent("Zoe", &[]);
    let visit = Form::new("a").with_slot_request(&in_days(1), "10:00");
    assert!(server.post("/visit", &visit).is_accepted());
    server.settled();
    let mut owner = signed_in(&server, &["ann", "--role", "owner"]);
    let today = owner.get("/");
    assert_eq!(today.status, 200, "{}", today.text());
    for (name, part) in [
        ("cache-control", "no-store"),
        ("content-security-policy", "default-src 'none'"),
        ("x-content-type-options", "nosniff"),
    ] {
        let value = today.header(name).unwrap_or_default();
        assert!(value.contains(part), "{name}: {value}");
    }
    let policy = today.header("content-security-policy").unwrap();
    assert!(!policy.contains("unsafe-inline"), "{policy}");
    // The same account reads the API.
    let bookings = owner.read_api("/api/v1/bookings");
    assert!(bookings.starts_with("HTTP/1.1 200"), "{bookings}");
    assert!(bookings.contains("\"time\":\"10:00\""), "{bookings}");
    let old_cookies = owner.cookies.clone();
    let token = csrf_token(today.text());
    let out = owner.post("/sign-out", &format!("csrf={token}"), "same-origin");
    assert_eq!(out.status, 303, "{}", out.text());
    owner.cookies = old_cookies;
    assert_eq!(owner.get("/").status, 303, "the old cookie is of no use");
    assert_eq!(owner.get("/api/v1/bookings").status, 401);
    let again = owner.submit(
        "/sign-in",
        &format!("name=ann&password={}", PASSWORD.replace(' ', "+")),
    );
    assert_eq!(again.status, 303, "{}", again.text());
    assert_eq!(owner.get("/").status, 200);
}

#[test]
fn strangers_and_other_sites_are_refused() {
    let server = Server::start(BOOKING_FLOW);
    let path = invite(&server, &["ann", "--role", "owner"]);
    let mut stranger = Browser::new(&server);
    let page = stranger.get("/accounts");
    assert_eq!(page.status, 303);
    assert!(page.header("location").unwrap().starts_with("/sign-in"));
    assert_eq!(stranger.get("/api/v1/status").status, 401);
    let guess = stranger.submit("/sign-in", "name=ann&password=wrong+wrong+wrong");
    assert!(guess.status >= 400, "{}", guess.text());
    // Without a token of this browser, and from another site.
    let form = format!("password={PASSWORD}&repeated={PASSWORD}").replace(' ', "+");
    assert_eq!(stranger.post(&path, &form, "same-origin").status, 403);
    let token = csrf_token(stranger.get(&path).text());
    let foreign = stranger.post(&path, &format!("csrf={token}&{form}"), "cross-site");
    assert_eq!(foreign.status, 403, "{}", foreign.text());

    let mut owner = signed_in(&server, &["ann", "--role", "owner"]);
    let json = "content-type: application/json\r\nsec-fetch-site: same-origin\r\n";
    let agent = "{\"name\":\"Zoe\",\"team\":\"sales\"}";
    let refused = owner.send("POST", "/api/v1/agents", json, agent);
    assert_eq!(refused.status, 403, "{}", refused.text());
    let token = csrf_token(owner.get("/").text());
    let other = format!(
        "content-type: application/json\r\nsec-fetch-site: cross-site\r\nx-csrf-token: {token}\r\n"
    );
    let refused = owner.send("POST", "/api/v1/agents", &other, agent);
    assert_eq!(refused.status, 403, "{}", refused.text());
    assert_eq!(server.rows(&["agents"]).len(), 0);
    let used = stranger.get(&path);
    assert!(
        used.status >= 400,
        "a later invite replaces this one: {used:?}"
    );
}

#[test]
fn viewer_reads_and_changes_nothing() {
    let server = Server::start(BOOKING_FLOW);
    let mut viewer = signed_in(&server, &["bob", "--role", "viewer"]);
    assert_eq!(viewer.get("/").status, 200);
    assert_eq!(viewer.get("/accounts").status, 403);
    let token = csrf_token(viewer.get("/").text());
    let headers = format!(
        "content-type: application/json\r\nsec-fetch-site: same-origin\r\nx-csrf-token: {token}\r\n"
    );
    let refused = viewer.send(
        "POST",
        "/api/v1/agents",
        &headers,
        "{\"name\":\"Zoe\",\"team\":\"sales\"}",
    );
    assert_eq!(refused.status, 403, "{}", refused.text());
    assert_eq!(server.rows(&["agents"]).len(), 0);
    let log = server.rows(&["audit"]);
    let refused = log
        .iter()
        .find(|row| row["request"] == "add_agent")
        .unwrap();
    assert_eq!(
        (&refused["by"], &refused["outcome"]),
        (&json!("bob"), &json!("forbidden"))
    );
}
