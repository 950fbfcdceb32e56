//! Resolves the secrets of all destinations, and reuses the unchanged ones.
//!
//! See [`crate::delivery`] for the credentials of each kind.

use std::sync::Arc;

use crate::config::Config;
use crate::delivery::{DeliveryTarget, DeliveryTargets, DestinationError};

/// Returns the destinations that can be used, and the errors of the others. A destination with
/// unchanged settings gets the same `Arc` as in `previous`.
pub(crate) fn resolve_all(
    config: &Config,
    previous: &DeliveryTargets,
) -> (DeliveryTargets, Vec<DestinationError>) {
    let (mut targets, mut problems) = (DeliveryTargets::new(), Vec::new());
    for (name, settings) in &config.destinations {
        match DeliveryTarget::resolve(name, settings) {
            Ok(new) => {
                let old = previous.get(name);
                let unchanged = old.filter(|old| old.has_same_config(&new)).cloned();
                targets.insert(name.clone(), unchanged.unwrap_or_else(|| Arc::new(new)));
            }
            Err(errors) => problems.extend(errors),
        }
    }
    (targets, problems)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_destination_errors_are_reported_together() {
        let folder = tempfile::tempdir().unwrap();
        for (name, secret) in [
            ("key", "short"),
            ("header", "schlüssel"),
            ("auth", "without a colon"),
        ] {
            std::fs::write(folder.path().join(name), secret).unwrap();
        }
        let config = "
            [destinations.crm]
            url = \"env:FLOWGATE_NO_SUCH_URL\"
            secrets = [\"file:key\"]
            headers = { x-key = \"file:header\", x-shop = \"env:FLOWGATE_NO_SUCH_HEADER\" }
            proxy = \"http://proxy.example:3128\"
            proxy_auth = \"file:auth\"
        ";
        let config = Config::parse(&folder.path().join("config.toml"), config).unwrap();
        let (targets, problems) = resolve_all(&config, &DeliveryTargets::new());
        assert!(targets.is_empty());
        let messages: Vec<String> = problems.iter().map(ToString::to_string).collect();
        let parts = [
            "url: env:FLOWGATE_NO_SUCH_URL is not set",
            "key can't be used: ",
            "headers.x-key: ",
            "headers.x-shop: env:FLOWGATE_NO_SUCH_HEADER is not set",
            "proxy_auth: ",
        ];
        assert_eq!(messages.len(), parts.len(), "{messages:?}");
        for part in parts {
            let mut found = messages.iter().filter(|message| message.contains(part));
            let is_named = found.any(|message| message.starts_with("destination crm: "));
            assert!(is_named, "{messages:?}");
        }
    }

    #[test]
    fn unchanged_destination_is_reused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        std::fs::write(&file, "t").unwrap();
        let resolve = |location: &str, text: &str, previous: &DeliveryTargets| {
            let config = format!(
                "[destinations.wa]\nkind = \"whatsapp\"\nphone_number_id = \"106540352242922\"\naccess_token = \"{location}\"\n\
                 to = \"customer\"\nmessages = {{ \"lead.waiting\" = {{ text = \"{text}\" }} }}"
            );
            let config = Config::parse("config.toml".as_ref(), &config).unwrap();
            resolve_all(&config, previous).0
        };
        let is_reused = |new: &DeliveryTargets, old: &DeliveryTargets| {
            let mut pairs = new.values().zip(old.values());
            pairs.all(|(new, old)| Arc::ptr_eq(new, old))
        };
        let first = resolve("text:t", "a", &DeliveryTargets::new());
        let moved = format!("file:{}", file.display());
        assert!(
            is_reused(&resolve(&moved, "a", &first), &first),
            "the location of a secret does not matter"
        );
        assert!(!is_reused(&resolve("text:other", "a", &first), &first));
        assert!(!is_reused(&resolve("text:t", "b", &first), &first));
    }
}
