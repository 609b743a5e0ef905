//! One append file with group flush: a thread takes all that waits, writes it in one call, flushes it in one call, and answers.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

/// How long lines about attempts wait for company, if nothing else is written.
const NOTES: Duration = Duration::from_millis(20);

/// The file, and the thread that writes it.
pub struct Append(Arc<Shared>);

#[derive(Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    woken: Condvar,
}

#[derive(Default)]
struct Waiting {
    bytes: Vec<u8>,
    answers: Vec<oneshot::Sender<bool>>,
}

impl Append {
    /// Makes the file and starts the thread, which ends with the process.
    pub fn start(path: &Path) -> io::Result<Self> {
        let file = File::create_new(path)?;
        let shared = Arc::new(Shared::default());
        let own = Arc::clone(&shared);
        std::thread::Builder::new().name("append".to_owned()).spawn(move || own.write(file))?;
        Ok(Self(shared))
    }

    /// Appends a record; true once it is on the disk, false if it cannot be.
    pub async fn commit(&self, record: &[u8]) -> bool {
        let (answer, flushed) = oneshot::channel();
        let is_first = {
            let mut waiting = self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.bytes.extend_from_slice(&(record.len() as u32).to_le_bytes());
            waiting.bytes.extend_from_slice(record);
            waiting.answers.push(answer);
            waiting.answers.len() == 1
        };
        if is_first {
            self.0.woken.notify_one();
        }
        flushed.await.unwrap_or(false)
    }

    /// Appends a line about an attempt, with the next group.
    pub fn note(&self, line: &[u8]) {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner).bytes.extend_from_slice(line);
    }
}

impl Shared {
    fn write(&self, mut file: File) {
        let mut group = Waiting::default();
        loop {
            {
                let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
                let (mut waiting, _) = self
                    .woken
                    .wait_timeout_while(waiting, NOTES, |waiting| waiting.answers.is_empty())
                    .unwrap_or_else(PoisonError::into_inner);
                std::mem::swap(&mut *waiting, &mut group);
            }
            if group.bytes.is_empty() {
                continue;
            }
            let stored = file.write_all(&group.bytes).and_then(|()| file.sync_data());
            if let Err(error) = &stored {
                eprintln!("the relay cannot write: {error}");
            }
            group.bytes.clear();
            for answer in group.answers.drain(..) {
                // Whoever asked may have gone.
                let _ = answer.send(stored.is_ok());
            }
        }
    }
}
