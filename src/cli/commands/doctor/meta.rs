//! Checks Meta's side: the app secret belongs to the app of the access token, the app is subscribed
//! to the fields that carry forms, and each phone number has the right public key.

use std::collections::BTreeSet;

use super::context::Context;
use super::report::Report;
use crate::bootstrap::resolve::flow_keys;
use crate::cli::commands::keys::compare::{KeyComparison, KeyMatch};
use crate::cli::graph_api::{GraphApi, GraphApiError};
use crate::config::Secret;

/// Webhook fields of the subscription, with the effect of a missing one (`docs/setup-meta.md`).
const FIELDS: [(&str, bool, &str); 4] = [
    ("messages", true, "no form arrives"),
    (
        "standby",
        true,
        "forms are lost in chats that Meta's Business Agent answers",
    ),
    (
        "messaging_handovers",
        false,
        "nobody sees that a chat changed its owner",
    ),
    (
        "flows",
        false,
        "`flowgate flows health` does not show what Meta's monitoring reports",
    ),
];

/// Checks Meta's side, if an access token is set.
pub(super) async fn check(context: &Context, report: &mut Report<'_>) {
    let meta = &context.config.meta;
    let token = match meta.access_token.resolve() {
        Ok(Some(token)) => token,
        Ok(None) => {
            let advice =
                "set meta.access_token: doctor then checks the subscription and the keys at Meta";
            report.warning("meta", "no access token is set", advice);
            return;
        }
        Err(error) => {
            report.warning("meta", error.to_string(), "run the command as root");
            return;
        }
    };
    let app_secret = context.config.resolve_app_secrets().ok();
    let app_secret = app_secret.and_then(|secrets| secrets.into_iter().next());
    let graph = match GraphApi::new(meta, token) {
        Ok(graph) => graph,
        Err(error) => {
            report.wrong("meta", error.to_string(), "");
            return;
        }
    };
    match app_secret {
        Some(secret) => check_app(context, &graph, &secret, report).await,
        None => report.warning(
            "meta",
            "the app secret can't be read, so the subscription was not checked",
            "run the command as root, or set the variables of the service in this shell",
        ),
    }
    check_keys(context, &graph, report).await;
}

/// Checks the app secret and the subscription of the app.
async fn check_app(
    context: &Context,
    graph: &GraphApi<'_>,
    secret: &Secret,
    report: &mut Report<'_>,
) {
    let app = match graph.app_with_proof(secret).await {
        Ok(app) => app,
        Err(error @ GraphApiError::Refused { code: 100, .. }) => {
            let advice = "the first of meta.app_secrets must be the secret of the app that the access token belongs to";
            report.wrong("meta", format!("app secret: {error}"), advice);
            return;
        }
        Err(error) => {
            report.wrong("meta", error.to_string(), "");
            return;
        }
    };
    report.right(
        "meta",
        format!("the app secret belongs to app {} ({})", app.name, app.id),
    );
    match graph.subscription(&app.id, secret).await {
        Ok(Some(subscription)) => {
            check_fields(&subscription.fields, report);
            check_callback(context, &subscription.callback_url, report);
        }
        Ok(None) => report.wrong(
            "meta",
            "the app has no webhook for WhatsApp",
            "App dashboard, WhatsApp, Configuration: enter the callback URL and the verify token",
        ),
        Err(error) => report.wrong("meta", format!("subscription: {error}"), ""),
    }
}

fn check_fields(fields: &BTreeSet<String>, report: &mut Report<'_>) {
    let mut is_complete = true;
    for (field, is_needed, effect) in FIELDS {
        if fields.contains(field) {
            continue;
        }
        is_complete = false;
        let message = format!("the app is not subscribed to `{field}`: {effect}");
        let advice = "App dashboard, WhatsApp, Configuration, Webhook fields";
        if is_needed {
            report.wrong("meta", message, advice);
        } else {
            report.warning("meta", message, advice);
        }
    }
    if is_complete {
        report.right("meta", "the app is subscribed to all fields");
    }
}

fn check_callback(context: &Context, callback_url: &str, report: &mut Report<'_>) {
    let Some(url) = &context.config.public_url else {
        return;
    };
    let expected = format!("{url}/webhook");
    if callback_url == expected {
        report.right("meta", format!("the callback URL is {expected}"));
    } else {
        let message = format!("the callback URL is {callback_url:?}, not {expected}");
        let advice = "App dashboard, WhatsApp, Configuration: correct it, or correct public_url";
        report.wrong("meta", message, advice);
    }
}

/// Compares the key of each phone number of each encrypted flow.
async fn check_keys(context: &Context, graph: &GraphApi<'_>, report: &mut Report<'_>) {
    let Ok(keys) = flow_keys::resolve(&context.config) else {
        report.warning(
            "meta keys",
            "the private keys can't be read",
            "run the command as root",
        );
        return;
    };
    for (flow, keys) in &keys {
        let settings = context.config.flows.get(flow);
        let numbers = settings.map(|flow| flow.matcher.phone_number_ids.as_slice());
        let numbers = numbers.unwrap_or_default();
        if numbers.is_empty() {
            let advice = format!(
                "`flowgate keys check --flow {flow} --phone-number-id ID` checks one number"
            );
            report.warning(
                "meta keys",
                format!("flow {flow} names no phone_number_ids"),
                advice,
            );
        }
        for number in numbers {
            let registered = match graph.get_public_key(number).await {
                Ok(registered) => registered,
                Err(error) => {
                    report.wrong("meta keys", format!("phone number {number}: {error}"), "");
                    continue;
                }
            };
            let key_match = KeyMatch::compare(keys, registered.as_ref());
            let comparison = KeyComparison {
                flow,
                number,
                registered: registered.as_ref(),
                key_match,
            };
            let message = comparison.to_string();
            match key_match {
                KeyMatch::InOrder => report.right("meta keys", message),
                KeyMatch::UploadDue => report.warning("meta keys", message, ""),
                _ => report.wrong("meta keys", message, ""),
            }
        }
    }
}
