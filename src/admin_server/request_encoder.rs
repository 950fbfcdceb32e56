//! Encodes a request as method, path and body.
//!
//! See [`super::request_decoder`] for the other direction.

use hyper::Method;
use serde_json::{Map, Value};

use super::routes::{API_ROOT, RequestKind, route_of};
use crate::admin::{AdminError, AdminRequest};
use crate::domain::url_text::{encode_value, field_of};

/// Maximum length of a path with its query. A longer one would not fit in the head of a request.
const PATH_BYTES_MAX: usize = 8 * 1024;

/// Request as it is sent over HTTP.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct EncodedRequest {
    pub(super) method: Method,
    pub(super) path: String,
    /// JSON body. Empty for `GET`.
    pub(super) body: String,
}

/// Encodes `request`.
///
/// # Errors
/// [`AdminError`] if a value can't be in a path or query, or is too long for it.
pub(super) fn encode_request(request: &AdminRequest) -> Result<EncodedRequest, AdminError> {
    let kind = match request {
        AdminRequest::Query(_) => RequestKind::Query,
        AdminRequest::Command(_) => RequestKind::Command,
        AdminRequest::ServerCommand(_) => RequestKind::ServerCommand,
    };
    let (variant, mut fields) = split_request(request)?;
    let route = route_of(kind, &variant)
        .ok_or_else(|| AdminError::invalid(format!("the request {variant} has no path")))?;
    let mut path = API_ROOT.to_owned();
    for segment in route.path.split('/').filter(|segment| !segment.is_empty()) {
        path.push('/');
        match field_of(segment) {
            None => path.push_str(segment),
            Some(name) => {
                let value = fields.shift_remove(name).unwrap_or_default();
                path.push_str(&encode_segment(name, &value)?);
            }
        }
    }
    let mut body = String::new();
    if route.is_get {
        let mut separator = '?';
        for (name, text) in query_fields(fields) {
            path.push(separator);
            path.push_str(&format_pair(&name, &text));
            separator = '&';
        }
    } else if !fields.is_empty() {
        body = Value::Object(fields).to_string();
    }
    if path.len() > PATH_BYTES_MAX {
        return Err(AdminError::invalid(
            "the text is too long for a request: use a shorter one",
        ));
    }
    Ok(EncodedRequest {
        method: route.method(),
        path,
        body,
    })
}

/// Returns the name of the variant and the fields of a request.
fn split_request(request: &AdminRequest) -> Result<(String, Map<String, Value>), AdminError> {
    let value = serde_json::to_value(request);
    match value.map_err(|error| AdminError::invalid(error.to_string()))? {
        Value::String(variant) => Ok((variant, Map::new())),
        Value::Object(object) => match object.into_iter().next() {
            Some((variant, Value::Object(fields))) => Ok((variant, fields)),
            _ => Err(AdminError::invalid("the request has no fields")),
        },
        _ => Err(AdminError::invalid("the request has no name")),
    }
}

fn encode_segment(name: &str, value: &Value) -> Result<String, AdminError> {
    match plain_text(value) {
        Some(text) if !text.is_empty() => Ok(encode_value(&text)),
        _ => Err(AdminError::invalid(format!("the {name} is empty"))),
    }
}

/// Returns the fields of a query. A field of an object has the name of the object in front.
fn query_fields(fields: Map<String, Value>) -> impl Iterator<Item = (String, String)> {
    fields.into_iter().flat_map(|(name, value)| match value {
        Value::Object(nested) => nested
            .into_iter()
            .filter_map(|(inner, value)| Some((format!("{name}.{inner}"), plain_text(&value)?)))
            .collect::<Vec<_>>(),
        value => plain_text(&value)
            .map(|text| (name, text))
            .into_iter()
            .collect(),
    })
}

/// Returns the text of a scalar. `None`: the value is absent.
fn plain_text(value: &Value) -> Option<String> {
    match value {
        Value::Null | Value::Array(_) | Value::Object(_) => None,
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
    }
}

fn format_pair(name: &str, text: &str) -> String {
    format!("{}={}", encode_value(name), encode_value(text))
}
