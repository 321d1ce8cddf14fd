//! DynamoDB's stand-ins, and the table made from template.yaml.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_dynamodb::error::DisplayErrorContext;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType, Projection,
    ProjectionType, ScalarAttributeType, StreamSpecification, StreamViewType, TableStatus,
};
use dynoxide::Database;
use rusqlite::Connection;
use tokio::net::TcpListener;
use tokio::process::Child;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::failure::{Doing, Failure, Result};
use crate::process::{Service, Spawner, tail};
use crate::stack::free_port;
use crate::template::{Key, Table};
use crate::{environment, tools};

/// The region of everything local.
pub const REGION: &str = "us-east-1";
/// The table's name; a deployed one is named by CloudFormation.
pub const TABLE: &str = "connects";
/// An access key, and its secret, for emulators: any will do.
pub const ACCESS_KEY: &str = "local";

/// How long DynamoDB Local may take to start.
const START: Duration = Duration::from_secs(60);
/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(100);
/// How long requests that are being served may take to end.
const LAST_REQUESTS: Duration = Duration::from_secs(2);

/// Which DynamoDB to use.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Store {
    /// The emulator inside this process.
    #[default]
    Embedded,
    /// AWS's DynamoDB Local, a Java program.
    DynamoDbLocal,
    /// Whatever answers at that address.
    Endpoint(String),
}

impl FromStr for Store {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text {
            "embedded" => Ok(Self::Embedded),
            "dynamodb-local" => Ok(Self::DynamoDbLocal),
            url if url.starts_with("http://") || url.starts_with("https://") => {
                Ok(Self::Endpoint(url.trim_end_matches('/').to_owned()))
            }
            _ => Err("one of: embedded, dynamodb-local, an http(s):// address".to_owned()),
        }
    }
}

/// A DynamoDB that answers.
#[derive(Debug)]
pub struct Emulator {
    /// Its address.
    pub endpoint: String,
    process: Process,
}

#[derive(Debug)]
enum Process {
    Embedded {
        stop: oneshot::Sender<()>,
        server: JoinHandle<()>,
    },
    DynamoDbLocal {
        _child: Child,
    },
    Elsewhere,
}

/// What a stand-in needs to start.
#[derive(Debug)]
pub struct Place<'a> {
    /// Starts the Java program.
    pub spawner: &'a Spawner,
    /// Where tools are installed.
    pub tools: &'a Path,
    /// Where logs go.
    pub logs: &'a Path,
    /// Where data is kept; without it, in memory.
    pub data: Option<&'a Path>,
}

impl Emulator {
    /// Starts the stand-in, or takes the address given.
    pub async fn start(store: &Store, place: &Place<'_>) -> Result<Self> {
        if let Some(folder) = place.data {
            fs::create_dir_all(folder).doing(folder.display())?;
        }
        match store {
            Store::Embedded => embedded(place.data).await,
            Store::DynamoDbLocal => dynamodb_local(place).await,
            Store::Endpoint(url) => Ok(Self {
                endpoint: url.clone(),
                process: Process::Elsewhere,
            }),
        }
    }

    /// Ends the stand-in.
    pub async fn stop(self) {
        if let Process::Embedded { stop, server } = self.process {
            let _ = stop.send(());
            let _ = timeout(LAST_REQUESTS, server).await;
        }
    }
}

/// What the emulator lacks: it looks for a stream's last number among all records of all streams,
/// with every item written, and it never drops a record.
const STREAM_INDEXES: &str = "
    CREATE INDEX IF NOT EXISTS connects_stream_numbers
        ON _stream_records (table_name, CAST(sequence_number AS INTEGER));
    CREATE INDEX IF NOT EXISTS connects_shard_numbers
        ON _stream_records (table_name, shard_id, CAST(sequence_number AS INTEGER));";

/// The embedded stand-in's data, in a folder or in memory.
pub fn database(data: Option<&Path>) -> Result<Database> {
    static OPENED: AtomicUsize = AtomicUsize::new(0);
    let name = match data {
        Some(folder) => {
            let file = folder.join("connects.db");
            let name = file.to_str().doing("the data folder's name is not UTF-8")?;
            name.to_owned()
        }
        // Named, so that a second connection finds it.
        None => {
            let number = OPENED.fetch_add(1, Ordering::Relaxed);
            format!("file:connects-{number}?mode=memory&cache=shared")
        }
    };
    let database = Database::new(&name).doing(&name)?;
    let indexes = Connection::open(&name).and_then(|c| c.execute_batch(STREAM_INDEXES));
    indexes.doing("the stream's indexes")?;
    Ok(database)
}

/// Starts the embedded stand-in, with its data in a folder or in memory.
pub async fn embedded(data: Option<&Path>) -> Result<Emulator> {
    let database = database(data)?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
    let listener = listener.doing("a port for the embedded DynamoDB")?;
    let address = listener.local_addr().doing("the embedded DynamoDB")?;
    let (stop, stopped) = oneshot::channel::<()>();
    let server = tokio::spawn(async move {
        let stopped = async move {
            let _ = stopped.await;
        };
        if let Err(e) = dynoxide::server::serve_with_shutdown(listener, database, stopped).await {
            eprintln!("the embedded DynamoDB ended: {e}");
        }
    });
    Ok(Emulator {
        endpoint: format!("http://{address}"),
        process: Process::Embedded { stop, server },
    })
}

/// It can't be told which address to listen on: it takes all of them.
async fn dynamodb_local(place: &Place<'_>) -> Result<Emulator> {
    let missing = tools::missing_for_dynamodb_local(place.tools);
    if !missing.is_empty() {
        return Err(Failure::new(format!(
            "DynamoDB Local needs {}",
            missing.join(" and ")
        )));
    }
    let jar = tools::dynamodb_local(place.tools).await?;
    let port = free_port()?;
    let arguments = ["-Xmx1g", "-Djava.library.path=DynamoDBLocal_lib", "-jar"];
    let mut arguments: Vec<String> = arguments.map(str::to_owned).to_vec();
    arguments.extend(["DynamoDBLocal.jar", "-sharedDb", "-port"].map(str::to_owned));
    arguments.push(port.to_string());
    match place.data {
        Some(folder) => {
            let folder = folder.canonicalize().doing(folder.display())?;
            arguments.extend(["-dbPath".to_owned(), folder.display().to_string()]);
        }
        None => arguments.push("-inMemory".to_owned()),
    }
    let service = Service {
        name: "DynamoDB Local".to_owned(),
        program: environment::on_path("java").unwrap_or_else(|| PathBuf::from("java")),
        arguments,
        environment: Vec::new(),
        inherits: true,
        folder: jar,
        log: place.logs.join("dynamodb-local.log"),
    };
    let mut child = place.spawner.start(&service).await?;
    let endpoint = format!("http://127.0.0.1:{port}");
    let client = client(&endpoint);
    let answers = async {
        while client.list_tables().send().await.is_err() {
            sleep(POLL).await;
        }
    };
    tokio::select! {
        answered = timeout(START, answers) => match answered {
            Ok(()) => Ok(Emulator { endpoint, process: Process::DynamoDbLocal { _child: child } }),
            Err(_) => Err(Failure::new(format!("DynamoDB Local does not answer{}", tail(&service.log)))),
        },
        _ = child.wait() => Err(Failure::new(format!("DynamoDB Local ended{}", tail(&service.log)))),
    }
}

/// A client of any stand-in.
pub fn client(endpoint: &str) -> Client {
    let credentials = Credentials::new(ACCESS_KEY, ACCESS_KEY, None, None, "local");
    let http = aws_smithy_http_client::Builder::new().build_http();
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .endpoint_url(endpoint)
        .region(Region::new(REGION))
        .credentials_provider(credentials)
        .http_client(http);
    Client::from_conf(config.build())
}

/// Creates the table as the template has it, unless it is there from an earlier run.
pub async fn ensure_table(endpoint: &str, name: &str, table: &Table) -> Result<()> {
    let client = client(endpoint);
    ensure(&client, name, table).await
}

/// The same, through any client.
pub async fn ensure(client: &Client, name: &str, table: &Table) -> Result<()> {
    let exists = match client.describe_table().table_name(name).send().await {
        Ok(_) => true,
        Err(e)
            if e.as_service_error()
                .is_some_and(|e| e.is_resource_not_found_exception()) =>
        {
            false
        }
        Err(e) => return Err(DisplayErrorContext(e)).doing(name),
    };
    if !exists {
        create(client, name, table).await?;
    }
    let active = async {
        loop {
            let answer = client.describe_table().table_name(name).send().await;
            let status = answer.ok().and_then(|answer| answer.table?.table_status);
            if status == Some(TableStatus::Active) {
                return;
            }
            sleep(POLL).await;
        }
    };
    timeout(START, active).await.doing("the table is not ready")
}

async fn create(client: &Client, name: &str, table: &Table) -> Result<()> {
    let mut request = client
        .create_table()
        .table_name(name)
        .billing_mode(BillingMode::PayPerRequest)
        .set_key_schema(Some(key_schema(&table.key_schema)?));
    for attribute in &table.attribute_definitions {
        let definition = AttributeDefinition::builder()
            .attribute_name(&attribute.attribute_name)
            .attribute_type(ScalarAttributeType::from(attribute.attribute_type.as_str()))
            .build();
        request = request.attribute_definitions(definition.doing("an attribute")?);
    }
    for index in &table.global_secondary_indexes {
        let kind = ProjectionType::from(index.projection.projection_type.as_str());
        let built = GlobalSecondaryIndex::builder()
            .index_name(&index.index_name)
            .set_key_schema(Some(key_schema(&index.key_schema)?))
            .projection(Projection::builder().projection_type(kind).build())
            .build();
        request = request.global_secondary_indexes(built.doing("an index")?);
    }
    if let Some(stream) = &table.stream_specification {
        let stream = StreamSpecification::builder()
            .stream_enabled(true)
            .stream_view_type(StreamViewType::from(stream.stream_view_type.as_str()))
            .build();
        request = request.stream_specification(stream.doing("the stream")?);
    }
    let made = request.send().await.map_err(DisplayErrorContext);
    made.doing("the table can't be created").map(drop)
}

fn key_schema(keys: &[Key]) -> Result<Vec<KeySchemaElement>> {
    let element = |key: &Key| {
        KeySchemaElement::builder()
            .attribute_name(&key.attribute_name)
            .key_type(KeyType::from(key.key_type.as_str()))
            .build()
            .doing("a key")
    };
    keys.iter().map(element).collect()
}
