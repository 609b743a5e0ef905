//! A mail server with scripted answers, with STARTTLS and TLS if wanted.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use posthaste_channels::dial::NetStream;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// How the server behaves.
#[derive(Clone, Default)]
pub struct Behaviour {
    /// Instead of `220 ready`; empty for none at all.
    pub greeting: Option<&'static str>,
    /// Answers to commands that begin so, instead of the usual ones.
    pub answers: Vec<(&'static str, &'static str)>,
    /// Extensions besides `8BITMIME`.
    pub extensions: Vec<&'static str>,
    /// For STARTTLS.
    pub tls: Option<TlsAcceptor>,
    /// TLS from the first byte.
    pub wrapped: bool,
    /// Writes for ever instead of greeting.
    pub endless: bool,
}

/// What came in.
#[derive(Default)]
pub struct Log {
    pub commands: Mutex<Vec<String>>,
    pub mails: Mutex<Vec<String>>,
    pub connections: AtomicUsize,
}

/// A server on a port of loopback; it ends with its owner.
pub struct SmtpServer {
    pub address: SocketAddr,
    pub log: Arc<Log>,
    _accepting: JoinSet<()>,
}

impl SmtpServer {
    pub async fn start(behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let log = Arc::new(Log::default());
        let mut accepting = JoinSet::new();
        let shared = Arc::clone(&log);
        accepting.spawn(async move {
            let mut open = JoinSet::new();
            loop {
                let Ok((stream, _)) = listener.accept().await else { continue };
                shared.connections.fetch_add(1, Ordering::SeqCst);
                let (behaviour, log) = (behaviour.clone(), Arc::clone(&shared));
                open.spawn(async move {
                    // Whatever breaks the conversation is the client's to notice.
                    let _ = converse(Box::new(stream), &behaviour, &log).await;
                });
            }
        });
        Self { address, log, _accepting: accepting }
    }

    pub fn url(&self) -> String {
        format!("smtp://{}", self.address)
    }

    pub fn commands(&self) -> Vec<String> {
        self.log.commands.lock().expect("lock").clone()
    }

    pub fn mails(&self) -> Vec<String> {
        self.log.mails.lock().expect("lock").clone()
    }
}

async fn converse(stream: Box<dyn NetStream>, behaviour: &Behaviour, log: &Log) -> std::io::Result<()> {
    let stream = match (&behaviour.tls, behaviour.wrapped) {
        (Some(tls), true) => Box::new(tls.accept(stream).await?),
        _ => stream,
    };
    let mut stream = BufReader::new(stream);
    if behaviour.endless {
        loop {
            stream.write_all(&[b'2'; 4096]).await?;
        }
    }
    let greeting = behaviour.greeting.unwrap_or("220 ready\r\n");
    stream.write_all(greeting.as_bytes()).await?;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let command = line.trim_end().to_owned();
        log.commands.lock().expect("lock").push(command.clone());
        if let Some((_, answer)) = behaviour.answers.iter().find(|(start, _)| command.starts_with(start)) {
            if answer.is_empty() {
                return Ok(());
            }
            stream.write_all(answer.as_bytes()).await?;
            continue;
        }
        let verb = command.split(' ').next().unwrap_or_default().to_ascii_uppercase();
        match verb.as_str() {
            "EHLO" => {
                let mut text = "250-test.example\r\n".to_owned();
                for extension in &behaviour.extensions {
                    text.push_str(&format!("250-{extension}\r\n"));
                }
                stream.write_all(format!("{text}250 8BITMIME\r\n").as_bytes()).await?;
            }
            "STARTTLS" => {
                stream.write_all(b"220 go ahead\r\n").await?;
                let tls = behaviour.tls.as_ref().expect("STARTTLS was not offered");
                stream = BufReader::new(Box::new(tls.accept(stream.into_inner()).await?));
            }
            "DATA" => {
                stream.write_all(b"354 go ahead\r\n").await?;
                let mut mail = String::new();
                while !mail.ends_with("\r\n.\r\n") {
                    if stream.read_line(&mut mail).await? == 0 {
                        return Ok(());
                    }
                }
                log.mails.lock().expect("lock").push(mail);
                stream.write_all(b"250 2.0.0 queued as 42\r\n").await?;
            }
            "AUTH" => stream.write_all(b"235 welcome\r\n").await?,
            "QUIT" => return stream.write_all(b"221 bye\r\n").await,
            _ => stream.write_all(b"250 fine\r\n").await?,
        }
    }
}
