//! Defines the policies of a flow: signatures, encryption and repeated forms.

/// Policy for a form whose token was used before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ResubmitPolicy {
    /// Send the completion of the first submission again.
    #[default]
    Success,
    /// Close the form. Its message can't be opened again.
    Refuse,
}

/// Policy for the header `X-Hub-Signature-256` of requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SignaturePolicy {
    /// Requests must have a valid signature.
    #[default]
    Required,
    /// Requests need no signature. Everyone who can reach the path can send forms.
    None,
}

/// Encryption of the requests and responses of a flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EncryptionMode {
    /// Requests and responses are plain JSON.
    #[default]
    None,
    /// Encrypted requests and responses, as Meta uses them for the endpoint of a published flow.
    Required,
}

/// Policy for the `flow_token_signature` of an encrypted request (data API 4.0 with Flow JSON 7.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenSignaturePolicy {
    /// Refuse a wrong signature. Allow a missing signature.
    Check,
    /// Refuse a wrong or missing signature.
    Require,
    /// Ignore the signature.
    Off,
}
