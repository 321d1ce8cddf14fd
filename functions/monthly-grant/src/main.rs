//! Books the grants of billing cycles that have begun. Reads and requests see a grant from its
//! first instant; this writes down what nobody has asked for yet.

use connects::http::{self, Core};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    let core = Core::start().await?;
    http::run(core.clock, async |context, until| {
        core.ledger.sweep_grants(&context, until).await
    })
    .await
}
