//! Tests that each request has a route, and that both directions of the table agree.

use hyper::Method;
use serde::de::{DeserializeOwned, Deserializer, Error as _, Visitor};
use serde::forward_to_deserialize_any;

use crate::admin::{
    AdminCommand, AdminQuery, AdminRequest, AgentSettings, JobSelector, ListFilter, SearchLimits,
    ServerCommand, SlotFilter,
};
use crate::admin_server::fields::Fields;
use crate::admin_server::request_decoder::decode_request;
use crate::admin_server::request_encoder::{EncodedRequest, encode_request};
use crate::admin_server::routes::{API_ROOT, RequestKind, RouteMatch, find_route, route_of};
use crate::domain::ids::{AgentName, FlowName, JobId, LeadId};
use crate::domain::time::Timestamp;

/// Deserializer that returns the names of the variants as its error.
struct VariantNames;

impl<'de> Deserializer<'de> for VariantNames {
    type Error = serde_json::Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
        Err(Self::Error::custom("not an enum"))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Self::Error> {
        Err(Self::Error::custom(variants.join(" ")))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

fn assert_routes<T: DeserializeOwned>(kind: RequestKind) {
    let names = T::deserialize(VariantNames).err().unwrap().to_string();
    let missing: Vec<_> = names
        .split(' ')
        .filter(|name| route_of(kind, name).is_none())
        .collect();
    assert!(missing.is_empty(), "add to ROUTES: {kind:?} {missing:?}");
}

#[test]
fn each_request_has_route() {
    assert_routes::<AdminQuery>(RequestKind::Query);
    assert_routes::<AdminCommand>(RequestKind::Command);
    assert_routes::<ServerCommand>(RequestKind::ServerCommand);
}

/// Decodes a request as the server does.
fn decode(encoded: &EncodedRequest) -> AdminRequest {
    let path = encoded.path.strip_prefix(API_ROOT).unwrap();
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let RouteMatch::Found(route, segments) = find_route(&encoded.method, path) else {
        panic!("{encoded:?}");
    };
    let mut fields = if route.is_get {
        Fields::from_query(query).unwrap()
    } else {
        Fields::from_json(encoded.body.as_bytes()).unwrap()
    };
    for (name, segment) in segments {
        fields.insert_from_path(name, segment).unwrap();
    }
    decode_request(route, fields).unwrap()
}

#[track_caller]
fn assert_both_directions(request: &AdminRequest, method: &Method, path: &str) {
    let encoded = encode_request(request).unwrap();
    assert_eq!(encoded.method, *method);
    assert_eq!(encoded.path.strip_prefix(API_ROOT), Some(path));
    assert_eq!(decode(&encoded), *request);
}

#[test]
fn queries_have_fields_in_path_and_query() {
    let leads = ListFilter {
        state: Some("open".to_owned()),
        flow: Some(FlowName::new("a-b").unwrap()),
        since: Some(Timestamp::ZERO),
        days: Some("today".parse().unwrap()),
        limit: 5,
        ..ListFilter::default()
    };
    let slots = SlotFilter {
        days: None,
        calendar: None,
        from: Some("2026-11-24".parse().unwrap()),
        to: None,
        limit: 5,
    };
    let trace = AdminQuery::Trace {
        text: "+49 30/1=2".to_owned(),
        limits: SearchLimits { rows: 1, scan: 2 },
    };
    let customer = AdminQuery::Customer {
        name: "../\u{fc}?#%".to_owned(),
        limits: SearchLimits::default(),
    };
    let requests: [(AdminQuery, &str); 5] = [
        (AdminQuery::Status, "/status"),
        (
            AdminQuery::Leads(leads),
            "/leads?state=open&flow=a-b&since=1970-01-01T00%3A00%3A00.000Z&days=today..today&limit=5",
        ),
        (AdminQuery::Slots(slots), "/slots?from=2026-11-24&limit=5"),
        (
            trace,
            "/trace?text=%2B49%2030%2F1%3D2&limits.rows=1&limits.scan=2",
        ),
        (
            customer,
            "/customers/..%2F%C3%BC%3F%23%25?limits.rows=50&limits.scan=1000000",
        ),
    ];
    for (request, path) in requests {
        assert_both_directions(&request.into(), &Method::GET, path);
    }
}

#[test]
fn commands_have_fields_in_path_and_body() {
    let id = LeadId::new(7);
    let retry = AdminCommand::RetryDeadLetters(JobSelector::One {
        id: JobId::new(1),
        payload: Some("{}".to_owned()),
    });
    let agent = AdminCommand::SetAgent {
        name: AgentName::new("ann.b").unwrap(),
        team: None,
        settings: AgentSettings {
            weight: Some(2),
            ..AgentSettings::default()
        },
    };
    let requests: [(AdminRequest, &str); 4] = [
        (AdminCommand::CloseLead { id }.into(), "/leads/7/close"),
        (retry.into(), "/dead-letters/retry"),
        (agent.into(), "/agents/ann.b"),
        (ServerCommand::ReloadConfig.into(), "/reload"),
    ];
    for (request, path) in requests {
        assert_both_directions(&request, &Method::POST, path);
    }
}

#[test]
fn empty_field_of_path_is_refused() {
    let request = AdminQuery::Customer {
        name: String::new(),
        limits: SearchLimits::default(),
    };
    let refused = encode_request(&request.into()).unwrap_err();
    assert_eq!(refused.message, "the name is empty");
}
