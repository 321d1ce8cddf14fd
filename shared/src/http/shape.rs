//! What a request may hold, as JSON Schema: found by letting the function that reads it read nothing, and
//! noting what it asks for.

use std::sync::{Arc, Mutex, PoisonError};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value};

use super::input::Fields;

/// Says what a reader takes.
pub(super) type Schematic = Box<dyn FnOnce(&mut SchemaGenerator) -> Schema + Send>;

/// What was asked for so far.
pub(super) type Asked = Arc<Mutex<Vec<Note>>>;

pub(super) struct Note {
    name: String,
    required: bool,
    schema: Schematic,
}

impl std::fmt::Debug for Note {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)
    }
}

/// A field of a request.
#[derive(Debug, Clone)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// Whether it must be there.
    pub required: bool,
    /// What it takes.
    pub schema: Schema,
}

/// The fields of a request, in the order in which they are read.
#[derive(Debug, Clone)]
pub struct Shape(pub Vec<Field>);

impl Shape {
    /// The object that has them and no others.
    pub fn object(self) -> Schema {
        let required = self.0.iter().filter(|field| field.required);
        let required: Vec<_> = required.map(|field| field.name.clone()).collect();
        let properties = self
            .0
            .into_iter()
            .map(|field| (field.name, field.schema.to_value()));
        json_schema!({
            "type": "object",
            "properties": properties.collect::<Map<_, _>>(),
            "required": required,
            "additionalProperties": false,
        })
    }
}

/// What a function reads.
pub fn of<T>(generator: &mut SchemaGenerator, read: impl FnOnce(Fields) -> T) -> Shape {
    let asked = Asked::default();
    read(Fields::asking(asked.clone()));
    let notes = std::mem::take(&mut *asked.lock().unwrap_or_else(PoisonError::into_inner));
    let field = |note: Note| Field {
        name: note.name,
        required: note.required,
        schema: (note.schema)(generator),
    };
    Shape(notes.into_iter().map(field).collect())
}

pub(super) fn note(asked: Option<&Asked>, name: &str, required: bool, schema: Schematic) {
    if let Some(asked) = asked {
        let mut asked = asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.push(Note {
            name: name.to_owned(),
            required,
            schema,
        });
    }
}

pub(super) fn of_type<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

pub(super) fn number(least: i64, most: i64) -> Schema {
    json_schema!({ "type": "integer", "minimum": least, "maximum": most })
}

pub(super) fn text_of(least: usize, most: usize) -> Schema {
    json_schema!({ "type": "string", "minLength": least, "maxLength": most })
}

pub(super) fn words(words: &[&str]) -> Schema {
    json_schema!({ "type": "string", "enum": words })
}

pub(super) fn pattern(pattern: &str) -> Schema {
    json_schema!({ "type": "string", "pattern": pattern })
}

pub(super) fn list(element: Schematic, generator: &mut SchemaGenerator) -> Schema {
    let element: Value = element(generator).to_value();
    json_schema!({ "type": "array", "items": element, "minItems": 1 })
}
