//! Holds answers against the document.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex};

use jsonschema::Validator;
use serde_json::{Value, json};

/// The document, ready to be asked.
pub struct Contract {
    document: Value,
    validators: Mutex<HashMap<String, Validator>>,
}

static CONTRACT: LazyLock<Contract> = LazyLock::new(|| Contract::new(super::document()));

/// Whether API Gateway itself answered; what it says is not this contract's.
fn is_the_gateways(status: u16, body: &Value) -> bool {
    let members = body
        .as_object()
        .map(|members| members.keys().collect::<Vec<_>>());
    status >= 400 && members.is_some_and(|names| names == ["message"])
}

/// Whether a path is one of those that a path with names in braces stands for.
pub fn names(named: &str, path: &str) -> bool {
    let mut parts = named.split('/').zip(path.split('/'));
    named.split('/').count() == path.split('/').count()
        && parts.all(|(named, part)| named == part || named.starts_with('{'))
}

impl Contract {
    /// The one of this code.
    pub fn get() -> &'static Self {
        &CONTRACT
    }

    fn new(mut document: Value) -> Self {
        // A client has to bear members that come later; these tests are to know all that there are.
        let schemas = document["components"]["schemas"].as_object_mut();
        for schema in schemas.into_iter().flat_map(serde_json::Map::values_mut) {
            if schema["type"] == "object" {
                schema["unevaluatedProperties"] = false.into();
            }
        }
        Self {
            document,
            validators: Mutex::default(),
        }
    }

    /// The path of the document that a request's path is one of, if there is one.
    fn path(&self, method: &str, path: &str) -> Option<&str> {
        let path = path.split('?').next().unwrap_or(path);
        let paths = self.document["paths"].as_object()?;
        let known = paths
            .iter()
            .filter(|(_, methods)| methods.get(method).is_some());
        let known = known
            .map(|(path, _)| path)
            .filter(|named| names(named, path));
        // `plan-changes/preview` is none of `plan-changes/{id}`: the fewest names are meant.
        known
            .min_by_key(|path| path.matches('{').count())
            .map(String::as_str)
    }

    /// What is wrong with an answer to a request; nothing, of one to no operation of the document.
    pub fn objection(
        &self,
        (method, path): (&str, &str),
        status: u16,
        content_type: &str,
        body: &Value,
    ) -> Option<String> {
        let method = method.to_lowercase();
        let path = self.path(&method, path)?;
        if is_the_gateways(status, body) {
            return None;
        }
        let responses = &self.document["paths"][path][&method]["responses"];
        let Some(mut response) = responses.get(status.to_string()) else {
            return Some(format!("{method} {path} does not answer {status}"));
        };
        if let Some(place) = response["$ref"].as_str() {
            response = self.document.pointer(&place[1..]).unwrap_or(response);
        }
        let kind = content_type.split(';').next().unwrap_or(content_type);
        let Some(media) = response["content"].get(kind) else {
            return Some(format!(
                "{method} {path} does not answer {status} as {content_type}"
            ));
        };
        if kind == "text/csv" {
            return None;
        }
        let mut validators = self.validators.lock().expect("nobody panics with it");
        let validator = validators
            .entry(format!("{method} {path} {status} {kind}"))
            .or_insert_with(|| self.validator(&media["schema"]));
        let wrong = validator.iter_errors(body).next()?;
        Some(format!(
            "{method} {path} {status}: {wrong} at {}",
            wrong.instance_path()
        ))
    }

    fn validator(&self, schema: &Value) -> Validator {
        let schema = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "allOf": [schema],
            "components": self.document["components"],
        });
        let options = jsonschema::options().should_validate_formats(true);
        options.build(&schema).expect("a schema of the document")
    }
}
