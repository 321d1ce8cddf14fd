//! Transactions as a planted defect would send them; see [`crate::defect`].

pub use planted::sent;

#[cfg(not(feature = "defects"))]
mod planted {
    use aws_sdk_dynamodb::types::TransactWriteItem;

    /// The transactions that are sent for one: itself.
    pub fn sent(actions: Vec<TransactWriteItem>) -> [Vec<TransactWriteItem>; 1] {
        [actions]
    }
}

#[cfg(feature = "defects")]
mod planted {
    use aws_sdk_dynamodb::types::{Put, TransactWriteItem};

    use crate::defect::{Defect, present};
    use crate::store::items::{Item, text_of};
    use crate::store::keys::{
        self, CLOSURE_PREFIX, ENTRY_PREFIX, LOT_PREFIX, PROPOSAL_PREFIX, RECEIPT_PREFIX,
    };

    /// The transactions that are sent for one: itself, weakened; what does not belong to it any
    /// more by itself.
    pub fn sent(actions: Vec<TransactWriteItem>) -> Vec<Vec<TransactWriteItem>> {
        let returns = actions.iter().any(is_return);
        let actions = actions.into_iter().filter(|action| {
            let unchecked = action.condition_check.is_some() && present(Defect::JobUnchecked);
            let unnoted = returns && is_proposal(action) && present(Defect::ReturnUnnoted);
            !unchecked && !unnoted
        });
        let actions = actions.map(weakened);
        let (apart, together): (Vec<_>, Vec<_>) =
            actions.partition(|action| present(Defect::ReceiptApart) && is_new_receipt(action));
        let sent = [together, apart].into_iter();
        sent.filter(|actions| !actions.is_empty()).collect()
    }

    fn is_proposal(action: &TransactWriteItem) -> bool {
        let proposal = |put: &Put| sort_key(put.item()).starts_with(PROPOSAL_PREFIX);
        action.put().is_some_and(proposal)
    }

    fn is_return(action: &TransactWriteItem) -> bool {
        let returns = |put: &Put| text_of(put.item(), "type") == Some("return");
        action.put().is_some_and(returns)
    }

    fn is_new_receipt(action: &TransactWriteItem) -> bool {
        let receipt = |put: &Put| {
            sort_key(put.item()).starts_with(RECEIPT_PREFIX) && !put.item().contains_key("status")
        };
        action.put().is_some_and(receipt)
    }

    fn sort_key(item: &Item) -> &str {
        text_of(item, "sk").unwrap_or_default()
    }

    fn weakened(mut action: TransactWriteItem) -> TransactWriteItem {
        if let Some(put) = &mut action.put {
            let sk = sort_key(&put.item).to_owned();
            let lot = sk.starts_with(LOT_PREFIX);
            let entry = sk.starts_with(ENTRY_PREFIX);
            let hold = sk.starts_with(RECEIPT_PREFIX) && put.item.contains_key("state");
            let unconditioned = (entry && present(Defect::NoLock))
                || ((entry || lot) && present(Defect::NoConditions))
                || (sk.starts_with(PROPOSAL_PREFIX) && present(Defect::ProposalOverwritten))
                || (sk == keys::JOB && present(Defect::JobOverwritten))
                || (sk == keys::AUCTION && present(Defect::AuctionOverwritten))
                || (sk == keys::BADGE && present(Defect::BadgeOverwritten))
                || (sk == keys::TOP_UP && present(Defect::TopUpOverwritten))
                || (hold && present(Defect::HoldOverwritten))
                || (sk == keys::PERSON && present(Defect::SignupTwice))
                || (put.item.contains_key("status") && present(Defect::CreditedTwice));
            if unconditioned {
                put.condition_expression = None;
                put.expression_attribute_names = None;
                put.expression_attribute_values = None;
            }
            let closure = sk.starts_with(CLOSURE_PREFIX);
            let forgotten = (lot && present(Defect::LotNotDue))
                || (closure && present(Defect::ClosureNotDue))
                || (sk == keys::AUCTION && present(Defect::AuctionNotDue))
                || (hold && present(Defect::HoldNotDue));
            if forgotten {
                put.item.remove("due_shard");
                put.item.remove("due_at");
            }
        }
        if let Some(update) = &mut action.update {
            let sk = sort_key(&update.key).to_owned();
            if sk.starts_with(LOT_PREFIX) && present(Defect::NoConditions) {
                update.condition_expression = None;
                let values = update.expression_attribute_values.as_mut();
                values.map(|values| values.remove(":was"));
            }
            if sk == keys::SLOT && present(Defect::CapBefore) {
                update.condition_expression = Some("version = :version".to_owned());
            }
        }
        if let Some(delete) = &mut action.delete
            && present(Defect::NoConditions)
        {
            delete.condition_expression = None;
            delete.expression_attribute_values = None;
        }
        action
    }
}
