//! Mails to holders: which event calls for which, and what it says.
//!
//! A mail is about a cause, not about an entry: a grant of two lots, or a return of what was paid and
//! of what was bid, is one transaction of several entries and one mail. Whichever of its events
//! comes first makes it, of all the entries of that transaction that belong in it.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use serde::{Deserialize, Serialize};

use super::badge::BadgeNotice;
use super::email::Email;
use super::event::What;
use super::ids::{AccountId, Reference};
use super::journal::{Entry, EntryType};
use super::low_balance::Crossing;
use super::purchase::Purchase;
use super::top_up::TopUpOff;
use super::units::{Connects, Money};
use super::words::{Locale, Words};

/// The kinds of mails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "contract", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Mail {
    /// Connects of a billing cycle, a plan or an opening were granted.
    Grant,
    /// A purchase was paid. Sent always.
    Receipt,
    /// Spent Connects came back.
    Returned,
    /// Something achieved was rewarded.
    Reward,
    /// A promo code brought Connects.
    Promo,
    /// Connects are about to lapse.
    Expiring,
    /// The availability badge went off by itself.
    BadgeOff,
    /// A bid lost its place, and is free again.
    Outbid,
    /// The balance became low.
    LowBalance,
    /// The top-up went off by itself.
    TopUpOff,
}

impl Mail {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Grant,
        Self::Receipt,
        Self::Returned,
        Self::Reward,
        Self::Promo,
        Self::Expiring,
        Self::BadgeOff,
        Self::Outbid,
        Self::LowBalance,
        Self::TopUpOff,
    ];

    /// The words of those that a holder may turn off.
    pub const OPTIONAL: [&str; 9] = [
        "grant",
        "returned",
        "reward",
        "promo",
        "expiring",
        "badge_off",
        "outbid",
        "low_balance",
        "top_up_off",
    ];

    /// The one of these words.
    pub fn optional(word: &str) -> Option<Self> {
        let of_word = |mail: &Self| mail.as_str() == word && !mail.is_required();
        Self::ALL.into_iter().find(of_word)
    }

    /// The word of the contract.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Grant => "grant",
            Self::Receipt => "receipt",
            Self::Returned => "returned",
            Self::Reward => "reward",
            Self::Promo => "promo",
            Self::Expiring => "expiring",
            Self::BadgeOff => "badge_off",
            Self::Outbid => "outbid",
            Self::LowBalance => "low_balance",
            Self::TopUpOff => "top_up_off",
        }
    }

    /// Whether the holder gets it whatever they chose: what was paid has to be receipted.
    pub const fn is_required(self) -> bool {
        matches!(self, Self::Receipt)
    }

    /// The mail that an entry calls for.
    pub fn of_entry(entry_type: EntryType, reason: &str) -> Option<Self> {
        match (entry_type, reason) {
            (EntryType::Issue, "signup" | "monthly_free" | "plan_included") => Some(Self::Grant),
            (EntryType::Issue, "purchase" | "promo_bonus") => Some(Self::Receipt),
            (EntryType::Issue, "promo_grant") => Some(Self::Promo),
            (EntryType::Issue, "rising_talent" | "skill_certification" | "interview_awarded")
            | (EntryType::Return, "interview_refunded") => Some(Self::Reward),
            (EntryType::Return, _) => Some(Self::Returned),
            (EntryType::Release, "outbid") => Some(Self::Outbid),
            _ => None,
        }
    }

    /// The mail that an event calls for.
    pub fn of(what: &What) -> Option<Self> {
        match what {
            What::Entry(booked) => {
                Self::of_entry(booked.entry.r#type, booked.entry.reason.as_str())
            }
            What::LotExpiring(_) => Some(Self::Expiring),
            What::BadgeOff(_) => Some(Self::BadgeOff),
            What::LowBalance(_) => Some(Self::LowBalance),
            What::TopUpOff(_) => Some(Self::TopUpOff),
        }
    }
}

/// Where a holder is told things, and what they want to be told.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Contact {
    /// The address, if one is known.
    pub email: Option<Email>,
    /// What they chose.
    pub preferences: Preferences,
}

/// What a holder wants to be told, and in which language.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Preferences {
    /// Their language.
    pub locale: Option<Locale>,
    /// The mails they don't want.
    pub muted: Vec<Mail>,
}

impl Preferences {
    /// Whether they want such a mail, or have to get it.
    pub fn wants(&self, mail: Mail) -> bool {
        mail.is_required() || !self.muted.contains(&mail)
    }
}

/// Preferences as the contract shows them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "contract", derive(schemars::JsonSchema))]
pub struct PreferencesView {
    /// The language of mails, and what belongs to it; none for the marketplace's own.
    pub locale: Option<Locale>,
    /// The mails that are not sent, in the order of their words.
    pub muted: Vec<Mail>,
    /// Those that can't be turned off.
    pub required: Vec<Mail>,
}

impl From<Preferences> for PreferencesView {
    fn from(preferences: Preferences) -> Self {
        let required = Mail::ALL.into_iter().filter(|mail| mail.is_required());
        Self {
            locale: preferences.locale,
            muted: preferences.muted,
            required: required.collect(),
        }
    }
}

/// What a mail is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Matter {
    /// Entries of one transaction, and the purchase that they are of.
    Entries {
        /// The entries, oldest first; one at least.
        entries: Vec<Entry>,
        /// The purchase that the mail is a receipt of.
        purchase: Option<Box<Purchase>>,
    },
    /// Connects that are about to lapse: how many lapse on that day, in how many days.
    Expiring {
        /// Of all lots whose last day it is.
        amount: Connects,
        /// The last day.
        on: NaiveDate,
        /// So many days before.
        days: u32,
    },
    /// A badge that is off.
    BadgeOff(BadgeNotice),
    /// A balance that became low.
    LowBalance(Crossing),
    /// A top-up that is off.
    TopUpOff(TopUpOff),
}

impl Matter {
    /// What a mail of that kind is known by in its account: no two mails are of one cause.
    pub fn cause(&self, mail: Mail) -> String {
        let what = match self {
            Self::Entries { entries, .. } => entries
                .first()
                .map(|entry| entry.seq.to_string())
                .unwrap_or_default(),
            Self::Expiring { on, days, .. } => expiring(*on, *days),
            Self::BadgeOff(notice) => notice.revision.to_string(),
            Self::LowBalance(crossing) => crossing.seq.to_string(),
            Self::TopUpOff(off) => off.purchase_id.to_string(),
        };
        format!("{}#{what}", mail.as_str())
    }
}

fn expiring(on: NaiveDate, days: u32) -> String {
    format!("{on}#{days}")
}

/// What SES puts into a template, by name. No value holds anything that would have to be written
/// differently in HTML.
pub type Particulars = BTreeMap<&'static str, String>;

/// A mail that is ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// Its kind.
    pub mail: Mail,
    /// To whom.
    pub to: Email,
    /// The language of its template.
    pub language: String,
    /// What is particular to it.
    pub particulars: Particulars,
}

/// What is particular to a mail about that matter.
pub fn particulars(account: &AccountId, mail: Mail, matter: &Matter, words: &Words) -> Particulars {
    let mut said = match matter {
        Matter::Entries { entries, purchase } => {
            of_entries(mail, entries, purchase.as_deref(), words)
        }
        Matter::Expiring { amount, on, days } => vec![
            ("amount", amount.to_string()),
            ("on", words.day(*on)),
            ("days", days.to_string()),
        ],
        Matter::BadgeOff(notice) => vec![
            ("reason", words.reason(notice.off_reason.as_str())),
            ("price", notice.price.to_string()),
            ("maximum", notice.max_weekly.to_string()),
        ],
        Matter::LowBalance(crossing) => vec![
            ("available", crossing.available.to_string()),
            ("threshold", crossing.threshold.to_string()),
        ],
        Matter::TopUpOff(off) => vec![
            ("quantity", off.quantity.to_string()),
            ("price", money(&off.price)),
            ("declines", off.declines.to_string()),
        ],
    };
    said.push(("account_id", account.to_string()));
    said.into_iter().collect()
}

fn of_entries(
    mail: Mail,
    entries: &[Entry],
    purchase: Option<&Purchase>,
    words: &Words,
) -> Vec<(&'static str, String)> {
    let sum = |entry_type: Option<EntryType>| -> i64 {
        let counted = entries
            .iter()
            .filter(|e| entry_type.is_none_or(|t| t == e.entry_type));
        counted.map(|entry| entry.amount).sum()
    };
    let first = entries.first();
    let reason = first.map(|entry| words.reason(entry.reason.as_str()));
    let about = first
        .and_then(|entry| entry.reference.as_ref())
        .map(Reference::to_string);
    let births = entries
        .iter()
        .flat_map(|entry| &entry.slices)
        .map(|slice| &slice.birth);
    let until = births.map(|birth| birth.expires_on).min();
    let available = entries
        .last()
        .map(|entry| entry.after.available.to_string());
    let mut said = vec![
        ("amount", sum(None).to_string()),
        ("available", available.unwrap_or_default()),
    ];
    match mail {
        Mail::Grant => said.push(("until", until.map(|day| words.day(day)).unwrap_or_default())),
        Mail::Promo => {
            let code = about
                .as_deref()
                .and_then(|about| about.strip_prefix("promo:"));
            said.push(("code", code.unwrap_or_default().to_owned()));
            said.push(("until", until.map(|day| words.day(day)).unwrap_or_default()));
        }
        Mail::Reward => {
            said.push(("reason", reason.unwrap_or_default()));
            said.push(("refunded", sum(Some(EntryType::Return)).to_string()));
            said.push(("awarded", sum(Some(EntryType::Issue)).to_string()));
        }
        Mail::Receipt => said.extend(purchase.map(receipt).into_iter().flatten()),
        _ => {
            said.push(("reason", reason.unwrap_or_default()));
            said.push(("about", about.unwrap_or_default()));
        }
    }
    said
}

fn receipt(purchase: &Purchase) -> [(&'static str, String); 5] {
    let promo = purchase.promo.as_ref();
    let none = purchase.price.none();
    let discount = promo.map_or(&none, |promo| &promo.discount);
    let bonus = promo.map_or(Connects::ZERO, |promo| promo.bonus);
    [
        ("purchase_id", purchase.id.to_string()),
        ("quantity", purchase.quantity.to_string()),
        ("bonus", bonus.to_string()),
        ("discount", money(discount)),
        ("paid", money(&purchase.price)),
    ]
}

/// `USD 1.50`. Every currency that a policy may name is written with two decimals here; one without
/// them would need its own form.
fn money(money: &Money) -> String {
    format!(
        "{} {}.{:02}",
        money.currency,
        money.amount / 100,
        money.amount % 100
    )
}
