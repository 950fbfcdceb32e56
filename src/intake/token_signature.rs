//! Whether the token of an encrypted request is the one that Meta gave its phone.
//!
//! From data API 4.0 and Flow JSON 7.3 on, a request carries `flow_token_signature` beside its `flow_token`: a JWT with HS256,
//! whose key is the app secret and whose payload has the token (*Implementing Endpoint for Flows*). Meta documents no other
//! claim: those that are there are accepted.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::domain::flow::TokenSignature;

use super::json::Fields;
use super::signature::{Claim, Signers};

/// Why a token is not trusted. `Display` is for the admin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadTokenSignature {
    /// There is no signature, or no token that it could be the signature of.
    #[error(
        "flow_token or flow_token_signature is missing, and the flow has token_signature = \"require\": phones send both \
         from Flow JSON 7.3 with data_api_version 4.0 on"
    )]
    Missing,
    /// It has not the form of one.
    #[error("flow_token_signature is no JWT with HS256")]
    Malformed,
    /// None of the secrets made it.
    #[error("flow_token_signature does not fit: is the app of meta.app_secrets the one that is connected to the flow?")]
    Wrong,
    /// It is the signature of another token.
    #[error("flow_token_signature is that of another flow_token")]
    OtherToken,
}

/// Compares the signature in `body`, the text of a request, with what `signers` would have made. In a request without a
/// token a signature vouches for nothing, and counts as missing.
///
/// # Errors
/// [`BadTokenSignature`], where `rule` refuses the request.
pub fn verify(rule: TokenSignature, signers: &Signers, body: &[u8]) -> Result<(), BadTokenSignature> {
    if rule == TokenSignature::Off {
        return Ok(());
    }
    let fields = std::str::from_utf8(body).ok().and_then(|text| Fields::of(text).ok()).unwrap_or_default();
    let token = fields.text("flow_token").filter(|token| !token.is_empty());
    let value = fields.get("flow_token_signature").filter(|value| value.get() != "\"\"");
    let Some((token, value)) = token.zip(value) else {
        return if rule == TokenSignature::Require { Err(BadTokenSignature::Missing) } else { Ok(()) };
    };
    let jwt: String = serde_json::from_str(value.get()).map_err(|_| BadTokenSignature::Malformed)?;
    let payload = opened(signers, &jwt)?;
    let signed = Fields::of(&payload).map_err(|_| BadTokenSignature::Malformed)?.text("flow_token");
    if signed == Some(token) { Ok(()) } else { Err(BadTokenSignature::OtherToken) }
}

/// The payload of a JWT that one of `signers` made.
fn opened(signers: &Signers, jwt: &str) -> Result<String, BadTokenSignature> {
    let malformed = BadTokenSignature::Malformed;
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| malformed);
    let text = |part: &str| String::from_utf8(decode(part)?).map_err(|_| malformed);
    let (signed, signature) = jwt.rsplit_once('.').ok_or(malformed)?;
    let (header, payload) = signed.split_once('.').ok_or(malformed)?;
    // The algorithm is ours to choose: `none`, and those under which a public key would be a secret, are refused.
    if Fields::of(&text(header)?).ok().and_then(|header| header.text("alg")).as_deref() != Some("HS256") {
        return Err(malformed);
    }
    let claim = Claim::of(decode(signature)?.try_into().map_err(|_| malformed)?);
    signers.verify(claim, signed.as_bytes()).map_err(|_| BadTokenSignature::Wrong)?;
    text(payload)
}

#[cfg(test)]
mod tests {
    use hmac::{Hmac, KeyInit, Mac};
    use serde_json::{Value, json};
    use sha2::Sha256;

    use super::*;

    fn jwt(secret: &str, header: &Value, payload: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(header), part(payload));
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
        mac.update(signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
    }

    fn verdict(rule: TokenSignature, signature: impl Into<Value>) -> Result<(), BadTokenSignature> {
        let signers = Signers::new(["new secret", "old secret"]);
        let body = json!({"action": "INIT", "flow_token": "t-1", "flow_token_signature": signature.into()});
        verify(rule, &signers, body.to_string().as_bytes())
    }

    #[test]
    fn a_token_is_trusted_that_any_of_the_secrets_signed_whatever_else_is_claimed() {
        let payload = json!({"flow_token": "t-1", "iat": 1, "waba": {"id": "1"}});
        for secret in ["new secret", "old secret"] {
            let signature = jwt(secret, &json!({"alg": "HS256", "typ": "JWT"}), &payload);
            assert_eq!(verdict(TokenSignature::Check, signature.as_str()), Ok(()));
            assert_eq!(verdict(TokenSignature::Require, signature), Ok(()));
        }
    }

    #[test]
    fn a_wrong_signature_is_refused_and_a_missing_one_only_where_it_must_be_there() {
        use BadTokenSignature::{Malformed, Missing, OtherToken, Wrong};
        let (hs256, payload) = (json!({"alg": "HS256"}), json!({"flow_token": "t-1"}));
        let good = jwt("new secret", &hs256, &payload);
        let (signed, _) = good.rsplit_once('.').unwrap();
        for (signature, why) in [
            (json!(jwt("another secret", &hs256, &payload)), Wrong),
            (json!(jwt("new secret", &hs256, &json!({"flow_token": "t-2"}))), OtherToken),
            (json!(jwt("new secret", &hs256, &json!({}))), OtherToken),
            (json!(jwt("new secret", &hs256, &json!("t-1"))), Malformed),
            (json!(jwt("new secret", &json!({"alg": "none"}), &payload)), Malformed),
            (json!(jwt("new secret", &json!({"alg": "HS512"}), &payload)), Malformed),
            (json!(format!("{signed}.")), Malformed),
            (json!(signed), Malformed),
            (json!(format!("{good}.x")), Malformed),
            (json!("x"), Malformed),
            (json!(7), Malformed),
        ] {
            assert_eq!(verdict(TokenSignature::Check, signature.clone()), Err(why), "{signature}");
            assert_eq!(verdict(TokenSignature::Off, signature), Ok(()));
        }
        let signers = Signers::new(["new secret"]);
        for body in [
            json!({"flow_token_signature": good}),
            json!({"flow_token_signature": jwt("another secret", &hs256, &payload), "flow_token": null}),
            json!({"flow_token_signature": "x", "flow_token": ""}),
        ] {
            let verdict = |rule| verify(rule, &signers, body.to_string().as_bytes());
            assert_eq!(verdict(TokenSignature::Check), Ok(()), "nothing is signed: {body}");
            assert_eq!(verdict(TokenSignature::Require), Err(Missing));
        }
        for missing in [Value::Null, json!("")] {
            assert_eq!(verdict(TokenSignature::Check, missing.clone()), Ok(()));
            assert_eq!(verdict(TokenSignature::Require, missing), Err(Missing));
        }
    }
}
