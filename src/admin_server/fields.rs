//! Holds the fields of a request that come from a path, a query or a JSON body, and deserializes
//! them. A field of a path or a query is a text, and its type decides how the text is parsed.

use std::collections::BTreeMap;
use std::collections::btree_map::{Entry, IntoIter};

use percent_encoding::percent_decode_str;
use serde::Deserializer;
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeSeed, Error as _, IntoDeserializer, MapAccess, Visitor};
use serde::forward_to_deserialize_any;
use serde_json::{Error, Value};

/// Fields by name.
#[derive(Debug, Default)]
pub(super) struct Fields(BTreeMap<String, Field>);

#[derive(Debug)]
enum Field {
    Text(String),
    Json(Value),
    /// Fields of an object in a query: `limits.rows=5`.
    Nested(Fields),
}

impl Fields {
    /// Parses a query.
    pub(super) fn from_query(query: &str) -> Result<Self, Error> {
        let mut fields = Self::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, text) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decode(&name.replace('+', " "))?;
            let text = decode(&text.replace('+', " "))?;
            match name.split_once('.') {
                None => fields.insert(name, Field::Text(text))?,
                Some((object, name)) => {
                    fields
                        .nested(object)?
                        .insert(name.to_owned(), Field::Text(text))?;
                }
            }
        }
        Ok(fields)
    }

    /// Parses a JSON body. An empty body has no fields.
    pub(super) fn from_json(body: &[u8]) -> Result<Self, Error> {
        if body.is_empty() {
            return Ok(Self::default());
        }
        let object: serde_json::Map<String, Value> = serde_json::from_slice(body)?;
        let fields = object
            .into_iter()
            .map(|(name, value)| (name, Field::Json(value)));
        Ok(Self(fields.collect()))
    }

    /// Adds a field of the path.
    pub(super) fn insert_from_path(&mut self, name: &str, segment: &str) -> Result<(), Error> {
        self.insert(name.to_owned(), Field::Text(decode(segment)?))
    }

    fn insert(&mut self, name: String, field: Field) -> Result<(), Error> {
        match self.0.entry(name) {
            Entry::Occupied(entry) => Err(Error::custom(format!("{} is given twice", entry.key()))),
            Entry::Vacant(entry) => {
                entry.insert(field);
                Ok(())
            }
        }
    }

    fn nested(&mut self, name: &str) -> Result<&mut Self, Error> {
        let entry = self.0.entry(name.to_owned());
        match entry.or_insert_with(|| Field::Nested(Self::default())) {
            Field::Nested(fields) => Ok(fields),
            _ => Err(Error::custom(format!("{name} is given twice"))),
        }
    }

    /// Fails if there is a field.
    pub(super) fn require_none(&self) -> Result<(), Error> {
        match self.0.keys().next() {
            None => Ok(()),
            Some(name) => Err(Error::custom(format!(
                "unknown field `{name}`: this request has no fields"
            ))),
        }
    }

    /// Returns the fields as a map for serde.
    pub(super) fn into_map(self) -> FieldMap {
        FieldMap {
            fields: self.0.into_iter(),
            next: None,
        }
    }
}

/// Decodes the percent signs of a path or query.
fn decode(text: &str) -> Result<String, Error> {
    let decoded = percent_decode_str(text).decode_utf8();
    let decoded = decoded.map_err(|_| Error::custom(format!("{text} is not valid UTF-8")))?;
    Ok(decoded.into_owned())
}

/// Access of serde to fields. An error names the field.
pub(super) struct FieldMap {
    fields: IntoIter<String, Field>,
    next: Option<(String, Field)>,
}

impl<'de> MapAccess<'de> for FieldMap {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        self.next = self.fields.next();
        match &self.next {
            Some((name, _)) => seed
                .deserialize(name.as_str().into_deserializer())
                .map(Some),
            None => Ok(None),
        }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let Some((name, field)) = self.next.take() else {
            return Err(Error::custom("a field has no value"));
        };
        let value = match field {
            Field::Text(text) => seed.deserialize(TextDeserializer(text)),
            Field::Json(value) => seed.deserialize(value),
            Field::Nested(fields) => seed.deserialize(fields.into_deserializer()),
        };
        value.map_err(|error| Error::custom(format!("{name}: {error}")))
    }
}

impl IntoDeserializer<'_, Error> for Fields {
    type Deserializer = MapAccessDeserializer<FieldMap>;

    fn into_deserializer(self) -> Self::Deserializer {
        MapAccessDeserializer::new(self.into_map())
    }
}

/// Deserializer of a text of a path or query.
struct TextDeserializer(String);

macro_rules! parse_number {
    ($($method:ident $visit:ident $number:ty),*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            match self.0.parse::<$number>() {
                Ok(number) => visitor.$visit(number),
                Err(_) => Err(Error::custom(format!("\"{}\" is not a valid number", self.0))),
            }
        })*
    };
}

impl<'de> Deserializer<'de> for TextDeserializer {
    type Error = Error;

    parse_number!(
        deserialize_u8 visit_u8 u8,
        deserialize_u16 visit_u16 u16,
        deserialize_u32 visit_u32 u32,
        deserialize_u64 visit_u64 u64,
        deserialize_i32 visit_i32 i32,
        deserialize_i64 visit_i64 i64,
        deserialize_f64 visit_f64 f64
    );

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_string(self.0)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0.as_str() {
            "true" => visitor.visit_bool(true),
            "false" => visitor.visit_bool(false),
            other => Err(Error::custom(format!("\"{other}\" is not true or false"))),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_enum(self.0.into_deserializer())
    }

    forward_to_deserialize_any! {
        i8 i16 i128 u128 f32 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct identifier ignored_any
    }
}
