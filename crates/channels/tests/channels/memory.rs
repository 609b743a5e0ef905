//! A network in memory: names, addresses and connections as the test says, under paused time.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use posthaste_channels::address::AddressGuard;
use posthaste_channels::dial::{Dial, NetStream, Outlet, Resolve};
use posthaste_channels::{ChannelOptions, Channels};
use tokio::io::DuplexStream;
use tokio::task::JoinSet;

use crate::receiver::Desk;

/// What happens when an address is connected to.
pub enum Plan {
    Hang,
    Refuse,
    Serve(Desk),
    /// This connection, whose other end the test holds.
    Stream(DuplexStream),
    /// This connection, whose other end is in the hands of a task.
    Task(DuplexStream, Pin<Box<dyn Future<Output = ()> + Send>>),
}

/// The network.
pub struct Memory {
    answers: Mutex<Vec<Vec<IpAddr>>>,
    plan: Box<dyn Fn(SocketAddr) -> Plan + Send + Sync>,
    dialled: Mutex<Vec<SocketAddr>>,
    lookups: Mutex<usize>,
    tasks: Mutex<JoinSet<()>>,
}

impl Memory {
    /// Each lookup takes the next of `answers`; the last one stays.
    pub fn new(answers: &[&[&str]], plan: impl Fn(SocketAddr) -> Plan + Send + Sync + 'static) -> Arc<Self> {
        let parse = |answer: &&[&str]| answer.iter().map(|ip| ip.parse().expect("address")).collect();
        let answers = answers.iter().rev().map(parse).collect();
        let (dialled, lookups, tasks) = (Mutex::default(), Mutex::default(), Mutex::default());
        Arc::new(Self { answers: Mutex::new(answers), plan: Box::new(plan), dialled, lookups, tasks })
    }

    /// A network of one public host.
    pub fn serving(desk: &Desk) -> Arc<Self> {
        let desk = desk.clone();
        Self::new(&[&["93.184.216.34"]], move |_| Plan::Serve(desk.clone()))
    }

    /// The standard channels on this network, nothing allowed besides public addresses.
    pub fn channels(self: &Arc<Self>) -> Channels {
        let (resolver, dialer) = (Arc::clone(self) as Arc<dyn Resolve>, Arc::clone(self) as Arc<dyn Dial>);
        let outlet = Outlet::with_parts(AddressGuard::default(), resolver, dialer);
        Channels::through(Arc::new(outlet), &ChannelOptions::default()).expect("options")
    }

    /// Addresses that were connected to, or tried.
    pub fn dialled(&self) -> Vec<String> {
        self.dialled.lock().expect("lock").iter().map(ToString::to_string).collect()
    }

    pub fn lookups(&self) -> usize {
        *self.lookups.lock().expect("lock")
    }
}

#[async_trait]
impl Resolve for Memory {
    async fn resolve(&self, _: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        *self.lookups.lock().expect("lock") += 1;
        let answer = {
            let mut answers = self.answers.lock().expect("lock");
            if answers.len() > 1 { answers.pop() } else { answers.last().cloned() }
        };
        match answer {
            Some(answer) => Ok(answer.into_iter().map(|ip| SocketAddr::new(ip, port)).collect()),
            None => std::future::pending().await,
        }
    }
}

#[async_trait]
impl Dial for Memory {
    async fn dial(&self, address: SocketAddr) -> io::Result<Box<dyn NetStream>> {
        self.dialled.lock().expect("lock").push(address);
        match (self.plan)(address) {
            Plan::Hang => std::future::pending().await,
            Plan::Refuse => Err(io::ErrorKind::ConnectionRefused.into()),
            Plan::Serve(desk) => {
                let (ours, theirs) = tokio::io::duplex(64 * 1024);
                self.tasks.lock().expect("lock").spawn(desk.serve(theirs));
                Ok(Box::new(ours))
            }
            Plan::Stream(stream) => Ok(Box::new(stream)),
            Plan::Task(stream, task) => {
                self.tasks.lock().expect("lock").spawn(task);
                Ok(Box::new(stream))
            }
        }
    }
}
