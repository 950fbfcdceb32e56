//! Languages of a flow, and the keys of the texts that customers read.

/// Language of a flow's texts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Language {
    /// English.
    #[default]
    En,
    /// German.
    De,
    /// Spanish.
    Es,
    /// French.
    Fr,
    /// Indonesian.
    Id,
    /// Italian.
    It,
    /// Dutch.
    Nl,
    /// Brazilian Portuguese.
    Pt,
}

impl Language {
    /// All languages with their names in the config (ISO 639-1).
    pub const ALL: [(&'static str, Self); 8] = [
        ("en", Self::En),
        ("de", Self::De),
        ("es", Self::Es),
        ("fr", Self::Fr),
        ("id", Self::Id),
        ("it", Self::It),
        ("nl", Self::Nl),
        ("pt", Self::Pt),
    ];
}

macro_rules! keys {
    ($($(#[$doc:meta])* $variant:ident $name:literal [$($place:literal)*];)*) => {
        /// Key of a text.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum TextKey {
            $($(#[$doc])* $variant,)*
        }

        impl TextKey {
            /// All keys, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Returns the key's name in the config.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// Returns the names of the placeholders that the text may contain.
            #[must_use]
            pub const fn placeholders(self) -> &'static [&'static str] {
                match self {
                    $(Self::$variant => &[$($place),*],)*
                }
            }
        }
    };
}

keys! {
    /// The field is empty.
    Missing "missing" ["field"];
    /// The value is invalid and no other text fits, for example if the value does not match its
    /// pattern.
    Invalid "invalid" ["field"];
    /// The text has too few characters.
    TooShort "too_short" ["field" "min"];
    /// The text has too many characters.
    TooLong "too_long" ["field" "max"];
    /// The value is not an e-mail address.
    Email "email" ["field"];
    /// The value is not a phone number.
    Phone "phone" ["field"];
    /// The value is not a number.
    Number "number" ["field"];
    /// The value is not a whole number.
    Integer "integer" ["field"];
    /// The number is below the minimum.
    TooSmall "too_small" ["field" "min"];
    /// The number is above the maximum.
    TooLarge "too_large" ["field" "max"];
    /// The value is not a date.
    Date "date" ["field"];
    /// The value is not a time of day.
    Time "time" ["field"];
    /// The value is not one of the choices.
    Choice "choice" ["field" "choices"];
    /// Another customer has booked the slot.
    SlotTaken "slot_taken" [];
    /// The slot has begun.
    SlotPast "slot_past" [];
    /// The slot begins too soon.
    SlotTooSoon "slot_too_soon" [];
    /// The slot is too far ahead.
    SlotTooFar "slot_too_far" [];
    /// The calendar is closed at this time, or no slot begins at this time.
    SlotClosed "slot_closed" [];
    /// The answers of all screens together exceed the maximum size that is stored.
    FormTooLarge "form_too_large" [];
    /// No slot is free now. Also an entry in a list, so the text has at most 30 characters.
    NothingFree "nothing_free" [];
    /// No agent is available now. An entry in a list, so the text has at most 30 characters.
    NoAgentFree "no_agent_free" [];
    /// The form was sent before (`resubmit = "refuse"`).
    AlreadySent "already_sent" [];
    /// The upstream of the flow does not respond.
    TryAgain "try_again" [];
    /// The flow token is not the one that Meta signed.
    TokenInvalid "token_invalid" [];
}
