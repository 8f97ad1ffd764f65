//! The query of a URL as a struct: texts are read as the numbers, booleans and words that its fields are, and what does not fit is a 400 that
//! names the parameter. This file may not know which parameters there are.

use std::borrow::Cow;
use std::fmt;

use salvo::extract::{Extractible, Metadata};
use salvo::oapi::{Components, EndpointArgRegister, Operation, ToParameters};
use salvo::{Depot, Request};
use serde::de::value::MapDeserializer;
use serde::de::{self, DeserializeOwned, Deserializer, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;

use crate::problem::{Code, FieldProblem, Problem};

/// Query parameters; unknown ones are ignored.
#[derive(Debug)]
pub struct Query<T>(pub T);

impl<'ex, T: DeserializeOwned + Send> Extractible<'ex> for Query<T> {
    fn metadata() -> &'static Metadata {
        static METADATA: Metadata = Metadata::new("");
        &METADATA
    }

    #[allow(refining_impl_trait)]
    async fn extract(req: &'ex mut Request, _depot: &'ex mut Depot) -> Result<Self, Problem> {
        let pairs = || req.queries().flat_iter().map(|(name, value)| (name.as_str(), value.as_str()));
        // No text for Postgres.
        if let Some((name, _)) = pairs().find(|(_, value)| value.contains('\0')) {
            return Err(Problem { errors: vec![FieldProblem::new(name, "must not hold the character NUL")], ..nul(name) });
        }
        parse(pairs()).map(Self)
    }
}

impl<T> EndpointArgRegister for Query<T>
where
    T: for<'de> ToParameters<'de>,
{
    fn register(components: &mut Components, operation: &mut Operation, _arg: &str) {
        for parameter in T::to_parameters(components) {
            operation.parameters.insert(parameter);
        }
    }
}

fn nul(name: &str) -> Problem {
    Problem::new(Code::InvalidRequest, format!("{name}: must not hold the character NUL"))
}

fn parse<'a, T: DeserializeOwned>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Result<T, Problem> {
    let values = pairs.map(|(name, value)| (name, Text(Cow::Borrowed(value))));
    let deserializer = MapDeserializer::<_, WrongValue>::new(values);
    serde_path_to_error::deserialize(deserializer).map_err(|error| {
        let path = error.path().to_string();
        let field = if path == "." { "query".to_owned() } else { path };
        let message = error.inner().to_string();
        let detail = format!("{field}: {message}");
        Problem { errors: vec![FieldProblem::new(field, message)], ..Problem::new(Code::InvalidRequest, detail) }
    })
}

#[derive(Debug)]
struct WrongValue(String);

impl fmt::Display for WrongValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for WrongValue {}

impl de::Error for WrongValue {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

/// One value, whatever its field wants it to be.
struct Text<'a>(Cow<'a, str>);

impl<'de> IntoDeserializer<'de, WrongValue> for Text<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

macro_rules! parsed {
    ($($method:ident $visit:ident $what:literal;)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, WrongValue> {
            match self.0.trim().parse() {
                Ok(value) => visitor.$visit(value),
                Err(_) => Err(WrongValue(concat!("must be ", $what).to_owned())),
            }
        })*
    };
}

impl<'de> Deserializer<'de> for Text<'de> {
    type Error = WrongValue;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, WrongValue> {
        match self.0 {
            Cow::Borrowed(text) => visitor.visit_borrowed_str(text),
            Cow::Owned(text) => visitor.visit_string(text),
        }
    }

    /// `?limit=` is as good as no limit.
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, WrongValue> {
        if self.0.is_empty() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, WrongValue> {
        match self.0.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => visitor.visit_bool(true),
            "false" | "0" | "no" | "off" => visitor.visit_bool(false),
            _ => Err(WrongValue("must be true or false".into())),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, WrongValue> {
        visitor.visit_enum(self.0.into_deserializer())
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _name: &'static str, visitor: V) -> Result<V::Value, WrongValue> {
        visitor.visit_newtype_struct(self)
    }

    parsed! {
        deserialize_u8 visit_u8 "a whole number of 0 or more";
        deserialize_u16 visit_u16 "a whole number of 0 or more";
        deserialize_u32 visit_u32 "a whole number of 0 or more";
        deserialize_u64 visit_u64 "a whole number of 0 or more";
        deserialize_i32 visit_i32 "a whole number";
        deserialize_i64 visit_i64 "a whole number";
        deserialize_f32 visit_f32 "a number";
        deserialize_f64 visit_f64 "a number";
    }

    forward_to_deserialize_any! {
        i8 i16 i128 u128 char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(rename_all = "snake_case")]
    enum Sort {
        Name,
        Newest,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    struct Filter {
        limit: Option<u32>,
        q: Option<String>,
        favorite: Option<bool>,
        sort: Option<Sort>,
    }

    fn read(pairs: &[(&str, &str)]) -> Result<Filter, Problem> {
        parse(pairs.iter().copied())
    }

    #[test]
    fn texts_become_what_the_fields_are() {
        let filter = read(&[("limit", "7"), ("q", "12"), ("favorite", "true"), ("sort", "newest"), ("unknown", "x")]).unwrap();
        assert_eq!(filter, Filter { limit: Some(7), q: Some("12".into()), favorite: Some(true), sort: Some(Sort::Newest) });
        assert_eq!(read(&[("limit", "")]).unwrap().limit, None);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let field = |pairs: &[(&str, &str)]| read(pairs).unwrap_err().errors[0].field.clone();
        assert_eq!(field(&[("limit", "-1")]), "limit");
        assert_eq!(field(&[("favorite", "maybe")]), "favorite");
        assert_eq!(field(&[("sort", "size")]), "sort");
        assert!(read(&[("limit", "1"), ("limit", "2")]).is_err());
    }
}
