//! What is told is written down: a schema for each event in `infra/events`, and the templates that SES
//! keeps, made of the words in `infra/mail`.

use std::fmt::Write;

use connects::domain::words::{Text, Words};

/// Every mail looks like this; what stands in brackets is put in.
const LAYOUT: &str = include_str!("../../infra/mail/layout.html");

/// What the stack of templates begins with.
const HEAD: &str = "\
AWSTemplateFormatVersion: \"2010-09-09\"
Description: The mails of Connects, made from the words beside this file. Not to be changed by hand.
Parameters:
  Prefix:
    Type: String
    Description: What the names of the templates begin with.
Resources:
";

/// The template of one mail, as SES takes it.
pub struct Template {
    /// Its name, after the prefix.
    pub name: String,
    /// The subject.
    pub subject: String,
    /// For readers of plain text.
    pub text: String,
    /// For readers of HTML.
    pub html: String,
}

/// The templates of a language, in the order of their kinds.
pub fn templates(words: &Words) -> Vec<Template> {
    let template = |(mail, said): (&connects::domain::mail::Mail, &Text)| {
        let footer = match mail.is_required() {
            true => &words.required,
            false => &words.choice,
        };
        let paragraphs: Vec<String> = said
            .lines
            .iter()
            .map(|line| format!("<p>{}</p>", escaped(line)))
            .collect();
        let html = LAYOUT
            .replace("[language]", &words.language)
            .replace("[subject]", &escaped(&said.subject))
            .replace("[lines]", &paragraphs.join("\n"))
            .replace("[footer]", &escaped(footer));
        Template {
            name: format!("{}-{}", mail.as_str(), words.language),
            subject: said.subject.clone(),
            text: format!("{}\n\n-- \n{footer}\n", said.lines.join("\n\n")),
            html,
        }
    };
    words.mails.iter().map(template).collect()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// The stack of all templates.
pub fn stack(templates: &[Template]) -> String {
    let mut stack = HEAD.to_owned();
    for template in templates {
        let id: String = template.name.split(['_', '-']).map(capitalised).collect();
        let _ = write!(
            stack,
            "  {id}:\n    Type: AWS::SES::Template\n    Properties:\n      Template:\n        \
             TemplateName: !Sub ${{Prefix}}{}\n        SubjectPart: \"{}\"\n        TextPart: |\n{}        \
             HtmlPart: |\n{}",
            template.name,
            template.subject,
            indented(&template.text),
            indented(&template.html),
        );
    }
    stack
}

fn capitalised(word: &str) -> String {
    let (first, rest) = word.split_at(1);
    format!("{}{rest}", first.to_uppercase())
}

fn indented(text: &str) -> String {
    let line = |line: &str| match line.is_empty() {
        true => "\n".to_owned(),
        false => format!("          {line}\n"),
    };
    text.lines().map(line).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use connects::domain::badge::BadgeNotice;
    use connects::domain::event::{
        BADGE_OFF, EntryBooked, Event, LOT_EXPIRING, LOW_BALANCE, TOP_UP_OFF, of_entries,
    };
    use connects::domain::journal::EntryType;
    use connects::domain::lot::ExpiryNotice;
    use connects::domain::low_balance::Crossing;
    use connects::domain::mail::Mail;
    use connects::domain::top_up::TopUpOff;
    use connects::domain::words::Dictionary;
    use schemars::JsonSchema;
    use schemars::generate::SchemaSettings;
    use serde_json::{Value, json};

    use super::*;
    use crate::written::is_written;

    const ENTRIES: [EntryType; 11] = [
        EntryType::Issue,
        EntryType::Spend,
        EntryType::Return,
        EntryType::Hold,
        EntryType::Release,
        EntryType::Capture,
        EntryType::Expire,
        EntryType::Revoke,
        EntryType::DebtRepaid,
        EntryType::Account,
        EntryType::Pending,
    ];

    fn schema_of<W: JsonSchema>(detail_type: &str) -> Value {
        let settings = SchemaSettings::draft2020_12().for_serialize();
        let schema = settings.into_generator().into_root_schema_for::<Event<W>>();
        let mut schema = serde_json::to_value(schema).unwrap();
        schema["title"] = json!(detail_type);
        schema["$id"] = json!(format!("/events/{detail_type}"));
        schema
    }

    #[test]
    fn every_event_has_its_schema() {
        let entries = ENTRIES.map(|entry_type| {
            let detail_type = of_entries(entry_type);
            let mut schema = schema_of::<EntryBooked>(&detail_type);
            schema["properties"]["type"] = json!({ "const": entry_type.as_str() });
            schema
        });
        let notices = [
            schema_of::<ExpiryNotice>(LOT_EXPIRING),
            schema_of::<BadgeNotice>(BADGE_OFF),
            schema_of::<Crossing>(LOW_BALANCE),
            schema_of::<TopUpOff>(TOP_UP_OFF),
        ];
        for schema in entries.into_iter().chain(notices) {
            let file = format!("infra/events/{}.json", schema["title"].as_str().unwrap());
            let text = serde_json::to_string_pretty(&schema).unwrap() + "\n";
            is_written(&file, &text);
        }
    }

    #[test]
    fn the_templates_are_made_of_the_words() {
        let dictionary = Dictionary::new("en").unwrap();
        let templates: Vec<Template> = dictionary.all().iter().flat_map(templates).collect();
        is_written("infra/mail/templates.yaml", &stack(&templates));
    }

    fn names(text: &str) -> BTreeSet<&str> {
        let parts = text.split("{{").skip(1);
        parts.map(|part| part.split("}}").next().unwrap()).collect()
    }

    #[test]
    fn every_language_says_everything_and_puts_in_the_same() {
        let dictionary = Dictionary::new("en").unwrap();
        let english = dictionary.of(None);
        for words in dictionary.all() {
            let mails: Vec<Mail> = words.mails.keys().copied().collect();
            assert_eq!(mails, Mail::ALL, "{}", words.language);
            assert!(
                words.reasons.keys().eq(english.reasons.keys()),
                "{}",
                words.language
            );
            for (mail, said) in &words.mails {
                let all = |text: &Text| format!("{}{}", text.subject, text.lines.concat());
                let other = &english.mails[mail];
                assert_eq!(
                    names(&all(said)),
                    names(&all(other)),
                    "{mail:?} in {}",
                    words.language
                );
            }
        }
    }

    /// A screen reader tells the language, the title and the heading; nothing is fetched, so nobody is told
    /// that the mail was opened; every mail can be read as plain text.
    #[test]
    fn mails_can_be_read_by_everybody_and_tell_nobody() {
        let dictionary = Dictionary::new("en").unwrap();
        for words in dictionary.all() {
            for template in templates(words) {
                let html = &template.html;
                assert!(html.contains(&format!("<html lang=\"{}\">", words.language)));
                assert_eq!(html.matches("<h1").count(), 1);
                assert!(html.contains(&format!("<title>{}</title>", template.subject)));
                for outside in [
                    "<img", "<a ", "http:", "https:", "url(", "<script", "<link", "[",
                ] {
                    assert!(!html.contains(outside), "{}: {outside}", template.name);
                }
                for line in &words.mails.values().next().unwrap().lines {
                    assert!(!line.contains('<'));
                }
                assert!(names(&template.text).contains("account_id"));
                assert!(
                    names(html).is_superset(&names(&template.text)),
                    "{}",
                    template.name
                );
            }
        }
    }
}
