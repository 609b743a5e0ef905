//! A TCP link that can be cut, frozen and slowed down. It has a thread of its own.

use std::net::SocketAddr;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::BenchError;

/// What is read at once.
const CHUNK: usize = 64 << 10;

/// How a link is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// Bytes pass.
    Open,
    /// Connections break, and new ones break as soon as they are made.
    Cut,
    /// Connections stay, and nothing passes.
    Frozen,
    /// Each chunk takes so long.
    Slow(Duration),
}

/// A link to one address; it ends when this is dropped.
pub struct Link {
    address: SocketAddr,
    state: Option<watch::Sender<LinkState>>,
    thread: Option<JoinHandle<()>>,
}

impl Link {
    /// Listens on a free port of loopback.
    pub fn to(upstream: SocketAddr) -> Result<Self, BenchError> {
        let failed = || BenchError::io("cannot start a proxy");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").map_err(failed())?;
        listener.set_nonblocking(true).map_err(failed())?;
        let address = listener.local_addr().map_err(failed())?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed())?;
        let (sender, state) = watch::channel(LinkState::Open);
        let thread = std::thread::Builder::new().name("link".to_owned()).spawn(move || {
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).expect("it is a non-blocking socket and this is a runtime");
                accept(listener, upstream, state).await;
            });
        });
        Ok(Self { address, state: Some(sender), thread: Some(thread.map_err(failed())?) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on it is so.
    pub fn set(&self, state: LinkState) {
        if let Some(sender) = &self.state {
            sender.send_replace(state);
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        drop(self.state.take());
        if let Some(thread) = self.thread.take() {
            // A proxy that panicked has said so on standard error.
            let _ = thread.join();
        }
    }
}

/// Ends when nobody can change the state any more.
async fn accept(listener: TcpListener, upstream: SocketAddr, state: watch::Receiver<LinkState>) {
    let mut connections = JoinSet::new();
    let mut watched = state.clone();
    let ended = async { while watched.changed().await.is_ok() {} };
    tokio::pin!(ended);
    loop {
        tokio::select! {
            () = &mut ended => return,
            accepted = listener.accept() => {
                if let Ok((client, _)) = accepted {
                    connections.spawn(carry(client, upstream, state.clone()));
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn carry(client: TcpStream, upstream: SocketAddr, mut state: watch::Receiver<LinkState>) {
    if !may_pass(&mut state).await {
        return;
    }
    let Ok(server) = TcpStream::connect(upstream).await else { return };
    // Without it small messages may wait, and the link would be slow when it should not.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let mut is_cut = state.clone();
    // Whoever ends first ends both ways, and the sockets close.
    tokio::select! {
        () = pump(from_client, to_server, state.clone()) => {}
        () = pump(from_server, to_client, state) => {}
        _ = is_cut.wait_for(|state| *state == LinkState::Cut) => {}
    }
}

async fn pump(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, mut state: watch::Receiver<LinkState>) {
    let mut chunk = vec![0; CHUNK];
    while let Ok(read @ 1..) = from.read(&mut chunk).await {
        if !may_pass(&mut state).await || to.write_all(&chunk[..read]).await.is_err() {
            return;
        }
    }
}

/// Waits until something may pass; false if the link is cut.
async fn may_pass(state: &mut watch::Receiver<LinkState>) -> bool {
    let current = *state.borrow_and_update();
    match current {
        LinkState::Open => true,
        LinkState::Cut => false,
        LinkState::Slow(time) => {
            tokio::time::sleep(time).await;
            true
        }
        LinkState::Frozen => {
            let thawed = state.wait_for(|state| *state != LinkState::Frozen).await;
            thawed.is_ok_and(|state| *state != LinkState::Cut)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_link_passes_freezes_and_breaks() {
        let server = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let link = Link::to(server.local_addr().expect("an address")).expect("a link");
        let mut client = TcpStream::connect(link.address()).await.expect("connected");
        let (mut peer, _) = server.accept().await.expect("passed on");
        client.write_all(b"a").await.expect("sent");
        assert_eq!(peer.read_u8().await.expect("passed"), b'a');

        link.set(LinkState::Frozen);
        peer.write_all(b"b").await.expect("sent");
        let early = tokio::time::timeout(Duration::from_millis(50), client.read_u8()).await;
        assert!(early.is_err(), "nothing passes");
        link.set(LinkState::Open);
        assert_eq!(client.read_u8().await.expect("passed late"), b'b');

        link.set(LinkState::Cut);
        assert!(client.read_u8().await.is_err() && peer.read_u8().await.is_err(), "both ends hear of it");
        let mut refused = TcpStream::connect(link.address()).await.expect("the port is there");
        assert!(refused.read_u8().await.is_err());
    }
}
