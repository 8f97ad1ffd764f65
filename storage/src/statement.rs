//! A statement put together at run time. sqlx's own builder writes `?` for its `Any` driver, which Postgres does not know; this one writes
//! `$1`, `$2`, ..., which both databases take. Only literals become SQL, values are always bound.

use std::fmt::Write;

use sqlx::any::AnyArguments;
use sqlx::query::{Query, QueryScalar};
use sqlx::{Any, Arguments, AssertSqlSafe, Encode, Type};

pub(crate) struct Statement {
    sql: String,
    arguments: AnyArguments,
    bound: usize,
}

impl Statement {
    pub(crate) fn new(sql: &'static str) -> Self {
        Self { sql: sql.to_owned(), arguments: AnyArguments::default(), bound: 0 }
    }

    pub(crate) fn push(&mut self, sql: &'static str) -> &mut Self {
        self.sql.push_str(sql);
        self
    }

    /// Our values (text, integers, floats, and options of them) always encode: sqlx's error is for types that `Any` does not have.
    pub(crate) fn push_bind<T>(&mut self, value: T) -> &mut Self
    where
        T: for<'t> Encode<'t, Any> + Type<Any>,
    {
        self.bound += 1;
        let added = self.arguments.add(value);
        debug_assert!(added.is_ok(), "a type that the Any driver can't bind");
        // Writing to a String can't fail.
        let _ = write!(self.sql, "${}", self.bound);
        self
    }

    /// The values of a list, separated by commas.
    pub(crate) fn push_list<T>(&mut self, values: impl IntoIterator<Item = T>) -> &mut Self
    where
        T: for<'t> Encode<'t, Any> + Type<Any>,
    {
        for (place, value) in values.into_iter().enumerate() {
            if place > 0 {
                self.push(", ");
            }
            self.push_bind(value);
        }
        self
    }

    pub(crate) fn build(self) -> Query<'static, Any, AnyArguments> {
        sqlx::query_with(AssertSqlSafe(self.sql), self.arguments)
    }

    pub(crate) fn build_scalar<T>(self) -> QueryScalar<'static, Any, T, AnyArguments>
    where
        (T,): for<'r> sqlx::FromRow<'r, sqlx::any::AnyRow>,
    {
        sqlx::query_scalar_with(AssertSqlSafe(self.sql), self.arguments)
    }
}
