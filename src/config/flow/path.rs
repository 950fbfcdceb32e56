//! Reads `path` of a flow: the path of its requests. The default is `/flows/NAME`.

use crate::config::reader::TableReader;
use crate::domain::ids::FlowName;

/// Paths that the server itself answers.
const RESERVED_PATHS: [&str; 3] = ["/webhook", "/healthz", "/readyz"];

/// Path prefix of the requests from unofficial gateways.
const RESERVED_PREFIX: &str = "/gateways";

/// Maximum length of a path, in bytes. Proxies reject much longer paths.
const PATH_BYTES_MAX: usize = 512;

/// Reads the path from the table of the flow. `name` is the name of the flow, if it is valid.
pub fn read(table: &TableReader<'_>, name: Option<&FlowName>) -> Option<String> {
    if let Some(item) = table.get("path") {
        return item.parse(check_path).map(str::to_owned);
    }
    let path = format!("/flows/{}", name?);
    if check_path(&path).is_err() {
        table.error("`path` is missing, and this name can't be part of a URL: set `path`");
        return None;
    }
    Some(path)
}

/// Checks that a URL can contain the path unchanged, and that the server does not answer the path
/// itself.
fn check_path(path: &str) -> Result<&str, String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._~/!$&'()*+,;=:@".contains(c);
    let is_reserved = path
        .strip_prefix(RESERVED_PREFIX)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    let problem = if !path.starts_with('/') {
        "must begin with '/', like \"/flows/appointment\"".to_owned()
    } else if path.len() > PATH_BYTES_MAX {
        format!("must have at most {PATH_BYTES_MAX} characters")
    } else if path.contains(['?', '#']) {
        "must be the path alone, without '?' or '#'".to_owned()
    } else if let Some(bad) = path.chars().find(|c| !is_plain(*c)) {
        format!("must not contain {bad:?}: letters, digits and -._~/ are safe")
    } else if path
        .split('/')
        .skip(1)
        .any(|part| part.is_empty() || part == "." || part == "..")
    {
        "must not have empty parts, \".\" or \"..\" between its slashes, and must not end with '/'"
            .to_owned()
    } else if RESERVED_PATHS.contains(&path) || is_reserved {
        "is reserved for the server: choose another, like \"/flows/appointment\"".to_owned()
    } else {
        return Ok(path);
    };
    Err(format!("{path:?} {problem}"))
}

#[cfg(test)]
mod tests {
    use crate::config::tests::{assert_errors, assert_refused, parse_valid};

    #[test]
    fn flow_path_is_valid_and_not_reserved() {
        let slash = "must begin with '/', like \"/flows/appointment\"";
        let alone = "must be the path alone, without '?' or '#'";
        let parts = "must not have empty parts, \".\" or \"..\" between its slashes, and must not end with '/'";
        let ours = "is reserved for the server: choose another, like \"/flows/appointment\"";
        let long = format!("/{}", "a".repeat(512));
        for (paths, why) in [
            (&["form", ""][..], slash),
            (&["/form?a=b", "/form#top"], alone),
            (&["/a/../b", "/./a", "/a//b", "/a/", "/"], parts),
            (
                &[
                    "/webhook",
                    "/healthz",
                    "/readyz",
                    "/gateways",
                    "/gateways/waha",
                ],
                ours,
            ),
            (&[&long], "must have at most 512 characters"),
            (
                &["/my form"],
                "must not contain ' ': letters, digits and -._~/ are safe",
            ),
            (
                &["/%2e%2e"],
                "must not contain '%': letters, digits and -._~/ are safe",
            ),
            (
                &["/größe"],
                "must not contain 'ö': letters, digits and -._~/ are safe",
            ),
        ] {
            for path in paths {
                let expected = format!("2:8: flows.form.path: {path:?} {why}");
                assert_refused("[flows.form]", &format!("path = {path:?}"), &expected);
            }
        }
        for path in ["/webhooks", "/gateways-of-ours", "/a.b/c~d", "/a..b"] {
            parse_valid(&format!("[flows.form]\npath = {path:?}"));
        }
    }

    #[test]
    fn default_path_is_flow_name_and_unique() {
        let config = parse_valid("[flows.form]");
        assert_eq!(config.flows.values().next().unwrap().path, "/flows/form");
        assert_errors(
            "[flows.\"größe\"]",
            r"
            => 1:8: flows.größe: `path` is missing, and this name can't be part of a URL: set `path`
            ",
        );
        assert_errors(
            "[flows.a]\npath = \"/flows/b\"",
            r"
            [flows.b]
            => 3:8: flows `a` and `b` have the same path, /flows/b
            ",
        );
    }
}
