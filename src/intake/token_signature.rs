//! Verifies that the flow token of an encrypted request is the token that Meta gave to the phone.
//!
//! Since data API 4.0 and Flow JSON 7.3, a request contains `flow_token_signature` in addition to
//! its `flow_token`. The signature is a JWT with HS256. Its key is the app secret, and its payload
//! contains the token (*Implementing Endpoint for Flows*). Meta documents no other claim, so other
//! claims are accepted.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::domain::flow::TokenSignaturePolicy;

use super::json::JsonFields;
use super::signature::{SignatureHeader, SignatureVerifier};

/// Reason why a flow token is not trusted. The admin reads the `Display` text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadTokenSignature {
    /// The signature is missing, or the token that it signs.
    #[error(
        "flow_token or flow_token_signature is missing, but the flow has token_signature = \"require\": phones send both \
         since Flow JSON 7.3 with data_api_version 4.0"
    )]
    Missing,
    /// The signature is not a JWT with HS256.
    #[error("flow_token_signature is not a JWT signed with HS256")]
    Malformed,
    /// The signature matches none of the secrets.
    #[error(
        "flow_token_signature is invalid: meta.app_secrets must contain the secret of the app that is connected to the flow"
    )]
    Wrong,
    /// The signature belongs to another token.
    #[error("flow_token_signature belongs to a different flow_token")]
    OtherToken,
}

/// Verifies the token signature in `body`, the text of a request. A signature without a token
/// proves nothing and counts as missing.
///
/// # Errors
/// [`BadTokenSignature`] if `policy` refuses the request.
pub fn verify(
    policy: TokenSignaturePolicy,
    verifier: &SignatureVerifier,
    body: &[u8],
) -> Result<(), BadTokenSignature> {
    if policy == TokenSignaturePolicy::Off {
        return Ok(());
    }
    let fields = std::str::from_utf8(body)
        .ok()
        .and_then(|text| JsonFields::parse(text).ok())
        .unwrap_or_default();
    let token = fields.text("flow_token").filter(|token| !token.is_empty());
    let value = fields
        .get("flow_token_signature")
        .filter(|value| value.get() != "\"\"");
    let Some((token, value)) = token.zip(value) else {
        return if policy == TokenSignaturePolicy::Require {
            Err(BadTokenSignature::Missing)
        } else {
            Ok(())
        };
    };
    let jwt: String =
        serde_json::from_str(value.get()).map_err(|_| BadTokenSignature::Malformed)?;
    let payload = verified_payload(verifier, &jwt)?;
    let signed = JsonFields::parse(&payload)
        .map_err(|_| BadTokenSignature::Malformed)?
        .text("flow_token");
    if signed == Some(token) {
        Ok(())
    } else {
        Err(BadTokenSignature::OtherToken)
    }
}

/// Returns the payload of a JWT that was signed with one of the secrets of `verifier`.
fn verified_payload(verifier: &SignatureVerifier, jwt: &str) -> Result<String, BadTokenSignature> {
    let malformed = BadTokenSignature::Malformed;
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| malformed);
    let text = |part: &str| String::from_utf8(decode(part)?).map_err(|_| malformed);
    let (signed, signature) = jwt.rsplit_once('.').ok_or(malformed)?;
    let (header, payload) = signed.split_once('.').ok_or(malformed)?;
    // Only HS256 is accepted. `none` is refused, and so are algorithms that would use a public key
    // as the secret.
    if JsonFields::parse(&text(header)?)
        .ok()
        .and_then(|header| header.text("alg"))
        .as_deref()
        != Some("HS256")
    {
        return Err(malformed);
    }
    let header_signature =
        SignatureHeader::from_bytes(decode(signature)?.try_into().map_err(|_| malformed)?);
    verifier
        .verify(header_signature, signed.as_bytes())
        .map_err(|_| BadTokenSignature::Wrong)?;
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
        format!(
            "{signed}.{}",
            URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes())
        )
    }

    fn verify_body(
        policy: TokenSignaturePolicy,
        signature: impl Into<Value>,
    ) -> Result<(), BadTokenSignature> {
        let verifier = SignatureVerifier::new(["new secret", "old secret"]);
        let body = json!({"action": "INIT", "flow_token": "t-1", "flow_token_signature": signature.into()});
        verify(policy, &verifier, body.to_string().as_bytes())
    }

    #[test]
    fn token_signed_by_any_secret_is_accepted() {
        let payload = json!({"flow_token": "t-1", "iat": 1, "waba": {"id": "1"}});
        for secret in ["new secret", "old secret"] {
            let signature = jwt(secret, &json!({"alg": "HS256", "typ": "JWT"}), &payload);
            for policy in [TokenSignaturePolicy::Check, TokenSignaturePolicy::Require] {
                assert_eq!(verify_body(policy, signature.as_str()), Ok(()), "{secret}");
            }
        }
    }

    #[test]
    fn wrong_or_required_missing_signature_is_refused() {
        use BadTokenSignature::{Malformed, Missing, OtherToken, Wrong};
        let (hs256, payload) = (json!({"alg": "HS256"}), json!({"flow_token": "t-1"}));
        let good = jwt("new secret", &hs256, &payload);
        let (signed, _) = good.rsplit_once('.').unwrap();
        let with_payload = |payload: Value| json!(jwt("new secret", &hs256, &payload));
        let with_header = |header: Value| json!(jwt("new secret", &header, &payload));
        for (signature, why) in [
            (json!(jwt("another secret", &hs256, &payload)), Wrong),
            (with_payload(json!({"flow_token": "t-2"})), OtherToken),
            (with_payload(json!({})), OtherToken),
            (with_payload(json!("t-1")), Malformed),
            (with_header(json!({"alg": "none"})), Malformed),
            (with_header(json!({"alg": "HS512"})), Malformed),
            (json!(format!("{signed}.")), Malformed),
            (json!(signed), Malformed),
            (json!(format!("{good}.x")), Malformed),
            (json!("x"), Malformed),
            (json!(7), Malformed),
        ] {
            let checked = verify_body(TokenSignaturePolicy::Check, signature.clone());
            assert_eq!(checked, Err(why), "{signature}");
            assert_eq!(verify_body(TokenSignaturePolicy::Off, signature), Ok(()));
        }
        let signers = SignatureVerifier::new(["new secret"]);
        for body in [
            json!({"flow_token_signature": good}),
            json!({"flow_token_signature": jwt("another secret", &hs256, &payload), "flow_token": null}),
            json!({"flow_token_signature": "x", "flow_token": ""}),
        ] {
            let verdict = |rule| verify(rule, &signers, body.to_string().as_bytes());
            let checked = verdict(TokenSignaturePolicy::Check);
            assert_eq!(checked, Ok(()), "nothing is signed: {body}");
            assert_eq!(verdict(TokenSignaturePolicy::Require), Err(Missing));
        }
        for missing in [Value::Null, json!("")] {
            let verdict = |policy| verify_body(policy, missing.clone());
            assert_eq!(verdict(TokenSignaturePolicy::Check), Ok(()));
            assert_eq!(verdict(TokenSignaturePolicy::Require), Err(Missing));
        }
    }
}
