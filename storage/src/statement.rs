//! Statements put together at run time, and scripts of several. sqlx's own builder writes `?` for its `Any` driver, which Postgres does not
//! know; a [`Statement`] writes `$1`, `$2`, ..., which both databases take. Only literals become SQL, values are always bound.
//!
//! Every trip to the thread of a SQLite connection costs as much as several inserts: a [`Script`] makes one of many statements. Postgres takes
//! one statement at a time.

use std::fmt::Write;

use sqlx::any::{AnyArguments, AnyRow};
use sqlx::query::{Query, QueryScalar};
use sqlx::{Any, AnyConnection, Arguments, AssertSqlSafe, Encode, Type};

use crate::StorageError;
use crate::rows::Dialect;

/// How a value's place is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Places {
    /// `$1`, `$2`, ...
    Numbered,
    /// `?`, for SQLite alone: sqlx looks every numbered place up in a list of all of them, which takes a second for ten thousand.
    InOrder,
}

pub(crate) struct Statement {
    sql: String,
    arguments: AnyArguments,
    bound: usize,
    places: Places,
}

impl Statement {
    pub(crate) fn new(sql: &'static str) -> Self {
        Self::with_places(sql, Places::Numbered)
    }

    fn with_places(sql: &'static str, places: Places) -> Self {
        Self { sql: sql.to_owned(), arguments: AnyArguments::default(), bound: 0, places }
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
        match self.places {
            Places::Numbered => {
                // Writing to a String can't fail.
                let _ = write!(self.sql, "${}", self.bound);
            }
            Places::InOrder => self.sql.push('?'),
        }
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

/// A script with more SQL than that is prepared for once: there is little use in keeping what is as long as the rows of a book.
const KEPT_BYTES_MAX: usize = 32 * 1_024;

/// Statements that run one after the other on one connection; the first that fails ends it. Not a transaction by itself.
pub(crate) struct Script {
    dialect: Dialect,
    /// SQLite's is a single one, with semicolons.
    statements: Vec<Statement>,
}

impl Script {
    pub(crate) fn new(dialect: Dialect) -> Self {
        Self { dialect, statements: Vec::new() }
    }

    /// Begins the next statement.
    pub(crate) fn next(&mut self, sql: &'static str) -> &mut Statement {
        match self.dialect {
            Dialect::Sqlite if !self.statements.is_empty() => {
                self.statements[0].push(";\n").push(sql);
            }
            Dialect::Sqlite => self.statements.push(Statement::with_places(sql, Places::InOrder)),
            Dialect::Postgres => self.statements.push(Statement::new(sql)),
        }
        let last = self.statements.len() - 1;
        &mut self.statements[last]
    }

    /// A statement without values, ahead of all others. SQLite only.
    pub(crate) fn put_first(&mut self, sql: &'static str) {
        debug_assert_eq!(self.dialect, Dialect::Sqlite);
        match self.statements.first_mut() {
            Some(all) => all.sql.insert_str(0, &format!("{sql};\n")),
            None => {
                self.next(sql);
            }
        }
    }

    pub(crate) fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// The rows of all statements, in order. To the end: whoever fetched one row only would stop the script behind it.
    pub(crate) async fn run(self, connection: &mut AnyConnection) -> Result<Vec<AnyRow>, StorageError> {
        let mut rows = Vec::new();
        for statement in self.statements {
            let kept = statement.sql.len() <= KEPT_BYTES_MAX;
            rows.extend(statement.build().persistent(kept).fetch_all(&mut *connection).await?);
        }
        Ok(rows)
    }
}
