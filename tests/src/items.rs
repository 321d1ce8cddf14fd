//! The items behind an account, read past the functions.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::AttributeValue;
use connects::domain::ids::AccountId;

use crate::holder::Holder;
use crate::model::Model;
use crate::stack::Stack;
use crate::table;

/// An item: its attributes by name.
pub type Item = BTreeMap<String, AttributeValue>;

impl Stack {
    /// Every item of a partition by its sort key, read consistently. Two equal answers mean that
    /// nothing was written in between, byte for byte.
    pub async fn items(&self, pk: &str) -> BTreeMap<String, Item> {
        let mut items = BTreeMap::new();
        let mut start = None;
        loop {
            let page = self
                .dynamo
                .query()
                .table_name(&self.table)
                .consistent_read(true)
                .key_condition_expression("pk = :pk")
                .expression_attribute_values(":pk", AttributeValue::S(pk.to_owned()))
                .set_exclusive_start_key(start)
                .send()
                .await
                .unwrap_or_else(|e| panic!("{pk}: {e:?}"));
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
}

impl Holder<'_> {
    /// Every item of the account.
    pub async fn items(&self) -> BTreeMap<String, Item> {
        self.stack.items(&format!("ACCOUNT#{}", self.id)).await
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
