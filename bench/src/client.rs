//! One persistent HTTP/1.1 connection that carries preformatted requests, one at a time.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::BenchError;
use crate::http::{Frame, status};

/// Pause between two tries to connect.
const RETRY: Duration = Duration::from_millis(5);

/// A connection to the server.
pub struct Connection {
    address: SocketAddr,
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// An answer; lies in the connection's buffer until the next exchange.
pub struct Answer<'a> {
    /// HTTP status.
    pub status: u16,
    /// The whole body.
    pub body: &'a [u8],
}

impl Connection {
    /// Connects.
    pub async fn open(address: SocketAddr) -> Result<Self, BenchError> {
        let stream = TcpStream::connect(address).await.map_err(BenchError::io(format!("cannot connect to {address}")))?;
        stream.set_nodelay(true).map_err(BenchError::io("cannot set TCP_NODELAY"))?;
        Ok(Self { address, stream, buffer: Vec::with_capacity(4096) })
    }

    /// Replaces a broken connection; tries so long while nobody listens.
    pub async fn reopen(&mut self, patience: Duration) -> Result<(), BenchError> {
        *self = Self::open_within(self.address, patience).await?;
        Ok(())
    }

    /// Connects; tries so long while nobody listens.
    pub async fn open_within(address: SocketAddr, patience: Duration) -> Result<Self, BenchError> {
        let since = Instant::now();
        loop {
            match Self::open(address).await {
                Ok(connection) => return Ok(connection),
                Err(error) if since.elapsed() >= patience => return Err(error),
                Err(_) => tokio::time::sleep(RETRY).await,
            }
        }
    }

    /// Sends a request and reads its answer.
    pub async fn exchange(&mut self, request: &[u8]) -> Result<Answer<'_>, BenchError> {
        let broken = || BenchError::io("the connection broke");
        self.buffer.clear();
        self.stream.write_all(request).await.map_err(broken())?;
        let frame = loop {
            if let Some(frame) = Frame::of(&self.buffer)?
                && self.buffer.len() >= frame.total()
            {
                break frame;
            }
            if self.stream.read_buf(&mut self.buffer).await.map_err(broken())? == 0 {
                return Err(broken()(std::io::ErrorKind::UnexpectedEof.into()));
            }
        };
        Ok(Answer { status: status(&self.buffer)?, body: &self.buffer[frame.head..frame.total()] })
    }
}
