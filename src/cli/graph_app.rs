//! Asks Meta's Graph API about the app: whether the app secret belongs to it, and its webhook
//! subscription (*Securing Graph API calls*, *Application Subscriptions*).

use std::collections::BTreeSet;

use hyper::Method;
use serde_json::Value;

use super::graph_api::{GraphApi, GraphApiError};
use super::meta_client::signature;
use crate::config::Secret;

/// App of an access token.
#[derive(Debug, PartialEq, Eq)]
pub struct MetaApp {
    /// ID.
    pub id: String,
    /// Name.
    pub name: String,
}

/// Subscription of an app to WhatsApp.
#[derive(Debug, PartialEq, Eq)]
pub struct AppSubscription {
    /// URL to which Meta sends.
    pub callback_url: String,
    /// Names of the subscribed fields.
    pub fields: BTreeSet<String>,
}

impl GraphApi<'_> {
    /// Returns the app of the access token. Meta refuses the request if `secret` is not the secret
    /// of that app.
    ///
    /// # Errors
    /// Returns [`GraphApiError`] if the request fails or is refused.
    pub async fn app_with_proof(&self, secret: &Secret) -> Result<MetaApp, GraphApiError> {
        let proof = signature(secret.expose(), self.token().expose().as_bytes());
        let proof = proof.trim_start_matches("sha256=");
        let path = format!("app?fields=id,name&appsecret_proof={proof}");
        let (status, body) = self.fetch(Method::GET, &path, String::new(), None).await?;
        let text = |field: &str| body.get(field).and_then(Value::as_str).map(str::to_owned);
        let id = text("id").ok_or(GraphApiError::UnexpectedResponse(status))?;
        let name = text("name").unwrap_or_default();
        Ok(MetaApp { id, name })
    }

    /// Returns the WhatsApp subscription of an app. Returns `None` if there is none.
    ///
    /// # Errors
    /// Returns [`GraphApiError`] if the request fails or is refused.
    pub async fn subscription(
        &self,
        app_id: &str,
        secret: &Secret,
    ) -> Result<Option<AppSubscription>, GraphApiError> {
        let app_token = Secret::new(format!("{app_id}|{}", secret.expose()));
        let path = format!("{app_id}/subscriptions");
        let (_, body) = self
            .fetch(Method::GET, &path, String::new(), Some(&app_token))
            .await?;
        Ok(find_subscription(&body))
    }
}

fn find_subscription(body: &Value) -> Option<AppSubscription> {
    let all = body.get("data")?.as_array()?;
    let ours = all.iter().find(|entry| {
        entry.get("object").and_then(Value::as_str) == Some("whatsapp_business_account")
    })?;
    let fields = ours.get("fields").and_then(Value::as_array);
    // A field is an object with its version, or only its name.
    let name = |field: &Value| {
        let name = field.get("name").unwrap_or(field);
        name.as_str().map(str::to_owned)
    };
    Some(AppSubscription {
        callback_url: ours
            .get("callback_url")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned(),
        fields: fields.into_iter().flatten().filter_map(name).collect(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn whatsapp_subscription_is_found_among_others() {
        let body = json!({"data": [
            {"object": "page", "callback_url": "https://other.example", "fields": ["feed"]},
            {"object": "whatsapp_business_account", "callback_url": "https://a.example/webhook",
             "fields": [{"name": "messages", "version": "v26.0"}, "flows"]},
        ]});
        let found = find_subscription(&body).unwrap();
        assert_eq!(found.callback_url, "https://a.example/webhook");
        assert_eq!(Vec::from_iter(found.fields), ["flows", "messages"]);
        assert_eq!(find_subscription(&json!({"data": []})), None);
        assert_eq!(find_subscription(&json!({})), None);
    }
}
