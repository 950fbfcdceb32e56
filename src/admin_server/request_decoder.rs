//! Decodes the request of a route from its fields.
//!
//! See [`super::request_encoder`] for the other direction.

use serde::Deserialize;
use serde::Deserializer;
use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeSeed, EnumAccess, Error as _, IntoDeserializer, VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;
use serde_json::Error;

use super::fields::Fields;
use super::routes::{RequestKind, Route};
use crate::admin::{AdminCommand, AdminQuery, AdminRequest, ServerCommand};

/// Returns the request of `route` with these fields. Unknown fields are an error.
pub(super) fn decode_request(route: &Route, fields: Fields) -> Result<AdminRequest, Error> {
    let request = RequestDeserializer {
        variant: route.variant,
        fields,
    };
    match route.kind {
        RequestKind::Query => AdminQuery::deserialize(request).map(Into::into),
        RequestKind::Command => AdminCommand::deserialize(request).map(Into::into),
        RequestKind::ServerCommand => ServerCommand::deserialize(request).map(Into::into),
    }
}

/// Deserializer of an enum with a known variant.
struct RequestDeserializer {
    variant: &'static str,
    fields: Fields,
}

impl<'de> Deserializer<'de> for RequestDeserializer {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_enum(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier
        ignored_any
    }
}

impl<'de> EnumAccess<'de> for RequestDeserializer {
    type Error = Error;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Error> {
        let name: StrDeserializer<'_, Error> = self.variant.into_deserializer();
        Ok((seed.deserialize(name)?, self))
    }
}

impl<'de> VariantAccess<'de> for RequestDeserializer {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        self.fields.require_none()
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Error> {
        seed.deserialize(self.fields.into_deserializer())
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, Error> {
        Err(Error::custom("a request has named fields"))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_map(self.fields.into_map())
    }
}
