//! Books the expiry of lots and records, once each, whom to tell before it; releases the holds whose
//! time is over. An expired lot can't be spent, nor such a hold captured, however late this runs.

use connects::http::{self, Core};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    let core = Core::start().await?;
    http::run(core.clock, async |context, until| {
        core.ledger.sweep_expiry(&context, until).await
    })
    .await
}
