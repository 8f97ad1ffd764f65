//! Lists: `limit` and `cursor` in, `items`, `next_cursor` and `total` out, and the items once more under their natural name.

use salvo::oapi::schema::{Array, Ref};
use salvo::oapi::{Components, Object, RefOr, Schema, ToSchema};
use serde::Serialize;
use serde::ser::SerializeMap;
use uuid::Uuid;

use crate::problem::Problem;

pub const LIMIT_DEFAULT: u32 = 50;
pub const LIMIT_MAX: u32 = 200;

/// The page size asked for.
pub fn limit(asked: Option<u32>) -> Result<u32, Problem> {
    match asked {
        None => Ok(LIMIT_DEFAULT),
        Some(limit @ 1..=LIMIT_MAX) => Ok(limit),
        Some(_) => Err(Problem::invalid_field("limit", format!("must be between 1 and {LIMIT_MAX}"))),
    }
}

/// The id after which a page begins, where the cursor is one.
pub fn before(cursor: Option<&str>) -> Result<Option<Uuid>, Problem> {
    let wrong = |_| Problem::invalid_field("cursor", "is not the next_cursor of a page");
    cursor.map(|cursor| Uuid::parse_str(cursor).map_err(wrong)).transpose()
}

/// What has a natural name in the plural.
pub trait Item {
    const PLURAL: &'static str;
    /// The name of the list in the document.
    const LIST: &'static str;
}

/// One page of a list.
#[derive(Debug)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// To be given as `cursor` for the next page; `None` on the last.
    pub next_cursor: Option<String>,
    /// Of all pages.
    pub total: i64,
}

impl<T: Serialize + Item> Serialize for Page<T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(4))?;
        map.serialize_entry("items", &self.items)?;
        map.serialize_entry("next_cursor", &self.next_cursor)?;
        map.serialize_entry("total", &self.total)?;
        map.serialize_entry(T::PLURAL, &self.items)?;
        map.end()
    }
}

impl<T: ToSchema + Item + 'static> ToSchema for Page<T> {
    fn to_schema(components: &mut Components) -> RefOr<Schema> {
        let reference = RefOr::Ref(Ref::from_schema_name(T::LIST));
        if components.schemas.contains_key(T::LIST) {
            return reference;
        }
        let item = T::to_schema(components);
        let items = Schema::Array(Array::new().items(item));
        let total = i64::to_schema(components);
        let object = Object::new()
            .description("One page of a list.")
            .property("items", items.clone())
            .required("items")
            .property("next_cursor", Option::<String>::to_schema(components))
            .required("next_cursor")
            .property("total", total)
            .required("total")
            .property(T::PLURAL, items)
            .required(T::PLURAL);
        components.schemas.insert(T::LIST.to_owned(), RefOr::Type(Schema::Object(Box::new(object))));
        reference
    }
}
