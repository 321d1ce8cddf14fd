//! The items behind an account, read past the functions.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::AttributeValue;
use connects::domain::ids::AccountId;

use crate::holder::Holder;
use crate::model::Model;
use crate::table;

/// An item: its attributes by name.
pub type Item = BTreeMap<String, AttributeValue>;

impl Holder<'_> {
    /// Every item of the account by its sort key, read consistently. Two equal answers mean
    /// that nothing was written in between, byte for byte.
    pub async fn items(&self) -> BTreeMap<String, Item> {
        let mut items = BTreeMap::new();
        let mut start = None;
        loop {
            let page = self
                .stack
                .dynamo
                .query()
                .table_name(&self.stack.table)
                .consistent_read(true)
                .key_condition_expression("pk = :account")
                .expression_attribute_values(
                    ":account",
                    AttributeValue::S(format!("ACCOUNT#{}", self.id)),
                )
                .set_exclusive_start_key(start)
                .send()
                .await
                .unwrap_or_else(|e| panic!("{}: {e:?}", self.id));
            items.extend(page.items().iter().map(|item| {
                let sk = item["sk"].as_s().unwrap().clone();
                (sk, item.clone().into_iter().collect())
            }));
            start = page.last_evaluated_key;
            if start.is_none() {
                return items;
            }
        }
    }

    /// Checks the account's whole journal by the model, and its lots by its journal; gives the
    /// model at its end.
    pub async fn audit(&self) -> Model {
        table::audit(&self.stack.store(), &AccountId::try_new(&self.id).unwrap()).await
    }

    /// The sort keys that begin so.
    pub async fn keys(&self, prefix: &str) -> Vec<String> {
        let items = self.items().await;
        items
            .into_keys()
            .filter(|sk| sk.starts_with(prefix))
            .collect()
    }
}
