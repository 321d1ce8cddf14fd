//! The contract as OpenAPI 3.1, made from what the functions are made of: bodies and queries from the code
//! that reads them, answers from the types that are answered, refusals with the documents that are
//! sent, and the words from `docs/api.md`.

mod check;
mod glossary;
mod operations;
mod page;
mod problems;

use std::collections::BTreeMap;

use connects::http::shape::{Field, Shape};
use connects_local::project::Project;
use schemars::generate::SchemaSettings;
use schemars::{Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

pub use check::{Contract, names};
pub use operations::{Input, Operation, operations};
use page::Page;
use problems::{Known, known};

/// Where every schema with a name is.
const SCHEMAS: &str = "/components/schemas";

/// Where the document is kept, from the project's root.
pub const FILE: &str = "infra/openapi.json";

/// The document, as it is kept and answered.
pub fn text() -> String {
    format!("{:#}\n", document())
}

/// The document.
pub fn document() -> Value {
    let project = Project::find().expect("the project");
    let page = std::fs::read_to_string(project.root().join("docs/api.md")).expect("docs/api.md");
    let page = Page::parse(&page);
    let settings = SchemaSettings::draft2020_12().for_serialize();
    let mut generator = settings
        .with(|settings| settings.definitions_path = SCHEMAS.into())
        .into_generator();
    let known = known(&mut generator);
    let mut paths: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    let mut examples = BTreeMap::new();
    let operations = operations();
    assert_eq!(
        page.sections.len(),
        operations.len(),
        "docs/api.md has other routes"
    );
    for operation in &operations {
        let document = describe(
            operation,
            &operations,
            &page,
            &known,
            &mut examples,
            &mut generator,
        );
        let methods = paths.entry(operation.path).or_default();
        let twice = methods.insert(operation.method.to_lowercase(), document);
        assert!(twice.is_none(), "{} is there twice", operation.id);
    }
    let mut schemas = generator.take_definitions(true);
    schemas.extend(
        known
            .iter()
            .map(|(code, known)| (problems::name(code), known.schema.clone())),
    );
    let document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Connects",
            "version": env!("CARGO_PKG_VERSION"),
            "description": page.introduction,
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/", "description": "Wherever this document is served." }],
        "tags": operations::TAGS.map(|(name, about)| json!({ "name": name, "description": about })),
        "paths": paths,
        "components": {
            "securitySchemes": { "token": {
                "type": "http", "scheme": "bearer", "bearerFormat": "JWT",
                "description": "Signed with RS256 or ES256. `scope` opens routes; `accounts` are whose holder it is.",
            } },
            "headers": headers(),
            "examples": known.iter().map(|(code, known)| {
                ((*code).to_owned(), json!({ "value": known.example }))
            }).collect::<Map<_, _>>(),
            "responses": known.iter().map(|(code, known)| {
                ((*code).to_owned(), refusal(known.status, &[code]))
            }).collect::<Map<_, _>>(),
            "schemas": schemas,
        },
    });
    renamed(document)
}

/// The headers that answers can have.
fn headers() -> Value {
    let text = json!({ "type": "string" });
    let header = |about: &str, schema: &Value| json!({ "description": about, "schema": schema });
    json!({
        "Connects-Request-Id": header("The request's name, which its log lines have too.", &text),
        "Idempotency-Replayed": header(
            "There when this is the stored answer of an earlier request under the same key.",
            &json!({ "const": "true" }),
        ),
        "Connects-Next-Cursor": header("The next page's `cursor`; missing on the last page.", &text),
        "Retry-After": header("Seconds to wait before another try.", &text),
        "WWW-Authenticate": header("What kind of token is needed.", &json!({ "const": "Bearer" })),
    })
}

fn sent(names: &[&str]) -> Value {
    let reference = |name: &&str| {
        let place = json!({ "$ref": format!("#/components/headers/{name}") });
        ((*name).to_owned(), place)
    };
    Value::Object(names.iter().map(reference).collect())
}

/// An operation as the document has it. `examples` has those of earlier ones, by what they are of.
fn describe(
    operation: &Operation,
    operations: &[Operation],
    page: &Page,
    known: &BTreeMap<&'static str, Known>,
    examples: &mut BTreeMap<String, Value>,
    generator: &mut SchemaGenerator,
) -> Value {
    let section = page.section(operation.method, operation.path);
    assert_eq!(
        section.scopes, operation.scopes,
        "{}: in docs/api.md",
        operation.id
    );
    assert_eq!(
        section.needs_key,
        operation.needs_key(),
        "{}: in docs/api.md",
        operation.id
    );
    let mut parameters: Vec<Value> = glossary::path(operation, generator);
    let (input, body) = match &operation.input {
        Input::Nothing => (Shape(vec![]), None),
        Input::Query(read) => {
            let shape = read(generator);
            parameters.extend(shape.0.iter().map(|field| query(operation, field)));
            (shape, None)
        }
        Input::Body(read) => {
            let shape = told(operation, read(generator));
            (shape.clone(), Some(shape.object()))
        }
    };
    if body.is_some() {
        parameters.push(key(operation));
    }
    let mut responses = Map::new();
    for (status, about) in operation.statuses {
        let schema = (operation.answers)(generator).to_value();
        let mut media = json!({ "schema": schema });
        let example = section
            .example
            .clone()
            .or_else(|| examples.get(&schema.to_string()).cloned());
        if let Some(example) = example {
            examples
                .entry(schema.to_string())
                .or_insert_with(|| example.clone());
            media["example"] = example;
        }
        let mut content = json!({ "application/json": media });
        let mut headers = vec!["Connects-Request-Id"];
        if operation.is_replayed() {
            headers.push("Idempotency-Replayed");
        }
        if operation.csv {
            content["text/csv"] = json!({ "schema": { "type": "string" } });
            headers.push("Connects-Next-Cursor");
        }
        let mut response =
            json!({ "description": about, "headers": sent(&headers), "content": content });
        if !operation.leads_to.is_empty() {
            response["links"] = links(operation, &input, operations);
        }
        responses.insert(status.to_string(), response);
    }
    let mut refusals: BTreeMap<u16, Vec<&str>> = BTreeMap::new();
    for code in operation.codes(&input) {
        refusals.entry(known[code].status).or_default().push(code);
    }
    for (status, codes) in refusals {
        responses.insert(status.to_string(), refused(status, &codes));
    }
    let mut document = json!({
        "operationId": operation.id,
        "tags": [operation.tag],
        "summary": section.title,
        "description": section.text,
        "parameters": parameters,
        "responses": responses,
        "security": operation.scopes.iter().map(|scope| json!({ "token": [scope] })).collect::<Vec<_>>(),
    });
    if let Some(schema) = body {
        document["requestBody"] = json!({
            "required": true,
            "content": { "application/json": { "schema": schema } },
        });
    }
    document
}

/// Where one goes on from an operation, each id of the other's path being one of this path, of its body or
/// of its answer.
fn links(from: &Operation, input: &Shape, operations: &[Operation]) -> Value {
    let place = |id: &str| {
        if from.ids().any(|own| own == id) {
            format!("$request.path.{id}")
        } else if input.0.iter().any(|field| field.name == id) {
            format!("$request.body#/{id}")
        } else {
            format!("$response.body#/{id}")
        }
    };
    let link = |name: &&'static str| {
        let to = operations.iter().find(|operation| operation.id == *name);
        let ids = to.unwrap_or_else(|| panic!("{name} is none")).ids();
        let parameters: Map<_, _> = ids.map(|id| (id.to_owned(), place(id).into())).collect();
        (
            (*name).to_owned(),
            json!({ "operationId": name, "parameters": parameters }),
        )
    };
    Value::Object(from.leads_to.iter().map(link).collect())
}

/// The answer to what is refused with one of these.
fn refused(status: u16, codes: &[&str]) -> Value {
    let [code] = codes else {
        return refusal(status, codes);
    };
    json!({ "$ref": format!("#/components/responses/{code}") })
}

fn refusal(status: u16, codes: &[&str]) -> Value {
    let place = |code: &str| json!({ "$ref": format!("#{SCHEMAS}/{}", problems::name(code)) });
    let by_code = |make: &dyn Fn(&str) -> Value| -> Map<String, Value> {
        codes
            .iter()
            .map(|code| ((*code).to_owned(), make(code)))
            .collect()
    };
    let schema = match codes {
        [code] => place(code),
        several => json!({ "oneOf": several.iter().map(|code| place(code)).collect::<Vec<_>>() }),
    };
    let examples = by_code(&|code| json!({ "$ref": format!("#/components/examples/{code}") }));
    let quoted: Vec<_> = codes.iter().map(|code| format!("`{code}`")).collect();
    let mut headers = vec!["Connects-Request-Id"];
    headers.extend(match status {
        401 => Some("WWW-Authenticate"),
        // That of a purchase is the stored answer, like one that was paid.
        402 => Some("Idempotency-Replayed"),
        429 | 503 => Some("Retry-After"),
        _ => None,
    });
    json!({
        "description": quoted.join(", "),
        "headers": sent(&headers),
        "content": { "application/problem+json": { "schema": schema, "examples": examples } },
    })
}

/// A query parameter.
fn query(operation: &Operation, field: &Field) -> Value {
    json!({
        "in": "query",
        "name": field.name,
        "required": field.required,
        "schema": field.schema,
        "description": glossary::of(operation.id, &field.name),
    })
}

fn key(operation: &Operation) -> Value {
    json!({
        "in": "header",
        "name": "Idempotency-Key",
        "required": operation.needs_key(),
        "schema": { "type": "string", "pattern": "^[!-~]{1,255}$" },
        "description": glossary::key(operation),
    })
}

/// The same, each member with its words.
fn told(operation: &Operation, shape: Shape) -> Shape {
    let members = shape.0.into_iter().map(|mut field| {
        let about = glossary::of(operation.id, &field.name);
        field.schema.insert("description".to_owned(), about.into());
        if let Some(Value::Object(members)) = field.schema.get_mut("properties") {
            for (name, member) in members {
                let path = format!("{}.{name}", field.name);
                if let Value::Object(member) = member {
                    member.insert(
                        "description".to_owned(),
                        glossary::of(operation.id, &path).into(),
                    );
                }
            }
        }
        field
    });
    Shape(members.collect())
}

/// The same with the names that a client would give things. In the code, what the contract shows of a thing
/// stands beside the thing, and is called its view or the answer about it.
fn renamed(mut document: Value) -> Value {
    let schemas = document["components"]["schemas"]
        .as_object()
        .expect("schemas");
    let names: BTreeMap<String, String> = schemas
        .keys()
        .map(|name| (name.clone(), public(name)))
        .collect();
    let taken = names.values().collect::<std::collections::BTreeSet<_>>();
    assert_eq!(taken.len(), names.len(), "two schemas would have one name");
    let schemas = schemas
        .iter()
        .map(|(name, schema)| (names[name].clone(), schema.clone()));
    document["components"]["schemas"] = Value::Object(schemas.collect());
    refer(&mut document, &names);
    document
}

fn public(name: &str) -> String {
    let given = match name {
        "Kind" => "AccountKind",
        "Status" => "AccountStatus",
        "Source" => "LotSource",
        "Pricing" => "AuctionPricing",
        "PriceView" => "BadgePrice",
        "PastPrice" => "PastBadgePrice",
        "WeekView" => "CalendarWeek",
        "Cause" => "PlanChangeReason",
        "Effective" => "PlanChangeTime",
        "Custom" => "CustomQuantity",
        "PlaceView" => "LeadingBid",
        "RedeemAnswer" => "Redemption",
        "SpendAnswer" => "Spend",
        "SliceView" => "LotSlice",
        name => {
            let bare = name
                .strip_suffix("View")
                .or_else(|| name.strip_suffix("Answer"));
            bare.unwrap_or(name)
        }
    };
    given.to_owned()
}

/// Lets every reference name its schema as it is called now.
fn refer(value: &mut Value, names: &BTreeMap<String, String>) {
    let prefix = format!("#{SCHEMAS}/");
    match value {
        Value::String(text) => {
            if let Some(name) = text.strip_prefix(&prefix).and_then(|old| names.get(old)) {
                *text = format!("{prefix}{name}");
            }
        }
        Value::Array(elements) => elements
            .iter_mut()
            .for_each(|element| refer(element, names)),
        Value::Object(members) => members.values_mut().for_each(|member| refer(member, names)),
        _ => {}
    }
}

/// The schema of a type.
fn of<T: schemars::JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use connects_local::template::Template;

    use super::*;
    use crate::written::is_written;

    fn template() -> Template {
        Template::read(&Project::find().unwrap().template()).unwrap()
    }

    fn routes(operations: &[Operation]) -> BTreeSet<(String, String)> {
        let routes = operations.iter();
        routes
            .map(|operation| (operation.method.to_owned(), operation.path.to_owned()))
            .collect()
    }

    #[test]
    fn the_document_is_the_one_that_is_answered() {
        is_written(FILE, &text());
    }

    #[test]
    fn it_has_the_routes_of_the_template() {
        let here = routes(&operations());
        let routes = template().routes;
        let there = routes.into_iter().map(|route| (route.method, route.path));
        assert_eq!(here, there.collect());
    }

    #[test]
    fn what_needs_no_token_is_what_the_template_opens() {
        let mut operations = operations();
        operations.retain(|operation| operation.scopes.is_empty());
        assert_eq!(routes(&operations), template().open);
    }

    /// What is shown of an answer is what can be answered.
    #[test]
    fn every_example_is_of_its_schema() {
        let document = document();
        let contract = Contract::get();
        let mut shown = 0;
        for (path, methods) in document["paths"].as_object().unwrap() {
            for (method, operation) in methods.as_object().unwrap() {
                for (status, response) in operation["responses"].as_object().unwrap() {
                    let place = response["$ref"].as_str();
                    let place = place.and_then(|place| document.pointer(&place[1..]));
                    let response = place.unwrap_or(response);
                    for (kind, media) in response["content"].as_object().unwrap() {
                        let named = media["examples"].as_object().into_iter().flatten();
                        let named = named
                            .map(|(code, _)| &document["components"]["examples"][code]["value"]);
                        for example in media.get("example").into_iter().chain(named) {
                            let status = status.parse().unwrap();
                            let route = (method.as_str(), path.as_str());
                            let objection = contract.objection(route, status, kind, example);
                            assert_eq!(objection, None);
                            shown += 1;
                        }
                    }
                }
            }
        }
        assert!(shown > 300, "{shown}");
    }

    #[test]
    fn every_problem_is_some_operations_and_has_its_line_on_the_page() {
        let document = document();
        let page =
            std::fs::read_to_string(Project::find().unwrap().root().join("docs/api.md")).unwrap();
        let known = known(&mut SchemaGenerator::default());
        // Of no operation: there is none.
        let paths = document["paths"].to_string();
        for code in known.keys() {
            let whole = format!("#/components/responses/{code}\"");
            let one_of = format!("{SCHEMAS}/{}\"", problems::name(code));
            let used = paths.contains(&whole) || paths.contains(&one_of);
            assert_eq!(used, *code != "not_found", "{code}");
            assert!(page.contains(&format!("`{code}`")), "{code}");
        }
    }

    #[test]
    fn no_words_are_of_no_member() {
        let document = document().to_string();
        for (name, words) in glossary::all() {
            assert!(
                document.contains(&Value::from(*words).to_string()),
                "{name}"
            );
        }
    }

    #[test]
    fn an_answer_that_the_document_does_not_know_is_objected_to() {
        let contract = Contract::get();
        let balance = json!({ "available": 5, "held": 0, "debt": 0 });
        let good = json!({
            "code": "SPRING-26", "amount": 15, "lot_id": "6-0", "balance": balance,
        });
        let with = |member: &str, value: Value| {
            let mut body = good.clone();
            body[member] = value;
            body
        };
        let json = "application/json";
        let redeem = ("POST", "/v1/accounts/a1/redemptions");
        for (route, status, kind, body, objected) in [
            (redeem, 201, json, good.clone(), false),
            (redeem, 200, json, good.clone(), true),
            (redeem, 201, "text/plain", good.clone(), true),
            (redeem, 201, json, with("amount", "15".into()), true),
            (redeem, 201, json, with("lot_id", "six".into()), true),
            (redeem, 201, json, with("more", 1.into()), true),
            (redeem, 201, json, Value::Null, true),
            (redeem, 409, "application/problem+json", good.clone(), true),
            (("POST", "/v1/elsewhere"), 500, json, Value::Null, false),
        ] {
            let objection = contract.objection(route, status, kind, &body);
            assert_eq!(
                objection.is_some(),
                objected,
                "{status} {kind} {body}: {objection:?}"
            );
        }
    }
}
