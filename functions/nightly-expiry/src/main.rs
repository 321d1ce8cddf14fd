//! Books the expiry of lots and records, once each, whom to tell before it. An expired lot can't be
//! spent however late this runs.

use connects::http::{self, Core};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    let core = Core::start().await?;
    http::run(core.clock, async |context, until| {
        core.ledger.sweep_expiry(&context, until).await
    })
    .await
}
