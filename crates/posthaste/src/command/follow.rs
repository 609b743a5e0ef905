//! Following the event stream for `tail` and `listen`: it comes back after every break and misses nothing.

use std::time::Duration;

use crate::client::Client;
use crate::failure::Failure;
use crate::sse::{EventStream, Message};

/// First and longest pause before another try.
const PAUSES: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(10)];

/// A stream that is opened again whenever it breaks.
pub struct Follower<'a> {
    client: &'a Client,
    types: &'a [String],
    stream: EventStream,
}

impl<'a> Follower<'a> {
    /// Opens the stream. What fails here is an error; what breaks later is not.
    pub async fn open(client: &'a Client, types: &'a [String]) -> Result<Self, Failure> {
        let stream = EventStream::open(client, types, None).await?;
        Ok(Self { client, types, stream })
    }

    /// The next event as JSON. Fails only when the server refuses for good, as when the key was deleted.
    pub async fn next(&mut self) -> Result<Message, Failure> {
        loop {
            match self.stream.next().await {
                Some(message) => return Ok(message),
                None => self.reopen().await?,
            }
        }
    }

    async fn reopen(&mut self) -> Result<(), Failure> {
        let mut pause = PAUSES[0];
        let mut is_told = false;
        loop {
            tokio::time::sleep(pause).await;
            match EventStream::open(self.client, self.types, self.stream.cursor().map(str::to_owned)).await {
                Ok(stream) => {
                    if is_told {
                        eprintln!("connected again");
                    }
                    self.stream = stream;
                    return Ok(());
                }
                Err(error) if error.is_passing() => {
                    if !std::mem::replace(&mut is_told, true) {
                        eprintln!("the connection is gone ({error}); trying again");
                    }
                    pause = (pause * 2).min(PAUSES[1]);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}
