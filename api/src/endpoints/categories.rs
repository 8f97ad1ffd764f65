//! Categories, which everybody on this server shares.

use salvo::Writer;
use salvo::oapi::endpoint;
use storage::StorageError;
use storage::categories::{self, Category as Stored};
use uuid::Uuid;

use crate::answer::{Created, NoContent, Reply};
use crate::app::App;
use crate::authenticate::Caller;
use crate::body::{JsonRequest, OptionalJsonRequest};
use crate::problem::{Code, FieldProblem, Problem};
use crate::query_string::Query;
use crate::voice_fields as fields;
use crate::wire::voice::{Category, CategoryChoice, CategoryList, NewCategory};

const CATEGORIES_MAX: u32 = 1_000;

/// List categories
#[endpoint(operation_id = "list_categories")]
pub async fn list_categories(app: App, caller: Caller) -> Result<Reply<CategoryList>, Problem> {
    let rows = categories::list(app.storage.rows.read(), &caller.owner_id, CATEGORIES_MAX).await?;
    Ok(Reply(CategoryList { categories: rows.into_iter().map(Category::from).collect() }))
}

/// Create a category
#[endpoint(operation_id = "create_category")]
pub async fn create_category(app: App, wanted: JsonRequest<NewCategory>) -> Result<Created<Category>, Problem> {
    let mut errors = Vec::new();
    let name = fields::name(wanted.0.name.as_deref().unwrap_or_default());
    let color = wanted.0.color.as_deref().map(fields::color).transpose();
    errors.extend(name.as_ref().err().map(|message| FieldProblem::new("name", message.clone())));
    errors.extend(color.as_ref().err().map(|message| FieldProblem::new("color", message.clone())));
    let (Ok(name), Ok(color)) = (name, color) else {
        return Err(Problem::invalid(errors));
    };
    let category = Stored { id: Uuid::now_v7(), name, color, voice_count: 0 };
    let mut tx = app.storage.rows.begin().await?;
    if categories::count(&mut tx).await? >= i64::from(CATEGORIES_MAX) {
        return Err(Problem::new(Code::Conflict, format!("there are {CATEGORIES_MAX} categories already; delete one first")));
    }
    match categories::insert(&mut tx, &category, app.clock.now_ms()).await {
        Ok(()) => tx.commit().await?,
        Err(StorageError::Conflict(_)) => {
            return Err(Problem::new(Code::Conflict, format!("there is a category named \"{}\" already", category.name)));
        }
        Err(error) => return Err(error.into()),
    }
    Ok(Created { location: "/api/categories".into(), body: category.into() })
}

/// Delete a category
///
/// Its voices are in no category afterwards.
#[endpoint(operation_id = "delete_category")]
pub async fn delete_category(
    app: App,
    query: Query<CategoryChoice>,
    body: OptionalJsonRequest<CategoryChoice>,
) -> Result<NoContent, Problem> {
    let (query, body) = (query.0, body.0);
    let given = [query.id, query.name, body.id, body.name].into_iter().flatten().find(|text| !text.trim().is_empty());
    let wanted = given.ok_or_else(|| Problem::invalid_field("id", "name the category by id or by name"))?;
    let missing = || Problem::new(Code::CategoryNotFound, "there is no such category; GET /api/categories lists them");
    if wanted.contains('\0') {
        return Err(missing());
    }
    let mut tx = app.storage.rows.begin().await?;
    let category = categories::find_in(&mut tx, &wanted).await?.ok_or_else(missing)?;
    categories::delete(&mut tx, category.id).await?;
    tx.commit().await?;
    Ok(NoContent)
}
