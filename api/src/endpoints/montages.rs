//! Montages: named, ordered lists of a key's generations.

use jobs::montages::{MONTAGES_MAX, MontageError};
use jobs::view::MontageView;
use salvo::Writer;
use salvo::oapi::endpoint;
use salvo::oapi::extract::PathParam;

use super::{not_found, parse_id};
use crate::answer::{Created, NoContent, Reply};
use crate::app::App;
use crate::authenticate::Caller;
use crate::body::JsonRequest;
use crate::if_match::{IfMatch, Tagged};
use crate::problem::{Code, FieldProblem, Problem};
use crate::query_string::Query;
use crate::wire::list::{self, Page};
use crate::wire::montage::{Montage, MontageChange, MontageDetails, MontageQuery, NewMontage, generations_not_found};

/// List all montages
///
/// Newest first.
#[endpoint(operation_id = "list_montages")]
pub async fn list_montages(app: App, caller: Caller, query: Query<MontageQuery>) -> Result<Reply<Page<Montage>>, Problem> {
    let (limit, before) = (list::limit(query.0.limit)?, list::before(query.0.cursor.as_deref())?);
    let (mut rows, total) = app.jobs.montages(&caller.owner_id, before, limit + 1).await?;
    let more = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    let next_cursor = rows.last().filter(|_| more).map(|last| last.id.to_string());
    Ok(Reply(Page { items: rows.into_iter().map(Montage::of).collect(), next_cursor, total }))
}

/// Create a new montage
#[endpoint(operation_id = "create_montage")]
pub async fn create_montage(app: App, caller: Caller, body: JsonRequest<NewMontage>) -> Result<Tagged<Created<MontageDetails>>, Problem> {
    let view = app.jobs.create_montage(&caller.owner_id, body.0.into_input()?).await?;
    let location = format!("/api/montages/{}", view.montage.id);
    Ok(tagged(view, |body| Created { body, location }))
}

/// Get montage with generations
#[endpoint(operation_id = "get_montage")]
pub async fn get_montage(app: App, caller: Caller, id: PathParam<String>) -> Result<Tagged<Reply<MontageDetails>>, Problem> {
    let id = parse_id(&id, Code::MontageNotFound, "montage")?;
    let view = app.jobs.montage(&caller.owner_id, id).await?.ok_or_else(|| not_found(Code::MontageNotFound, "montage"))?;
    Ok(tagged(view, Reply))
}

/// Change a montage
///
/// Its name, its description, or its generations: the list that is given takes the place of the old one.
#[endpoint(operation_id = "change_montage")]
pub async fn change_montage(
    app: App,
    caller: Caller,
    id: PathParam<String>,
    if_match: IfMatch,
    body: JsonRequest<MontageChange>,
) -> Result<Tagged<Reply<MontageDetails>>, Problem> {
    let id = parse_id(&id, Code::MontageNotFound, "montage")?;
    let input = body.0.into_input()?;
    let view = app.jobs.change_montage(&caller.owner_id, id, input, |version| if_match.allows(version)).await?;
    Ok(tagged(view, Reply))
}

/// Delete a montage
///
/// Its generations stay.
#[endpoint(operation_id = "delete_montage")]
pub async fn delete_montage(app: App, caller: Caller, id: PathParam<String>) -> Result<NoContent, Problem> {
    let id = parse_id(&id, Code::MontageNotFound, "montage")?;
    if !app.jobs.delete_montage(&caller.owner_id, id).await? {
        return Err(not_found(Code::MontageNotFound, "montage"));
    }
    Ok(NoContent)
}

fn tagged<A>(view: MontageView, answer: impl FnOnce(MontageDetails) -> A) -> Tagged<A> {
    let version = view.version.clone();
    Tagged { answer: answer(MontageDetails::of(view)), version }
}

impl From<MontageError> for Problem {
    fn from(error: MontageError) -> Self {
        match error {
            MontageError::NotFound(_) => not_found(Code::MontageNotFound, "montage"),
            MontageError::GenerationsNotFound(places) => generations_not_found(&places),
            MontageError::Invalid(errors) => {
                Self::invalid(errors.into_iter().map(|error| FieldProblem { field: error.field, message: error.message }).collect())
            }
            MontageError::TooMany => {
                Self::new(Code::Conflict, format!("there are {MONTAGES_MAX} montages already: delete some that are not needed any more"))
            }
            MontageError::Stale => IfMatch::stale(),
            MontageError::Storage(error) => error.into(),
        }
    }
}
