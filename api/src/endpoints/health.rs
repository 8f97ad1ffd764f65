//! For whoever supervises the process.

use salvo::Writer;
use salvo::oapi::endpoint;

use crate::answer::Reply;
use crate::app::App;
use crate::problem::{Code, Problem};
use crate::wire::system::Health;

/// Whether the process answers
#[endpoint(operation_id = "healthz")]
pub async fn healthz() -> Reply<Health> {
    Reply(Health { status: "ok".into() })
}

/// Whether requests are taken
///
/// 503 while the server starts or stops, and while the database does not answer.
#[endpoint(operation_id = "readyz")]
pub async fn readyz(app: App) -> Result<Reply<Health>, Problem> {
    if !app.is_ready() {
        let what = if app.stopping.is_cancelled() { "stopping" } else { "starting" };
        return Err(Problem::new(Code::NotReady, format!("the server is {what}")).retry_after(1));
    }
    app.storage.rows.ping().await?;
    Ok(Reply(Health { status: "ok".into() }))
}
