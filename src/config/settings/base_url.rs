//! Reads base URLs, to which paths are appended: `public_url` and the URL of the Graph API.

use hyper::Uri;

use crate::domain::ip_range::is_loopback_host;

/// Parses the URL under which Meta reaches the server. The URL has no path, because Meta's requests
/// have the paths of the server.
pub fn parse_public_url(text: &str) -> Result<String, String> {
    let example = "https://forms.example.com";
    let url = parse(
        text,
        example,
        "must not contain a user name or a password: Meta sends none",
        "is not encrypted, and Meta sends only to https:// (http:// is for tests on this machine)",
    )?;
    match url.parse::<Uri>() {
        Ok(uri) if uri.path() != "/" => Err(format!(
            "{text:?} must not contain a path: write only the scheme and the host, like {example:?}"
        )),
        _ => Ok(url),
    }
}

/// Parses a base URL and removes slashes at its end. The URL must be encrypted, except on this
/// machine. `example` is for errors. The other texts are the errors for a user name and for an
/// unencrypted URL.
pub fn parse(
    text: &str,
    example: &str,
    has_user_name: &str,
    is_unencrypted: &str,
) -> Result<String, String> {
    if text.contains('@') {
        // The text is not shown: the part before an '@' may be a password.
        return Err(has_user_name.to_owned());
    }
    let problem = match text.parse::<Uri>() {
        Err(_) => "is not a valid URL",
        Ok(_) if text.contains(['?', '#']) => "must not contain '?' or '#'",
        Ok(uri) => match (uri.scheme_str(), uri.authority()) {
            (Some("https" | "http"), Some(to))
                if to.as_str() != to.host() && to.port_u16().is_none() =>
            {
                "has an invalid port"
            }
            (Some(scheme), Some(to))
                if (scheme == "https" && !to.host().is_empty())
                    || (scheme == "http" && is_loopback_host(to.host())) =>
            {
                return Ok(text.trim_end_matches('/').to_owned());
            }
            (Some("http"), Some(_)) => is_unencrypted,
            _ => "is not a URL that begins with https://",
        },
    };
    Err(format!("{text:?} {problem}: write one like \"{example}\""))
}

#[cfg(test)]
mod tests {
    use crate::config::tests::{assert_errors, parse_valid};

    #[test]
    fn public_url_has_scheme_and_host_only() {
        assert_errors(
            "",
            r#"
            public_url = "forms.example.com"
            => 2:14: public_url: "forms.example.com" is not a URL that begins with https://: write one like "https://forms.example.com"
            public_url = "http://forms.example.com"
            => 2:14: public_url: "http://forms.example.com" is not encrypted, and Meta sends only to https:// (http:// is for tests on this machine): write one like "https://forms.example.com"
            public_url = "https://forms.example.com/webhook"
            => 2:14: public_url: "https://forms.example.com/webhook" must not contain a path: write only the scheme and the host, like "https://forms.example.com"
            public_url = "https://me:hush@forms.example.com"
            => 2:14: public_url: must not contain a user name or a password: Meta sends none
            "#,
        );
        for (typed, read) in [
            ("https://forms.example.com/", "https://forms.example.com"),
            ("https://localhost:8443", "https://localhost:8443"),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ] {
            let config = parse_valid(&format!("public_url = {typed:?}"));
            assert_eq!(config.public_url.as_deref(), Some(read));
        }
        assert_eq!(parse_valid("").public_url, None);
    }
}
