//! A way to the database that loses an answer at a chosen moment, or a connection whose last words arrive late.

use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::Notify;

/// What to lose, and what becomes of it.
#[derive(Clone, Debug)]
struct Plan {
    /// What the node has to have said on the connection.
    after: &'static str,
    /// With which words the database is asked for what is lost.
    at: &'static str,
    fate: Fate,
}

/// What becomes of words whose connection is lost to the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// The database never hears them.
    Unheard,
    /// It does what they say.
    Done,
    /// It hears them when the test says so.
    Late,
}

/// Takes connections for a database.
pub struct Proxy {
    port: u16,
    plan: Arc<Mutex<Option<Plan>>>,
    /// Whether words that are late may go on, and what the database did with them.
    late: Arc<Late>,
}

#[derive(Default)]
struct Late {
    may_go: Notify,
    is_answered: Notify,
}

impl Proxy {
    /// Stands before the database of this socket.
    #[expect(clippy::disallowed_methods, reason = "it ends with the test's runtime")]
    pub async fn start(socket: PathBuf) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let plan = Arc::new(Mutex::new(None));
        let late = Arc::new(Late::default());
        let (plans, lates) = (Arc::clone(&plan), Arc::clone(&late));
        tokio::spawn(async move {
            while let Ok((node, _)) = listener.accept().await {
                tokio::spawn(pass(node, socket.clone(), Arc::clone(&plans), Arc::clone(&lates)));
            }
        });
        Self { port, plan, late }
    }

    /// How to reach a database through it.
    pub fn url(&self, database: &str) -> String {
        format!("host=127.0.0.1 port={} user=postgres dbname='{database}'", self.port)
    }

    /// Loses the answer to the next commit on a connection on which these words were said. The commit is made.
    pub fn lose_commit_after(&self, after: &'static str) {
        *self.plan.lock() = Some(Plan { after, at: "COMMIT\0", fate: Fate::Done });
    }

    /// Cuts the connection before the next commit after these words. The database does not hear of the commit.
    pub fn cut_commit_after(&self, after: &'static str) {
        *self.plan.lock() = Some(Plan { after, at: "COMMIT\0", fate: Fate::Unheard });
    }

    /// Cuts the next connection on which these words are said. The database does not hear them.
    pub fn cut_at(&self, at: &'static str) {
        *self.plan.lock() = Some(Plan { after: "", at, fate: Fate::Unheard });
    }

    /// Cuts the next transaction on a connection on which these words were said. All of it is still under way to the database.
    pub fn delay_after(&self, after: &'static str) {
        *self.plan.lock() = Some(Plan { after, at: "BEGIN;", fate: Fate::Late });
    }

    /// What was under way arrives, and the database does with it what it will.
    pub async fn arrive(&self) {
        assert!(self.is_over(), "something is under way");
        self.late.may_go.notify_one();
        self.late.is_answered.notified().await;
    }

    /// Whether what was to be lost is lost.
    pub fn is_over(&self) -> bool {
        self.plan.lock().is_none()
    }
}

/// One connection, until it ends or is lost.
async fn pass(mut node: TcpStream, socket: PathBuf, plans: Arc<Mutex<Option<Plan>>>, late: Arc<Late>) {
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
                let fate = plan.map(|plan| plan.fate);
                if fate == Some(Fate::Unheard) {
                    plans.lock().take();
                    return;
                }
                if fate == Some(Fate::Late) {
                    assert!(has(&words[..count], "COMMIT\0"), "a transaction is said at once");
                    drop(node);
                    plans.lock().take();
                    late.may_go.notified().await;
                    database.write_all(&words[..count]).await.expect("the database listens");
                    database.shutdown().await.expect("nothing follows");
                    while database.read(&mut answer).await.is_ok_and(|count| count > 0) {}
                    late.is_answered.notify_one();
                    return;
                }
                database.write_all(&words[..count]).await.expect("the database listens");
                if fate.is_some() {
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
