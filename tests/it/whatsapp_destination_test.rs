//! An admin tests a destination that writes to people. Nobody gets a message without a request, and
//! the complete exchange is shown without the token. See `destinations_are_told` for tests of a
//! webhook.

use serde_json::{Value, json};

use crate::support::graph::{Graph, RecordedRequest, json as answer, taken};
use crate::support::http::signed_post;
use crate::support::{CommandOutput, PLAIN_FLOW, Server};

const TOKEN: &str = "EAAGm0PX4ZCpsBAKZCx";
const NUMBER: &str = "106540352242922";

/// Starts a server whose destination `thanks` sends through `graph`.
fn start_server(graph: &Graph) -> Server {
    let thanks = format!(
        "[destinations.thanks]\nkind = \"whatsapp\"\nphone_number_id = \"{NUMBER}\"\naccess_token = \"text:{TOKEN}\"\n\
         to = \"customer\"\nmessages = {{ \"lead.assigned\" = {{ text = \"Hello\" }} }}\n\
         [destinations.crm]\nurl = \"http://{}/\"\nallow_private = true\n",
        graph.address()
    );
    let flow = PLAIN_FLOW.replacen("lead =", "deliver = [\"thanks\", \"crm\"]\nlead =", 1);
    Server::start(&format!("{}{flow}{thanks}", graph.meta()))
}

/// Returns Meta's data of a number.
fn number(id: &str) -> Vec<u8> {
    let known = json!({"verified_name": "Ann's", "display_phone_number": "+1 555 0100", "quality_rating": "GREEN", "id": id});
    answer(200, &known)
}

/// Runs the test, and returns its output and its one request.
fn tests(server: &Server, graph: &Graph, more: &[&str]) -> (CommandOutput, RecordedRequest) {
    graph.asked();
    let output = server.cli(&[&["destinations", "test", "thanks", "--json"], more].concat());
    let mut asked = graph.asked();
    assert_eq!(asked.len(), 1, "{output:?}");
    assert!(
        !output.out.contains(TOKEN) && !output.err.contains(TOKEN),
        "{output:?}"
    );
    (output, asked.remove(0))
}

fn row(output: &CommandOutput) -> Value {
    serde_json::from_str(&output.out).unwrap_or_else(|why| panic!("{why}: {output:?}"))
}

fn header<'a>(test: &'a Value, name: &str) -> Option<&'a Value> {
    let headers = test["request_headers"].as_array().unwrap();
    headers
        .iter()
        .find(|header| header["name"] == name)
        .map(|header| &header["value"])
}

#[test]
fn destination_test_without_recipient_only_queries_number() {
    let graph = Graph::answering(|_| number(NUMBER));
    let mut server = start_server(&graph);
    for runs in [true, false] {
        if !runs {
            server.stop();
        }
        let (output, asked) = tests(&server, &graph, &[]);
        let test = row(&output);
        assert_eq!(output.code, 0, "{output:?}");
        let line =
            format!("GET /v26.0/{NUMBER}?fields=display_phone_number,verified_name,quality_rating");
        assert_eq!(
            (&*asked.line, &test["request"]),
            (&*format!("{line} HTTP/1.1"), &json!(line))
        );
        assert_eq!(
            asked.header("authorization"),
            Some(&*format!("Bearer {TOKEN}"))
        );
        assert_eq!(header(&test, "authorization"), Some(&json!("…")));
        assert_eq!(
            (&test["delivered"], &test["status"], &test["body"]),
            (&Value::Null, &json!(200), &Value::Null)
        );
        assert!(
            test["response"]
                .as_str()
                .unwrap()
                .contains("\"display_phone_number\":\"+1 555 0100\""),
            "{test}"
        );
        assert!(
            test["detail"]
                .as_str()
                .unwrap()
                .contains("`flowgate destinations test thanks --to NUMBER`"),
            "{test}"
        );
    }
}

#[test]
fn failed_test_shows_cause_and_whole_response() {
    let ended = json!({"error": {"message": format!("Malformed access token {TOKEN}"), "type": "OAuthException",
        "code": 190, "fbtrace_id": "Az8or2yhqkZfEZ-_4Qn_Bam"}});
    let missing = json!({"error": {"message": "Unsupported get request.", "code": 33}});
    for (bytes, why) in [
        (
            answer(401, &ended),
            "responded with 401 Unauthorized, error 190: the access token is invalid or expired",
        ),
        (
            answer(400, &missing),
            "error 33: there is no such phone number id",
        ),
        (
            number("1"),
            "responded with 200 OK, but without this phone number: check meta.graph_url",
        ),
        (
            answer(200, &json!([])),
            "responded with 200 OK, but without this phone number: check meta.graph_url",
        ),
        (answer(502, &json!({})), "responded with 502 Bad Gateway"),
        (Vec::new(), "closed before the response was complete"),
    ] {
        let graph = Graph::answering(move |_| bytes.clone());
        let server = start_server(&graph);
        let (output, _) = tests(&server, &graph, &[]);
        let test = row(&output);
        assert_eq!(
            (output.code, &test["delivered"]),
            (1, &Value::Null),
            "{output:?}"
        );
        assert!(
            output.err.contains("thanks can't be reached: ") && output.err.contains(why),
            "{why}: {output:?}"
        );
        assert!(test["error"].as_str().unwrap().contains(why), "{test}");
        if why.contains("190") {
            assert!(
                test["response"]
                    .as_str()
                    .unwrap()
                    .contains("Az8or2yhqkZfEZ-_4Qn_Bam"),
                "{test}"
            );
        }
    }
}

#[test]
fn marked_test_message_creates_no_delivery() {
    let graph = Graph::answering(|_| taken("wamid.test"));
    let mut server = start_server(&graph);
    for runs in [true, false] {
        if !runs {
            server.stop();
        }
        let (output, asked) = tests(&server, &graph, &["--to", "+4915112345678"]);
        let test = row(&output);
        assert_eq!(output.code, 0, "{output:?}");
        assert_eq!(
            asked.line,
            format!("POST /v26.0/{NUMBER}/messages HTTP/1.1")
        );
        assert_eq!(asked.json(), test["body"]);
        let customer_text =
            "This is a test of destination thanks. Nothing has happened, and no action is needed.";
        assert_eq!(
            test["body"],
            json!({"messaging_product": "whatsapp", "recipient_type": "individual", "to": "+4915112345678",
                "type": "text", "text": {"preview_url": false, "body": customer_text}})
        );
        assert_eq!(
            (&test["delivered"], &test["status"]),
            (&json!(true), &json!(200))
        );
        assert!(
            test["response"].as_str().unwrap().contains("wamid.test"),
            "{test}"
        );
        assert_eq!(header(&test, "authorization"), Some(&json!("…")));
        assert!(
            test["detail"].as_str().unwrap().contains("131047"),
            "{test}"
        );
    }
    server.start_again();
    assert!(server.rows(&["deliveries"]).is_empty());

    // A later status of the message is accepted as for any message. The test belongs to no
    // delivery, so the failure causes no dead letter.
    let failed = json!({"id": "wamid.test", "status": "failed", "timestamp": "1795590000", "recipient_id": "4915112345678",
        "errors": [{"code": 131_047, "title": "Re-engagement message"}]});
    let value = json!({"messaging_product": "whatsapp", "metadata": {"phone_number_id": NUMBER}, "statuses": [failed]});
    let entry = json!([{"id": "1", "changes": [{"field": "messages", "value": value}]}]);
    let body = json!({"object": "whatsapp_business_account", "entry": entry}).to_string();
    assert_eq!(
        server
            .connect()
            .exchange(&signed_post("/webhook", body.as_bytes()))
            .unwrap()
            .status,
        200
    );
    assert!(server.rows(&["dead-letters"]).is_empty());
}

#[test]
fn refused_test_message_shows_whole_response() {
    let late = json!({"error": {"message": "(#131047) Re-engagement message", "type": "OAuthException", "code": 131_047,
        "error_data": {"messaging_product": "whatsapp", "details": "More than 24 hours have passed."}}});
    let graph = Graph::answering(move |_| answer(400, &late));
    let server = start_server(&graph);
    let (output, _) = tests(&server, &graph, &["--to", "4915112345678"]);
    let test = row(&output);
    assert_eq!(
        (output.code, &test["delivered"]),
        (1, &json!(false)),
        "{output:?}"
    );
    assert!(
        output
            .err
            .contains("thanks rejected the test: responded with 400 Bad Request, error 131047"),
        "{output:?}"
    );
    assert!(
        test["response"]
            .as_str()
            .unwrap()
            .contains("More than 24 hours have passed."),
        "{test}"
    );
    assert_eq!(test["detail"], Value::Null);
}

#[test]
fn options_of_destination_test_are_validated_per_kind() {
    let graph = Graph::answering(|_| taken("wamid.test"));
    let mut server = start_server(&graph);
    let refused = |server: &Server, args: &[&str], why: &str| {
        let output = server.cli(&[&["destinations", "test"], args].concat());
        assert_eq!(output.code, 2, "{output:?}");
        assert!(output.err.contains(why), "{output:?}");
    };
    refused(
        &server,
        &["crm", "--to", "+4915112345678"],
        "--to works only for whatsapp and gateway destinations",
    );
    refused(
        &server,
        &["thanks", "--event", "booking.confirmed"],
        "--event works only for webhook and smtp destinations",
    );
    refused(
        &server,
        &["thanks", "--to", "0151/1234"],
        "is not a phone number: write it with its country code",
    );
    server.stop();
    refused(
        &server,
        &["crm", "--to", "+4915112345678"],
        "--to works only for whatsapp and gateway destinations",
    );
    assert!(graph.asked().is_empty(), "nothing was sent");
}
