//! Browser of an account, with its cookies and the token of its forms.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::header::{COOKIE, LOCATION, SET_COOKIE};
use hyper::{Method, Request, Response};

use crate::admin::access::AccessService;
use crate::admin::tests::support::AdminHarness;
use crate::admin::{AccountInvite, AdminCommand, InviteRow};
use crate::clock::Clock;
use crate::dashboard::Dashboard;
use crate::domain::access::account::SignInLimits;
use crate::domain::access::{Principal, Role};
use crate::domain::ids::{AccountName, AgentName};
use crate::domain::time::Millis;
use crate::domain::url_text::encode_value;

pub struct Browser {
    pub dashboard: Dashboard,
    pub cookies: String,
    /// Token of the forms.
    pub token: String,
    pub language: &'static str,
    pub harness: AdminHarness,
}

pub struct Shown {
    pub status: u16,
    pub headers: hyper::HeaderMap,
    pub text: String,
}

impl Shown {
    pub fn location(&self) -> &str {
        self.headers[LOCATION].to_str().unwrap()
    }

    pub fn cookies(&self) -> Vec<&str> {
        let cookies = self.headers.get_all(SET_COOKIE).iter();
        cookies.map(|cookie| cookie.to_str().unwrap()).collect()
    }
}

pub const PASSWORD: &str = "correct horse battery staple";

impl Browser {
    /// Creates a browser in which this account has signed in. `nobody` has not signed in.
    pub async fn new(account: &str) -> Self {
        let harness = AdminHarness::with_server(Vec::new(), BTreeMap::new());
        let limits = SignInLimits {
            ttl: Millis::from_secs(3600),
            idle_timeout: Millis::from_secs(600),
        };
        let clock: Arc<dyn Clock> = harness.clock.clone();
        let access = AccessService::new(harness.store.clone(), clock, limits);
        let url = "https://forms.example.com/admin";
        let mut browser = Self {
            dashboard: Dashboard::new(harness.handler.clone(), access, url, limits.ttl),
            cookies: String::new(),
            token: String::new(),
            language: "en",
            harness,
        };
        browser.harness.add_agent("ann", None);
        browser.remember(&browser.get("/admin/sign-in").await);
        let role = match account {
            "olga" => Role::Owner,
            "vera" => Role::Viewer,
            "ann" => Role::Agent,
            _ => return browser,
        };
        let path = browser.invite(account, role);
        let fields = [("password", PASSWORD), ("repeated", PASSWORD)];
        let shown = browser.post(&path, &fields).await;
        browser.remember(&shown);
        browser.remember(&browser.get("/admin/account").await);
        browser
    }

    /// Invites an account from the shell and returns the path of the link.
    pub fn invite(&self, account: &str, role: Role) -> String {
        let agent = (role == Role::Agent).then(|| AgentName::new("ann").unwrap());
        let invite = AdminCommand::InviteAccount(AccountInvite {
            name: AccountName::new(account).unwrap(),
            role,
            agent,
            expires_in: None,
        });
        let handler = &self.harness.handler;
        let row: InviteRow = handler.row(&Principal::Shell, invite).unwrap();
        format!("/admin{}", row.path)
    }

    /// Stores the cookies of a response, and the token of the forms on its page.
    pub fn remember(&mut self, shown: &Shown) {
        for cookie in shown.cookies() {
            let pair = cookie.split(';').next().unwrap();
            self.cookies = format!("{pair}; {}", self.cookies);
        }
        if let Some((_, rest)) = shown.text.split_once("name=\"csrf\" value=\"") {
            self.token = rest.split('"').next().unwrap().to_owned();
        }
    }

    pub async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Shown {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(COOKIE, &self.cookies)
            .header("accept-language", self.language);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request
            .body(Bytes::copy_from_slice(body.as_bytes()))
            .unwrap();
        let response: Response<_> = self.dashboard.respond(request).await;
        let (head, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        Shown {
            status: head.status.as_u16(),
            headers: head.headers,
            text: String::from_utf8(bytes.to_vec()).unwrap(),
        }
    }

    pub async fn get(&self, path: &str) -> Shown {
        self.send(Method::GET, path, &[("sec-fetch-site", "same-origin")], "")
            .await
    }

    /// Sends a form as a page of the dashboard does.
    pub async fn post(&self, path: &str, fields: &[(&str, &str)]) -> Shown {
        let mut form = format!("csrf={}", self.token);
        for (name, value) in fields {
            form.extend(["&", name, "=", &encode_value(value)]);
        }
        let headers = [
            ("content-type", "application/x-www-form-urlencoded"),
            ("sec-fetch-site", "same-origin"),
        ];
        self.send(Method::POST, path, &headers, &form).await
    }
}
