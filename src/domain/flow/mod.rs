//! Defines a flow as the config declares it.
//!
//! All functions are pure. Unknown fields of a form are allowed. See [`crate::config`], which
//! creates flows, for the check that names and references exist (the next screen, the calendar).
//!
//! | to find | see |
//! |---|---|
//! | the next screen | [`navigation`] |
//! | the checks of a form, and of one value | [`validation`], [`field`] |
//! | the data that a screen shows | [`data_source`], [`screen_data`], [`choice_list`] |
//! | the fields that the final screen must send again | [`cross_screen`] |
//! | the texts that customers read | [`customer_texts`] |
//! | the flow of a message of `/webhook` | [`mod@match_flow`], [`flow_matcher`] |

pub mod choice_list;
pub mod cross_screen;
pub mod customer_texts;
pub mod data_source;
pub mod field;
pub mod field_error;
pub mod flow_matcher;
pub mod lead_settings;
pub mod match_flow;
pub mod navigation;
pub mod policy;
pub mod screen;
pub mod screen_data;
pub mod validation;
pub(crate) mod value;

use serde_json::{Map, Value};

pub use super::booking::slot_request::BookingSettings;
use super::ids::FlowName;
use super::time::Millis;
use customer_texts::Localization;
use field::Field;
pub use flow_matcher::{FlowMatcher, MatchInput};
pub use lead_settings::LeadSettings;
pub use match_flow::match_flow;
pub use navigation::{ScreenStage, UnknownScreen};
pub use policy::{EncryptionMode, ResubmitPolicy, SignaturePolicy, TokenSignaturePolicy};
pub use screen::{NextScreen, RefreshTrigger, Screen};

/// Default time without a new screen after which a draft is abandoned.
pub const ABANDONED_AFTER: Millis = Millis::from_secs(24 * 60 * 60);

/// Flow: a form and its processing.
#[derive(Clone, Debug, PartialEq)]
pub struct Flow {
    /// Flow name.
    pub name: FlowName,
    /// Path of the data endpoint, such as `/flows/appointment`.
    pub path: String,
    /// Policy for the signatures of requests.
    pub signature: SignaturePolicy,
    /// Encryption of requests and responses.
    pub encryption: EncryptionMode,
    /// Policy for the signatures of flow tokens. `None`: the config has no `token_signature`. See
    /// [`Flow::token_rule`].
    pub token_signature: Option<TokenSignaturePolicy>,
    /// `true` if an upstream, the owner's own program, decides what each screen shows.
    pub has_upstream: bool,
    /// Screens in order. Empty: every request completes the form, and all fields are allowed.
    pub screens: Vec<Screen>,
    /// Booking that a form makes. `None`: no booking.
    pub booking: Option<BookingSettings>,
    /// Lead that a form creates. `None`: no lead.
    pub lead: Option<LeadSettings>,
    /// Flow matcher for messages of `/webhook`.
    pub matcher: FlowMatcher,
    /// Error texts for customers.
    pub texts: Localization,
    /// Policy for a form whose token was used before (encrypted flows).
    pub resubmit: ResubmitPolicy,
    /// Time without a new screen after which a draft is abandoned.
    pub abandoned_after: Millis,
}

impl Flow {
    /// Creates a plain, signed flow that accepts all forms and creates neither bookings nor leads.
    #[must_use]
    pub fn new(name: FlowName, path: String) -> Self {
        Self {
            name,
            path,
            signature: SignaturePolicy::default(),
            encryption: EncryptionMode::default(),
            token_signature: None,
            has_upstream: false,
            screens: Vec::new(),
            booking: None,
            lead: None,
            matcher: FlowMatcher::default(),
            texts: Localization::default(),
            resubmit: ResubmitPolicy::default(),
            abandoned_after: ABANDONED_AFTER,
        }
    }

    /// Returns the policy for the signatures of flow tokens. The default is to check signatures if
    /// the server has the app secret (`has_app_secret`) and requests must be signed with it. In all
    /// other cases, the server may not know the secret of the app that signs the tokens. Every
    /// signature would then look wrong.
    #[must_use]
    pub fn token_rule(&self, has_app_secret: bool) -> TokenSignaturePolicy {
        let is_known = has_app_secret && self.signature == SignaturePolicy::Required;
        self.token_signature.unwrap_or(if is_known {
            TokenSignaturePolicy::Check
        } else {
            TokenSignaturePolicy::Off
        })
    }

    /// Returns the declared screen with this name.
    #[must_use]
    pub fn find_screen(&self, name: &str) -> Option<&Screen> {
        self.screens.iter().find(|screen| screen.name == name)
    }

    /// Returns the field with this name, from the first screen that declares the field.
    #[must_use]
    pub fn find_field(&self, name: &str) -> Option<&Field> {
        let mut screens = self.screens.iter();
        screens.find_map(|screen| screen.find_field(name))
    }

    /// Returns `true` if data of a form must be stored before the form is complete: the answers of
    /// earlier screens, or the shown agent. Plain flows show no agent. A flow with an upstream
    /// always needs drafts.
    #[must_use]
    pub fn needs_drafts(&self) -> bool {
        let shows_agent = |screen: &Screen| {
            self.encryption == EncryptionMode::Required && screen.shown_agent_names().count() > 0
        };
        let needs_draft = |screen: &Screen| !screen.is_final || shows_agent(screen);
        self.has_upstream || self.screens.iter().any(needs_draft)
    }

    /// Returns the entries of `answers` that are shown agents, not answers of the customer.
    #[must_use]
    pub fn shown_agents(&self, answers: &Map<String, Value>) -> Map<String, Value> {
        let shown = self.screens.iter().flat_map(Screen::shown_agent_names);
        let shown = shown.filter(|name| self.find_field(name).is_none());
        shown
            .filter_map(|name| Some((name.to_owned(), answers.get(name)?.clone())))
            .collect()
    }
}

#[cfg(test)]
mod tests;
