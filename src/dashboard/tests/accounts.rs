//! Sign-in, invites, and the pages of accounts.

use super::browser::{Browser, PASSWORD};
use crate::domain::access::Role;

#[tokio::test]
async fn sign_in_sets_a_strict_cookie_and_opens_the_wanted_page() {
    let mut browser = Browser::new("olga").await;
    browser.post("/admin/sign-out", &[]).await;
    browser.cookies = String::new();
    browser.remember(&browser.get("/admin/sign-in").await);
    let form = |password| {
        [
            ("name", "olga"),
            ("password", password),
            ("next", "/accounts"),
        ]
    };
    let shown = browser.post("/admin/sign-in", &form("wrong")).await;
    assert_eq!(shown.status, 422);
    assert!(
        shown
            .text
            .contains("The account name or the password is wrong.")
    );
    assert!(shown.cookies().is_empty());
    let shown = browser.post("/admin/sign-in", &form(PASSWORD)).await;
    assert_eq!((shown.status, shown.location()), (303, "/admin/accounts"));
    let cookie = shown.cookies()[0];
    let attributes = "; Path=/; Max-Age=3600; Secure; HttpOnly; SameSite=Strict";
    assert!(
        cookie.starts_with("__Host-flowgate=") && cookie.ends_with(attributes),
        "{cookie}"
    );
    browser.remember(&shown);
    assert_eq!(browser.get("/admin/accounts").await.status, 200);
}

#[tokio::test]
async fn invite_sets_a_password_once() {
    let mut browser = Browser::new("nobody").await;
    let path = browser.invite("vera", Role::Viewer);
    assert!(browser.get(&path).await.text.contains("Welcome, vera"));
    for (password, repeated, problem) in [
        (PASSWORD, "other", "The two passwords are not the same."),
        ("short", "short", "At least 12 characters."),
        (
            "password1234",
            "password1234",
            "This password is easy to guess.",
        ),
    ] {
        let shown = browser
            .post(&path, &[("password", password), ("repeated", repeated)])
            .await;
        assert_eq!(shown.status, 422, "{password}");
        assert!(shown.text.contains(problem), "{password}");
    }
    let fields = [("password", PASSWORD), ("repeated", PASSWORD)];
    let shown = browser.post(&path, &fields).await;
    assert_eq!((shown.status, shown.location()), (303, "/admin/"));
    let again = browser.post(&path, &fields).await;
    assert_eq!(again.status, 422);
    assert!(again.text.contains("This link is no longer valid"));
    browser.remember(&shown);
    assert_eq!(browser.get("/admin/").await.status, 200);
}

#[tokio::test]
async fn sign_out_ends_the_sign_in() {
    let browser = Browser::new("olga").await;
    let shown = browser.post("/admin/sign-out", &[]).await;
    assert_eq!(shown.location(), "/admin/sign-in?notice=signed-out");
    assert!(shown.cookies()[0].starts_with("__Host-flowgate=; Path=/; Max-Age=0;"));
    assert_eq!(browser.get("/admin/").await.status, 303);
    let shown = browser.get("/admin/sign-in?notice=signed-out").await;
    assert!(shown.text.contains("You are signed out."));
}

#[tokio::test]
async fn new_browser_gets_a_visitor_cookie() {
    let mut browser = Browser::new("nobody").await;
    assert!(browser.get("/admin/sign-in").await.cookies().is_empty());
    browser.cookies = "__Host-flowgate-visitor=short".to_owned();
    let shown = browser.get("/admin/sign-in").await;
    assert!(shown.cookies()[0].starts_with("__Host-flowgate-visitor="));
}

#[tokio::test]
async fn account_pages_act_and_report() {
    let browser = Browser::new("olga").await;
    browser.invite("vera", Role::Viewer);
    for (path, fields, status, result) in [
        ("/admin/account/sign-ins/unknown/end", &[][..], 404, ""),
        (
            "/admin/account/sign-ins/end-others",
            &[],
            303,
            "/admin/account?notice=sign-in-ended",
        ),
        ("/admin/accounts/a%20b/remove", &[], 400, ""),
        ("/admin/accounts/nobody/remove", &[], 404, ""),
        (
            "/admin/accounts/vera/role",
            &[("role", "owner")],
            303,
            "/admin/accounts?notice=role-changed",
        ),
        ("/admin/accounts/vera/role", &[("role", "agent")], 400, ""),
        ("/admin/accounts/vera/role", &[("role", "king")], 400, ""),
        ("/admin/accounts/vera/reset", &[], 200, ""),
        (
            "/admin/accounts/vera/remove",
            &[],
            303,
            "/admin/accounts?notice=account-removed",
        ),
    ] {
        let shown = browser.post(path, fields).await;
        assert_eq!(shown.status, status, "{path}");
        if status == 303 {
            assert_eq!(shown.location(), result);
        }
    }
    let fields = [("name", "ben"), ("role", "viewer")];
    let link = browser.post("/admin/accounts/invite", &fields).await;
    let address = "value=\"https://forms.example.com/admin/invite/";
    assert!(link.text.contains(address), "{}", link.text);
}

#[tokio::test]
async fn password_change_signs_out_other_browsers() {
    let mut browser = Browser::new("olga").await;
    let before = browser.cookies.clone();
    let form = |current| {
        let new = "a different long sentence";
        [("current", current), ("password", new), ("repeated", new)]
    };
    let shown = browser
        .post("/admin/account/password", &form("wrong"))
        .await;
    assert_eq!(shown.status, 422);
    let shown = browser
        .post("/admin/account/password", &form(PASSWORD))
        .await;
    assert_eq!(shown.location(), "/admin/account?notice=password-changed");
    browser.remember(&shown);
    assert_eq!(browser.get("/admin/").await.status, 200);
    browser.cookies = before;
    assert_eq!(browser.get("/admin/").await.status, 303);
}
