//! What a customer fills in, as a plain flow sends it.

use serde_json::{Value, json};

/// One form, ready to be sent.
#[derive(Debug, Clone)]
pub struct Form {
    token: String,
    user: String,
    screen: String,
    data: Value,
}

impl Form {
    /// A form under `token`, with one answer.
    pub fn new(token: impl Into<String>) -> Self {
        let token = token.into();
        Self { user: format!("user-of-{token}"), token, screen: "FORM".to_owned(), data: json!({ "name": "Ann" }) }
    }

    /// From another screen.
    pub fn on_screen(mut self, screen: &str) -> Self {
        screen.clone_into(&mut self.screen);
        self
    }

    /// With one more answer.
    pub fn with(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.data[field] = value.into();
        self
    }

    /// That asks for a slot, in the fields that the stories' flows read it from.
    pub fn wishing(self, date: &str, time: &str) -> Self {
        self.with("date", date).with("time", time)
    }

    /// From this customer.
    pub fn by(mut self, user: &str) -> Self {
        user.clone_into(&mut self.user);
        self
    }

    /// The body to send.
    pub fn body(&self) -> Vec<u8> {
        json!({
            "version": "3.0",
            "action": "data_exchange",
            "screen": self.screen,
            "data": self.data,
            "flow_token": self.token,
            "context": { "user_id": self.user },
        })
        .to_string()
        .into_bytes()
    }
}
