//! Reads `[leads]`: the secrets of requests that close leads.

use crate::config::reader::TableReader;
use crate::config::secrets::SecretRef;

/// Maximum number of secrets. A rotation needs no more.
const SECRETS_MAX: usize = 8;

/// Settings of all leads.
#[derive(Clone, Debug, Default)]
pub struct LeadRequestSettings {
    /// Secrets that sign the requests that close leads, newest first, at most 8. Any of them may
    /// sign a request. Default: none, and such requests are refused.
    pub close_secrets: Vec<SecretRef>,
}

/// Reads `[leads]`.
pub fn read_leads(root: &TableReader<'_>) -> LeadRequestSettings {
    root.read_table_or_empty("leads", |table| {
        let secrets = table.get("close_secrets");
        LeadRequestSettings {
            close_secrets: secrets
                .map(|item| item.secrets(SECRETS_MAX))
                .unwrap_or_default(),
        }
    })
}

#[cfg(test)]
mod tests {
    use crate::config::tests::{assert_errors, parse_valid};

    #[test]
    fn close_secrets_are_locations() {
        assert_errors(
            "[leads]",
            r#"
            close_secrets = []
            => 2:17: leads.close_secrets: is empty: remove it, or add at least one entry
            close_secrets = "env:A"
            => 2:17: leads.close_secrets: must be a list in brackets, and is a text
            close_secrets = ["whsec_AAAA"]
            => 2:18: leads.close_secrets: must start with env:, file:, credential: or text: (value hidden): write "env:NAME", "file:PATH", "credential:NAME" or, for tests, "text:VALUE"
            close_secret = ["env:A"]
            => 2:1: unknown key `close_secret` in leads: did you mean `close_secrets`?
            "#,
        );
        let leads = parse_valid("[leads]\nclose_secrets = [\"env:NEW\", \"env:OLD\"]").leads;
        assert_eq!(leads.close_secrets.len(), 2);
        let warnings = parse_valid("[leads]\nclose_secrets = [\"text:x\"]").warnings();
        let warning = "leads.close_secrets: the secret is in the config itself";
        assert!(
            warnings.iter().any(|one| one.starts_with(warning)),
            "{warnings:?}"
        );
    }
}
