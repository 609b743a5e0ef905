//! A way to the database that loses an answer at a chosen moment.

use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};

/// What to lose, and whether the database still does it.
#[derive(Clone, Debug)]
struct Plan {
    /// What the node has to have said on the connection.
    after: &'static str,
    /// With which words the database is asked for what is lost.
    at: &'static str,
    is_done: bool,
}

/// Takes connections for a database.
pub struct Proxy {
    port: u16,
    plan: Arc<Mutex<Option<Plan>>>,
}

impl Proxy {
    /// Stands before the database of this socket.
    #[expect(clippy::disallowed_methods, reason = "it ends with the test's runtime")]
    pub async fn start(socket: PathBuf) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let plan = Arc::new(Mutex::new(None));
        let plans = Arc::clone(&plan);
        tokio::spawn(async move {
            while let Ok((node, _)) = listener.accept().await {
                tokio::spawn(pass(node, socket.clone(), Arc::clone(&plans)));
            }
        });
        Self { port, plan }
    }

    /// How to reach a database through it.
    pub fn url(&self, database: &str) -> String {
        format!("host=127.0.0.1 port={} user=postgres dbname='{database}'", self.port)
    }

    /// Loses the answer to the next commit on a connection on which these words were said. The commit is made.
    pub fn lose_commit_after(&self, after: &'static str) {
        *self.plan.lock() = Some(Plan { after, at: "COMMIT\0", is_done: true });
    }

    /// Cuts the connection before the next commit after these words. The database does not hear of the commit.
    pub fn cut_commit_after(&self, after: &'static str) {
        *self.plan.lock() = Some(Plan { after, at: "COMMIT\0", is_done: false });
    }

    /// Cuts the next connection on which these words are said. The database does not hear them.
    pub fn cut_at(&self, at: &'static str) {
        *self.plan.lock() = Some(Plan { after: "", at, is_done: false });
    }

    /// Whether what was to be lost is lost.
    pub fn is_over(&self) -> bool {
        self.plan.lock().is_none()
    }
}

/// One connection, until it ends or is lost.
async fn pass(mut node: TcpStream, socket: PathBuf, plans: Arc<Mutex<Option<Plan>>>) {
    let mut database = UnixStream::connect(socket).await.expect("the database");
    let (mut said, mut answer) = (Vec::new(), vec![0; 1 << 16]);
    let mut words = vec![0; 1 << 16];
    loop {
        tokio::select! {
            read = node.read(&mut words) => {
                let Ok(count @ 1..) = read else { return };
                said.extend_from_slice(&words[..count]);
                let planned = plans.lock().clone();
                let plan = planned.filter(|plan| has(&said, plan.after) && has(&words[..count], plan.at));
                if plan.as_ref().is_some_and(|plan| !plan.is_done) {
                    plans.lock().take();
                    return;
                }
                database.write_all(&words[..count]).await.expect("the database listens");
                if plan.is_some() {
                    // Its answer tells that it did it; until then it would undo it if nobody listened.
                    let mut answered = Vec::new();
                    while !has(&answered, "COMMIT\0") {
                        let read = database.read(&mut answer).await.expect("an answer");
                        assert!(read > 0, "the database answers");
                        answered.extend_from_slice(&answer[..read]);
                    }
                    plans.lock().take();
                    return;
                }
            }
            read = database.read(&mut answer) => {
                let Ok(count @ 1..) = read else { return };
                if node.write_all(&answer[..count]).await.is_err() {
                    return;
                }
            }
        }
    }
}

fn has(bytes: &[u8], words: &str) -> bool {
    words.is_empty() || bytes.windows(words.len()).any(|window| window == words.as_bytes())
}
