//! Tickets for event connections of browsers.

use salvo::Writer;
use salvo::oapi::endpoint;

use crate::answer::Secret;
use crate::app::App;
use crate::authenticate::Caller;
use crate::problem::Problem;
use crate::wire::api_key::WsTicket;
use crate::wire::time::rfc3339;
use crate::ws_ticket::{self, LIFE_MS};

/// Make a ticket for `/ws` or `/api/events`
///
/// For browsers, which can't send a header there: `/ws?ticket=...` within a minute, once. It stands for the key that asked for it, and ends
/// with it.
#[endpoint(operation_id = "create_ws_ticket")]
pub async fn create_ticket(app: App, caller: Caller) -> Result<Secret<WsTicket>, Problem> {
    let now_ms = app.clock.now_ms();
    let ticket = ws_ticket::create(&app.storage, &caller, rand::random(), now_ms).await?;
    let body = WsTicket { ticket: Some(ticket), expires_at: rfc3339(now_ms + LIFE_MS), expires_in_s: (LIFE_MS / 1_000).cast_unsigned() };
    Ok(Secret { body, field: "ticket" })
}
