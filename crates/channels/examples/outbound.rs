//! What one delivered webhook costs: CPU time of the sending threads and allocations, per request.
//!
//! ```text
//! cargo run --release -p posthaste-channels --example outbound -- [--senders 32] [--seconds 4] [--threads 1] [--body 512] [--answer 2] [--floor]
//! ```
//!
//! Senders (tasks on threads of their own) deliver through the `webhook` channel to a receiver on another thread, which answers
//! without looking further than `content-length`. `--floor` sends bytes of the same size through bare sockets: what is left when
//! there is no HTTP client at all, so that the difference is the client's share. CPU time is that of the senders' threads alone,
//! as the kernel counts it (Linux); allocations are those of the whole process, and the receiver makes none per request.

use std::alloc::System;
use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use posthaste_channels::address::AddressGuard;
use posthaste_channels::{ChannelOptions, Channels, Content, Dispatch};
use serde_json::json;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Name of the senders' threads, by which their CPU time is found.
const SENDER: &str = "sender";
/// Left out of the measurement: connections are opened and buffers grow.
const WARM_UP: Duration = Duration::from_millis(700);
/// More than any request here takes.
const AMPLE: Duration = Duration::from_secs(15);

struct Plan {
    senders: u64,
    seconds: u64,
    threads: u64,
    body: u64,
    answer: u64,
    floor: bool,
}

impl Plan {
    fn read() -> Result<Self, Box<dyn Error + Send + Sync>> {
        let mut plan = Self { senders: 32, seconds: 4, threads: 1, body: 512, answer: 2, floor: false };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let number = match word.as_str() {
                "--senders" => &mut plan.senders,
                "--seconds" => &mut plan.seconds,
                "--threads" => &mut plan.threads,
                "--body" => &mut plan.body,
                "--answer" => &mut plan.answer,
                "--floor" => {
                    plan.floor = true;
                    continue;
                }
                _ => return Err(format!("{word}: unknown option").into()),
            };
            let text = words.next().ok_or_else(|| format!("{word}: needs a number"))?;
            *number = text.parse().map_err(|_| format!("{word}: {text} is not a number"))?;
        }
        Ok(plan)
    }
}

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let plan = Plan::read()?;
    let receiver = start_receiver(plan.answer as usize)?;
    let senders = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(plan.threads.max(1) as usize)
        .thread_name(SENDER)
        .enable_all()
        .build()?;
    let (done, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let channels = Channels::standard(&ChannelOptions { guard: AddressGuard::open(), ..Default::default() })?;
    let mut sending = JoinSet::new();
    for _ in 0..plan.senders {
        let (done, stop, body) = (Arc::clone(&done), Arc::clone(&stop), vec![b'x'; plan.body as usize]);
        if plan.floor {
            sending.spawn_on(send_bytes(receiver, body, done, stop), senders.handle());
        } else {
            sending.spawn_on(send_webhooks(channels.clone(), receiver, body.into(), done, stop), senders.handle());
        }
    }
    std::thread::sleep(WARM_UP);
    let region = stats_alloc::Region::new(ALLOCATOR);
    let (before, count) = (Cpu::of_senders()?, done.load(Ordering::Relaxed));
    std::thread::sleep(Duration::from_secs(plan.seconds));
    let (after, count) = (Cpu::of_senders()?, done.load(Ordering::Relaxed) - count);
    let allocations = region.change();
    stop.store(true, Ordering::Relaxed);
    senders.block_on(async {
        while let Some(ended) = sending.join_next().await {
            ended??;
        }
        Ok::<_, Box<dyn Error + Send + Sync>>(())
    })?;
    let each = |total: f64| total / count.max(1) as f64;
    println!("{:>9.0} requests/s", count as f64 / plan.seconds as f64);
    let cpu = each((after.total - before.total).as_secs_f64() * 1e6);
    let (user, kernel) = (after.user - before.user, after.kernel - before.kernel);
    let of_kernel = cpu * kernel as f64 / (user + kernel).max(1) as f64;
    println!("{cpu:>9.2} µs CPU per request, of them about {of_kernel:.1} in the kernel");
    println!(
        "{:>9.2} allocations per request, {:.0} bytes",
        each(allocations.allocations as f64),
        each(allocations.bytes_allocated as f64)
    );
    println!("{:>9.2} reallocations per request", each(allocations.reallocations as f64));
    println!("          {:?}", channels.http_stats());
    Ok(())
}

/// CPU time that the senders' threads have used so far.
#[derive(Default)]
struct Cpu {
    total: Duration,
    /// In clock ticks, which are too coarse for more than a ratio.
    user: u64,
    kernel: u64,
}

impl Cpu {
    fn of_senders() -> Result<Self, Box<dyn Error + Send + Sync>> {
        let mut cpu = Self::default();
        for task in std::fs::read_dir("/proc/self/task")? {
            let task = task?.path();
            if std::fs::read_to_string(task.join("comm"))?.trim() != SENDER {
                continue;
            }
            let text = std::fs::read_to_string(task.join("schedstat"))?;
            let nanos = text.split(' ').next().and_then(|first| first.parse().ok()).ok_or("schedstat holds no time")?;
            cpu.total += Duration::from_nanos(nanos);
            // After the name in brackets: utime and stime are the 12th and 13th.
            let text = std::fs::read_to_string(task.join("stat"))?;
            let mut ticks = text.rsplit(')').next().unwrap_or_default().split(' ').skip(12).map(str::parse::<u64>);
            let mut tick = || ticks.next().and_then(Result::ok).unwrap_or_default();
            cpu.user += tick();
            cpu.kernel += tick();
        }
        Ok(cpu)
    }
}

type Sending = Result<(), Box<dyn Error + Send + Sync>>;

async fn send_webhooks(channels: Channels, to: SocketAddr, body: Bytes, done: Arc<AtomicU64>, stop: Arc<AtomicBool>) -> Sending {
    let channel = channels.get("webhook").ok_or("no webhook channel")?;
    let settings = json!({"url": format!("http://{to}/hooks/orders?team=blue"), "auth": {"bearer": "sesame"}});
    let value = HeaderValue::from_static;
    while !stop.load(Ordering::Relaxed) {
        let headers = vec![
            (http::header::CONTENT_TYPE, value("application/json")),
            (HeaderName::from_static("webhook-id"), value("msg_2mP1e6NfkD4Zt0s7bQxYcA")),
            (HeaderName::from_static("webhook-timestamp"), value("1767225600")),
            (HeaderName::from_static("webhook-signature"), value("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=")),
        ];
        let report = channel
            .send(Dispatch {
                delivery_id: "dlv_1",
                settings: &settings,
                settings_key: (1, 1),
                content: Content::Wire { body: body.clone(), headers, query: None, url: None },
                connect_timeout: AMPLE,
                timeout: AMPLE,
            })
            .await;
        if report.status != Some(200) {
            return Err(format!("not answered: {:?}", report.outcome).into());
        }
        done.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// The same bytes without a client.
async fn send_bytes(to: SocketAddr, body: Vec<u8>, done: Arc<AtomicU64>, stop: Arc<AtomicBool>) -> Sending {
    let mut stream = TcpStream::connect(to).await?;
    stream.set_nodelay(true)?;
    let filling = "x".repeat(300);
    let mut request = format!("POST /hooks/orders HTTP/1.1\r\nx: {filling}\r\ncontent-length: {}\r\n\r\n", body.len()).into_bytes();
    request.extend(body);
    let mut answer = vec![0; 64 * 1024];
    while !stop.load(Ordering::Relaxed) {
        stream.write_all(&request).await?;
        if stream.read(&mut answer).await? == 0 {
            return Err("the receiver closed".into());
        }
        done.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// A receiver on a thread of its own, which ends with the process.
fn start_receiver(answer: usize) -> Result<SocketAddr, Box<dyn Error + Send + Sync>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
    let address = listener.local_addr()?;
    let answer: Arc<[u8]> = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {answer}\r\ndate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n{}",
        "x".repeat(answer)
    )
    .into_bytes()
    .into();
    std::thread::Builder::new().name("receiver".to_owned()).spawn(move || {
        runtime.block_on(async move {
            let mut open = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                open.spawn(answer_all(stream, Arc::clone(&answer)));
            }
        });
    })?;
    Ok(address)
}

/// Answers every request of a connection until its end.
async fn answer_all(mut stream: TcpStream, answer: Arc<[u8]>) {
    let mut buffer = vec![0; 256 * 1024];
    let mut filled = 0;
    while let Ok(read @ 1..) = stream.read(&mut buffer[filled..]).await {
        filled += read;
        while let Some(length) = request_length(&buffer[..filled]).filter(|length| *length <= filled) {
            buffer.copy_within(length..filled, 0);
            filled -= length;
            if stream.write_all(&answer).await.is_err() {
                return;
            }
        }
    }
}

/// Bytes of the request at the start of `bytes`, once its head is there.
fn request_length(bytes: &[u8]) -> Option<usize> {
    const LENGTH: &[u8] = b"\r\ncontent-length: ";
    let head = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let digits = bytes[..head].windows(LENGTH.len()).position(|window| window.eq_ignore_ascii_case(LENGTH))? + LENGTH.len();
    let length = bytes[digits..].iter().take_while(|byte| byte.is_ascii_digit()).fold(0, |sum, byte| sum * 10 + usize::from(byte - b'0'));
    Some(head + length)
}
