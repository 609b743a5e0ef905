//! The yardstick: the least that a durable relay can do, in a process of its own, on the same HTTP stack as the server.
//!
//! A request's body is appended to one file and flushed together with what else waits; then it is answered 202, signed, and posted to every
//! target over pooled connections; one line is appended for each attempt. It matches, retries, recovers and tells nothing, so nothing that
//! does can be faster on this stack. An array is one body on its way in and out.

mod append;
mod send;

use std::convert::Infallible;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use append::Append;
use send::Senders;

/// Deliveries that may wait in memory; more are not answered before there is room.
const QUEUE: usize = 1 << 16;

/// The relay's own process. The bench starts it.
#[derive(Clone, Debug, clap::Args)]
pub struct RelayProcess {
    /// The file to append to.
    #[arg(long)]
    file: PathBuf,
    /// The receiver; target N is `/t/N` there.
    #[arg(long)]
    sink: SocketAddr,
    /// Targets that get every body.
    #[arg(long, default_value_t = 1)]
    targets: usize,
    /// Posts under way at once.
    #[arg(long, default_value_t = 64)]
    in_flight: usize,
}

struct Relay {
    append: Arc<Append>,
    senders: Arc<Senders>,
    targets: usize,
    next: AtomicU64,
    room: Arc<Semaphore>,
    tasks: TaskTracker,
}

impl RelayProcess {
    /// Serves until standard input ends, so that it does not outlive the bench.
    pub fn run(self) -> io::Result<()> {
        std::thread::spawn(|| {
            // Nothing is ever sent; an error ends the process as the end does.
            let _ = io::stdin().read(&mut [0]);
            std::process::exit(0);
        });
        tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(self.serve())
    }

    async fn serve(self) -> io::Result<()> {
        let append = Arc::new(Append::start(&self.file)?);
        let tasks = TaskTracker::new();
        let senders = Senders::new(self.sink, self.targets, self.in_flight, Arc::clone(&append));
        let relay = Arc::new(Relay {
            append,
            senders: Arc::new(senders),
            targets: self.targets,
            next: AtomicU64::new(1),
            room: Arc::new(Semaphore::new(QUEUE)),
            tasks: tasks.clone(),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        println!("{}", serde_json::json!({"listening": format!("http://{}", listener.local_addr()?)}));
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let relay = Arc::clone(&relay);
            tasks.spawn(async move {
                let service = service_fn(move |request| Arc::clone(&relay).take(request));
                // A connection that breaks is the bench's business.
                let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    }
}

impl Relay {
    async fn take(self: Arc<Self>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let stored = match request.into_body().collect().await {
            Ok(body) => {
                let body = body.to_bytes();
                self.append.commit(&body).await.then_some(body)
            }
            Err(_) => None,
        };
        let Some(body) = stored else {
            let mut failed = Response::new(Full::default());
            *failed.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            return Ok(failed);
        };
        for target in 0..self.targets {
            let room = Arc::clone(&self.room).acquire_owned().await.expect("it is never closed");
            let (senders, body) = (Arc::clone(&self.senders), body.clone());
            self.tasks.spawn(async move {
                senders.deliver(target, id, body).await;
                drop(room);
            });
        }
        let mut answer = Response::new(Full::from(format!(r#"{{"id":"evt_{id:016x}"}}"#)));
        *answer.status_mut() = StatusCode::ACCEPTED;
        answer.headers_mut().insert(hyper::header::CONTENT_TYPE, hyper::header::HeaderValue::from_static("application/json"));
        Ok(answer)
    }
}
