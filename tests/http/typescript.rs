//! The TypeScript client: its types are the contract's, and it does what its own tests say.

use connects_tests::typescript::Workshop;
use connects_tests::written::is_written;

#[tokio::test]
async fn the_clients_types_are_made_from_the_contract() {
    if let Some(workshop) = Workshop::open().await {
        let made = workshop.generated().await;
        is_written("infra/clients/typescript/src/schema.ts", &made);
    }
}

#[tokio::test]
async fn the_client_passes_its_own_tests() {
    if let Some(workshop) = Workshop::open().await {
        workshop
            .test()
            .await
            .unwrap_or_else(|said| panic!("{said}"));
    }
}
