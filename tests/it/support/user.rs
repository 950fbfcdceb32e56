//! Simulates a customer of an encrypted flow: a token, a phone, and actions on the screens.

use std::fs;

use serde_json::{Value, json};

use super::Server;
use super::phone::{self, PRIVATE_KEY, Sealed};

/// Starts a server whose encrypted flows have the key `key.pem`. Phones know its public key.
pub fn server(tables: &str) -> Server {
    let mut server = Server::stopped(tables);
    fs::write(server.folder().join("key.pem"), PRIVATE_KEY).unwrap();
    server.start_again();
    server
}

/// Customer who fills in the flow at `path` with `token`.
#[derive(Clone, Copy)]
pub struct User<'a> {
    pub server: &'a Server,
    pub path: &'a str,
    pub token: &'a str,
}

impl User<'_> {
    /// Opens the form.
    pub fn opens(&self) -> Value {
        self.ask(&self.init())
    }

    /// Sends a screen.
    pub fn sends(&self, screen: &str, data: &Value) -> Value {
        self.ask(&self.answers(screen, data))
    }

    /// Goes back from a screen.
    pub fn leaves(&self, screen: &str) -> Value {
        let request = json!({"version": "3.0", "action": "BACK", "screen": screen, "data": {}, "flow_token": self.token});
        self.ask(&phone::seal(&request))
    }

    /// Returns the request that opens the form, not sent yet.
    pub fn init(&self) -> Sealed {
        phone::seal(&json!({"version": "3.0", "action": "INIT", "flow_token": self.token}))
    }

    /// Returns the request that sends a screen, not sent yet.
    pub fn answers(&self, screen: &str, data: &Value) -> Sealed {
        let action = "data_exchange";
        phone::seal(
            &json!({"version": "3.0", "action": action, "screen": screen, "data": data, "flow_token": self.token}),
        )
    }

    /// Returns the draft of the form.
    pub fn draft(&self) -> Option<Value> {
        self.server
            .rows(&["drafts", "list", "--limit", "0"])
            .into_iter()
            .find(|row| row["flow_token"] == self.token)
    }

    fn ask(&self, request: &Sealed) -> Value {
        request.open(&request.post(self.server, self.path))
    }
}

/// Returns the default completion of a form with this token.
pub fn success(token: &str) -> Value {
    json!({"screen": "SUCCESS", "data": {"extension_message_response": {"params": {"flow_token": token}}}})
}

/// Returns the IDs of a choice list.
pub fn ids(list: &Value) -> Vec<String> {
    let choices = list.as_array().unwrap_or_else(|| panic!("no list: {list}"));
    choices
        .iter()
        .map(|choice| choice["id"].as_str().unwrap().to_owned())
        .collect()
}
