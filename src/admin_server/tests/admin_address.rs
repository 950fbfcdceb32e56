//! Tests the admin address: metrics without a sign-in, and a guarded dashboard and API.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use http_body_util::{BodyExt, Full};
use hyper::header::HeaderValue;
use hyper::http::request::Parts;
use hyper::{Request, Response};
use tokio::runtime::Runtime;

use crate::admin::tests::support::{AdminHarness, assert_contains, assert_ends_with};
use crate::admin_server::{AdminResponse, AdminServer, DashboardHandler, Mount};
use crate::dashboard::Refusal;
use crate::domain::access::{AccountPrincipal, Principal, Role};
use crate::domain::ids::AccountName;
use crate::http::BoundSocket;

/// Dashboard that trusts the header `x-role`.
struct TestDashboard;

impl DashboardHandler for TestDashboard {
    fn authenticate(&self, head: Parts) -> BoxFuture<'static, Result<Principal, Refusal>> {
        let role = match head.headers.get("x-role").map(HeaderValue::as_bytes) {
            Some(b"viewer") => Ok(Role::Viewer),
            Some(_) => Err(Refusal::ForeignRequest),
            None => Err(Refusal::SignInRequired),
        };
        let principal = role.map(|role| {
            Principal::Account(AccountPrincipal {
                name: AccountName::new("ann").unwrap(),
                role,
                agent: None,
            })
        });
        ready(principal).boxed()
    }

    fn respond(&self, request: Request<Bytes>) -> BoxFuture<'static, AdminResponse> {
        let text = format!("page {} {}", request.uri().path(), request.body().len());
        let body = Full::new(Bytes::from(text)).map_err(|never| match never {});
        ready(Response::new(body.boxed_unsync())).boxed()
    }
}

struct TestServer {
    address: SocketAddr,
    _runtime: Runtime,
    _harness: AdminHarness,
}

impl TestServer {
    fn start(mount: Mount) -> Self {
        let harness = AdminHarness::new();
        let handler = harness.handler.clone();
        let runtime = Runtime::new().unwrap();
        let anywhere = ([127, 0, 0, 1], 0).into();
        let server = runtime
            .block_on(async { BoundSocket::bind(anywhere)?.listen() })
            .unwrap();
        let address = server.local_addr();
        let server = AdminServer::new(
            server,
            Arc::new(move || Ok(handler.clone())),
            Arc::new(|| "flowgate_up 1\n".to_owned()),
            mount,
        );
        runtime.spawn(server.run(std::future::pending()));
        Self {
            address,
            _runtime: runtime,
            _harness: harness,
        }
    }

    fn with_dashboard() -> Self {
        Self::start(Mount {
            base: "/admin".to_owned(),
            host: Some("forms.example.com".to_owned()),
            dashboard: Some(Arc::new(TestDashboard)),
        })
    }

    /// Sends a request, and returns its status and the whole response.
    fn send(&self, request: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        let status = response.split(' ').nth(1).unwrap().parse().unwrap();
        (status, response)
    }

    fn get(&self, path: &str, headers: &str) -> (u16, String) {
        self.send(&format!("GET {path} HTTP/1.1\r\n{headers}\r\n"))
    }
}

#[test]
fn metrics_need_no_sign_in() {
    let server = TestServer::start(Mount::default());
    let (status, metrics) = server.get("/metrics", "host: any.example\r\n");
    assert_eq!(status, 200);
    assert_contains(&metrics, "\r\ncontent-type: text/plain; version=0.0.4");
    assert_ends_with(&metrics, "flowgate_up 1\n");
    assert_eq!(server.get("/healthz", "host: any.example\r\n").0, 200);
    let (status, refused) = server.send("DELETE /metrics HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!(status, 405);
    assert_contains(&refused, "\r\nallow: GET\r\n");
    assert_eq!(server.send("NONSENSE\r\n\r\n").0, 400);
}

#[test]
fn without_dashboard_nobody_gets_rows() {
    let server = TestServer::start(Mount::default());
    let (status, refused) = server.get("/api/v1/status", "host: localhost\r\n");
    assert_eq!(status, 401);
    assert_contains(&refused, "\"sign_in_required\"");
    assert_eq!(server.get("/", "host: localhost\r\n").0, 404);
}

#[test]
fn dashboard_decides_who_sends_request() {
    let server = TestServer::with_dashboard();
    let (own, viewer) = ("host: forms.example.com\r\n", "x-role: viewer\r\n");
    let (status, page) = server.get("/admin/leads", own);
    assert_eq!(status, 200);
    assert_ends_with(&page, "page /admin/leads 0");
    assert_eq!(server.get("/leads", own).0, 404);

    assert_eq!(server.get("/admin/api/v1/status", own).0, 401);
    let (status, rows) = server.get("/admin/api/v1/status", &format!("{own}{viewer}"));
    assert_eq!(status, 200);
    assert_contains(&rows, "\"health\"");
    let other = format!("{own}x-role: other\r\n");
    assert_eq!(server.get("/admin/api/v1/status", &other).0, 403);
    let close = format!("POST /admin/api/v1/leads/7/close HTTP/1.1\r\n{own}{viewer}\r\n");
    let (status, refused) = server.send(&close);
    assert_eq!(status, 403);
    assert_contains(&refused, "\"forbidden\"");
}

#[test]
fn foreign_host_is_refused_before_dashboard() {
    let server = TestServer::with_dashboard();
    for path in ["/admin/", "/admin/api/v1/status"] {
        let (status, refused) = server.get(path, "host: evil.example\r\nx-role: viewer\r\n");
        assert_eq!(status, 421);
        assert_contains(&refused, "\"other_host\"");
        assert_eq!(server.get(path, "").0, 400);
        assert_eq!(server.get(path, "host: a\r\nhost: b\r\n").0, 400);
    }
}

#[test]
fn large_form_is_refused() {
    let server = TestServer::with_dashboard();
    let length = (1 << 20) + 1;
    let head = format!(
        "POST /admin/leads HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n\r\n"
    );
    assert_eq!(server.send(&head).0, 413);
    let huge = format!("host: localhost\r\nx-long: {}\r\n", "x".repeat(20_000));
    assert_eq!(server.get("/admin/", &huge).0, 431);
}
