//! HTTP byte by byte: what no client that knows the protocol would send.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::stack::Stack;

/// Nothing that is answered at all takes this long.
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection to the gateway.
#[derive(Debug)]
pub struct Connection(TcpStream);

impl Stack {
    /// Connects.
    pub async fn dial(&self) -> Connection {
        let address = self.url.strip_prefix("http://").unwrap();
        Connection(TcpStream::connect(address).await.unwrap())
    }

    /// Sends a whole request, as it is, and reads its answer: status, headers and body in one text.
    pub async fn converse(&self, request: impl AsRef<[u8]>) -> (u16, String) {
        let mut connection = self.dial().await;
        connection.send(request).await;
        connection.answer().await
    }
}

impl Connection {
    /// Sends bytes, if there still is somebody who takes them.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.0.write_all(bytes.as_ref()).await;
        let _ = self.0.flush().await;
    }

    /// The answer to a request that asked for the connection to be closed after it.
    pub async fn answer(mut self) -> (u16, String) {
        let mut bytes = vec![];
        // A connection that is cut off has said what it had to say.
        let read = timeout(PATIENCE, self.0.read_to_end(&mut bytes));
        let _ = read.await.expect("an answer");
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let status = text.split(' ').nth(1).and_then(|word| word.parse().ok());
        (status.unwrap_or_default(), text)
    }
}
