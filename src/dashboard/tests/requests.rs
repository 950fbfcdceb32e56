//! Tests of requests: readers of the pages, refused forms, and the headers of each response.

use hyper::Method;
use hyper::header::CACHE_CONTROL;

use super::browser::Browser;

const PAGES: [&str; 6] = [
    "/admin/",
    "/admin/account",
    "/admin/accounts",
    "/admin/sign-in",
    "/admin/invite/unknown",
    "/admin/no-such-page",
];

#[tokio::test]
async fn each_response_has_the_security_headers() {
    for account in ["olga", "nobody"] {
        let browser = Browser::new(account).await;
        for path in PAGES {
            let shown = browser.get(path).await;
            assert_eq!(shown.headers[CACHE_CONTROL], "no-store", "{path}");
            let policy = shown.headers["content-security-policy"].to_str().unwrap();
            assert!(
                policy.starts_with("default-src 'none'; script-src 'self';"),
                "{policy}"
            );
            assert!(!policy.contains("unsafe"), "{policy}");
            assert_eq!(shown.headers["x-content-type-options"], "nosniff");
            assert_eq!(shown.headers["referrer-policy"], "same-origin");
            assert!(
                !shown.text.contains(" style="),
                "{path} has an inline style"
            );
            assert!(
                !shown.text.contains(" onclick"),
                "{path} has an inline script"
            );
        }
    }
}

#[tokio::test]
async fn pages_need_a_sign_in_and_the_right_role() {
    for (account, today, accounts) in [
        ("olga", 200, 200),
        ("vera", 200, 403),
        ("ann", 200, 403),
        ("nobody", 303, 303),
    ] {
        let browser = Browser::new(account).await;
        assert_eq!(browser.get("/admin/").await.status, today, "{account}");
        let shown = browser.get("/admin/accounts").await;
        assert_eq!(shown.status, accounts, "{account}");
        if account == "nobody" {
            assert_eq!(shown.location(), "/admin/sign-in?next=%2Faccounts");
        }
    }
    let owner = Browser::new("olga").await.get("/admin/").await;
    assert!(owner.text.contains("href=\"/admin/accounts\""));
    let viewer = Browser::new("vera").await.get("/admin/").await;
    assert!(!viewer.text.contains("href=\"/admin/accounts\""));
}

#[tokio::test]
async fn wrong_paths_and_methods_have_error_pages() {
    let browser = Browser::new("olga").await;
    for (method, path, status) in [
        (Method::GET, "/admin/nothing", 404),
        (Method::GET, "/admin/assets/nothing", 404),
        (Method::GET, "/admin/sign-out", 405),
        (Method::DELETE, "/admin/", 405),
        (Method::POST, "/admin/assets/dashboard.css", 405),
        (Method::GET, "/admin/?x=%ff", 400),
    ] {
        let shown = browser.send(method, path, &[], "").await;
        assert_eq!(shown.status, status, "{path}");
        assert!(shown.text.contains("data-error"), "{path}");
    }
    assert_eq!(browser.get("/").await.location(), "/admin/");
    assert_eq!(browser.get("/admin").await.location(), "/admin/");
}

#[tokio::test]
async fn forms_of_others_are_refused() {
    let browser = Browser::new("olga").await;
    let path = "/admin/accounts/invite";
    let form_type = ("content-type", "application/x-www-form-urlencoded");
    let form = |name: &str, token: &str| format!("csrf={token}&name={name}&role=viewer");
    let own_token = &*browser.token;
    let visitor_token = Browser::new("nobody").await.token;
    for token in ["", "AAAA", &visitor_token] {
        let headers = [form_type, ("sec-fetch-site", "same-origin")];
        let shown = browser
            .send(Method::POST, path, &headers, &form("ben", token))
            .await;
        assert_eq!(shown.status, 403, "{token}");
    }
    for (name, headers, status) in [
        (
            "b1",
            &[form_type, ("sec-fetch-site", "same-origin")][..],
            200,
        ),
        ("b2", &[form_type, ("sec-fetch-site", "cross-site")], 403),
        ("b3", &[form_type, ("origin", "https://evil.example")], 403),
        (
            "b4",
            &[form_type, ("origin", "https://forms.example.com")],
            200,
        ),
        ("b5", &[form_type], 403),
        (
            "b6",
            &[
                ("content-type", "text/plain"),
                ("sec-fetch-site", "same-origin"),
            ],
            400,
        ),
    ] {
        let shown = browser
            .send(Method::POST, path, headers, &form(name, own_token))
            .await;
        assert_eq!(shown.status, status, "{headers:?}");
    }
}

#[tokio::test]
async fn link_of_another_site_is_opened_with_the_cookie() {
    let browser = Browser::new("nobody").await;
    let from_other_site = [("sec-fetch-site", "cross-site")];
    let shown = browser
        .send(Method::GET, "/admin/account?x=1", &from_other_site, "")
        .await;
    assert_eq!(shown.status, 200);
    assert!(shown.text.contains("content=\"0; url=/admin/account?x=1\""));
}

#[tokio::test]
async fn language_and_theme_are_chosen() {
    let mut browser = Browser::new("olga").await;
    let choice = [("language", "de"), ("back", "/account")];
    let shown = browser.post("/admin/preferences", &choice).await;
    assert_eq!(shown.location(), "/admin/account");
    assert!(shown.cookies()[0].starts_with("flowgate-language=de; Path=/admin; "));
    let wrong = [("theme", "pink")];
    assert_eq!(browser.post("/admin/preferences", &wrong).await.status, 400);
    for (language, tag, word) in [
        ("de-DE", "de", "Mein Konto"),
        ("es", "es", "Mi cuenta"),
        ("pt-BR", "pt-BR", "Minha conta"),
        ("fr", "en", "My account"),
    ] {
        browser.language = language;
        let shown = browser.get("/admin/account").await;
        assert!(
            shown.text.contains(&format!("<html lang=\"{tag}\"")),
            "{language}"
        );
        assert!(shown.text.contains(word), "{language}");
    }
    browser
        .cookies
        .push_str("; flowgate-language=es; flowgate-theme=dark");
    let shown = browser.get("/admin/account").await;
    assert!(
        shown
            .text
            .contains("<html lang=\"es\" data-theme=\"dark\">")
    );
}

#[tokio::test]
async fn embedded_files_are_stored_by_browsers() {
    let browser = Browser::new("nobody").await;
    let page = browser.get("/admin/sign-in").await.text;
    for name in ["dashboard.css", "dashboard.js", "favicon.svg"] {
        let address = format!("\"/admin/assets/{name}?v=");
        let start = page.find(&address).unwrap() + 1;
        let address = page[start..].split('"').next().unwrap();
        let shown = browser.get(address).await;
        assert_eq!(shown.status, 200);
        let expected = "public, max-age=31536000, immutable";
        assert_eq!(shown.headers[CACHE_CONTROL], expected);
    }
}
