//! Builds the form of a customer as a plain flow sends it.

use serde_json::{Value, json};

/// Form that is ready to send.
#[derive(Debug, Clone)]
pub struct Form {
    token: String,
    user: String,
    screen: String,
    data: Value,
}

impl Form {
    /// Creates a form with `token` and one answer.
    pub fn new(token: impl Into<String>) -> Self {
        let token = token.into();
        Self {
            user: format!("user-of-{token}"),
            token,
            screen: "FORM".to_owned(),
            data: json!({ "name": "Ann" }),
        }
    }

    /// Sets the screen.
    pub fn on_screen(mut self, screen: &str) -> Self {
        screen.clone_into(&mut self.screen);
        self
    }

    /// Adds an answer.
    pub fn with(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.data[field] = value.into();
        self
    }

    /// Adds a slot request in the fields that the test flows read.
    pub fn with_slot_request(self, date: &str, time: &str) -> Self {
        self.with("date", date).with("time", time)
    }

    /// Sets the customer.
    pub fn by(mut self, user: &str) -> Self {
        user.clone_into(&mut self.user);
        self
    }

    /// Returns the request body.
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
