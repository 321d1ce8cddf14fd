//! Reads template.yaml: the table, the functions, their routes, schedules and streams.
//!
//! Only literal parts of the template are read. Intrinsic functions (`!Ref`, `!Sub` …) arrive as
//! tagged values and are passed over, since nothing that is needed locally is written with one.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value as Json;
use serde_yaml_ng::Value;

use crate::failure::{Doing, Failure, Result};
use crate::front::Cors;

/// What the local stack needs of the template.
#[derive(Debug)]
pub struct Template {
    /// The ledger's table.
    pub table: Table,
    /// Every function's binary.
    pub functions: BTreeSet<String>,
    /// Every route with the function that serves it.
    pub routes: BTreeSet<Route>,
    /// The same of those whose requests are another system's messages, in that system's form, and not
    /// a client's: they are no part of the contract, and no token opens them but a signature.
    pub hooks: BTreeSet<Route>,
    /// The methods and paths of those that API Gateway asks no token for.
    pub open: BTreeSet<(String, String)>,
    /// Every function that runs by itself.
    pub schedules: BTreeMap<String, Duration>,
    /// Every function that the table's stream wakes.
    pub triggers: Vec<Trigger>,
    /// Every function that a queue wakes.
    pub queues: Vec<QueueTrigger>,
    /// What is told and to whom, as a template of its own: the bus, rules, queues, and SES.
    pub told: String,
    /// What pages of allowed origins may do.
    pub cors: Cors,
}

/// A function that a queue wakes.
#[derive(Debug, Clone)]
pub struct QueueTrigger {
    /// The binary of the function.
    pub function: String,
    /// The queue's name in the template.
    pub queue: String,
    /// Messages that it takes at once.
    pub batch: u64,
}

/// What the stand-in for the rest of AWS makes of the template.
const TOLD: [&str; 6] = [
    "AWS::Events::EventBus",
    "AWS::Events::Rule",
    "AWS::SES::ConfigurationSet",
    "AWS::SES::ConfigurationSetEventDestination",
    "AWS::SQS::Queue",
    "AWS::SQS::QueuePolicy",
];

/// Changes that a function takes at once where the template does not say.
const BATCH: u64 = 100;

/// A function that the table's stream wakes, with the changes that do.
#[derive(Debug, Clone)]
pub struct Trigger {
    /// The binary of the function.
    pub function: String,
    /// Changes that it takes at once.
    pub batch: usize,
    /// How many invocations are on their way at once; of one partition, one.
    pub lanes: usize,
    filters: Vec<Json>,
}

impl Trigger {
    /// Whether a stream's record is for it.
    pub fn is_for(&self, record: &Json) -> bool {
        self.filters.iter().any(|filter| matches(filter, record))
    }
}

/// Lambda's event filtering, as far as it is used: literals and prefixes.
fn matches(pattern: &Json, value: &Json) -> bool {
    let rule = |rule: &Json| match rule.get("prefix").and_then(Json::as_str) {
        Some(prefix) => value.as_str().is_some_and(|text| text.starts_with(prefix)),
        None => rule == value,
    };
    match pattern {
        Json::Object(members) => members
            .iter()
            .all(|(name, pattern)| matches(pattern, &value[name])),
        Json::Array(rules) => rules.iter().any(rule),
        _ => false,
    }
}

/// Where other systems' messages go.
const HOOKS: &str = "/v1/webhooks/";

/// One route of the HTTP API.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub struct Route {
    /// The path, with `{name}` for its parameters.
    pub path: String,
    /// The method, in capitals.
    pub method: String,
    /// The binary of the function.
    pub function: String,
}

/// `AWS::DynamoDB::Table`, as far as an emulator knows it. What protects a table in production,
/// such as backups and deletion protection, has no meaning here.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Table {
    /// The attributes that keys are made of.
    pub attribute_definitions: Vec<Attribute>,
    /// The table's key.
    pub key_schema: Vec<Key>,
    /// The indexes.
    #[serde(default)]
    pub global_secondary_indexes: Vec<Index>,
    /// The stream, if it has one.
    pub stream_specification: Option<Stream>,
}

/// A key attribute and its type.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Attribute {
    /// Its name.
    pub attribute_name: String,
    /// `S`, `N` or `B`.
    pub attribute_type: String,
}

/// A part of a key.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Key {
    /// The attribute.
    pub attribute_name: String,
    /// `HASH` or `RANGE`.
    pub key_type: String,
}

/// A global secondary index.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Index {
    /// Its name.
    pub index_name: String,
    /// Its key.
    pub key_schema: Vec<Key>,
    /// What is copied into it.
    pub projection: Projection,
}

/// What an index copies.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Projection {
    /// `KEYS_ONLY`, `INCLUDE` or `ALL`.
    pub projection_type: String,
}

/// A table's stream.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Stream {
    /// What each record carries.
    pub stream_view_type: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct File {
    resources: BTreeMap<String, Resource>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Resource {
    r#type: String,
    #[serde(default)]
    metadata: Value,
    #[serde(default)]
    properties: Value,
}

impl Template {
    /// Reads the template.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).doing(path.display())?;
        Self::parse(&text).doing(path.display())
    }

    fn parse(text: &str) -> Result<Self> {
        let file: File = serde_yaml_ng::from_str(text).doing("not a template")?;
        let of_type = |kind: &'static str| {
            let resources = file.resources.iter();
            resources.filter(move |(_, resource)| resource.r#type == kind)
        };
        let (name, table) = of_type("AWS::DynamoDB::Table")
            .next()
            .doing("no AWS::DynamoDB::Table")?;
        let (name_of_api, api) = of_type("AWS::Serverless::HttpApi")
            .next()
            .doing("no AWS::Serverless::HttpApi")?;
        // `!If`, and where there are origins.
        let cors = api.properties["CorsConfiguration"][1].clone();
        let mut template = Self {
            cors: serde_yaml_ng::from_value(cors).doing(name_of_api)?,
            table: serde_yaml_ng::from_value(table.properties.clone()).doing(name)?,
            functions: BTreeSet::new(),
            routes: BTreeSet::new(),
            hooks: BTreeSet::new(),
            open: BTreeSet::new(),
            schedules: BTreeMap::new(),
            triggers: vec![],
            queues: vec![],
            told: told(text)?,
        };
        for (name, resource) in of_type("AWS::Serverless::Function") {
            template.add_function(resource).doing(name)?;
        }
        Ok(template)
    }

    fn add_function(&mut self, resource: &Resource) -> Result<()> {
        let function = text(&resource.metadata["BuildProperties"], "Binary")?;
        let events = resource.properties["Events"].as_mapping();
        for event in events.into_iter().flat_map(|events| events.values()) {
            let properties = &event["Properties"];
            match text(event, "Type")?.as_str() {
                "HttpApi" => {
                    let route = Route {
                        path: text(properties, "Path")?,
                        method: text(properties, "Method")?.to_uppercase(),
                        function: function.clone(),
                    };
                    let is_open = properties["Auth"]["Authorizer"] == "NONE";
                    if route.path.starts_with(HOOKS) {
                        if !is_open {
                            return Err(Failure::new("no other system has a token for a hook"));
                        }
                        self.hooks.insert(route);
                        continue;
                    }
                    if is_open {
                        self.open.insert((route.method.clone(), route.path.clone()));
                    }
                    self.routes.insert(route);
                }
                "Schedule" => {
                    let every = rate(&text(properties, "Schedule")?)?;
                    self.schedules.insert(function.clone(), every);
                }
                "DynamoDB" => {
                    let filters = properties["FilterCriteria"]["Filters"].as_sequence();
                    let filters = filters.doing("a stream's event has no filters")?.iter();
                    let filters = filters.map(|filter| {
                        let pattern = text(filter, "Pattern")?;
                        serde_json::from_str(&pattern).doing(pattern)
                    });
                    let number = |name| properties[name].as_u64();
                    self.triggers.push(Trigger {
                        function: function.clone(),
                        batch: number("BatchSize").unwrap_or(BATCH) as usize,
                        lanes: number("ParallelizationFactor").unwrap_or(1) as usize,
                        filters: filters.collect::<Result<_>>()?,
                    });
                }
                "SQS" => self.queues.push(QueueTrigger {
                    function: function.clone(),
                    queue: resource_of(&properties["Queue"]).doing("a queue's event names none")?,
                    batch: properties["BatchSize"].as_u64().unwrap_or(10),
                }),
                other => {
                    return Err(Failure::new(format!(
                        "the local stack knows no event {other}"
                    )));
                }
            }
        }
        self.functions.insert(function);
        Ok(())
    }

    /// The schedules' names, for messages.
    pub fn schedule_names(&self) -> String {
        let names: Vec<&str> = self.schedules.keys().map(String::as_str).collect();
        names.join(", ")
    }
}

/// Of `!GetAtt Name.Arn`: the name.
fn resource_of(value: &Value) -> Option<String> {
    let Value::Tagged(get) = value else {
        return None;
    };
    let (name, _) = get.value.as_str()?.split_once('.')?;
    Some(name.to_owned())
}

/// The template with no other resources than those that tell.
fn told(text: &str) -> Result<String> {
    let mut file: Value = serde_yaml_ng::from_str(text).doing("not a template")?;
    let file = file.as_mapping_mut().doing("not a template")?;
    for part in ["Transform", "Globals", "Outputs"] {
        file.remove(part);
    }
    if let Some(parameters) = file.get_mut("Parameters").and_then(Value::as_mapping_mut) {
        parameters.retain(|_, parameter| parameter["Default"] != Value::Null);
    }
    if let Some(resources) = file.get_mut("Resources").and_then(Value::as_mapping_mut) {
        resources.retain(|_, resource| {
            resource["Type"]
                .as_str()
                .is_some_and(|kind| TOLD.contains(&kind))
        });
    }
    serde_yaml_ng::to_string(file).doing("a template of what is told")
}

fn text(value: &Value, key: &str) -> Result<String> {
    let text = value[key].as_str().map(str::to_owned);
    text.doing(format!("no literal {key}"))
}

/// EventBridge's `rate(15 minutes)`.
fn rate(expression: &str) -> Result<Duration> {
    let inner = expression
        .strip_prefix("rate(")
        .and_then(|rest| rest.strip_suffix(')'))
        .and_then(|rest| rest.split_once(' '));
    let seconds = inner.and_then(|(count, unit)| {
        let unit = match unit.trim_end_matches('s') {
            "minute" => 60,
            "hour" => 3_600,
            "day" => 86_400,
            _ => return None,
        };
        count.parse::<u64>().ok()?.checked_mul(unit)
    });
    seconds
        .filter(|seconds| *seconds > 0)
        .map(Duration::from_secs)
        .doing(format!(
            "the local stack can't read the schedule {expression}"
        ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::project::Project;

    #[test]
    fn the_template_has_the_table_and_every_function_is_triggered() {
        let template = Template::read(&Project::find().unwrap().template()).unwrap();
        let keys: Vec<&str> = template
            .table
            .key_schema
            .iter()
            .map(|key| key.attribute_name.as_str())
            .collect();
        assert_eq!(keys, ["pk", "sk"]);
        assert_eq!(template.table.global_secondary_indexes[0].index_name, "due");
        let triggered: BTreeSet<String> = template
            .routes
            .iter()
            .map(|route| route.function.clone())
            .chain(template.schedules.keys().cloned())
            .chain(template.triggers.iter().map(|it| it.function.clone()))
            .chain(template.queues.iter().map(|it| it.function.clone()))
            .collect();
        assert_eq!(template.functions, triggered);
    }

    /// API Gateway refuses a setting for a route that it does not have. Writes have the default; reads
    /// and what anybody may ask, without a token, have one of their own.
    #[test]
    fn throttling_is_set_for_routes_that_there_are_for_reads_and_for_all_without_a_token() {
        let project = Project::find().unwrap();
        let template = Template::read(&project.template()).unwrap();
        let text = std::fs::read_to_string(project.template()).unwrap();
        let file: Value = serde_yaml_ng::from_str(&text).unwrap();
        let resources = file["Resources"].as_mapping().unwrap();
        let settings = file["Resources"]["Api"]["Properties"]["RouteSettings"].as_mapping();
        let set: BTreeSet<&str> = settings.unwrap().keys().filter_map(Value::as_str).collect();
        let route = |method: &str, path: &str| format!("{} {path}", method.to_uppercase());
        let routes = template.routes.iter().chain(&template.hooks);
        let routes: BTreeSet<String> = routes.map(|it| route(&it.method, &it.path)).collect();
        let unknown: Vec<_> = set.iter().filter(|name| !routes.contains(**name)).collect();
        assert!(unknown.is_empty(), "no routes: {unknown:?}");

        let events = resources
            .values()
            .filter_map(|resource| resource["Properties"]["Events"].as_mapping())
            .flat_map(|events| events.values())
            .map(|event| &event["Properties"]);
        let public: Vec<String> = events
            .filter(|event| event["Auth"]["Authorizer"] == "NONE")
            .map(|event| route(&text_of(event, "Method"), &text_of(event, "Path")))
            .collect();
        assert!(!public.is_empty());
        let reads = routes.iter().filter(|route| route.starts_with("GET"));
        for route in reads.chain(&public) {
            assert!(set.contains(route.as_str()), "no RouteSettings for {route}");
        }
    }

    fn text_of(event: &Value, key: &str) -> String {
        text(event, key).unwrap()
    }

    #[test]
    fn a_page_may_do_what_the_template_says() {
        let template = Template::read(&Project::find().unwrap().template()).unwrap();
        let cors = template.cors;
        let lists = [
            &cors.allow_methods,
            &cors.allow_headers,
            &cors.expose_headers,
        ];
        assert!(
            lists
                .iter()
                .all(|list| !list.iter().any(|it| it.contains('*')))
        );
        let methods = template.routes.iter().map(|route| &route.method);
        let methods: BTreeSet<_> = methods.collect();
        assert_eq!(cors.allow_methods.iter().collect::<BTreeSet<_>>(), methods);
    }

    #[test]
    fn a_new_closure_of_a_job_wakes_the_refund_function() {
        let template = Template::read(&Project::find().unwrap().template()).unwrap();
        let woken = |event: &str, sk: &str| {
            let keys = json!({ "pk": { "S": "JOB#J1" }, "sk": { "S": sk } });
            let record = json!({ "eventName": event, "dynamodb": { "Keys": keys } });
            let triggers = template.triggers.iter();
            let woken = triggers.filter(|trigger| trigger.is_for(&record));
            woken
                .map(|trigger| trigger.function.clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(woken("INSERT", "CLOSURE#fraud"), ["refund"]);
        for (event, sk) in [
            ("MODIFY", "CLOSURE#fraud"),
            ("REMOVE", "CLOSURE#fraud"),
            ("INSERT", "PROPOSAL#a1"),
            ("INSERT", "XCLOSURE#fraud"),
        ] {
            assert!(woken(event, sk).is_empty(), "{event} {sk}");
        }
    }

    #[test]
    fn every_function_of_the_workspace_is_deployed() {
        let project = Project::find().unwrap();
        let folders: BTreeSet<String> = std::fs::read_dir(project.root().join("functions"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        assert_eq!(
            Template::read(&project.template()).unwrap().functions,
            folders
        );
    }

    #[test]
    fn rates() {
        for (expression, seconds) in [
            ("rate(15 minutes)", Some(900)),
            ("rate(1 hour)", Some(3_600)),
            ("rate(2 days)", Some(172_800)),
            ("rate(0 minutes)", None),
            ("rate(5 fortnights)", None),
            ("cron(0 0 * * ? *)", None),
        ] {
            let read = rate(expression).ok().map(|every| every.as_secs());
            assert_eq!(read, seconds, "{expression}");
        }
    }
}
