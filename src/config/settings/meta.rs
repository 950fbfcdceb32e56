//! Reads `[meta]`: app secrets, tokens and the Graph API. See [`super::graph_api`] for the formats
//! of its version and URL.

use super::graph_api;
use crate::config::reader::TableReader;
use crate::config::secrets::SecretRef;

/// Maximum number of app secrets. A signature is checked with each secret, and a rotation needs no
/// more.
const SECRETS_MAX: usize = 8;

/// Meta's app secrets, tokens and the Graph API.
#[derive(Clone, Debug)]
pub struct MetaSettings {
    /// App secrets, newest first, 1 to 8. Any of them may sign a request. Default
    /// `env:META_APP_SECRET`.
    pub app_secrets: Vec<SecretRef>,
    /// Token that a `GET /webhook` must contain. Default `env:META_VERIFY_TOKEN`.
    pub verify_token: SecretRef,
    /// Access token for the Graph API. Only calls to the Graph API need the token. Default
    /// `env:META_ACCESS_TOKEN`.
    pub access_token: SecretRef,
    /// Version of the Graph API: `v`, digits, a dot and digits. Default `v26.0`.
    pub api_version: String,
    /// Base URL of the Graph API, without a slash at its end. Default `https://graph.facebook.com`.
    pub graph_url: String,
}

impl Default for MetaSettings {
    fn default() -> Self {
        TableReader::read_empty(read_meta)
    }
}

/// Reads `[meta]`.
pub fn read_meta(root: &TableReader<'_>) -> MetaSettings {
    root.read_table_or_empty("meta", |table| {
        let variable = |name: &str| SecretRef::Env(name.to_owned());
        let token = |key, default: &str| table.secret(key).unwrap_or_else(|| variable(default));
        let app_secrets = table
            .get("app_secrets")
            .map(|item| item.secrets(SECRETS_MAX));
        MetaSettings {
            app_secrets: app_secrets.unwrap_or_else(|| vec![variable("META_APP_SECRET")]),
            verify_token: token("verify_token", "META_VERIFY_TOKEN"),
            access_token: token("access_token", "META_ACCESS_TOKEN"),
            api_version: table
                .parse("api_version", graph_api::parse_version)
                .unwrap_or_else(|| graph_api::DEFAULT_VERSION.to_owned()),
            graph_url: table
                .parse("graph_url", graph_api::parse_graph_url)
                .unwrap_or_else(|| graph_api::DEFAULT_URL.to_owned()),
        }
    })
}

#[cfg(test)]
mod tests {
    use crate::config::tests::{assert_errors, assert_refused};

    #[test]
    fn app_secrets_are_one_to_eight() {
        assert_errors(
            "[meta]",
            r#"
            app_secrets = []
            => 2:15: meta.app_secrets: is empty: remove it, or add at least one entry
            app_secrets = "env:A"
            => 2:15: meta.app_secrets: must be a list in brackets, and is a text
            "#,
        );
        let nine = format!("app_secrets = [{}]", "\"env:A\",".repeat(9));
        let error = "2:15: meta.app_secrets: has 9 secrets, the maximum is 8";
        assert_refused("[meta]", &nine, error);
    }
}
